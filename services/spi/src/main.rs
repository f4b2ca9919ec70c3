//! The SPI: the ICOM face that participants speak to, the Conta PI book, and their message streams.
//!
//! `spi [--config FILE] [--key=value ...]` serves; `spi audit [...]` computes the audit chain again.

mod adapters;
mod allowances;
mod app;
mod bodies;
mod book;
mod config;
mod desk;
mod events;
mod grpc;
mod handed;
mod http;
mod intake;
mod metrics;
mod ops;
mod registry;
mod sandbox;
mod shares;
mod stages;
mod standing;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pix_participants::Resident as _;
use pix_runtime::metric::{self, CONNECTIONS};
use pix_runtime::ops::Readiness;
use pix_runtime::pg::{self, DbClock};
use pix_runtime::{Clock as _, Ids, Lifecycle, Stopping, telemetry};
use spi_core::outgoing::Channel;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::adapters::hits::Hits;
use crate::adapters::nats::{Publisher, Wakeups};
use crate::adapters::pg::Target;
use crate::adapters::pg_book::BookStore;
use crate::adapters::pg_delivery::DeliveryStore;
use crate::adapters::{partitions, pg_audit, pg_settlements};
use crate::allowances::Allowances;
use crate::app::{App, Ports};
use crate::bodies::Bodies;
use crate::config::Config;
use crate::desk::Desk;
use crate::registry::{Current, Opening, Registry};
use crate::sandbox::Script;
use crate::shares::Shares;
use crate::standing::Standing;

/// What is under way may take so long to end after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
/// Connections for questions and reading back; the writers have their own.
const POOL_MAX: u32 = 4;
/// Connections for questions of operators.
const OPS_POOL_MAX: u32 = 2;
/// Connections for the switch's own services.
const INSIDE_POOL_MAX: u32 = 3;
/// How often partitions are made ahead; two days are there already.
const PARTITIONS_EVERY: Duration = Duration::from_secs(3600);
/// How soon again when that failed, behind a long query say.
const PARTITIONS_RETRY: Duration = Duration::from_secs(60);
/// How often the head of the audit chain is signed.
const AUDIT_SIGN_EVERY: Duration = Duration::from_secs(60);
/// Wake-ups that may wait; more say the same.
const WAKEUPS_MAX: usize = 16;

fn main() -> ExitCode {
    if let Some(described) = pix_runtime::describe(
        "spi",
        config::KEYS,
        &[metrics::METRICS, pix_participants::METRICS, CONNECTIONS],
    ) {
        return described;
    }
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let audit = args.first().is_some_and(|arg| arg == "audit");
    if audit {
        args.remove(0);
    }
    let config = match Config::read(args) {
        Ok(config) => config,
        Err(faults) => return faults.refuse("spi"),
    };
    let telemetry = match telemetry::init(
        "spi",
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
    let run = async {
        match audit {
            true => check_audit(&config).await,
            false => run(config).await,
        }
    };
    let code = match pix_runtime::build_runtime() {
        Ok(runtime) => runtime.block_on(run).unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&error.into()),
    };
    telemetry.flush();
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "spi cannot go on");
    ExitCode::FAILURE
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock = DbClock::start(&config.database_url)
        .await
        .context("cannot reach Postgres at database.url")?;
    prepare_database(&config, &clock).await?;

    let mut lifecycle = Lifecycle::new(SHUTDOWN_GRACE);
    let stopping = lifecycle.stopping();
    let readiness = Readiness::of(&["book", "desk", "partitions", pix_participants::READY]);
    let pool = pg::pool(&config.database_url, POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let (participants, follower, standing) = config.participants.open(pool.clone()).await?;
    let ids = Ids::system();
    let nats = pix_runtime::nats::connect("spi", &config.nats_url)
        .await
        .context("nats.url is not a URL of NATS")?;
    let redis = pix_runtime::redis::connect(&config.redis_url, pix_runtime::redis::ANSWER_WITHIN)
        .context("redis.url is not a URL of Redis")?;
    let book_name = pg_settlements::book_name(&pool).await?;
    let (hits, bodies) = (Hits::new(redis), Bodies::new(pool.clone()));
    let (wakeups, telling) = Wakeups::new(nats.clone());
    let told = Arc::new(Notify::new());

    let (book_tx, book_rx) = mpsc::channel(book::QUEUE_MAX);
    let (desk_tx, desk_rx) = mpsc::channel(desk::REQUESTS_MAX);
    let (parcels_tx, parcels_rx) = mpsc::channel(desk::PARCELS_QUEUE_MAX);
    let (woken_tx, woken_rx) = mpsc::channel(WAKEUPS_MAX);
    let (figures_tx, figures_rx) = watch::channel(book::Figures::default());
    let (standing_tx, standing_rx) = watch::channel(Standing::default());

    // Both locks before either reads: then nobody else writes, and nothing that is still being committed can
    // appear behind what was read.
    let target = Target {
        url: config.database_url.clone(),
        unsafe_durability: config.unsafe_durability,
    };
    let desk_store = DeliveryStore::connect(&target).await?;
    let book_store = BookStore::connect(&target).await?;
    let writer = book::Writer::start(book::Parts {
        store: book_store,
        clock: clock.clone(),
        desk: parcels_tx,
        published: Arc::clone(&told),
        hits: hits.clone(),
        figures: figures_tx,
        standing: standing_tx,
        readiness: readiness.clone(),
        stopping: stopping.clone(),
        queue: book_rx,
    })
    .await?;
    let handed = handed::HandedOver::default();
    let desk = Desk::start(desk::Parts {
        store: desk_store,
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        signer: config.signer.clone(),
        bodies: bodies.clone(),
        wakeups: wakeups.clone(),
        handed: handed.clone(),
        stopping: stopping.clone(),
        last_outbox_id: writer.last_outbox_id(),
    })
    .await?;
    lifecycle.spawn("desk", desk.run(parcels_rx, desk_rx, woken_rx));
    lifecycle.spawn("book", writer.run());
    let registry = Current::new(Registry::default());
    let mut opening = Opening {
        current: registry.clone(),
        book: book_tx.clone(),
    };
    opening.take(participants).await;
    let follow = follower.run(opening, readiness.clone(), stopping.clone());
    lifecycle.spawn("participants", follow);
    lifecycle.spawn(
        "clock",
        clock.clone().run(config.database_url.clone(), stopping.clone()),
    );
    lifecycle.spawn(
        "events",
        events::relay(
            pool.clone(),
            Publisher::new(nats, book_name.clone()),
            told,
            stopping.clone(),
        ),
    );
    lifecycle.spawn("wake-ups", wakeups.clone().listen(woken_tx, stopping.clone()));
    lifecycle.spawn("wake-ups told", wakeups.tell(telling, stopping.clone()));
    lifecycle.spawn(
        "partitions",
        make_partitions(
            config.database_owner_url.clone(),
            clock.clone(),
            readiness.clone(),
            stopping.clone(),
        ),
    );
    lifecycle.spawn(
        "audit",
        sign_audit(
            pool.clone(),
            config.signer.clone(),
            clock.clone(),
            stopping.clone(),
        ),
    );

    let ops = TcpListener::bind(config.listen_ops).await;
    let ops = ops.with_context(|| format!("cannot listen on ops.listen {}", config.listen_ops))?;
    // Operators have connections of their own: their questions never wait in front of a participant's.
    let ops_pool = pg::pool(&config.database_url, OPS_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let script = Script::new(config.sandbox);
    let routes = ops::routes(
        ops_pool,
        registry.clone(),
        standing.clone(),
        figures_rx,
        handed,
        script.clone(),
    );
    lifecycle.spawn(
        "ops",
        pix_runtime::ops::serve(ops, readiness.clone(), routes, stopping.clone()),
    );

    let inside_pool = pg::pool(&config.database_url, INSIDE_POOL_MAX)
        .await
        .context("cannot reach Postgres")?;
    let inside = grpc::Inside {
        name: book_name,
        book: book_tx.clone(),
        standing: standing_rx,
        pool: inside_pool,
        clock: clock.clone(),
        stopping: stopping.clone(),
    };
    let listener = TcpListener::bind(config.listen_grpc).await;
    let listener =
        listener.with_context(|| format!("cannot listen on grpc.listen {}", config.listen_grpc))?;
    lifecycle.spawn(
        "grpc",
        grpc::serve(listener, config.inside, inside, stopping.clone()),
    );

    let app = Arc::new(App {
        registry,
        clock,
        ids,
        book: book_tx,
        desk: desk_tx,
        bodies,
        hits,
        shares: Shares::default(),
        allowances: Allowances::new(config.rates),
        gate: http::Gate::default(),
        script,
        pull_next: config.pull_next,
        ports: Ports {
            primary: config.listen_primary.port(),
            secondary: config.listen_secondary.port(),
        },
    });
    for (name, channel, address) in [
        ("primary", Channel::Primary, config.listen_primary),
        ("secondary", Channel::Secondary, config.listen_secondary),
    ] {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on listen.{name} {address}"))?;
        let door = http::Door {
            app: Arc::clone(&app),
            channel,
        };
        let limits = pix_runtime::http::ServerLimits::default();
        let tls = Arc::clone(&config.tls);
        let served = pix_runtime::http::serve(listener, tls, limits, Arc::new(door), stopping.clone());
        lifecycle.spawn(name, standing.clone().once_known(served, stopping.clone()));
        tracing::info!(%address, channel = name, "ICOM listens");
    }
    drop(app);
    for check in ["desk", "book", "partitions"] {
        readiness.set(check, true);
    }
    Ok(lifecycle.run().await)
}

/// Checks durability, migrates, makes partitions.
async fn prepare_database(config: &Config, clock: &DbClock) -> anyhow::Result<()> {
    if config.unsafe_durability {
        tracing::warn!("UNSAFE: Postgres may lose payments that were answered (unsafe_durability)");
    }
    let mut owner = pg::connect(&config.database_owner_url)
        .await
        .context("cannot reach Postgres at database.owner_url")?;
    sqlx::migrate!("../../migrations/spi")
        .run(&mut owner)
        .await
        .context("the migrations do not apply")?;
    partitions::ensure(&mut owner, clock.now())
        .await
        .context("partitions cannot be made")?;
    pg::grant(&mut owner, &config.database_url, &adapters::grants::RIGHTS)
        .await
        .context("rights cannot be granted")?;
    Ok(())
}

async fn make_partitions(owner_url: String, clock: DbClock, readiness: Readiness, stopping: Stopping) {
    let mut pause = PARTITIONS_EVERY;
    loop {
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let made = async {
            let mut owner = pg::connect(&owner_url).await?;
            partitions::ensure(&mut owner, clock.now()).await?;
            anyhow::Ok(())
        };
        let made = made.await;
        readiness.set("partitions", made.is_ok());
        pause = match made {
            Ok(()) => PARTITIONS_EVERY,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "partitions could not be made ahead; trying again in a minute"
                );
                PARTITIONS_RETRY
            }
        };
    }
}

async fn sign_audit(pool: PgPool, signer: pix_xmldsig::Signer, clock: DbClock, stopping: Stopping) {
    loop {
        let last = tokio::select! {
            () = stopping.stopped() => true,
            () = tokio::time::sleep(AUDIT_SIGN_EVERY) => false,
        };
        match pg_audit::sign_head(&pool, &signer, clock.now()).await {
            Ok(Some(batch)) => tracing::debug!(batch, "the head of the audit chain is signed"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the head of the audit chain could not be signed"),
        }
        if last {
            return;
        }
    }
}

/// `spi audit`: computes the chain again, from the bytes and rows that are there.
#[expect(clippy::print_stdout, reason = "the answer to a command on a terminal")]
async fn check_audit(config: &Config) -> anyhow::Result<ExitCode> {
    let pool = pg::pool(&config.database_url, 1)
        .await
        .context("cannot reach Postgres at database.url")?;
    let checked = pg_audit::check(&pool, config.signer.verifying_key()).await?;
    Ok(match checked.fault {
        None => {
            println!(
                "the audit chain holds over {} batches, {} signed heads",
                checked.batches, checked.heads
            );
            ExitCode::SUCCESS
        }
        Some(fault) => {
            println!(
                "the audit chain is BROKEN: {fault}; {} batches before it hold",
                checked.batches
            );
            ExitCode::FAILURE
        }
    })
}
