//! The seed file, `participants.toml`, checked whole: every fault at once, each with its place.
//!
//! ```toml
//! [[participant]]
//! ispb = "11111111"
//! name = "Banco Aurora"
//! opening_balance = "1000000.00"                 # of its Conta PI; direct participants only
//! active = true                                  # the default
//! category = "A"                                 # of its DICT limits, A to H; A is the default
//! channel_certificates = ["pki/11111111/channel.crt"]      # paths relative to this file
//! signature_certificates = ["pki/11111111/signature.crt"]
//!
//! [[participant]]
//! ispb = "33333333"
//! name = "Banco Indireto"
//! settler = "11111111"                           # an indirect participant: no Conta PI, no certificates
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use pix_domain::{Category, Ispb, Money};
use serde::Deserialize;

use crate::record::hexadecimal;
use crate::{Certificate, Contradiction, Directory, Record, Use};

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

/// What a seed file says, without a contradiction.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its participants, settlers before those that they settle.
    pub records: Vec<Record>,
    /// Names this content: 64 hexadecimal digits, others as soon as the file or a certificate differs.
    pub version: String,
    file: String,
}

impl Seed {
    pub(crate) fn directory(&self) -> Result<Directory, SeedFaults> {
        let place = |ispb| format!("{}, participant {ispb}", self.file);
        Directory::of(&self.records, &self.version).map_err(|contradictions| {
            let fault = |Contradiction { ispb, problem }| SeedFault {
                place: place(ispb),
                problem,
            };
            SeedFaults(contradictions.0.into_iter().map(fault).collect())
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
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

/// Reads a seed file and the certificates that it names.
///
/// # Errors
/// Every fault in it at once.
pub fn read(path: &Path) -> Result<Seed, SeedFaults> {
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
    let file: File = toml::from_str(&text).map_err(|e| whole(e.to_string().trim_end().to_owned()))?;

    let mut reader = Reader {
        folder: path.parent().unwrap_or(Path::new("")),
        file: place,
        place: String::new(),
        faults: Vec::new(),
        digest: Context::new(&SHA256),
        records: Vec::new(),
    };
    reader.digest.update(text.as_bytes());
    for entry in file.participant {
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
    records: Vec<Record>,
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
        let channel = entry.channel_certificates.iter().map(|path| (Use::Channel, path));
        let signature = entry
            .signature_certificates
            .iter()
            .map(|path| (Use::Signature, path));
        let certificates = channel
            .chain(signature)
            .filter_map(|(purpose, path)| self.certificate(purpose, path))
            .collect();
        self.records.push(Record {
            ispb,
            name: entry.name,
            settler: settler.unwrap_or(ispb),
            category: category.unwrap_or(CATEGORY_DEFAULT),
            active: entry.active,
            certificates,
            opening_balance,
            version: 0,
        });
    }

    fn certificate(&mut self, purpose: Use, path: &Path) -> Option<Certificate> {
        let what = path.display().to_string();
        let pem = self.noted(&what, std::fs::read(self.folder.join(path)))?;
        self.digest.update(&pem);
        self.noted(&what, Certificate::from_pem(purpose, &pem))
    }

    fn finish(mut self) -> Result<Seed, SeedFaults> {
        self.records.sort_by_key(|record| !record.is_direct());
        let seed = Seed {
            records: self.records,
            version: hexadecimal(self.digest.finish().as_ref()),
            file: self.file,
        };
        if let Err(contradictions) = seed.directory() {
            self.faults.extend(contradictions.0);
        }
        match self.faults.is_empty() {
            true => Ok(seed),
            false => Err(SeedFaults(self.faults)),
        }
    }
}
