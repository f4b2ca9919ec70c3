//! One participant bank: customers, accounts, payments, keys; a client of the switch and the DICT, and a page
//! for people.
//!
//! The same program runs as every bank. It reaches the switch only by ICOM, and the DICT only by its API, over
//! mutual TLS.

mod adapters;
mod backoff;
mod config;
mod customers;
mod dict;
mod http;
mod icom;
mod keys;
mod messages;
mod metrics;
mod steps;
mod work;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pix_dict_client::Dict;
use pix_icom::{Channel, Icom};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::ops::{self, Readiness};
use pix_runtime::telemetry;
use pix_runtime::{Clock as _, Ids, Lifecycle, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};

use crate::adapters::pg::{self, Ledger};
use crate::config::Config;
use crate::dict::{DictKeys, Directory};
use crate::http::App;
use crate::icom::{Poster, Reader, SpiKeys, Trying};
use crate::keys::Registrar;
use crate::messages::Identity;
use crate::writer::{Bells, Writer};

/// Streams read on each channel, of the six that the switch allows a participant.
const PRIMARY_STREAMS: usize = 2;
const SECONDARY_STREAMS: usize = 1;
/// Connections for the page and the posters; the writer has its own.
const POOL_MAX: u32 = 8;
/// How long tasks may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Above the switch's long poll, with room for a slow line.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The DICT answers at once or not at all, and a payer waits.
const DICT_WITHIN: Duration = Duration::from_secs(5);
/// Events that a slow page may lag behind before it is told to read everything anew.
const EVENTS_MAX: usize = 1024;

fn main() -> ExitCode {
    if let Some(described) = pix_runtime::describe("bank", config::KEYS, &[metrics::METRICS]) {
        return described;
    }
    let config = match Config::read(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(faults) => return faults.refuse("bank"),
    };
    let telemetry = match telemetry::init(
        "bank",
        config.log_format,
        &config.log_level,
        config.otlp.as_deref(),
    ) {
        Ok(telemetry) => telemetry,
        Err(e) => return report_and_fail(&e.into()),
    };
    pix_runtime::metric::declare(metrics::METRICS);
    let started = pix_runtime::build_runtime().context("cannot start the runtime");
    let code = started
        .and_then(|runtime| runtime.block_on(run(config)))
        .unwrap_or_else(|e| report_and_fail(&e));
    telemetry.flush();
    code
}

fn report_and_fail(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "the bank cannot run");
    ExitCode::FAILURE
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let (clock, ids) = (SystemClock, Ids::system());
    let readiness = Readiness::of(&["database", "switch"]);
    prepare_database(&config).await?;
    let pool = pix_runtime::pg::pool(&config.database_url, POOL_MAX)
        .await
        .context("cannot open the database")?;
    let store = pg::Reader::new(pool);
    let token = u64::from_ne_bytes(ids.bytes());
    let mut ledger = Ledger::new(&config.database_url, token, config.unsafe_durability)?;
    let opened = ledger
        .seed(&config.customers, clock.now())
        .await
        .context("cannot open the customers' accounts")?;
    readiness.set("database", true);
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {}; set listen to a free address", config.listen))?;
    tracing::info!(
        ispb = config.about.ispb.as_str(), listen = %listener.local_addr()?, accounts_opened = opened, "the bank is up"
    );

    let mut lifecycle = Lifecycle::new(GRACE);
    let stopping = lifecycle.stopping();
    let identity = Arc::new(Identity {
        ispb: config.about.ispb,
        signer: config.signer.clone(),
    });
    let bells = Bells {
        outbound: Arc::new([Notify::new(), Notify::new()]),
        keys: Arc::new(Notify::new()),
        moved: broadcast::channel(EVENTS_MAX).0,
    };
    let (books, requests) = writer::queue();
    let ready = readiness.clone();
    let writer = Writer {
        ledger,
        identity: identity.clone(),
        clock,
        ids: ids.clone(),
        bells: bells.clone(),
        up: Box::new(move |up| ready.set("database", up)),
        in_doubt: false,
    };
    lifecycle.spawn("writer", writer.run(requests, stopping.clone()));

    let limits = ClientLimits {
        answer_within: ANSWER_WITHIN,
        ..ClientLimits::default()
    };
    let client = Client::new(&config.tls, limits);
    let spi = Arc::new(SpiKeys::new(config.spi));
    let trying = Trying::default();
    for (channel, base) in Channel::ALL.into_iter().zip(config.icom) {
        let icom = Icom {
            client: client.clone(),
            channel,
            base,
            ispb: config.about.ispb,
        };
        let streams = if channel == Channel::Primary {
            PRIMARY_STREAMS
        } else {
            SECONDARY_STREAMS
        };
        for _ in 0..streams {
            let ready = readiness.clone();
            let reader = Reader {
                icom: icom.clone(),
                identity: identity.clone(),
                spi: spi.clone(),
                books: books.clone(),
                clock,
                ids: ids.clone(),
                up: Box::new(move |up| {
                    if channel == Channel::Primary {
                        ready.set("switch", up);
                    }
                }),
            };
            lifecycle.spawn("stream", reader.run(stopping.clone()));
        }
        let poster = Poster {
            icom,
            store: store.clone(),
            books: books.clone(),
            bells: bells.clone(),
            trying: trying.clone(),
            ids: ids.clone(),
        };
        lifecycle.spawn("poster", poster.run(stopping.clone()));
    }

    let limits = ClientLimits {
        answer_within: DICT_WITHIN,
        ..ClientLimits::default()
    };
    let [base, np_base] = config.dict_urls;
    let dict = Dict {
        client: Client::new(&config.tls, limits),
        base,
        np_base,
        ispb: config.about.ispb,
        signer: config.signer,
        keys: Arc::new(DictKeys {
            keys: config.dict,
            clock,
        }),
    };
    let directory = Directory::new(dict, config.about.ispb);
    let registrar = Arc::new(Registrar {
        directory: directory.clone(),
        ours: config.about.ispb,
        store: store.clone(),
        books: books.clone(),
        bells: bells.clone(),
        clock,
        ids: ids.clone(),
    });
    lifecycle.spawn("registrar", registrar.clone().run(stopping.clone()));
    lifecycle.spawn("key comparison", registrar.compare(stopping.clone()));

    let app = App {
        about: config.about,
        store,
        books,
        bells,
        trying,
        directory,
        clock: Box::new(clock),
        ids,
        stopping: stopping.clone(),
    };
    lifecycle.spawn(
        "http",
        ops::serve(listener, readiness, http::routes(Arc::new(app)), stopping),
    );
    Ok(lifecycle.run().await)
}

/// Refuses a Postgres that could lose commits, then brings the schema up.
async fn prepare_database(config: &Config) -> anyhow::Result<()> {
    let mut connection = pix_runtime::pg::connect(&config.database_url)
        .await
        .context("cannot reach the database")?;
    if config.unsafe_durability {
        tracing::warn!("unsafe_durability is set: commits may be lost");
    } else {
        pix_runtime::pg::refuse_unsafe(&mut connection).await?;
    }
    drop(connection);
    pg::migrate(&config.database_url)
        .await
        .context("cannot bring the schema up")
}
