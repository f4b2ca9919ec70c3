//! Settings of one bank.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use pix_domain::{Ispb, Money};
use pix_runtime::telemetry::{LogFormat, LogLevel};
use pix_runtime::{Faults, Key, Settings, tls};
use pix_xmldsig::{KeyError, Signer, VerifyingKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::adapters::pg::Customer;
use crate::customers;
use crate::http::About;

pub(crate) static KEYS: &[Key] = &[
    Key::required::<IspbSetting>("ispb", "8 characters", "who this bank is"),
    Key::required::<String>("name", "text", "what the page calls it"),
    Key::with_default::<Color>("color", "#0b6e4f", "#rrggbb", "colour of the page"),
    Key::with_default::<SocketAddr>(
        "listen",
        "127.0.0.1:4101",
        "address",
        "page, JSON, health and metrics: plain HTTP",
    ),
    Key::required::<String>("database.url", "URL", "the bank's own database"),
    Key::with_default::<bool>(
        "unsafe_durability",
        "false",
        "true or false",
        "accept a Postgres that may lose commits",
    ),
    Key::with_default::<Origin>(
        "icom.primary",
        "https://127.0.0.1:4002",
        "URL",
        "the switch, primary channel",
    ),
    Key::with_default::<Origin>(
        "icom.secondary",
        "https://127.0.0.1:4012",
        "URL",
        "the switch, secondary channel",
    ),
    Key::with_default::<Origin>("dict.url", "https://127.0.0.1:4001", "URL", "the DICT"),
    Key::with_default::<Origin>(
        "dict.np_url",
        "https://127.0.0.1:4011",
        "URL",
        "the DICT, for checking whether keys are there",
    ),
    Key::required::<PathBuf>("tls.certificate", "PEM file", "channel certificate of this bank"),
    Key::required::<PathBuf>("tls.key", "PEM file", "its private key"),
    Key::required::<PathBuf>("tls.ca", "PEM file", "who vouches for the switch and the DICT"),
    Key::required::<PathBuf>(
        "signature.certificate",
        "PEM file",
        "signature certificate of this bank",
    ),
    Key::required::<PathBuf>("signature.key", "PEM file", "its private key"),
    Key::required::<PathBuf>(
        "spi.signature_certificate",
        "PEM file",
        "what the SPI signs with; around a renewal, both certificates",
    ),
    Key::required::<PathBuf>(
        "dict.signature_certificate",
        "PEM file",
        "what the DICT signs with; around a renewal, both certificates",
    ),
    Key::optional::<PathBuf>(
        "customers.file",
        "TOML file",
        "accounts to open when they are not there",
    ),
    Key::optional::<Ispbs>(
        "indirect",
        "ISPBs, by commas",
        "indirect participants that this bank settles for: it accepts what is paid to any account there",
    ),
    Key::with_default::<Balance>(
        "indirect_balance",
        "0.00",
        "reais",
        "what the account of each of them with this bank opens with",
    ),
    Key::with_default::<LogFormat>("log.format", "auto", "auto, json or text", "how log lines look"),
    Key::with_default::<LogLevel>("log.level", "info", "level", "which log lines are written"),
    Key::optional::<String>("otlp.endpoint", "URL", "where traces go"),
];

/// Everything that a bank is told from outside, checked.
pub(crate) struct Config {
    pub(crate) about: About,
    pub(crate) listen: SocketAddr,
    pub(crate) database_url: String,
    pub(crate) unsafe_durability: bool,
    pub(crate) icom: [String; 2],
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) signer: Signer,
    pub(crate) spi: Vec<VerifyingKey>,
    pub(crate) dict_urls: [String; 2],
    pub(crate) dict: Vec<VerifyingKey>,
    pub(crate) customers: Vec<Customer>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LogLevel,
    pub(crate) otlp: Option<String>,
}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// Every fault, with where it was said.
    pub(crate) fn read(args: impl IntoIterator<Item = String>) -> Result<Self, Faults> {
        let settings = Settings::read("bank", KEYS, args)?;
        let tls = tls::client(
            &settings.read_file("tls.certificate"),
            &settings.read_file("tls.key"),
            &settings.read_file("tls.ca"),
        );
        let tls = noted(&settings, "tls.certificate", tls);
        let signer = Signer::from_pem(
            &settings.read_file("signature.certificate"),
            &settings.read_file("signature.key"),
        );
        let signer = noted(&settings, "signature.certificate", signer);
        let keys = |key| noted(&settings, key, signature_keys(&settings.read_file(key)));
        let spi = keys("spi.signature_certificate");
        let dict = keys("dict.signature_certificate");
        let mut customers = read_customers(&settings);
        let balance = settings.get::<Balance>("indirect_balance").0;
        let indirect = settings
            .optional::<Ispbs>("indirect")
            .map_or(Vec::new(), |all| all.0);
        customers.extend(
            indirect
                .into_iter()
                .map(|ispb| customers::of_indirect(ispb, balance)),
        );
        let listen = settings.get("listen");
        let about = About {
            ispb: settings.get::<IspbSetting>("ispb").0,
            name: settings.get("name"),
            color: settings.get::<Color>("color").0,
        };
        let ours = Option::zip(tls, signer);
        let theirs = Option::zip(spi, dict);
        let config = Option::zip(ours, theirs).map(|((tls, signer), (spi, dict))| Self {
            about,
            listen,
            database_url: settings.get("database.url"),
            unsafe_durability: settings.get("unsafe_durability"),
            icom: ["icom.primary", "icom.secondary"].map(|key| settings.get::<Origin>(key).0),
            tls,
            signer,
            spi,
            dict_urls: ["dict.url", "dict.np_url"].map(|key| settings.get::<Origin>(key).0),
            dict,
            customers,
            log_format: settings.get("log.format"),
            log_level: settings.get("log.level"),
            otlp: settings.optional("otlp.endpoint"),
        });
        settings.finish()?;
        Ok(config.expect("what is missing was noted as a fault"))
    }
}

/// Every certificate of the file.
fn signature_keys(pem: &[u8]) -> Result<Vec<VerifyingKey>, KeyError> {
    // The first is read by the one who can say what is wrong with the file.
    let mut keys = vec![VerifyingKey::from_certificate_pem(pem)?];
    for certificate in CertificateDer::pem_slice_iter(pem).skip(1) {
        let certificate = certificate.map_err(|_| KeyError::Certificate)?;
        keys.push(VerifyingKey::from_certificate_der(&certificate)?);
    }
    Ok(keys)
}

fn noted<T, E: std::fmt::Display>(settings: &Settings, key: &str, read: Result<T, E>) -> Option<T> {
    read.map_err(|e| settings.fault(key, e)).ok()
}

fn read_customers(settings: &Settings) -> Vec<Customer> {
    const KEY: &str = "customers.file";
    let Some(path) = settings.optional::<PathBuf>(KEY) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(&path);
    let Some(text) = noted(
        settings,
        KEY,
        text.map_err(|e| format!("cannot read {}: {e}", path.display())),
    ) else {
        return Vec::new();
    };
    customers::read(&text).unwrap_or_else(|faults| {
        for fault in faults {
            settings.fault(KEY, fault);
        }
        Vec::new()
    })
}

struct IspbSetting(Ispb);

impl FromStr for IspbSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ispb::parse(text.as_bytes()).map(Self).map_err(|e| e.to_string())
    }
}

struct Ispbs(Vec<Ispb>);

impl FromStr for Ispbs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let each = text.split(',').map(|one| one.trim().parse::<IspbSetting>());
        each.map(|one| one.map(|one| one.0))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

struct Balance(Money);

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Money::parse(text.as_bytes()).map(Self).map_err(|e| e.to_string())
    }
}

struct Color(String);

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let holds = digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if holds {
            Ok(Self(text.to_owned()))
        } else {
            Err("a colour is # and six hexadecimal digits")
        }
    }
}

/// `https://host:port`.
struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "the address of a service is https://host:port";
        let uri: Uri = text.parse().map_err(|_| RULE)?;
        let whole =
            uri.scheme_str() == Some("https") && uri.host().is_some() && matches!(uri.path(), "/" | "");
        if whole {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(RULE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_switch_are_origins() {
        let origin = |text: &str| text.parse::<Origin>().map(|origin| origin.0);
        assert_eq!(
            origin("https://127.0.0.1:4002/"),
            Ok("https://127.0.0.1:4002".to_owned())
        );
        assert!(origin("http://127.0.0.1:4002").is_err());
        assert!(origin("https://host:1/path").is_err());
        assert_eq!(
            "1111000V, 1111001V".parse::<Ispbs>().map(|all| all.0.len()),
            Ok(2)
        );
        assert!("1111000V,".parse::<Ispbs>().is_err());
        assert!("#0b6e4f".parse::<Color>().is_ok() && "0b6e4f".parse::<Color>().is_err());
    }
}
