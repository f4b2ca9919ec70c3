//! The DICT: the API that participants speak to, and the calls of the switch's own services.

mod adapters;
mod answers;
mod app;
mod buckets;
mod config;
mod consumer;
mod directory;
mod events;
mod grpc;
mod http;
mod metrics;
mod ops;
mod registry;
mod sealer;
mod statistics;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pix_runtime::http::ServerLimits;
use pix_runtime::metric::{self, CONNECTIONS};
use pix_runtime::ops::Readiness;
use pix_runtime::outbox::Relay;
use pix_runtime::pg::{self, DbClock};
use pix_runtime::{Ids, Lifecycle, Shares, telemetry};
use sqlx::Row as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::adapters::grants;
use crate::adapters::nats_events::ORIGIN;
use crate::adapters::pg_entries::Entries;
use crate::app::App;
use crate::buckets::Buckets;
use crate::config::Config;
use crate::directory::Directory;
use crate::http::{Door, Host};
use crate::sealer::Sealer;
use crate::statistics::StatisticsStore;

/// What is under way may take so long to end after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
/// Connections that write; each holds its locks for one transaction.
const WRITERS_MAX: u32 = 16;
/// Connections for events, operators and lists.
const BACKGROUND_POOL_MAX: u32 = 6;
/// Connections for statistics, which read much.
const STATISTICS_POOL_MAX: u32 = 4;

fn main() -> ExitCode {
    if let Some(described) = pix_runtime::describe(
        "dict",
        config::KEYS,
        &[metrics::METRICS, pix_participants::METRICS, CONNECTIONS],
    ) {
        return described;
    }
    let config = match Config::read(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(faults) => return faults.refuse("dict"),
    };
    let telemetry = match telemetry::init(
        "dict",
        config.log_format,
        &config.log_level,
        config.otlp_endpoint.as_deref(),
    ) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error.into()),
    };
    for table in [metrics::METRICS, pix_participants::METRICS, CONNECTIONS] {
        metric::declare(table);
    }
    if let Some(library) = &config.vector_library {
        tracing::info!(library = %library.display(), "signatures are made eight at a time");
    }
    let code = match pix_runtime::build_runtime() {
        Ok(runtime) => runtime.block_on(run(config)).unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&error.into()),
    };
    telemetry.flush();
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "dict cannot go on");
    ExitCode::FAILURE
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock = DbClock::start(&config.database_url)
        .await
        .context("cannot reach Postgres at database.url")?;
    let source = prepare_database(&config).await?;

    let mut lifecycle = Lifecycle::new(SHUTDOWN_GRACE);
    let stopping = lifecycle.stopping();
    let readiness = Readiness::of(&["directory", pix_participants::READY]);
    let writers = pg::pool(&config.database_url, WRITERS_MAX)
        .await
        .context("cannot reach Postgres")?;
    // What runs beside requests has connections of its own: it never waits in front of a participant.
    let background = pg::pool(&config.database_url, BACKGROUND_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let (participants, follower, standing) = config.participants.open(background.clone()).await?;
    let registry = registry::Current::new(participants);
    let statistics = pg::pool(&config.database_url, STATISTICS_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let nats = pix_runtime::nats::connect("dict", &config.nats_url)
        .await
        .context("nats.url is not a URL of NATS")?;
    let redis = pix_runtime::redis::connect(&config.redis_url, config.redis_within)
        .context("redis.url is not a URL of Redis")?;
    let ids = Ids::system();
    let sealer = Sealer::new(config.signer.clone());
    let told = Arc::new(Notify::new());
    let directory = Arc::new(Directory {
        entries: Entries::new(&config.database_url, writers),
        clock: clock.clone(),
        ids,
        sealer: sealer.clone(),
        writing: Shares::default(),
        told: Arc::clone(&told),
    });
    let parts = buckets::Parts {
        redis,
        prefix: config.redis_prefix.clone(),
        pool: background.clone(),
        clock: Arc::new(clock.clone()),
    };
    let buckets = Buckets::new(parts, config.redis_within);
    let buckets = buckets.await.context("the debts of buckets cannot be read")?;

    lifecycle.spawn(
        "payments",
        consumer::run(
            nats.clone(),
            buckets.clone(),
            background.clone(),
            stopping.clone(),
        ),
    );
    lifecycle.spawn(
        "participants",
        follower.run(registry.clone(), readiness.clone(), stopping.clone()),
    );
    lifecycle.spawn(
        "clock",
        clock.clone().run(config.database_url.clone(), stopping.clone()),
    );
    let relay = Relay::new(&ORIGIN, background.clone(), nats.clone(), source, told);
    lifecycle.spawn("events", relay.run(stopping.clone()));

    let ops = bind("ops.listen", config.listen_ops).await?;
    let routes = ops::routes(background.clone(), registry.clone(), standing.clone());
    lifecycle.spawn(
        "ops",
        pix_runtime::ops::serve(ops, readiness.clone(), routes, stopping.clone()),
    );
    let inside = grpc::Inside {
        directory: Arc::clone(&directory),
        registry: registry.clone(),
        pool: background,
        clock: clock.clone(),
    };
    let listener = bind("grpc.listen", config.listen_grpc).await?;
    lifecycle.spawn(
        "grpc",
        grpc::serve(listener, config.inside, inside, stopping.clone()),
    );

    let limits = ServerLimits::default();
    let app = Arc::new(App {
        registry,
        door: Door::default(),
        clock,
        sealer,
        directory,
        buckets,
        statistics: StatisticsStore::new(statistics),
        signature_required: config.signature_required,
        keep_alive: limits.next_request_within,
    });
    if !config.signature_required {
        tracing::warn!("requests without a signature are taken (signature.required); homologation only");
    }
    for (name, setting, host, address) in [
        ("api", "listen", Host::Main, config.listen),
        ("api-np", "np.listen", Host::Np, config.listen_np),
    ] {
        let listener = bind(setting, address).await?;
        let face = http::Face {
            app: Arc::clone(&app),
            host,
        };
        let tls = Arc::clone(&config.tls);
        let served = pix_runtime::http::serve(listener, tls, limits, Arc::new(face), stopping.clone());
        lifecycle.spawn(name, standing.clone().once_known(served, stopping.clone()));
        tracing::info!(%address, host = name, "the DICT listens");
    }
    readiness.set("directory", true);
    let directory = Arc::clone(&app.directory);
    drop(app);
    let code = lifecycle.run().await;
    directory.entries.close().await;
    Ok(code)
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {setting} {address}"))
}

/// Checks durability, migrates, grants; the name of this directory.
async fn prepare_database(config: &Config) -> anyhow::Result<String> {
    let mut owner = pg::connect(&config.database_owner_url)
        .await
        .context("cannot reach Postgres at database.owner_url")?;
    if config.unsafe_durability {
        tracing::warn!("UNSAFE: Postgres may lose keys that were answered (unsafe_durability)");
    } else {
        pg::refuse_unsafe(&mut owner).await?;
    }
    sqlx::migrate!("../../migrations/dict")
        .run(&mut owner)
        .await
        .context("the migrations do not apply")?;
    pg::grant(&mut owner, &config.database_url, &grants::RIGHTS)
        .await
        .context("rights cannot be granted")?;
    let row = sqlx::query("SELECT id FROM directory")
        .fetch_one(&mut owner)
        .await
        .context("the directory has no name")?;
    Ok(row.try_get(0)?)
}
