//! Who is who, looked up by certificate and by ISPB.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use pix_domain::{Category, Ispb, Money};
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

use crate::{Record, SeedFaults, Use};

/// A participant of Pix (participante).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its ISPB.
    pub ispb: Ispb,
    /// Its name, for people.
    pub name: String,
    /// Whose Conta PI its payments are settled in (liquidante): its own when it is direct.
    pub settler: Ispb,
    /// Whether it may take part at present: it and its settler are active.
    pub active: bool,
    /// How large its anti-scan bucket of the DICT is.
    pub category: Category,
    /// What its Conta PI starts with, for a direct participant.
    pub opening_balance: Option<Money>,
}

impl Participant {
    /// Whether it holds a Conta PI and speaks to the SPI itself.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.settler == self.ispb
    }
}

/// Something that no records may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Of whom.
    pub ispb: Ispb,
    /// What is wrong.
    pub problem: String,
}

/// Everything that the records say and may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contradictions(pub Vec<Contradiction>);

impl fmt::Display for Contradictions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Contradiction { ispb, problem }) in self.0.iter().enumerate() {
            write!(
                f,
                "{}participant {ispb}: {problem}",
                if i == 0 { "" } else { "; " }
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Contradictions {}

/// All participants as of one version, with the certificates that are good: what was revoked is not found here. When
/// one is valid is for the reader to ask, who has the time.
#[derive(Debug, Default)]
pub struct Directory {
    participants: BTreeMap<Ispb, Participant>,
    channels: HashMap<IssuerSerial, Ispb>,
    signers: HashMap<IssuerSerial, (Ispb, VerifyingKey)>,
    version: String,
}

impl Directory {
    /// Reads the seed file and the certificates that it names.
    ///
    /// # Errors
    /// Every fault in it at once.
    pub fn load(path: &Path) -> Result<Self, SeedFaults> {
        crate::seed::read(path)?.directory()
    }

    /// Of these records, one for each participant.
    ///
    /// # Errors
    /// Every contradiction among them at once.
    pub fn of<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        version: impl Into<String>,
    ) -> Result<Self, Contradictions> {
        let mut builder = Builder::default();
        for record in records {
            builder.add(record);
        }
        builder.finish(version.into())
    }

    /// The participant that shows this certificate on its channel (CERTPIC), if the certificate was not revoked.
    #[must_use]
    pub fn by_channel(&self, certificate: &IssuerSerial) -> Option<&Participant> {
        self.by_ispb(*self.channels.get(certificate)?)
    }

    /// The participant of this ISPB.
    #[must_use]
    pub fn by_ispb(&self, ispb: Ispb) -> Option<&Participant> {
        self.participants.get(&ispb)
    }

    /// Whose signature certificate (CERTPIA) this is, with its key, if it was not revoked.
    #[must_use]
    pub fn signer(&self, certificate: &IssuerSerial) -> Option<(Ispb, VerifyingKey)> {
        self.signers.get(certificate).cloned()
    }

    /// Every participant, by ISPB.
    pub fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.participants.values()
    }

    /// Names this content: the registry's version, or 64 hexadecimal digits that are others as soon as the seed file
    /// or a certificate of it differs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl KeySource for Directory {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        self.signer(issuer_serial).map(|(_, key)| key)
    }
}

impl AsRef<Self> for Directory {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[derive(Default)]
struct Builder {
    directory: Directory,
    /// Every certificate, the revoked ones too: they stay somebody's.
    uses: HashMap<IssuerSerial, Use>,
    contradictions: Vec<Contradiction>,
}

impl Builder {
    fn contradiction(&mut self, ispb: Ispb, problem: impl Into<String>) {
        self.contradictions.push(Contradiction {
            ispb,
            problem: problem.into(),
        });
    }

    fn add(&mut self, record: &Record) {
        let ispb = record.ispb;
        if !record.is_direct() && (record.opening_balance.is_some() || !record.certificates.is_empty()) {
            self.contradiction(
                ispb,
                "is indirect, so it has no Conta PI and speaks by its settler: no balance, no certificates",
            );
        }
        for certificate in &record.certificates {
            let name = certificate.issuer_serial();
            match self.uses.insert(name.clone(), certificate.purpose) {
                None => {}
                Some(purpose) if purpose == certificate.purpose => {
                    self.contradiction(ispb, format!("the certificate {name} is there twice"));
                }
                Some(_) => self.contradiction(
                    ispb,
                    format!("{name} is for the channel and for signatures; they may not be swapped"),
                ),
            }
            if certificate.revoked_at.is_some() {
                continue;
            }
            match certificate.purpose {
                Use::Channel => drop(self.directory.channels.insert(name.clone(), ispb)),
                Use::Signature => {
                    let signer = (ispb, certificate.key().clone());
                    drop(self.directory.signers.insert(name.clone(), signer));
                }
            }
        }
        let participant = Participant {
            ispb,
            name: record.name.clone(),
            settler: record.settler,
            active: record.active,
            category: record.category,
            opening_balance: record.opening_balance,
        };
        if self.directory.participants.insert(ispb, participant).is_some() {
            self.contradiction(ispb, "is there twice");
        }
    }

    fn finish(mut self, version: String) -> Result<Directory, Contradictions> {
        let settler = |one: &Participant| self.directory.by_ispb(one.settler);
        let all = self.directory.participants.values();
        let unsettled: Vec<_> = all
            .clone()
            .filter(|one| settler(one).is_none_or(|settler| !settler.is_direct()))
            .map(|one| (one.ispb, one.settler))
            .collect();
        // Nobody settles for them at present.
        let idle: Vec<_> = all
            .filter(|one| settler(one).is_some_and(|settler| !settler.active))
            .map(|one| one.ispb)
            .collect();
        for (ispb, settler) in unsettled {
            let problem = format!("its settler {settler} is not a direct participant that is known");
            self.contradiction(ispb, problem);
        }
        if !self.contradictions.is_empty() {
            return Err(Contradictions(self.contradictions));
        }
        for ispb in idle {
            if let Some(participant) = self.directory.participants.get_mut(&ispb) {
                participant.active = false;
            }
        }
        self.directory.version = version;
        Ok(self.directory)
    }
}
