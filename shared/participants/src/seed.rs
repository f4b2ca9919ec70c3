//! The seed file, checked whole: every fault at once, each with its place.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use pix_domain::{Category, Ispb, Money};
use pix_xmldsig::VerifyingKey;
use serde::Deserialize;

use crate::{Directory, Participant};

/// One thing wrong with the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFault {
    /// `participants.toml`, `participants.toml, participant 11111111`
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

/// Everything wrong with the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedFaults(pub Vec<SeedFault>);

impl fmt::Display for SeedFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, SeedFault { place, problem }) in self.0.iter().enumerate() {
            write!(f, "{}{place}: {problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SeedFaults {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    participant: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    ispb: String,
    name: String,
    settler: Option<String>,
    #[serde(default = "yes")]
    active: bool,
    category: Option<String>,
    opening_balance: Option<String>,
    #[serde(default)]
    channel_certificates: Vec<PathBuf>,
    #[serde(default)]
    signature_certificates: Vec<PathBuf>,
}

/// Of an entry that names none: the files of earlier versions, and whoever does not care.
const CATEGORY_DEFAULT: Category = Category::A;

fn yes() -> bool {
    true
}

pub(crate) fn load(path: &Path) -> Result<Directory, SeedFaults> {
    let place = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let whole = |problem: String| {
        SeedFaults(vec![SeedFault {
            place: place.clone(),
            problem,
        }])
    };
    let text = std::fs::read_to_string(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    let seed: Seed = toml::from_str(&text).map_err(|e| whole(e.to_string().trim_end().to_owned()))?;

    let mut reader = Reader {
        folder: path.parent().unwrap_or(Path::new("")),
        file: place,
        place: String::new(),
        faults: Vec::new(),
        digest: Context::new(&SHA256),
        directory: Directory {
            participants: BTreeMap::new(),
            channels: HashMap::new(),
            signers: HashMap::new(),
            version: String::new(),
        },
    };
    reader.digest.update(text.as_bytes());
    for entry in seed.participant {
        reader.entry(entry);
    }
    reader.finish()
}

struct Reader<'a> {
    folder: &'a Path,
    file: String,
    /// The participant being read.
    place: String,
    faults: Vec<SeedFault>,
    digest: Context,
    directory: Directory,
}

impl Reader<'_> {
    fn fault(&mut self, problem: impl fmt::Display) {
        self.faults.push(SeedFault {
            place: self.place.clone(),
            problem: problem.to_string(),
        });
    }

    fn noted<T, E: fmt::Display>(&mut self, what: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|e| self.fault(format!("{what}: {e}"))).ok()
    }

    fn entry(&mut self, entry: Entry) {
        self.place = format!("{}, participant {}", self.file, entry.ispb);
        let Some(ispb) = self.noted("ispb", Ispb::parse(entry.ispb.as_bytes())) else {
            return;
        };
        let settler = entry.settler.map_or(Some(ispb), |settler| {
            self.noted("settler", Ispb::parse(settler.as_bytes()))
        });
        let opening_balance = entry
            .opening_balance
            .and_then(|amount| self.noted("opening_balance", Money::parse(amount.as_bytes())));
        let category = entry.category.map_or(Some(CATEGORY_DEFAULT), |category| {
            self.noted("category", Category::parse(category.as_bytes()))
        });
        let certificates = entry.channel_certificates.len() + entry.signature_certificates.len();
        if settler.is_some_and(|settler| settler != ispb) && (opening_balance.is_some() || certificates > 0) {
            self.fault(
                "is indirect, so it has no Conta PI and speaks by its settler: no balance, no certificates",
            );
        }
        for path in &entry.channel_certificates {
            self.channel(ispb, path);
        }
        for path in &entry.signature_certificates {
            self.signer(ispb, path);
        }
        let settler = settler.unwrap_or(ispb);
        let participant = Participant {
            ispb,
            name: entry.name,
            settler,
            active: entry.active,
            category: category.unwrap_or(CATEGORY_DEFAULT),
            opening_balance,
        };
        if self.directory.participants.insert(ispb, participant).is_some() {
            self.fault("is there twice");
        }
    }

    fn channel(&mut self, ispb: Ispb, path: &Path) {
        let Some(key) = self.certificate(path) else { return };
        if self
            .directory
            .channels
            .insert(key.issuer_serial().clone(), ispb)
            .is_some()
        {
            self.fault(format!("{} is a channel certificate twice", path.display()));
        }
    }

    fn signer(&mut self, ispb: Ispb, path: &Path) {
        let Some(key) = self.certificate(path) else { return };
        if self
            .directory
            .signers
            .insert(key.issuer_serial().clone(), (ispb, key))
            .is_some()
        {
            self.fault(format!("{} is a signature certificate twice", path.display()));
        }
    }

    fn certificate(&mut self, path: &Path) -> Option<VerifyingKey> {
        let what = path.display().to_string();
        let pem = self.noted(&what, std::fs::read(self.folder.join(path)))?;
        self.digest.update(&pem);
        self.noted(&what, VerifyingKey::from_certificate_pem(&pem))
    }

    fn finish(mut self) -> Result<Directory, SeedFaults> {
        let of = |ispb: Ispb| self.directory.participants.get(&ispb);
        let unsettled: Vec<_> = self
            .directory
            .iter()
            .filter(|one| of(one.settler).is_none_or(|settler| !settler.is_direct()))
            .map(|one| (one.ispb, one.settler))
            .collect();
        for (ispb, settler) in unsettled {
            self.place = format!("{}, participant {ispb}", self.file);
            self.fault(format!(
                "its settler {settler} is not a direct participant of this file"
            ));
        }
        let both: Vec<_> = self
            .directory
            .channels
            .keys()
            .filter(|key| self.directory.signers.contains_key(key))
            .cloned()
            .collect();
        for certificate in both {
            self.place.clone_from(&self.file);
            self.fault(format!(
                "{certificate} is for the channel and for signatures; they may not be swapped"
            ));
        }
        if !self.faults.is_empty() {
            return Err(SeedFaults(self.faults));
        }
        self.directory.version = self
            .digest
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(self.directory)
    }
}
