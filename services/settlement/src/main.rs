//! The settlement service: participants and their certificates, the funding of their Conta PI, settlement windows,
//! balances.

mod adapters;
mod balances;
mod config;
mod consumer;
mod events;
mod funding;
mod grpc;
mod import;
mod metrics;
mod ops;
mod ops_windows;
mod registry;
mod windows;
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pix_runtime::metric;
use pix_runtime::ops::Readiness;
use pix_runtime::outbox::Relay;
use pix_runtime::pg::{self, DbClock};
use pix_runtime::{Lifecycle, telemetry};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::adapters::grants;
use crate::adapters::nats_events::ORIGIN;
use crate::adapters::spi_book::SpiBook;
use crate::balances::Balances;
use crate::config::Config;
use crate::funding::Funder;
use crate::grpc::windows::WindowsService;
use crate::registry::Registrar;
use crate::windows::Windows;

/// What is under way may take so long to end after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
/// Connections that change the registry or order funding.
const WRITERS_MAX: u32 = 4;
/// Connections that count settlements, prove windows and note who is low.
const COUNTING_POOL_MAX: u32 = 4;
/// Connections for streams, events and operators.
const BACKGROUND_POOL_MAX: u32 = 8;

fn main() -> ExitCode {
    if let Some(described) = pix_runtime::describe("settlement", config::KEYS, &[metrics::METRICS]) {
        return described;
    }
    let config = match Config::read(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(faults) => return faults.refuse("settlement"),
    };
    let telemetry = match telemetry::init(
        "settlement",
        config.log_format,
        &config.log_level,
        config.otlp_endpoint.as_deref(),
    ) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error.into()),
    };
    metric::declare(metrics::METRICS);
    let code = match pix_runtime::build_runtime() {
        Ok(runtime) => runtime.block_on(run(config)).unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&error.into()),
    };
    telemetry.flush();
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "settlement cannot go on");
    ExitCode::FAILURE
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock = DbClock::start(&config.database_url)
        .await
        .context("cannot reach Postgres at database.url")?;
    prepare_database(&config).await?;
    let writers = pg::pool(&config.database_url, WRITERS_MAX)
        .await
        .context("cannot reach Postgres")?;
    let background = pg::pool(&config.database_url, BACKGROUND_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let nats = pix_runtime::nats::connect("settlement", &config.nats_url)
        .await
        .context("nats.url is not a URL of NATS")?;
    let told = Arc::new(Notify::new());
    let registrar = Registrar::start(writers.clone(), clock.clone(), Arc::clone(&told));
    let registrar = Arc::new(registrar.await.context("the registry cannot be read")?);
    if let Some(file) = &config.participants_file {
        import::into_empty(&registrar, file).await?;
    }
    let spi = config.spi.connect_lazy();
    let book = SpiBook::new(spi.clone());
    let funder = Arc::new(Funder::new(writers, clock.clone(), Arc::clone(&registrar), spi));

    let mut lifecycle = Lifecycle::new(SHUTDOWN_GRACE);
    let stopping = lifecycle.stopping();
    let readiness = Readiness::of(&["registry"]);
    lifecycle.spawn(
        "clock",
        clock.clone().run(config.database_url.clone(), stopping.clone()),
    );
    lifecycle.spawn("registry", Arc::clone(&registrar).follow(stopping.clone()));
    lifecycle.spawn("funding", Arc::clone(&funder).run(stopping.clone()));
    let counting = pg::pool(&config.database_url, COUNTING_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let windows = Windows::new(windows::Parts {
        pool: counting.clone(),
        owner_url: config.database_owner_url.clone(),
        spi: book.clone(),
        clock: clock.clone(),
        length: config.window_length,
        events: Arc::clone(&told),
    });
    let heard = consumer::run(
        nats.clone(),
        registrar.id().to_owned(),
        windows.clone(),
        stopping.clone(),
    );
    lifecycle.spawn("settlements", heard);
    lifecycle.spawn("windows", windows.clone().keep_looking(stopping.clone()));
    lifecycle.spawn("proofs", windows.clone().keep_proving(stopping.clone()));
    let balances = Balances::new();
    let following = balances::Parts {
        pool: counting,
        spi: book,
        clock: clock.clone(),
        events: Arc::clone(&told),
    };
    lifecycle.spawn("balances", balances.clone().follow(following, stopping.clone()));
    let relay = Relay::new(
        &ORIGIN,
        background.clone(),
        nats.clone(),
        registrar.id().to_owned(),
        told,
    );
    lifecycle.spawn("events", relay.run(stopping.clone()));

    let ops = bind("ops.listen", config.listen_ops).await?;
    let routes = ops::routes(background.clone(), Arc::clone(&registrar));
    let routes = routes.merge(ops_windows::routes(background.clone(), balances.clone()));
    lifecycle.spawn(
        "ops",
        pix_runtime::ops::serve(ops, readiness.clone(), routes, stopping.clone()),
    );
    let windows = WindowsService {
        windows,
        balances,
        pool: background.clone(),
        stopping: stopping.clone(),
    };
    let inside = grpc::Inside {
        registrar,
        funder,
        pool: background,
        clock,
        stopping,
    };
    let listener = bind("listen", config.listen).await?;
    lifecycle.spawn("grpc", grpc::serve(listener, config.inside, inside, windows));
    tracing::info!(address = %config.listen, "settlement listens");
    readiness.set("registry", true);
    Ok(lifecycle.run().await)
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {setting} {address}"))
}

/// Checks durability, migrates, grants.
async fn prepare_database(config: &Config) -> anyhow::Result<()> {
    let mut owner = pg::connect(&config.database_owner_url)
        .await
        .context("cannot reach Postgres at database.owner_url")?;
    if config.unsafe_durability {
        tracing::warn!("UNSAFE: Postgres may lose what was ordered and answered (unsafe_durability)");
    } else {
        pg::refuse_unsafe(&mut owner).await?;
    }
    sqlx::migrate!("../../migrations/settlement")
        .run(&mut owner)
        .await
        .context("the migrations do not apply")?;
    pg::grant(&mut owner, &config.database_url, &grants::RIGHTS)
        .await
        .context("rights cannot be granted")?;
    Ok(())
}
