//! Settings of the DICT.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pix_runtime::config::{Faults, Key, Settings};
use pix_runtime::telemetry::{LogFormat, LogLevel};
use pix_runtime::tls;
use pix_xmldsig::{Signer, vector};

/// Every setting, with default, unit and meaning.
pub(crate) static KEYS: &[Key] = &[
    Key::with_default::<SocketAddr>(
        "listen",
        "127.0.0.1:4001",
        "address",
        "the DICT API of participants",
    ),
    Key::with_default::<SocketAddr>(
        "np.listen",
        "127.0.0.1:4011",
        "address",
        "its host for checking many keys",
    ),
    Key::with_default::<SocketAddr>(
        "grpc.listen",
        "127.0.0.1:6001",
        "address",
        "calls of the switch's own services",
    ),
    Key::with_default::<SocketAddr>(
        "ops.listen",
        "127.0.0.1:5001",
        "address",
        "health, metrics and questions of operators; plain HTTP, keep it on loopback",
    ),
    Key::required::<String>(
        "database.url",
        "URL",
        "the DICT's own database, with a role that may not update or delete what is history",
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
        "redis.url",
        "redis://127.0.0.1:4379",
        "URL",
        "where token buckets are kept",
    ),
    Key::with_default::<String>(
        "redis.prefix",
        "dict:",
        "text",
        "what every key in Redis begins with",
    ),
    Key::with_default::<u64>(
        "redis.within_ms",
        "20",
        "milliseconds",
        "slower than this Redis counts as away, and limits go on from what is known here",
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
        "certificate of the DICT's signature",
    ),
    Key::required::<PathBuf>("signature.key", "PEM file", "its private key"),
    Key::optional::<PathBuf>(
        "signature.vector_library",
        "file",
        "libcrypto_mb, which signs eight at a time on processors with AVX-512 IFMA; without it aws-lc signs",
    ),
    Key::with_default::<bool>(
        "signature.required",
        "true",
        "true or false",
        "refuse requests without a signature; homologation takes them",
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
    pub(crate) listen_np: SocketAddr,
    pub(crate) listen_grpc: SocketAddr,
    pub(crate) listen_ops: SocketAddr,
    pub(crate) database_url: String,
    pub(crate) database_owner_url: String,
    pub(crate) nats_url: String,
    pub(crate) redis_url: String,
    pub(crate) redis_prefix: String,
    pub(crate) redis_within: Duration,
    pub(crate) participants: pix_participants::Source,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) signer: Signer,
    pub(crate) vector_library: Option<PathBuf>,
    pub(crate) signature_required: bool,
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
        let settings = Settings::read("dict", KEYS, args)?;
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
            listen: settings.get("listen"),
            listen_np: settings.get("np.listen"),
            listen_grpc: settings.get("grpc.listen"),
            listen_ops: settings.get("ops.listen"),
            database_url: settings.get("database.url"),
            database_owner_url: settings.get("database.owner_url"),
            nats_url: settings.get("nats.url"),
            redis_url: settings.get("redis.url"),
            redis_prefix: settings.get("redis.prefix"),
            redis_within: Duration::from_millis(settings.get("redis.within_ms")),
            participants,
            tls,
            signer,
            vector_library,
            signature_required: settings.get("signature.required"),
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
