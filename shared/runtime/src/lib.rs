//! What every `main` of the switch needs, so that a service's own crate holds only its service.
//!
//! [`config`] reads settings and reports every fault at once; [`telemetry`] sets up logs, metrics and
//! traces, [`metric`] declares the metrics and [`payment_trace`] finds a payment's spans together; [`Lifecycle`] runs the tasks and stops them in good order; [`Clock`] and [`Ids`] are the only
//! sources of time and chance; [`tls`] and [`http`] are the face to the banks, [`ops`] the one to operators;
//! [`pg`], [`nats`] and [`redis`] connect to the parts; [`events`] and [`outbox`] tell the rest of the switch; [`Shares`] keep one participant from taking everything.

mod clock;
pub mod config;
pub mod events;
pub mod http;
mod ids;
mod lifecycle;
pub mod metric;
pub mod nats;
pub mod ops;
pub mod outbox;
pub mod payment_trace;
pub mod pg;
pub mod problem;
pub mod redis;
mod shares;
pub mod telemetry;
pub mod tls;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Fault, Faults, Key, Settings};
pub use ids::Ids;
pub use lifecycle::{Lifecycle, StopSwitch, Stopping, TaskEnd};
pub use shares::Shares;

/// Of every process with this crate: a message is a few hundred small pieces, taken on one thread and given back on
/// another, which glibc's allocator pays for twice over.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes aws-lc the process's one cryptography provider. Safe to call again.
///
/// Everything that speaks TLS needs it first; [`telemetry::init`] calls it too.
pub fn init_crypto() {
    // Refused only when a provider is installed already, which is this one: `ring` is kept out of the tree.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// The multi-threaded runtime of a service, which may open as many files as the system lets it: a connection is one.
///
/// # Errors
/// When the system gives no threads or no epoll.
pub fn build_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Answers `--describe`: a service's settings and metrics as JSON, which `docs/configuration.md` and
/// `docs/metrics.md` are written from. `None` when the process was asked for something else.
#[must_use]
#[expect(clippy::print_stdout, reason = "the answer to a command on a terminal")]
pub fn describe(
    service: &str,
    keys: &[Key],
    metrics: &[&'static [metric::Metric]],
) -> Option<std::process::ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("--describe") {
        return None;
    }
    let described = serde_json::json!({
        "service": service,
        "settings": config::to_json(service, keys),
        "metrics": metric::to_json(metrics),
    });
    println!("{described:#}");
    Some(std::process::ExitCode::SUCCESS)
}
