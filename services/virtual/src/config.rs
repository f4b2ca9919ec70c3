//! Settings of the virtual participants.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use pix_domain::Ispb;
use pix_runtime::telemetry::{LogFormat, LogLevel};
use pix_runtime::{Faults, Key, Settings, tls};
use pix_xmldsig::{KeyError, Signer, VerifyingKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::script::{Rule, Script};

pub(crate) static KEYS: &[Key] = &[
    Key::required::<Folders>(
        "participants",
        "ISPB=FOLDER, by commas",
        "the participants, each with what `pix pki participant` wrote; the first one pays unless another is named",
    ),
    Key::optional::<Settled>(
        "indirect",
        "ISPB=SETTLER, by commas",
        "indirect participants, each behind one of the participants",
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
    Key::required::<PathBuf>(
        "spi.signature_certificate",
        "PEM file",
        "what the SPI signs with; around a renewal, both certificates",
    ),
    Key::optional::<PathBuf>("rules.file", "TOML file", "rules of behaviour to start with"),
    Key::with_default::<SocketAddr>(
        "listen.ops",
        "127.0.0.1:5009",
        "address",
        "rules, payments on request, health and metrics: plain HTTP",
    ),
    Key::with_default::<LogFormat>("log.format", "auto", "auto, json or text", "how log lines look"),
    Key::with_default::<LogLevel>("log.level", "info", "level", "which log lines are written"),
    Key::optional::<String>("otlp.endpoint", "URL", "where traces go"),
];

/// One participant's keys.
pub(crate) struct Seat {
    pub(crate) ispb: Ispb,
    pub(crate) indirect: Vec<Ispb>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) signer: Signer,
}

/// Everything that the program is told from outside, checked.
pub(crate) struct Config {
    /// One at least.
    pub(crate) seats: Vec<Seat>,
    pub(crate) icom: [String; 2],
    pub(crate) spi: Vec<VerifyingKey>,
    pub(crate) script: Script,
    pub(crate) listen: SocketAddr,
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
        let settings = Settings::read("virtual", KEYS, args)?;
        let folders = settings.get::<Folders>("participants").0;
        let settled = settings
            .optional::<Settled>("indirect")
            .map_or_else(Vec::new, |s| s.0);
        for (ispb, settler) in &settled {
            if !folders.iter().any(|(direct, _)| direct == settler) {
                settings.fault(
                    "indirect",
                    format!("{settler}, who settles {ispb}, is not in participants"),
                );
            }
        }
        let seats = folders
            .iter()
            .filter_map(|(ispb, folder)| {
                let indirect = settled.iter().filter(|(_, settler)| settler == ispb);
                let indirect = indirect.map(|(ispb, _)| *ispb).collect();
                seat(*ispb, indirect, folder)
                    .map_err(|e| settings.fault("participants", e))
                    .ok()
            })
            .collect();
        let pem = settings.read_file("spi.signature_certificate");
        let spi = signature_keys(&pem).unwrap_or_else(|e| {
            settings.fault("spi.signature_certificate", e);
            Vec::new()
        });
        let config = Self {
            seats,
            icom: ["icom.primary", "icom.secondary"].map(|key| settings.get::<Origin>(key).0),
            spi,
            script: read_rules(&settings),
            listen: settings.get("listen.ops"),
            log_format: settings.get("log.format"),
            log_level: settings.get("log.level"),
            otlp: settings.optional("otlp.endpoint"),
        };
        settings.finish()?;
        Ok(config)
    }
}

fn seat(ispb: Ispb, indirect: Vec<Ispb>, folder: &Path) -> Result<Seat, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    let of = |e: String| format!("{ispb}: {e}");
    let tls = tls::client(&read("channel.crt")?, &read("channel.key")?, &read("ca.crt")?);
    let signer = Signer::from_pem(&read("signature.crt")?, &read("signature.key")?);
    Ok(Seat {
        ispb,
        indirect,
        tls: tls.map_err(|e| of(e.to_string()))?,
        signer: signer.map_err(|e| of(e.to_string()))?,
    })
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

/// `[[rule]]` tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rule: Vec<Rule>,
}

fn read_rules(settings: &Settings) -> Script {
    const KEY: &str = "rules.file";
    let Some(path) = settings.optional::<PathBuf>(KEY) else {
        return Script::default();
    };
    let script = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))
        .and_then(|text| rules(&text));
    script.unwrap_or_else(|e| {
        settings.fault(KEY, e);
        Script::default()
    })
}

fn rules(text: &str) -> Result<Script, String> {
    let file: RulesFile = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    Script::new(file.rule).map_err(|e| e.to_string())
}

/// `99999A03=/folder,99999A04=/other`, at least one, each once.
struct Folders(Vec<(Ispb, PathBuf)>);

impl FromStr for Folders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = pairs(text, |folder| Ok(PathBuf::from(folder)))?;
        if pairs.is_empty() {
            return Err("no participant is named".to_owned());
        }
        Ok(Self(pairs))
    }
}

/// `9999A03V=99999A03`, each once.
struct Settled(Vec<(Ispb, Ispb)>);

impl FromStr for Settled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let settler = |text: &str| Ispb::parse(text.as_bytes()).map_err(|e| e.to_string());
        pairs(text, settler).map(Self)
    }
}

fn pairs<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<(Ispb, T)>, String> {
    let mut pairs: Vec<(Ispb, T)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (ispb, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no ="))?;
        let ispb = Ispb::parse(ispb.trim().as_bytes()).map_err(|e| e.to_string())?;
        if pairs.iter().any(|(there, _)| *there == ispb) {
            return Err(format!("{ispb} is there twice"));
        }
        pairs.push((ispb, read(value.trim())?));
    }
    Ok(pairs)
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
    fn participants_are_a_list_of_ispb_and_folder() {
        let read = |text: &str| text.parse::<Folders>().map(|folders| folders.0);
        let two = read("99999A03=/pki/99999A03, 99999A04=/pki/b c").expect("two");
        assert_eq!(two[1].1, Path::new("/pki/b c"));
        for wrong in ["", "99999A03", "1=/x", "99999A03=/x,99999A03=/y"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!("9999A03V=99999A03".parse::<Settled>().is_ok());
        assert!("9999A03V=/x".parse::<Settled>().is_err());
    }

    #[test]
    fn a_file_of_rules_is_read_in_its_order_and_refused_whole() {
        let script = rules(
            "[[rule]]\nparticipant = \"99999A04\"\ndo = \"silence\"\n[[rule]]\ndo = \"twice\"\ntimes = 2\n",
        );
        let script = script.expect("two rules");
        assert_eq!(script.rules().len(), 2);
        assert_eq!(script.rules()[1].times, Some(2));
        assert_eq!(rules("").map(|script| script.rules().len()), Ok(0));
        assert!(
            rules("[[rule]]\ndo = \"explode\"\n")
                .expect_err("no such")
                .contains("a behaviour is")
        );
        assert!(rules("[[rules]]\ndo = \"twice\"\n").is_err());
    }
}
