//! The virtual participants of homologation, from outside the switch like any bank: they speak ICOM over mutual TLS.
//!
//! They accept whatever is paid to them, pay on request, and misbehave by rules that an integrator sets. They keep
//! nothing: what a restart forgets are rules set by call, and what was heard of past payments.

mod app;
mod config;
mod memory;
mod messages;
mod metrics;
mod ops;
mod pay;
mod reader;
mod script;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pix_icom::{Channel, Icom};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::ops::Readiness;
use pix_runtime::{Lifecycle, telemetry};
use tokio::net::TcpListener;

use crate::app::App;
use crate::config::{Config, Seat};
use crate::messages::{Participant, SpiKeys};
use crate::reader::{Reader, Up};

/// Streams read on each channel, of the six that the switch allows a participant.
const PRIMARY_STREAMS: usize = 2;
const SECONDARY_STREAMS: usize = 1;
/// How long tasks may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Above the switch's long poll, with room for a slow line.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if let Some(described) = pix_runtime::describe("virtual", config::KEYS, &[metrics::METRICS]) {
        return described;
    }
    let config = match Config::read(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(faults) => return faults.refuse("virtual"),
    };
    let telemetry = match telemetry::init(
        "virtual",
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
    tracing::error!(
        error = format!("{error:#}"),
        "the virtual participants cannot run"
    );
    ExitCode::FAILURE
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let readiness = Readiness::of(&["switch"]);
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| {
        format!(
            "cannot listen on {}; set listen.ops to a free address",
            config.listen
        )
    })?;
    let mut lifecycle = Lifecycle::new(GRACE);
    let stopping = lifecycle.stopping();
    let participants: Vec<_> = config
        .seats
        .into_iter()
        .map(|seat| Arc::new(participant(seat, &config.icom)))
        .collect();
    tracing::info!(
        participants = participants.len(), listen = %listener.local_addr()?, "the virtual participants are up"
    );
    let up = Arc::new(Up::new(participants.len(), readiness.clone()));
    let app = Arc::new(App::new(
        participants,
        SpiKeys(config.spi),
        config.script,
        stopping.clone(),
    ));
    for (seat, who) in app.participants.iter().enumerate() {
        for (channel, streams) in [
            (Channel::Primary, PRIMARY_STREAMS),
            (Channel::Secondary, SECONDARY_STREAMS),
        ] {
            for _ in 0..streams {
                let reader = Reader {
                    app: app.clone(),
                    who: who.clone(),
                    seat,
                    channel,
                    up: up.clone(),
                };
                lifecycle.spawn("stream", reader.run());
            }
        }
    }
    lifecycle.spawn(
        "ops",
        pix_runtime::ops::serve(listener, readiness, ops::routes(app), stopping),
    );
    Ok(lifecycle.run().await)
}

fn participant(seat: Seat, bases: &[String; 2]) -> Participant {
    let limits = ClientLimits {
        answer_within: ANSWER_WITHIN,
        ..ClientLimits::default()
    };
    let client = Client::new(&seat.tls, limits);
    let icom = |channel, base: &String| Icom {
        client: client.clone(),
        channel,
        base: base.clone(),
        ispb: seat.ispb,
    };
    Participant {
        ispb: seat.ispb,
        icom: [
            icom(Channel::Primary, &bases[0]),
            icom(Channel::Secondary, &bases[1]),
        ],
        indirect: seat.indirect,
        signer: seat.signer,
    }
}
