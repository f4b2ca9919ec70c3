//! Logs, metrics and traces of a process.
//!
//! Logs go to standard error: JSON for machines, readable lines on a terminal. Metrics are kept for
//! `/metrics` of the ops listener. Traces leave by OTLP, only when an endpoint is configured.

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::payment_trace;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("a log format is auto, json or text"),
        }
    }
}

/// Which log lines are written: `info`, or `warn,spi=debug`.
#[derive(Clone, Debug)]
pub struct LogLevel(String);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EnvFilter::try_new(text).map_err(|e| e.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter of traces refused its configuration.
    #[error("cannot send traces to the OTLP endpoint: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The exporter needs a thread.
    #[error("cannot start the exporter of traces: {0}")]
    Thread(#[from] std::io::Error),
}

/// Telemetry that is running. Flush it last thing in `main`.
#[must_use = "traces are lost unless they are flushed at the end"]
pub struct Telemetry {
    traces: Option<Traces>,
}

struct Traces {
    provider: SdkTracerProvider,
    /// The exporter's own thread: it starts before the service's runtime and ends after it.
    runtime: tokio::runtime::Runtime,
}

/// Spans worth a time on disk and wire: what a bank waits for, up to the 40 s of a payment. In seconds.
const DURATION_BUCKETS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    20.0, 40.0, 60.0,
];
/// Sizes of batches and messages.
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Starts logs, metrics and, with an endpoint (`http://collector:4317`), traces; installs the
/// cryptography provider; has panics logged like everything else. A second call in one process changes
/// nothing but adds no error either: tests share one.
///
/// # Errors
/// [`TelemetryError`] when traces are wanted and cannot be sent.
pub fn init(
    service: &'static str,
    format: LogFormat,
    level: &LogLevel,
    otlp: Option<&str>,
) -> Result<Telemetry, TelemetryError> {
    crate::init_crypto();
    metrics_handle();
    let traces = otlp
        .map(|endpoint| Traces::start(service, endpoint))
        .transpose()?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.provider.tracer("pix"))
            .boxed()
    });
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        lines.with_target(false).compact().boxed()
    };
    let wanted = EnvFilter::new(&level.0);
    // Refused only when a subscriber is there already.
    drop(
        tracing_subscriber::registry()
            .with(wanted)
            .with(spans)
            .with(lines)
            .try_init(),
    );
    std::panic::set_hook(Box::new(log_panic));
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is left. Blocks for at most a few seconds.
    pub fn flush(self) {
        if let Some(Traces { provider, runtime }) = self.traces {
            if let Err(e) = provider.shutdown() {
                tracing::warn!(error = %e, "the last traces were not sent");
            }
            runtime.shutdown_background();
        }
    }
}

impl Traces {
    fn start(service: &'static str, endpoint: &str) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()?;
        let inside = runtime.enter();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_id_generator(payment_trace::Generator::default())
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        drop(inside);
        payment_trace::send_by(provider.tracer("pix"));
        Ok(Self { provider, runtime })
    }
}

/// The metrics of this process, for `/metrics`.
pub(crate) fn metrics_handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&COUNT_BUCKETS)
            .and_then(|it| {
                it.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
            })
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        // Refused only when a recorder is there already, which a test may have put there.
        drop(metrics::set_global_recorder(recorder));
        handle
    })
}

/// The place and not the message: a message may quote a value that logs must not hold.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = if cfg!(debug_assertions) {
        panic.payload_as_str().unwrap_or_default()
    } else {
        ""
    };
    tracing::error!(place, message, "a panic: this is a bug");
}
