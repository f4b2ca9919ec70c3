# Keeps the parts of one test run: starts them, and takes everything away when the run is over.
#
#   keeper.sh RUNNER FOLDER LOCK IDLE_TENTHS
#
# RUNNER is the process that runs the tests. The run is over when it is gone, or when no test process has
# held FOLDER/users for IDLE_TENTHS. Every part gets its stop signal when this shell dies, however it dies.
# FOLDER/commands/* are the parts, one script each, in the order to start; FOLDER/users and LOCK are locked
# by the test processes (see run.rs).
set -u
runner=$1 folder=$2 lock=$3 idle_max=$4
cd / || exit 1

parts=
for command in "$folder"/commands/*; do
    sh "$command" &
    parts="$! ${command##*.} $parts"
done

# `kill -0` would also find a zombie that its own parent has not waited for yet.
runs() { state=$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) && [ -n "$state" ] && [ "$state" != Z ]; }

idle=0
while runs "$runner"; do
    sleep 0.1
    if flock --nonblock --exclusive "$folder/users" true; then
        idle=$((idle + 1))
    else
        idle=0
    fi
    if [ "$idle" -ge "$idle_max" ]; then
        # Nobody can join while we hold the lock; somebody may have just before.
        exec 9<"$lock"
        flock --exclusive 9
        flock --nonblock --exclusive "$folder/users" true && break
        exec 9<&-
        idle=0
    fi
done

set -- $parts
while [ $# -ge 2 ]; do
    kill -s "$2" "$1"
    shift 2
done
wait
rm -rf "$folder" "$lock"
