//! Settings of the settlement service.

use std::net::SocketAddr;
use std::path::PathBuf;

use pix_runtime::config::{Faults, Key, Settings};
use pix_runtime::telemetry::{LogFormat, LogLevel};
use settlement_core::windows::Length;
use tonic::transport::Endpoint;

/// Every setting, with default, unit and meaning.
pub(crate) static KEYS: &[Key] = &[
    Key::with_default::<SocketAddr>(
        "listen",
        "127.0.0.1:4003",
        "address",
        "calls of the switch's own services and of operators",
    ),
    Key::with_default::<SocketAddr>(
        "ops.listen",
        "127.0.0.1:5003",
        "address",
        "health, metrics and questions of operators; plain HTTP, keep it on loopback",
    ),
    Key::required::<String>(
        "database.url",
        "URL",
        "the service's own database, with a role that may not update or delete what is history",
    ),
    Key::required::<String>(
        "database.owner_url",
        "URL",
        "the same database as its owner, for migrations",
    ),
    Key::with_default::<String>(
        "nats.url",
        "nats://127.0.0.1:4222",
        "URL",
        "where events go and payments are told",
    ),
    Key::with_default::<String>(
        "spi.url",
        "https://127.0.0.1:6002",
        "https:// URL",
        "the SPI's calls inside, which move money into and out of a Conta PI",
    ),
    Key::optional::<PathBuf>(
        "participants.file",
        "TOML file",
        "participants that an empty registry begins with; not looked at once there is one",
    ),
    Key::with_default::<Length>(
        "window.length",
        "1800",
        "s",
        "how long a settlement window is; they end at multiples of it since midnight (UTC), and at midnight",
    ),
    pix_inside::CERTIFICATE,
    pix_inside::KEY,
    pix_inside::CA,
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
    pub(crate) listen: SocketAddr,
    pub(crate) listen_ops: SocketAddr,
    pub(crate) database_url: String,
    pub(crate) database_owner_url: String,
    pub(crate) nats_url: String,
    pub(crate) spi: Endpoint,
    pub(crate) participants_file: Option<PathBuf>,
    pub(crate) window_length: Length,
    pub(crate) inside: pix_inside::Ends,
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
        let settings = Settings::read("settlement", KEYS, args)?;
        let inside = pix_inside::Ends::read(&settings);
        let spi_url = settings.get::<String>("spi.url");
        if !spi_url.starts_with("https://") {
            settings.fault("spi.url", "does not begin with https://");
        }
        let spi = inside.endpoint(&spi_url);
        let spi = spi.map_err(|error| settings.fault("spi.url", format!("cannot be called: {error}")));
        let Ok(spi) = spi else {
            return Err(settings.finish().expect_err("a fault was noted above"));
        };
        let config = Self {
            listen: settings.get("listen"),
            listen_ops: settings.get("ops.listen"),
            database_url: settings.get("database.url"),
            database_owner_url: settings.get("database.owner_url"),
            nats_url: settings.get("nats.url"),
            spi,
            participants_file: settings.optional("participants.file"),
            window_length: settings.get("window.length"),
            inside,
            unsafe_durability: settings.get("unsafe_durability"),
            log_format: settings.get("log.format"),
            log_level: settings.get("log.level"),
            otlp_endpoint: settings.optional("otlp.endpoint"),
        };
        settings.finish()?;
        Ok(config)
    }
}
