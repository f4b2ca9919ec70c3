//! A participant whole, with its certificates: as the registry tells it, as the copy keeps it, as the seed says it.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use aws_lc_rs::digest::{SHA256, digest};
use pix_domain::{Category, Ispb, Money, Timestamp};
use pix_proto::settlement_v1;
use pix_xmldsig::{IssuerSerial, KeyError, VerifyingKey};

/// What a certificate is good for; never for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// To be shown on the channel (CERTPIC).
    Channel,
    /// To sign messages (CERTPIA).
    Signature,
}

impl Use {
    /// As the registry's calls write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "CHANNEL",
            Self::Signature => "SIGNATURE",
        }
    }

    /// From the text of a call.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Channel, Self::Signature]
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
    }
}

/// A certificate of a participant, revoked or not.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What it is good for.
    pub purpose: Use,
    /// X.509, DER.
    pub der: Vec<u8>,
    /// When it was revoked, for ever.
    pub revoked_at: Option<Timestamp>,
    key: VerifyingKey,
}

impl Certificate {
    /// Takes the certificate.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read, or its key is none that participants may have.
    pub fn from_der(purpose: Use, der: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let der = der.into();
        let key = VerifyingKey::from_certificate_der(&der)?;
        Ok(Self {
            purpose,
            der,
            revoked_at: None,
            key,
        })
    }

    /// Takes the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`KeyError`] when there is none, or its key is none that participants may have.
    pub fn from_pem(purpose: Use, pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_der(purpose, pix_xmldsig::first_certificate(pem)?)
    }

    /// The key in it.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// What it is looked up by.
    #[must_use]
    pub fn issuer_serial(&self) -> &IssuerSerial {
        self.key.issuer_serial()
    }

    /// SHA-256 of its DER, 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hexadecimal(digest(&SHA256, &self.der).as_ref())
    }

    /// Its first and its last valid second.
    #[must_use]
    pub fn validity(&self) -> RangeInclusive<Timestamp> {
        let instant = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let validity = self.key.validity();
        instant(*validity.start())..=instant(*validity.end())
    }
}

/// A participant of Pix (participante) with all that is registered of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its ISPB.
    pub ispb: Ispb,
    /// Its name, for people.
    pub name: String,
    /// Whose Conta PI its payments are settled in (liquidante): its own when it is direct.
    pub settler: Ispb,
    /// How large its anti-scan bucket of the DICT is.
    pub category: Category,
    /// Whether it may take part at present.
    pub active: bool,
    /// Its certificates, the revoked ones among them.
    pub certificates: Vec<Certificate>,
    /// What its Conta PI starts with; only a seed file says so.
    pub opening_balance: Option<Money>,
    /// The change of the registry that made it so; 0 in a seed file.
    pub version: i64,
}

impl Record {
    /// Whether it holds a Conta PI and speaks to the SPI itself.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.settler == self.ispb
    }
}

/// What the registry tells cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("participant {ispb:?}: {problem}")]
pub struct RecordFault {
    /// As it was told.
    pub ispb: String,
    /// What is wrong with it.
    pub problem: String,
}

impl TryFrom<&settlement_v1::Participant> for Record {
    type Error = RecordFault;

    fn try_from(told: &settlement_v1::Participant) -> Result<Self, RecordFault> {
        let fault = |problem: String| RecordFault {
            ispb: told.ispb.clone(),
            problem,
        };
        let ispb = |text: &str| Ispb::parse(text.as_bytes()).map_err(|e| fault(e.to_string()));
        let category = Category::parse(told.category.as_bytes());
        let certificates = told.certificates.iter().map(certificate);
        Ok(Self {
            ispb: ispb(&told.ispb)?,
            name: told.name.clone(),
            settler: ispb(&told.settler)?,
            category: category.map_err(|e| fault(e.to_string()))?,
            active: match told.state.as_str() {
                "ACTIVE" => true,
                "SUSPENDED" => false,
                other => return Err(fault(format!("state {other:?} is neither ACTIVE nor SUSPENDED"))),
            },
            certificates: certificates.collect::<Result<_, _>>().map_err(fault)?,
            opening_balance: None,
            version: told.version,
        })
    }
}

fn certificate(told: &settlement_v1::Certificate) -> Result<Certificate, String> {
    let name = || told.fingerprint.get(..16).unwrap_or(&told.fingerprint);
    let purpose = Use::parse(&told.r#use)
        .ok_or_else(|| format!("certificate {}: use {:?} is not known", name(), told.r#use))?;
    let read = Certificate::from_der(purpose, told.der.as_slice());
    let mut read = read.map_err(|e| format!("certificate {}: {e}", name()))?;
    if read.fingerprint() != told.fingerprint {
        return Err(format!("certificate {}: its fingerprint is another", name()));
    }
    read.revoked_at = told.revoked_at_micros.map(Timestamp::from_micros);
    Ok(read)
}

pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("a String takes everything");
        text
    })
}
