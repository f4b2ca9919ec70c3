//! The PKI of a development installation, as a folder of PEM files.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pix_domain::{Ispb, Timestamp};
use time::OffsetDateTime;

use crate::{Authority, Identity, PkiError, Subject, Use, Validity};

/// The services whose signature certificates a participant needs to verify what the switch sends.
const SIGNING_SERVICES: [&str; 2] = ["spi", "dict"];

/// The folder of the authority for calls inside the switch.
const INSIDE: &str = "inside";

/// One service's end of the calls inside the switch: the files, and what is in them.
///
/// Their authority is not the participants': a bank's channel certificate opens nothing inside.
pub struct Inside {
    /// Path of the certificate: server and client at once.
    pub certificate: PathBuf,
    /// Path of its private key.
    pub key: PathBuf,
    /// Path of the trust anchor of the others.
    pub ca: PathBuf,
    /// Certificate and key.
    pub identity: Identity,
    /// The trust anchor.
    pub ca_pem: String,
}

/// A folder with `ca.crt`, `ca.key`, `<service>/{server,signature}.{crt,key}` and `inside/<service>.{crt,key}`.
///
/// Everything is made once and kept: asking again for what exists changes nothing.
pub struct DevPki {
    dir: PathBuf,
    authority: Authority,
}

impl DevPki {
    /// Opens the PKI in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// [`PkiError::File`] on a file, [`PkiError::Certificate`] when what is there is not a PKI.
    pub fn open_or_create(dir: &Path) -> Result<Self, PkiError> {
        Ok(Self {
            dir: dir.to_path_buf(),
            authority: authority_in(dir, "PIX development CA")?,
        })
    }

    /// The authority itself, for certificates that belong in no folder.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Path of the trust anchor.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// What an outside bank joins with, in `out`: `channel.crt|key`, `signature.crt|key`, `ca.crt`, and
    /// `spi-signature.crt`, `dict-signature.crt` to verify what the switch signs.
    ///
    /// # Errors
    /// [`PkiError`] when something cannot be made or written.
    pub fn participant(&self, ispb: Ispb, out: &Path) -> Result<(), PkiError> {
        let subject = |what: &str| Subject {
            common_name: format!("{ispb} {what}"),
            ispb: Some(ispb),
        };
        self.ensure(out, "channel", &subject("channel"), Use::Channel)?;
        self.ensure(out, "signature", &subject("signature"), Use::Signature)?;
        write(&out.join("ca.crt"), self.authority.certificate_pem(), PUBLIC)?;
        for service in SIGNING_SERVICES {
            let signature = self.signature_of(service)?;
            write(
                &out.join(format!("{service}-signature.crt")),
                &signature.certificate_pem,
                PUBLIC,
            )?;
        }
        Ok(())
    }

    /// A service's folder with `server.crt|key`, `signature.crt|key` and `ca.crt`.
    ///
    /// # Errors
    /// [`PkiError`] when something cannot be made or written.
    pub fn service(&self, name: &str) -> Result<PathBuf, PkiError> {
        let folder = self.dir.join(name);
        let subject = Subject {
            common_name: format!("{name} server"),
            ispb: None,
        };
        self.ensure(&folder, "server", &subject, Use::Server)?;
        self.signature_of(name)?;
        write(&folder.join("ca.crt"), self.authority.certificate_pem(), PUBLIC)?;
        Ok(folder)
    }

    /// A service's end of the calls between the switch's own services.
    ///
    /// # Errors
    /// [`PkiError`] when something cannot be made or written.
    pub fn inside(&self, name: &str) -> Result<Inside, PkiError> {
        let folder = self.dir.join(INSIDE);
        let authority = authority_in(&folder, "PIX development CA, inside")?;
        let subject = Subject {
            common_name: name.to_owned(),
            ispb: None,
        };
        let identity = ensure(&authority, &folder, name, &subject, Use::Inside)?;
        let file = |name: &str, extension: &str| folder.join(name).with_extension(extension);
        Ok(Inside {
            certificate: file(name, "crt"),
            key: file(name, "key"),
            ca: file("ca", "crt"),
            identity,
            ca_pem: authority.certificate_pem().to_owned(),
        })
    }

    fn signature_of(&self, service: &str) -> Result<Identity, PkiError> {
        let subject = Subject {
            common_name: format!("{service} signature"),
            ispb: None,
        };
        self.ensure(&self.dir.join(service), "signature", &subject, Use::Signature)
    }

    fn ensure(
        &self,
        folder: &Path,
        stem: &str,
        subject: &Subject,
        purpose: Use,
    ) -> Result<Identity, PkiError> {
        ensure(&self.authority, folder, stem, subject, purpose)
    }
}

/// The authority of a folder, made when there is none.
fn authority_in(folder: &Path, name: &str) -> Result<Authority, PkiError> {
    match read_identity(folder, "ca")? {
        Some(identity) => Authority::from_identity(identity),
        None => {
            let authority = Authority::new(name, Validity::long(now()))?;
            write_identity(folder, "ca", authority.identity())?;
            Ok(authority)
        }
    }
}

fn ensure(
    authority: &Authority,
    folder: &Path,
    stem: &str,
    subject: &Subject,
    purpose: Use,
) -> Result<Identity, PkiError> {
    if let Some(identity) = read_identity(folder, stem)? {
        return Ok(identity);
    }
    let identity = authority.issue(subject, purpose, Validity::long(now()))?;
    write_identity(folder, stem, &identity)?;
    Ok(identity)
}

#[expect(
    clippy::disallowed_methods,
    reason = "TLS libraries judge validity by the system's clock, so it is issued by it"
)]
fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}

const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// Both files, or none: a pair cut off half-way is made again.
fn read_identity(folder: &Path, stem: &str) -> Result<Option<Identity>, PkiError> {
    let read = |extension: &str| {
        let path = folder.join(stem).with_extension(extension);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::File {
                what: "read",
                path,
                source,
            }),
        }
    };
    Ok(read("crt")?
        .zip(read("key")?)
        .map(|(certificate_pem, key_pem)| Identity {
            certificate_pem,
            key_pem,
        }))
}

fn write_identity(folder: &Path, stem: &str, identity: &Identity) -> Result<(), PkiError> {
    write(
        &folder.join(stem).with_extension("key"),
        &identity.key_pem,
        SECRET,
    )?;
    write(
        &folder.join(stem).with_extension("crt"),
        &identity.certificate_pem,
        PUBLIC,
    )
}

/// Beside, then renamed: a reader sees the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |source| PkiError::File {
        what: "write",
        path: path.to_path_buf(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed)?;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}
