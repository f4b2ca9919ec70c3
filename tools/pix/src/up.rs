//! `pix up`: parts, services, the first payment; then supervision until Ctrl-C.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::Ispb;
use pix_parts::{Nats, PartError, Postgres, PostgresSize, Probe, ProcessSpec, Redis, Signal};
use pix_pki::DevPki;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::board::Board;
use crate::cli;
use crate::configs::{self, Parts};
use crate::doctor::{self, Verdict};
use crate::http::Http;
use crate::inside;
use crate::orphans;
use crate::participant;
use crate::pay;
use crate::pki;
use crate::place::{Place, Ports, private_dir};
use crate::seed::{self, BANKS, VIRTUALS};
use crate::seed_keys;
use crate::supervisor::Supervised;

/// Ports of a predecessor that was killed take a moment to come free.
const PORTS_FREE_WITHIN: Duration = Duration::from_secs(5);

/// Opening balances are in the Conta PI by then.
const FUNDED_WITHIN: Duration = Duration::from_secs(30);

/// Prints a line with the seconds since the start.
pub(crate) fn say(line: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    outln!("{:>8.2} s  {line}", since.as_secs_f64());
}

pub(crate) async fn up(place: Place, options: &cli::Up) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut hang_up = signal(SignalKind::hangup()).context("signals cannot be received")?;
    let mut asked_to_stop = async || {
        tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            _ = hang_up.recv() => "SIGHUP",
        }
    };

    for found in [doctor::programs(), doctor::disk(&place.dir, 0.0)] {
        if found.verdict == Verdict::Fault {
            bail!("{}", found.sentence());
        }
    }
    place.create()?;
    let _held = place.hold()?;
    say(&format!(
        "pix {} in {}",
        env!("CARGO_PKG_VERSION"),
        place.dir.display()
    ));

    let mut fleet = Fleet::new(&place);
    let started = tokio::select! {
        started = start(&place, options, &mut fleet) => started,
        by = asked_to_stop() => {
            say(&format!("{by}: stopping what has been started"));
            fleet.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(error) = started {
        fleet.stop().await;
        return Err(error);
    }
    let (by, code) = tokio::select! {
        by = asked_to_stop() => (by.to_owned(), ExitCode::SUCCESS),
        lost = fleet.lost() => (format!("{lost} is not supervised any more, by a fault of pix"), ExitCode::FAILURE),
    };
    say(&format!(
        "{by}: stopping banks, switch and parts (once more: at once)"
    ));
    tokio::select! {
        () = fleet.stop() => say("everything has stopped; `pix up` goes on from here"),
        _ = asked_to_stop() => say("leaving at once: what still runs is killed"),
    }
    Ok(code)
}

async fn start(place: &Place, options: &cli::Up, fleet: &mut Fleet) -> anyhow::Result<()> {
    orphans::end(place, say).await?;
    ports_are_free(place).await?;
    place.remember_ports()?;
    let programs = Programs::beside_us()?;

    let fresh = !place.path("pki/ca.crt").exists();
    if fresh {
        say(
            "making the development PKI: a CA, RSA-2048 keys for the switch, two banks and the virtual participants",
        );
    }
    make_pki(place)?;
    seed::write_missing(place)?;

    let postgres = prepare_postgres(place).await?;
    private_dir(&place.path("redis"))?;
    private_dir(&place.path("nats"))?;
    let redis = Redis::prepare(&place.path("redis"), place.ports.redis())?;
    let nats = Nats::prepare(&place.path("nats"), place.ports.nats())?;
    fleet
        .step([
            Unit {
                spec: postgres.spec(),
                port: place.ports.postgres(),
                http: false,
            },
            Unit {
                spec: redis.spec(),
                port: place.ports.redis(),
                http: false,
            },
            Unit {
                spec: nats.spec(),
                port: place.ports.nats(),
                http: false,
            },
        ])
        .await?;
    let databases = Databases::look(&postgres).await?;
    // On disk before there is a database of the settlement service, which the next start would take for one that has
    // begun already.
    let seed = seed::for_settlement(place, databases.have_a_book_alone())?;
    databases.make_missing(&postgres).await?;

    let parts = Parts {
        postgres: &postgres,
        redis: &redis,
        nats: &nats,
    };
    let ports = place.ports;
    let settlement = configs::write_settlement(place, &parts, &seed)?;
    fleet
        .step([service(
            place,
            "settlement",
            &programs.settlement,
            &settlement,
            ports.settlement_ops(),
        )])
        .await?;
    // A pair that was lost has been made anew by now, and the registry does not have it.
    if let Err(error) = pki::register_renewed(place, say).await {
        say(&format!("not every new certificate is registered: {error:#}"));
    }
    let spi = configs::write_spi(place, &parts)?;
    let dict = configs::write_dict(place, &parts)?;
    fleet
        .step([
            service(place, "spi", &programs.spi, &spi, ports.spi_ops()),
            service(place, "dict", &programs.dict, &dict, ports.dict_ops()),
        ])
        .await?;
    let mut banks = Vec::new();
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let config = configs::write_bank(place, &parts, bank, index)?;
        let name = format!("bank-{}", bank.ispb());
        banks.push(service(place, &name, &programs.bank, &config, ports.bank(index)));
    }
    let config = configs::write_virtual(place)?;
    banks.push(service(
        place,
        "virtual",
        &programs.virtual_participants,
        &config,
        ports.virtual_ops(),
    ));
    fleet.step(banks).await?;
    fleet.board.everything_is_ready();
    say("the switch and both banks serve");

    // The switch serves whether or not the rest goes through; what hinders it is worth a sentence, not an end.
    if let Err(error) = participant::until_funded(place, FUNDED_WITHIN).await {
        say(&format!("not every Conta PI is funded: {error:#}"));
    }
    let http = Http::new();
    if let Err(error) = seed_keys::register(place, &http, say).await {
        say(&format!("not every key is registered: {error:#}"));
    }
    if !options.no_payment {
        outln!();
        let key = seed_keys::first_payee(place)?;
        match pay::pay(place, &http, &pay::Order::first(key.as_ref())).await {
            Ok(paid) => paid.print(),
            Err(error) => say(&format!("the first payment did not go through: {error:#}")),
        }
    }
    print_welcome(place);
    Ok(())
}

/// Everything that runs.
struct Fleet {
    board: Arc<Board>,
    /// In the order of their start. Those of one step start together and stop together.
    steps: Vec<Vec<Supervised>>,
    /// Names of those that nobody would start again.
    lost: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

/// A process and where it answers.
struct Unit {
    spec: ProcessSpec,
    port: u16,
    http: bool,
}

impl Fleet {
    fn new(place: &Place) -> Self {
        Self {
            board: Arc::new(Board::new(place.clone())),
            steps: Vec::new(),
            lost: mpsc::channel(1),
        }
    }

    /// Waits until a process has lost its supervision.
    async fn lost(&mut self) -> String {
        self.lost.1.recv().await.expect("we hold a sender")
    }

    /// Starts the units together and waits until all of them serve.
    async fn step(&mut self, units: impl IntoIterator<Item = Unit>) -> anyhow::Result<()> {
        let start = |Unit { spec, port, http }| {
            self.board.enter(&spec.name, port, http);
            Supervised::start(spec, Arc::clone(&self.board), self.lost.0.clone())
        };
        let step = units.into_iter().map(start).collect();
        self.steps.push(step);
        for unit in self.steps.last_mut().into_iter().flatten() {
            let took = unit.ready().await?;
            say(&format!("{} serves after {} ms", unit.name(), took.as_millis()));
        }
        Ok(())
    }

    /// Last started, first stopped.
    async fn stop(&mut self) {
        while let Some(step) = self.steps.pop() {
            step.iter().for_each(Supervised::ask_to_stop);
            for unit in step {
                unit.stopped().await;
            }
        }
    }
}

/// The services are built beside us.
pub(crate) struct Programs {
    settlement: PathBuf,
    spi: PathBuf,
    dict: PathBuf,
    bank: PathBuf,
    virtual_participants: PathBuf,
}

impl Programs {
    pub(crate) fn beside_us() -> anyhow::Result<Self> {
        let us = std::env::current_exe()
            .context("the path of this program is unknown: start it by its full path")?;
        let folder = us.parent().unwrap_or(Path::new("/"));
        let find = |name: &str| {
            let program = folder.join(name);
            if program.is_file() {
                return Ok(program);
            }
            let profile = if folder.ends_with("release") {
                " --release"
            } else {
                ""
            };
            bail!(
                "{name} is not in {}: build it with `cargo build{profile} -p {name}`",
                folder.display()
            )
        };
        Ok(Self {
            settlement: find("settlement")?,
            spi: find("spi")?,
            dict: find("dict")?,
            bank: find("bank")?,
            virtual_participants: find("virtual")?,
        })
    }
}

fn service(place: &Place, name: &str, program: &Path, config: &Path, port: u16) -> Unit {
    let spec = ProcessSpec {
        name: name.to_owned(),
        program: program.to_path_buf(),
        args: vec!["--config".into(), config.display().to_string()],
        env: BTreeMap::new(),
        dir: Some(place.dir.clone()),
        run_as: None,
        stop_signal: Signal::Terminate,
        log: place.path(format!("logs/{name}.log")),
        probe: Probe::Http {
            address: ([127, 0, 0, 1], port).into(),
            path: "/readyz".into(),
        },
    };
    Unit {
        spec,
        port,
        http: true,
    }
}

async fn ports_are_free(place: &Place) -> anyhow::Result<()> {
    let asked = Instant::now();
    while let Some((what, port)) = place.ports.busy() {
        if asked.elapsed() > PORTS_FREE_WITHIN {
            let other = Ports::free_offset()
                .map_or(String::new(), |offset| format!(", e.g. `--port-offset {offset}`"));
            bail!(
                "port {port} ({what}) is taken by another program: stop it, or choose other ports with --port-offset or PIX_PORT_OFFSET{other}"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Whose certificates for calls inside we make.
pub(crate) const INSIDE: [&str; 4] = ["settlement", "spi", "dict", inside::NAME];

/// Keys once made are kept.
pub(crate) fn make_pki(place: &Place) -> anyhow::Result<DevPki> {
    let damaged = || {
        format!(
            "the PKI in {} cannot be used: `pix down --purge` forgets it",
            place.path("pki").display()
        )
    };
    authorities_are_whole(place)?;
    let pki = DevPki::open_or_create(&place.path("pki")).with_context(damaged)?;
    for service in ["spi", "dict"] {
        pki.service(service).with_context(damaged)?;
    }
    for end in INSIDE {
        pki.inside(end).with_context(damaged)?;
    }
    for (ispb, folder) in own_folders() {
        pki.participant(ispb, &place.path(folder)).with_context(damaged)?;
    }
    Ok(pki)
}

/// Of the participants that run here: where in the instance's folder their certificates and keys are.
pub(crate) fn own_folders() -> impl Iterator<Item = (Ispb, String)> {
    let banks = BANKS.iter().map(|bank| bank.ispb());
    let banks = banks.map(|ispb| (ispb, format!("pki/{ispb}")));
    banks.chain(VIRTUALS.iter().map(|one| (one.ispb(), one.folder())))
}

/// A new authority beside certificates of the old one would lock everybody out: one that has lost a file is not
/// replaced.
fn authorities_are_whole(place: &Place) -> anyhow::Result<()> {
    let there = |name: String| place.path(name).exists();
    let inside = INSIDE.iter().any(|end| there(format!("pki/inside/{end}.crt")));
    for (folder, has_signed, remedy) in [
        ("pki", there("pki/spi/server.crt".into()), NEW_CA),
        ("pki/inside", inside, NEW_CA_INSIDE),
    ] {
        for file in ["ca.crt", "ca.key"] {
            if has_signed && !there(format!("{folder}/{file}")) {
                bail!(
                    "{} is missing: put it back from a copy; without one, {remedy}",
                    place.path(folder).join(file).display()
                );
            }
        }
    }
    Ok(())
}

/// How one comes to a new authority for participants and services.
pub(crate) const NEW_CA: &str = "`pix down --purge` forgets everything and the next `pix up` begins anew";
/// How one comes to a new authority for calls inside: nobody else has anything of the old one.
pub(crate) const NEW_CA_INSIDE: &str =
    "`pix down`, then remove the folder pki/inside; the next `pix up` makes it anew";

/// In the instance's folder; where user postgres cannot get there and we are root, in that user's own home.
async fn prepare_postgres(place: &Place) -> anyhow::Result<Postgres> {
    let dir = place.postgres_dir()?;
    if !dir.join("data").exists() {
        say("making the database cluster");
    }
    match Postgres::prepare(&dir, place.ports.postgres(), PostgresSize::Service).await {
        Err(PartError::Unreachable { user, blocked, .. }) => {
            let elsewhere = place.keep_postgres_elsewhere()?;
            say(&format!(
                "user {user} cannot enter {}, so the database lives in {}",
                blocked.display(),
                elsewhere.display()
            ));
            Ok(Postgres::prepare(&elsewhere, place.ports.postgres(), PostgresSize::Service).await?)
        }
        other => Ok(other?),
    }
}

/// One database per service, and the roles that those of the switch serve with. The services make their own tables.
struct Databases {
    connection: PgConnection,
    there: Vec<String>,
}

const NO_DATABASES: &str = "the databases could not be made: see postgres.log in the instance's folder";

impl Databases {
    /// Changes nothing.
    async fn look(postgres: &Postgres) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(&postgres.url("postgres"))
            .await
            .context(NO_DATABASES)?;
        let there = sqlx::query_scalar("SELECT datname::text FROM pg_database")
            .fetch_all(&mut connection)
            .await
            .context(NO_DATABASES)?;
        Ok(Self { connection, there })
    }

    /// Whether there is a book, of an earlier version, and no settlement service's database beside it yet.
    fn have_a_book_alone(&self) -> bool {
        is_book_alone(&self.there)
    }

    async fn make_missing(mut self, postgres: &Postgres) -> anyhow::Result<()> {
        for role in configs::ROLES {
            let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_roles WHERE rolname = $1")
                .bind(role)
                .fetch_optional(&mut self.connection)
                .await
                .context(NO_DATABASES)?;
            if there.is_none() {
                // Names and password are ours: letters, digits and underscores.
                let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", postgres.password());
                sqlx::query(AssertSqlSafe(create))
                    .execute(&mut self.connection)
                    .await
                    .context(NO_DATABASES)?;
            }
        }
        let services = ["settlement", "spi", "dict"].map(str::to_owned);
        for database in services.into_iter().chain(BANKS.iter().map(configs::database)) {
            if !self.there.contains(&database) {
                say(&format!("making database {database}"));
                sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {database}")))
                    .execute(&mut self.connection)
                    .await
                    .context(NO_DATABASES)?;
            }
        }
        self.connection.close().await.context(NO_DATABASES)
    }
}

fn is_book_alone(databases: &[String]) -> bool {
    let is_there = |name: &str| databases.iter().any(|there| there == name);
    is_there("spi") && !is_there("settlement")
}

/// How to call us again from where we were called, as short as it can be.
fn our_command(place: &Place) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let us = std::env::current_exe().unwrap_or_else(|_| "pix".into());
    let us = us.strip_prefix(&here).unwrap_or(&us).display();
    match place.dir.strip_prefix(&here) {
        Ok(dir) if dir == Path::new(cli::DEFAULT_DIR) => us.to_string(),
        Ok(dir) => format!("{us} --dir {}", dir.display()),
        Err(_) => format!("{us} --dir {}", place.dir.display()),
    }
}

fn print_welcome(place: &Place) {
    let ports = place.ports;
    outln!();
    for (index, bank) in (0_u16..).zip(&BANKS) {
        outln!("  {:<16} http://127.0.0.1:{}", bank.name, ports.bank(index));
    }
    outln!(
        "  {:<16} https://127.0.0.1:{} and {} (ICOM, client certificate)",
        "switch",
        ports.spi_primary(),
        ports.spi_secondary()
    );
    outln!("  {:<16} http://127.0.0.1:{}/metrics", "", ports.spi_ops());
    outln!(
        "  {:<16} https://127.0.0.1:{} and {} (DICT API v2, client certificate)",
        "keys",
        ports.dict(),
        ports.dict_np()
    );
    outln!("  {:<16} http://127.0.0.1:{}/metrics", "", ports.dict_ops());
    outln!(
        "  {:<16} http://127.0.0.1:{}/metrics (participants, windows)",
        "settlement",
        ports.settlement_ops()
    );
    outln!(
        "  {:<16} http://127.0.0.1:{}/rules (virtual participants)",
        "sandbox",
        ports.virtual_ops()
    );
    outln!("  {:<16} {}", "logs", place.path("logs").display());
    let us = our_command(place);
    outln!("\nIn another terminal:");
    for command in [
        "key list",
        "pay --from A --to-key 12ABC34501DE35 --amount 25.00",
        "pay --from B --to A --to-account 100004    (a blocked account refuses)",
        "virtual pay --to B --amount 5.00    (99999A03 pays; 99999A04 accepts whatever is paid to it)",
        "status",
        "participant list",
        "doctor    (what is missing or wrong here)",
        "pki participant --ispb 33333333 --out bank-33333333    (an outside bank joins)",
        "down",
    ] {
        outln!("  {us} {command}");
    }
    outln!("\nCtrl-C stops everything; the data stays.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_lost_a_file_is_not_replaced_and_a_pair_is() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        make_pki(&place).expect("first");
        for (file, remedy) in [("pki/ca.key", "--purge"), ("pki/inside/ca.crt", "pki/inside")] {
            let path = place.path(file);
            let kept = std::fs::read(&path).expect("reads");
            std::fs::remove_file(&path).expect("removes");
            let error = make_pki(&place).map(drop).expect_err(file).to_string();
            assert!(error.contains(file) && error.contains(remedy), "{error}");
            assert!(!path.exists());
            std::fs::write(&path, kept).expect("writes");
        }
        let (_, folder) = own_folders().next().expect("there are banks");
        let pair = ["channel.crt", "channel.key"].map(|name| place.path(&folder).join(name));
        let before = std::fs::read(&pair[0]).expect("reads");
        std::fs::remove_file(&pair[1]).expect("removes");
        make_pki(&place).expect("a new pair");
        assert!(pair[1].exists());
        assert_ne!(std::fs::read(&pair[0]).expect("reads"), before);
        std::fs::remove_dir_all(place.path("pki/inside")).expect("removes");
        make_pki(&place).expect("everything inside anew");
        assert!(
            INSIDE
                .iter()
                .all(|end| place.path(format!("pki/inside/{end}.crt")).exists())
        );
    }

    #[test]
    fn only_a_book_without_a_settlement_service_is_of_an_earlier_version() {
        let alone =
            |names: &[&str]| is_book_alone(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert!(alone(&["postgres", "spi", "dict", "bank_11111111"]));
        assert!(!alone(&["postgres"]), "a first start");
        assert!(
            !alone(&["postgres", "settlement"]),
            "a first start that was cut off"
        );
        assert!(!alone(&["postgres", "settlement", "spi", "dict"]));
    }
}
