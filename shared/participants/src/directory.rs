//! Who is who, looked up by certificate and by ISPB.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use pix_domain::{Category, Ispb, Money};
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

use crate::SeedFaults;

/// A participant of Pix (participante).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its ISPB.
    pub ispb: Ispb,
    /// Its name, for people.
    pub name: String,
    /// Whose Conta PI its payments are settled in (liquidante): its own when it is direct.
    pub settler: Ispb,
    /// Whether it may take part at present.
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

/// All participants, as of one version of the seed.
#[derive(Debug)]
pub struct Directory {
    pub(crate) participants: BTreeMap<Ispb, Participant>,
    pub(crate) channels: HashMap<IssuerSerial, Ispb>,
    pub(crate) signers: HashMap<IssuerSerial, (Ispb, VerifyingKey)>,
    pub(crate) version: String,
}

impl Directory {
    /// Reads the seed file and the certificates that it names.
    ///
    /// # Errors
    /// Every fault in it at once.
    pub fn load(path: &Path) -> Result<Self, SeedFaults> {
        crate::seed::load(path)
    }

    /// The participant that shows this certificate on its channel (CERTPIC).
    #[must_use]
    pub fn by_channel(&self, certificate: &IssuerSerial) -> Option<&Participant> {
        self.by_ispb(*self.channels.get(certificate)?)
    }

    /// The participant of this ISPB.
    #[must_use]
    pub fn by_ispb(&self, ispb: Ispb) -> Option<&Participant> {
        self.participants.get(&ispb)
    }

    /// Whose signature certificate (CERTPIA) this is, with its key.
    #[must_use]
    pub fn signer(&self, certificate: &IssuerSerial) -> Option<(Ispb, VerifyingKey)> {
        self.signers.get(certificate).cloned()
    }

    /// Every participant, by ISPB.
    pub fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.participants.values()
    }

    /// Names this content: 64 hexadecimal digits, another as soon as the file or a certificate differs.
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
