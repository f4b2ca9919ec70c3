//! Keys: the one that signs, those that verify.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use crate::{IssuerSerial, signature, vector};

/// Why a certificate or key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No certificate, or one that cannot be read.
    #[error("there is no readable X.509 certificate")]
    Certificate,
    /// No private key, or one that cannot be read.
    #[error("there is no readable RSA private key (PEM, PKCS#8 or PKCS#1)")]
    PrivateKey,
    /// The certificate's key is not RSA of at least 2048 bits.
    #[error("the certificate's key is not RSA of 2048 to 8192 bits")]
    Algorithm,
    /// The private key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// RSA private key with the issuer and serial number of its certificate.
#[derive(Clone)]
pub struct Signer(Arc<SignerParts>);

struct SignerParts {
    key: KeyPair,
    /// The same key for [`vector`], when it is one of 2048 bits.
    vector_key: Option<Arc<pix_vector_rsa::Key>>,
    random: SystemRandom,
    issuer_serial: IssuerSerial,
    x509_data: Box<str>,
    verifying: VerifyingKey,
}

impl Signer {
    /// Takes the first certificate of `cert_pem` and the first private key of `key_pem`.
    ///
    /// # Errors
    /// [`KeyError`] says which of the two is wrong, and how.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, KeyError> {
        let der = first_certificate(cert_pem)?;
        let certificate = parse(&der)?;
        let public = rsa_public_key(&certificate)?;
        let (key, key_der) = private_key(key_pem)?;
        if key.public_key().as_ref() != public {
            return Err(KeyError::Mismatch);
        }
        let (issuer_serial, name) = IssuerSerial::of(&certificate)?;
        let x509_data = signature::x509_data(&name, issuer_serial.serial()).into();
        let vector_key = pix_vector_rsa::Key::from_der(&key_der, public).ok();
        Ok(Self(Arc::new(SignerParts {
            key,
            vector_key: vector_key.map(Arc::new),
            random: SystemRandom::new(),
            issuer_serial,
            x509_data,
            verifying: VerifyingKey::from_certificate_der(&der)?,
        })))
    }

    /// Issuer and serial number of the certificate.
    #[must_use]
    pub fn issuer_serial(&self) -> &IssuerSerial {
        &self.0.issuer_serial
    }

    /// What verifies this key's signatures.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.0.verifying
    }

    /// Canonical `<ds:X509Data>` naming the certificate.
    pub(crate) fn x509_data(&self) -> &str {
        &self.0.x509_data
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`. With a library of [`vector`] it may wait a millisecond or two for
    /// others.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match (vector::combiner(), &self.0.vector_key) {
            (Some(combiner), Some(key)) => combiner.sign(key, message, || self.sign_alone(message)),
            _ => self.sign_alone(message),
        }
    }

    fn sign_alone(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.key.public_modulus_len()];
        self.0
            .key
            .sign(&RSA_PKCS1_SHA256, &self.0.random, message, &mut signature)
            .expect("a checked RSA key of at least 2048 bits signs any message");
        signature
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.0.issuer_serial)
    }
}

/// RSA public key of a certificate, parsed once. Cloning is cheap.
#[derive(Clone)]
pub struct VerifyingKey(Arc<VerifyingKeyParts>);

struct VerifyingKeyParts {
    key: ParsedPublicKey,
    issuer_serial: IssuerSerial,
    /// Seconds since 1970, both included.
    validity: std::ops::RangeInclusive<i64>,
}

impl VerifyingKey {
    /// Takes the first certificate of `pem`.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] or [`KeyError::Algorithm`].
    pub fn from_certificate_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_certificate_der(&first_certificate(pem)?)
    }

    /// Takes the certificate.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] or [`KeyError::Algorithm`].
    pub fn from_certificate_der(der: &[u8]) -> Result<Self, KeyError> {
        let certificate = parse(der)?;
        let public = rsa_public_key(&certificate)?;
        let key =
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).map_err(|_| KeyError::Algorithm)?;
        let (issuer_serial, _) = IssuerSerial::of(&certificate)?;
        let validity = certificate.validity();
        let validity = validity.not_before.timestamp()..=validity.not_after.timestamp();
        Ok(Self(Arc::new(VerifyingKeyParts {
            key,
            issuer_serial,
            validity,
        })))
    }

    /// Whether the certificate is valid at this instant, in seconds since 1970. Verifying does not ask: it
    /// has no clock, and what was signed in time stays signed.
    #[must_use]
    pub fn is_valid_at(&self, unix_seconds: i64) -> bool {
        self.0.validity.contains(&unix_seconds)
    }

    /// The certificate's first and last valid second, since 1970.
    #[must_use]
    pub fn validity(&self) -> &std::ops::RangeInclusive<i64> {
        &self.0.validity
    }

    /// Issuer and serial number of the certificate.
    #[must_use]
    pub fn issuer_serial(&self) -> &IssuerSerial {
        &self.0.issuer_serial
    }

    /// Whether `signature` is this key's over `message` (RSASSA-PKCS1-v1_5 with SHA-256).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.0.issuer_serial)
    }
}

/// Where the keys of signers are found.
pub trait KeySource {
    /// The key of the certificate named, if it may sign.
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey>;
}

/// A few keys, searched in order: for clients that know one counterparty, and for tests.
impl KeySource for Vec<VerifyingKey> {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        self.iter()
            .find(|key| key.issuer_serial() == issuer_serial)
            .cloned()
    }
}

impl KeySource for VerifyingKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.issuer_serial() == issuer_serial).then(|| self.clone())
    }
}

/// The DER of the first certificate of a PEM text.
///
/// # Errors
/// [`KeyError::Certificate`] when there is none.
pub fn first_certificate(pem: &[u8]) -> Result<Vec<u8>, KeyError> {
    let found = Pem::iter_from_buffer(pem)
        .flatten()
        .find(|section| section.label == "CERTIFICATE");
    found.map(|section| section.contents).ok_or(KeyError::Certificate)
}

/// The first private key, and its DER.
fn private_key(pem: &[u8]) -> Result<(KeyPair, Zeroizing<Vec<u8>>), KeyError> {
    type Read = fn(&[u8]) -> Result<KeyPair, KeyRejected>;
    let mut sections = Pem::iter_from_buffer(pem).flatten();
    let (read, der) = sections
        .find_map(|section| match section.label.as_str() {
            "PRIVATE KEY" => Some((KeyPair::from_pkcs8 as Read, Zeroizing::new(section.contents))),
            "RSA PRIVATE KEY" => Some((KeyPair::from_der as Read, Zeroizing::new(section.contents))),
            _ => None,
        })
        .ok_or(KeyError::PrivateKey)?;
    let key = read(&der).map_err(|_| KeyError::PrivateKey)?;
    Ok((key, der))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, KeyError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(KeyError::Certificate),
    }
}

/// The DER `RSAPublicKey` of `certificate`.
fn rsa_public_key<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a [u8], KeyError> {
    let info = certificate.public_key();
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) if (2048..=8192).contains(&rsa.key_size()) => {
            Ok(&info.subject_public_key.data)
        }
        _ => Err(KeyError::Algorithm),
    }
}
