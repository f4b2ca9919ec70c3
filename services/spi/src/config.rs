//! Settings of the SPI.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use pix_runtime::config::{Faults, Key, Settings};
use pix_runtime::telemetry::{LogFormat, LogLevel};
use pix_runtime::tls;
use pix_xmldsig::{Signer, vector};
use spi_core::allowance::{Rate, Rates};

/// Every setting, with default, unit and meaning.
pub(crate) static KEYS: &[Key] = &[
    Key::with_default::<SocketAddr>(
        "listen.primary",
        "127.0.0.1:4002",
        "address",
        "ICOM, primary channel",
    ),
    Key::with_default::<SocketAddr>(
        "listen.secondary",
        "127.0.0.1:4012",
        "address",
        "ICOM, secondary channel",
    ),
    Key::with_default::<SocketAddr>(
        "grpc.listen",
        "127.0.0.1:6002",
        "address",
        "for the switch's own services: funding, balances, what was settled",
    ),
    Key::with_default::<SocketAddr>(
        "ops.listen",
        "127.0.0.1:5002",
        "address",
        "health, metrics and questions of operators; plain HTTP, keep it on loopback",
    ),
    Key::required::<String>(
        "database.url",
        "URL",
        "the SPI's own database, with a role that may not update or delete what is audited",
    ),
    Key::required::<String>(
        "database.owner_url",
        "URL",
        "the same database as its owner, for migrations and partitions",
    ),
    Key::with_default::<String>(
        "nats.url",
        "nats://127.0.0.1:4222",
        "URL",
        "where events and wake-ups go",
    ),
    Key::with_default::<String>(
        "redis.url",
        "redis://127.0.0.1:4379",
        "URL",
        "where positive idempotency hits are kept",
    ),
    pix_participants::SETTLEMENT,
    pix_participants::FILE,
    Key::required::<PathBuf>(
        "tls.certificate",
        "PEM file",
        "certificate chain shown to participants",
    ),
    Key::required::<PathBuf>("tls.key", "PEM file", "its private key"),
    Key::required::<PathBuf>(
        "tls.client_ca",
        "PEM file",
        "authorities whose channel certificates are let in",
    ),
    Key::required::<PathBuf>(
        "signature.certificate",
        "PEM file",
        "certificate of the SPI's signature",
    ),
    Key::required::<PathBuf>("signature.key", "PEM file", "its private key"),
    Key::optional::<PathBuf>(
        "signature.vector_library",
        "file",
        "libcrypto_mb, which signs eight at a time on processors with AVX-512 IFMA; without it aws-lc signs",
    ),
    pix_inside::CERTIFICATE,
    pix_inside::KEY,
    pix_inside::CA,
    Key::with_default::<RateSetting>(
        "bucket.primary",
        "3750/750",
        "tokens/tokens a second",
        "size and refill of a participant's bucket on the primary channel (ICOM manual)",
    ),
    Key::with_default::<RateSetting>(
        "bucket.secondary_by_day",
        "350/35",
        "tokens/tokens a second",
        "on the secondary channel, 08:00 to 23:59:59 in Brasília",
    ),
    Key::with_default::<RateSetting>(
        "bucket.secondary_by_night",
        "5000/350",
        "tokens/tokens a second",
        "on the secondary channel, 00:00 to 07:59:59",
    ),
    Key::with_default::<PullNext>(
        "icom.pull_next",
        "relative",
        "relative or absolute",
        "form of PI-Pull-Next: a path, or https:// with the Host that was asked (and its port, when it names none)",
    ),
    Key::with_default::<bool>(
        "sandbox",
        "false",
        "true or false",
        "let operators script how streams misbehave (/sandbox), for tests of participants",
    ),
    Key::with_default::<bool>(
        "unsafe_durability",
        "false",
        "true or false",
        "start although Postgres could lose a COMMIT",
    ),
    Key::with_default::<LogFormat>(
        "log.format",
        "auto",
        "auto, json or text",
        "auto is text on a terminal",
    ),
    Key::with_default::<LogLevel>("log.level", "info", "level or filter", "what is logged"),
    Key::optional::<String>("otlp.endpoint", "URL", "where traces go"),
];

/// The settings, read and checked.
pub(crate) struct Config {
    pub(crate) listen_primary: SocketAddr,
    pub(crate) listen_secondary: SocketAddr,
    pub(crate) listen_grpc: SocketAddr,
    pub(crate) listen_ops: SocketAddr,
    pub(crate) database_url: String,
    pub(crate) database_owner_url: String,
    pub(crate) nats_url: String,
    pub(crate) redis_url: String,
    pub(crate) participants: pix_participants::Source,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) signer: Signer,
    pub(crate) vector_library: Option<PathBuf>,
    pub(crate) inside: pix_inside::Ends,
    pub(crate) rates: Rates,
    pub(crate) pull_next: PullNext,
    pub(crate) sandbox: bool,
    pub(crate) unsafe_durability: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LogLevel,
    pub(crate) otlp_endpoint: Option<String>,
}

impl Config {
    /// Reads arguments, environment and file.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn read(args: impl IntoIterator<Item = String>) -> Result<Self, Faults> {
        let settings = Settings::read("spi", KEYS, args)?;
        let tls = tls::server(
            &settings.read_file("tls.certificate"),
            &settings.read_file("tls.key"),
            &settings.read_file("tls.client_ca"),
        );
        // The fault says which of the three it is.
        let tls = tls
            .map_err(|fault| settings.fault("tls.certificate, tls.key or tls.client_ca", fault))
            .ok();
        let signer = Signer::from_pem(
            &settings.read_file("signature.certificate"),
            &settings.read_file("signature.key"),
        );
        let signer = signer
            .map_err(|fault| settings.fault("signature.certificate or signature.key", fault))
            .ok();
        let vector_library: Option<PathBuf> = settings.optional("signature.vector_library");
        if let Some(Err(fault)) = vector_library.as_deref().map(vector::load) {
            settings.fault("signature.vector_library", fault);
        }
        let inside = pix_inside::Ends::read(&settings);
        let participants = pix_participants::Source::read(&settings, &inside);
        let (Some(tls), Some(signer), Some(participants)) = (tls, signer, participants) else {
            return Err(settings.finish().expect_err("a fault was noted above"));
        };
        let config = Self {
            listen_primary: settings.get("listen.primary"),
            listen_secondary: settings.get("listen.secondary"),
            listen_grpc: settings.get("grpc.listen"),
            listen_ops: settings.get("ops.listen"),
            database_url: settings.get("database.url"),
            database_owner_url: settings.get("database.owner_url"),
            nats_url: settings.get("nats.url"),
            redis_url: settings.get("redis.url"),
            participants,
            tls,
            signer,
            vector_library,
            inside,
            rates: Rates {
                primary: settings.get::<RateSetting>("bucket.primary").0,
                secondary_by_day: settings.get::<RateSetting>("bucket.secondary_by_day").0,
                secondary_by_night: settings.get::<RateSetting>("bucket.secondary_by_night").0,
            },
            pull_next: settings.get("icom.pull_next"),
            sandbox: settings.get("sandbox"),
            unsafe_durability: settings.get("unsafe_durability"),
            log_format: settings.get("log.format"),
            log_level: settings.get("log.level"),
            otlp_endpoint: settings.optional("otlp.endpoint"),
        };
        settings.finish()?;
        Ok(config)
    }
}

/// How `PI-Pull-Next` is written; participants take both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullNext {
    /// A path.
    Relative,
    /// A whole URI, of the host that the participant asked.
    Absolute,
}

impl FromStr for PullNext {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "relative" => Ok(Self::Relative),
            "absolute" => Ok(Self::Absolute),
            _ => Err("PI-Pull-Next is relative or absolute"),
        }
    }
}

/// `3750/750`
struct RateSetting(Rate);

impl FromStr for RateSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        let (capacity, per_second) = text
            .split_once('/')
            .ok_or("a bucket is written SIZE/REFILL, like 3750/750")?;
        match (number(capacity), number(per_second)) {
            (Some(capacity), Some(per_second)) => Ok(Self(Rate { capacity, per_second })),
            _ => Err("size and refill of a bucket are whole numbers above zero"),
        }
    }
}
