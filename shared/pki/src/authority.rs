//! Certificates, in memory.

use std::net::IpAddr;
use std::time::Duration;

use pix_domain::{Ispb, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};

/// A certificate and its private key, both PEM. The key is PKCS #8.
#[derive(Clone)]
pub struct Identity {
    /// `-----BEGIN CERTIFICATE-----`
    pub certificate_pem: String,
    /// `-----BEGIN PRIVATE KEY-----`. A secret.
    pub key_pem: String,
}

/// Who a certificate is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// CN.
    pub common_name: String,
    /// The participant, as OU `ISPB-11111111`; services have none.
    pub ispb: Option<Ispb>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A participant's end of the channel (CERTPIC): TLS client.
    Channel,
    /// Signatures of messages (CERTPIA).
    Signature,
    /// A service's end of the channel: TLS server, by the names of loopback and of the public hosts.
    Server,
    /// Both ends of a call between the switch's own services: on loopback, server and client at once.
    Inside,
}

/// The span in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First instant.
    pub from: Timestamp,
    /// Last instant.
    pub until: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The library refused.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// An instant outside the calendar of X.509.
    #[error("a certificate cannot be valid at that time: {0}")]
    Time(#[from] time::error::ComponentRange),
    /// A file of the PKI could not be read or written.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    File {
        /// The verb.
        what: &'static str,
        /// The object.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Names by which a service is reached: loopback, and the hosts of the two interfaces (PROTOCOL 1).
const SERVER_NAMES: [&str; 5] = [
    "localhost",
    "icom.pi.rsfn.net.br",
    "icom-sec.pi.rsfn.net.br",
    "dict.pi.rsfn.net.br",
    "dict-np.pi.rsfn.net.br",
];

impl Validity {
    /// From an hour before `now` (clocks differ) for ten years.
    #[must_use]
    pub fn long(now: Timestamp) -> Self {
        Self {
            from: now.minus(HOUR),
            until: now.plus(DAY * 3650),
        }
    }

    /// Over since a day before `now`.
    #[must_use]
    pub fn past(now: Timestamp) -> Self {
        Self {
            from: now.minus(DAY * 30),
            until: now.minus(DAY),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A certificate authority.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority. `CN=<name>, O=PIX switch (development), C=BR`.
    ///
    /// # Errors
    /// [`PkiError`] when a key or certificate cannot be made.
    pub fn new(name: &str, validity: Validity) -> Result<Self, PkiError> {
        let mut params = parameters(
            &Subject {
                common_name: name.to_owned(),
                ispb: None,
            },
            validity,
        )?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let certificate = params.self_signed(&key)?;
        let identity = Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        };
        Ok(Self {
            identity,
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority that was made before.
    ///
    /// # Errors
    /// [`PkiError`] when the PEM is not a certificate with its key.
    pub fn from_identity(identity: Identity) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem_and_sign_algo(&identity.key_pem, &PKCS_RSA_SHA256)?;
        let issuer = Issuer::from_ca_cert_pem(&identity.certificate_pem, key)?;
        Ok(Self { identity, issuer })
    }

    /// The authority's own certificate: the trust anchor.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.identity.certificate_pem
    }

    /// The authority's certificate with its key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A new key and a certificate of it.
    ///
    /// # Errors
    /// [`PkiError`] when a key or certificate cannot be made.
    pub fn issue(&self, subject: &Subject, purpose: Use, validity: Validity) -> Result<Identity, PkiError> {
        let mut params = parameters(subject, validity)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match purpose {
            Use::Channel => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Use::Signature => params.key_usages.push(KeyUsagePurpose::ContentCommitment),
            Use::Server => {
                params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = names(&SERVER_NAMES)?;
            }
            Use::Inside => {
                params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                params.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ];
                params.subject_alt_names = names(&["localhost"])?;
            }
        }
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn parameters(subject: &Subject, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    *name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, subject.common_name.as_str());
    if let Some(ispb) = subject.ispb {
        name.push(DnType::OrganizationalUnitName, format!("ISPB-{ispb}"));
    }
    name.push(DnType::OrganizationName, "PIX switch (development)");
    name.push(DnType::CountryName, "BR");
    params.serial_number = Some(new_serial());
    // X.509 has whole seconds.
    let instant = |at: Timestamp| time::OffsetDateTime::from(at).replace_nanosecond(0);
    params.not_before = instant(validity.from)?;
    params.not_after = instant(validity.until)?;
    Ok(params)
}

/// These hosts, and loopback by address.
fn names(hosts: &[&str]) -> Result<Vec<SanType>, PkiError> {
    let loopback = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
    ];
    let by_name = hosts.iter().map(|name| Ok(SanType::DnsName((*name).try_into()?)));
    by_name
        .chain(loopback.map(|ip| Ok(SanType::IpAddress(ip))))
        .collect()
}

fn new_key() -> Result<KeyPair, PkiError> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?)
}

/// Sixteen random octets, positive: unique without a register of what was issued.
fn new_serial() -> SerialNumber {
    let mut octets = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut octets).expect("the system has randomness");
    octets[0] = octets[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&octets)
}
