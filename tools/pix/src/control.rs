//! `down`: stops a running instance from another terminal.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::orphans;
use crate::place::{Held, Place};

/// Every part has its own grace; together they take no longer than this.
const STOP_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn down(place: &Place, purge: bool) -> anyhow::Result<ExitCode> {
    let dir = place.dir.display();
    if !place.is_ours() {
        if purge && place.dir.exists() {
            bail!("{dir} was not made by pix and stays as it is: name the right folder with --dir");
        }
        outln!("nothing runs in {dir}");
        return Ok(ExitCode::SUCCESS);
    }
    let held = match place.running_pid() {
        Some(pid) => {
            outln!("stopping pix (process {pid}) in {dir}");
            send_terminate(pid)?;
            wait_for_end(place, pid).await?
        }
        None => {
            outln!("nothing runs in {dir}");
            let held = place.try_hold()?;
            if held.is_some() {
                orphans::end(place, |line| outln!("{line}")).await?;
            }
            held
        }
    };
    if purge {
        place.purge()?;
        outln!("{dir} and all its data are removed");
    }
    drop(held);
    Ok(ExitCode::SUCCESS)
}

async fn wait_for_end(place: &Place, pid: u32) -> anyhow::Result<Option<Held>> {
    let asked = Instant::now();
    loop {
        if let Some(held) = place.try_hold()? {
            outln!("stopped after {} ms", asked.elapsed().as_millis());
            return Ok(Some(held));
        }
        if asked.elapsed() > STOP_WITHIN {
            bail!(
                "process {pid} has not ended in {} s: end it with `kill -9 {pid}`, its children follow",
                STOP_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn send_terminate(pid: u32) -> anyhow::Result<()> {
    let target =
        libc::pid_t::try_from(pid).context("the pid file is damaged: stop pix where it runs, with Ctrl-C")?;
    #[expect(
        unsafe_code,
        reason = "one system call without memory arguments; no safe wrapper in std"
    )]
    // SAFETY: kill takes two integers. The pid's process holds the instance's lock, so it is the pix we mean.
    let refused = unsafe { libc::kill(target, libc::SIGTERM) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        bail!("process {pid} cannot be signalled ({error}): stop it as the user who started it");
    }
    Ok(())
}
