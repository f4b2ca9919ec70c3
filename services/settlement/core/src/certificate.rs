//! Certificates of participants: what they are for, and how long they are good.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use pix_domain::{Text, Timestamp};
use pix_xmldsig::{IssuerSerial, KeyError, VerifyingKey};

/// Largest certificate that is taken, in octets of DER; those of the ICP-Brasil have two thousand.
pub const DER_MAX: usize = 8 * 1024;
/// Fewest digits that name a certificate.
pub const DIGITS_MIN: usize = 8;

/// What an operator gives as a reason.
pub type Reason = Text<200>;

/// What a certificate is for. One certificate has one use: a channel's key never signs (manual of security, CERTPIC
/// and CERTPIA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// It is shown when a connection is made (CERTPIC).
    Channel,
    /// It signs messages (CERTPIA).
    Signature,
}

/// A word that names no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate is for CHANNEL or for SIGNATURE")]
pub struct InvalidUse;

impl Use {
    /// Reads `CHANNEL` or `SIGNATURE`.
    ///
    /// # Errors
    /// [`InvalidUse`] for anything else.
    pub fn parse(word: &str) -> Result<Self, InvalidUse> {
        match word {
            "CHANNEL" => Ok(Self::Channel),
            "SIGNATURE" => Ok(Self::Signature),
            _ => Err(InvalidUse),
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "CHANNEL",
            Self::Signature => "SIGNATURE",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// SHA-256 of a certificate's DER; written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let hash = digest(&SHA256, der);
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 octets"))
    }

    /// The 32 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first digits of a [`Fingerprint`], or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FingerprintDigits(String);

/// Characters that begin no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is named by its first {DIGITS_MIN} to 64 hexadecimal digits")]
pub struct InvalidDigits;

impl FingerprintDigits {
    /// Reads 8 to 64 hexadecimal digits in either case; the colons of OpenSSL do not count.
    ///
    /// # Errors
    /// [`InvalidDigits`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidDigits> {
        let digits = text.replace(':', "").to_ascii_lowercase();
        let is_sound =
            (DIGITS_MIN..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_sound.then_some(Self(digits)).ok_or(InvalidDigits)
    }

    /// Whether they begin this fingerprint.
    #[must_use]
    pub fn name(&self, fingerprint: &Fingerprint) -> bool {
        fingerprint.to_string().starts_with(&self.0)
    }
}

/// That a certificate is no longer good, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Since when.
    pub at: Timestamp,
    /// Why, as the operator said.
    pub reason: Reason,
}

/// A participant's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What it is for.
    pub usage: Use,
    /// X.509.
    pub der: Arc<[u8]>,
    /// Names it.
    pub fingerprint: Fingerprint,
    /// What it is looked up by.
    pub issuer_serial: IssuerSerial,
    /// Its first valid instant.
    pub not_before: Timestamp,
    /// Its last one.
    pub not_after: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Revocation>,
}

/// Why octets are no certificate that a participant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// No X.509, or a key that is not RSA of 2048 bits or more.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// More than [`DER_MAX`].
    #[error("the certificate has more than {DER_MAX} octets")]
    TooLarge,
}

impl Certificate {
    /// Reads a certificate for this use.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_der(usage: Use, der: &[u8]) -> Result<Self, InvalidCertificate> {
        if der.len() > DER_MAX {
            return Err(InvalidCertificate::TooLarge);
        }
        let key = VerifyingKey::from_certificate_der(der)?;
        let second = |seconds: i64| seconds.saturating_mul(1_000_000);
        Ok(Self {
            usage,
            der: der.into(),
            fingerprint: Fingerprint::of(der),
            issuer_serial: key.issuer_serial().clone(),
            not_before: Timestamp::from_micros(second(*key.validity().start())),
            not_after: Timestamp::from_micros(second(*key.validity().end())),
            revoked: None,
        })
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_pem(usage: Use, pem: &str) -> Result<Self, InvalidCertificate> {
        Self::from_der(usage, &pix_xmldsig::first_certificate(pem.as_bytes())?)
    }

    /// Whether it may still be used, now or from its first instant on.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now <= self.not_after
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pix_pki::DevPki;

    use super::*;

    #[test]
    fn a_certificate_is_read_with_its_time_and_named_by_its_octets() {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = DevPki::open_or_create(folder.path()).expect("a PKI");
        let pem = pki.inside("pix").expect("issued").identity.certificate_pem;
        let read = Certificate::from_pem(Use::Channel, &pem).expect("a certificate");
        assert_eq!(Certificate::from_der(Use::Channel, &read.der).as_ref(), Ok(&read));
        let digits = read.fingerprint.to_string();
        assert_eq!(digits.len(), 64);
        let named = |text: &str| FingerprintDigits::parse(text).map(|digits| digits.name(&read.fingerprint));
        let colons: Vec<_> = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        for own in [
            &digits,
            &digits[..8],
            &digits[..9].to_uppercase(),
            &colons.join(":"),
        ] {
            assert_eq!(named(own), Ok(true), "{own}");
        }
        for wrong in ["", &digits[..7], "ghijklmn", &format!("{digits}0")] {
            assert_eq!(named(wrong), Err(InvalidDigits), "{wrong}");
        }
        let last = read.not_after;
        assert!(read.not_before < last);
        assert!(read.is_usable(read.not_before.minus(Duration::from_secs(1))) && read.is_usable(last));
        assert!(!read.is_usable(last.plus(Duration::from_micros(1))));
    }

    /// A key on a curve, which the SPB does not have.
    const CURVE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcDCCARegAwIBAgIUeqsmzKZs6DQJaLClW74K1I9RDacwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCZWMwIBcNMjYxMTIxMTYwMjE4WhgPMjEyNjEwMjgxNjAyMTha
MA0xCzAJBgNVBAMMAmVjMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5J4DlBu4
mbc+zTPgPVnXcJkzIWKlAgBapFMVXno9P3XsbgyQNdMZ4xcT3C4CdUc7jo5JF5P2
kGueE9CXJL0R3qNTMFEwHQYDVR0OBBYEFF0As0r9/Tw3Tuqd/dlbItTZa963MB8G
A1UdIwQYMBaAFF0As0r9/Tw3Tuqd/dlbItTZa963MA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDRwAwRAIgAaQMkIblwzjb3J4HdHhDEcjyz/u8GyoAYZx+jOuw
uNwCIBKDaJObXpaoEecIYbvQTEx3nX8Xf12FuufDx6NPXScD
-----END CERTIFICATE-----
";
    /// RSA of 1024 bits.
    const WEAK: &str = "\
-----BEGIN CERTIFICATE-----
MIIB/DCCAWWgAwIBAgIUDPiI7L/MseEVrF2F1tl+vLxsrawwDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjExNjAyMTlaGA8yMTI2MTAyODE2
MDIxOVowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC
gYEAvaVuXu1aQnZudffxfWYlGJb86/SBEcyUYvGctE4WG/GsY031WuVUbh4+EEPl
jFCrWLtB617rmUA3IPG5/cFBXXDHIWxAdFmukUlDIKO9DZ9urHjIv/8bVS22aLDc
nJuykkla01wixX1lHwXCuDlfZjj8EKGbn7noK2NJTZW0/6UCAwEAAaNTMFEwHQYD
VR0OBBYEFOz1fuxrOQ9OzmAwlGbi/m9ukpxdMB8GA1UdIwQYMBaAFOz1fuxrOQ9O
zmAwlGbi/m9ukpxdMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEA
QcX5xwzuNXgdflYJDDAc+eTH94DDAjRNxMJCsM21w5b2kEAwelMU2DABK1x8ufyk
11dvqDy5Kndm2AIkSK4OGcQdGLzHtiqV/Z+cSVQiTXF5I7TbMvIn0ovOLhd5YuSn
k3bM/f//eHhAIfGXe1CsAhmIg1+pCNpu/VNW4qLq1To=
-----END CERTIFICATE-----
";

    #[test]
    fn what_is_no_certificate_is_told_apart() {
        let read = |der: &[u8]| Certificate::from_der(Use::Signature, der).expect_err("none");
        assert_eq!(read(b""), KeyError::Certificate.into());
        assert_eq!(read(&[0; DER_MAX]), KeyError::Certificate.into());
        assert_eq!(read(&[0; DER_MAX + 1]), InvalidCertificate::TooLarge);
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in [
            "",
            pem,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let none = Certificate::from_pem(Use::Channel, text).expect_err("none");
            assert_eq!(none, KeyError::Certificate.into());
        }
        for text in [CURVE, WEAK] {
            let other = Certificate::from_pem(Use::Signature, text).expect_err("no key of ours");
            assert_eq!(other, KeyError::Algorithm.into());
        }
    }
}
