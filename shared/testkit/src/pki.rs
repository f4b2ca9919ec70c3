//! Certificates for tests: made once in a run, because RSA keys are slow to make.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pix_domain::{Category, Ispb};
use pix_pki::{DevPki, Inside};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::tls;
use pix_xmldsig::Signer;
use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;

use crate::parts;
use crate::run::lock_file;

/// The run's authority; every test may add to it, nobody changes what is there.
pub struct TestPki {
    folder: PathBuf,
    pki: DevPki,
}

/// A participant of a seed file.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Its ISPB.
    pub ispb: &'a str,
    /// Its settler when it is indirect.
    pub settler: Option<&'a str>,
    /// What its Conta PI starts with, in reais.
    pub opening_balance: &'a str,
}

impl TestPki {
    /// The PKI of this run.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn shared() -> Self {
        let folder = parts().await.folder.join("pki");
        let pki = locked(&folder, || DevPki::open_or_create(&folder));
        Self { folder, pki }
    }

    /// The authority and its folder.
    #[must_use]
    pub fn pki(&self) -> &DevPki {
        &self.pki
    }

    /// The folder of a participant, as `pix pki participant` writes it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn participant(&self, ispb: &str) -> PathBuf {
        let out = self.folder.join(ispb);
        let ispb = Ispb::parse(ispb.as_bytes()).expect("an ISPB");
        locked(&self.folder, || self.pki.participant(ispb, &out));
        out
    }

    /// The folder of a service: `server.crt|key`, `signature.crt|key`, `ca.crt`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn service(&self, name: &str) -> PathBuf {
        locked(&self.folder, || self.pki.service(name))
    }

    /// A service's end of the calls inside the switch: files and PEM texts.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn inside(&self, name: &str) -> Inside {
        locked(&self.folder, || self.pki.inside(name))
    }

    /// What a participant signs its messages with.
    #[must_use]
    pub fn signer(&self, ispb: &str) -> Signer {
        signer(&self.participant(ispb))
    }

    /// What a service signs its messages with.
    #[must_use]
    pub fn service_signer(&self, name: &str) -> Signer {
        signer(&self.service(name))
    }

    /// The channel of a participant.
    #[must_use]
    pub fn client_tls(&self, ispb: &str) -> Arc<ClientConfig> {
        let folder = self.participant(ispb);
        tls::client(
            &read(&folder, "channel.crt"),
            &read(&folder, "channel.key"),
            &read(&folder, "ca.crt"),
        )
        .expect("the run's PKI works")
    }

    /// A client on the channel of a participant.
    #[must_use]
    pub fn client(&self, ispb: &str) -> Client {
        Client::new(&self.client_tls(ispb), ClientLimits::default())
    }

    /// A server that lets the participants in.
    #[must_use]
    pub fn server_tls(&self, service: &str) -> Arc<ServerConfig> {
        let folder = self.service(service);
        tls::server(
            &read(&folder, "server.crt"),
            &read(&folder, "server.key"),
            &read(&folder, "ca.crt"),
        )
        .expect("the run's PKI works")
    }

    /// A folder with a `participants.toml` of these, certificates by absolute path. It goes when it is dropped.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn seed(&self, seats: &[Seat<'_>]) -> TempDir {
        let seats: Vec<_> = seats.iter().map(|seat| (*seat, Category::A)).collect();
        self.seed_in_categories(&seats)
    }

    /// As [`Self::seed`], each participant in its category of the DICT's limits.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn seed_in_categories(&self, seats: &[(Seat<'_>, Category)]) -> TempDir {
        let folder = TempDir::with_prefix("pix-seed-").expect("a folder can be made");
        let entries = seats.iter().map(|(seat, category)| self.entry(seat, *category));
        let entries = entries.collect::<String>();
        fs::write(folder.path().join("participants.toml"), entries).expect("a file can be written");
        folder
    }

    fn entry(&self, seat: &Seat<'_>, category: Category) -> String {
        let Seat {
            ispb,
            settler,
            opening_balance,
        } = seat;
        let how = match settler {
            Some(settler) => format!("settler = \"{settler}\"\n"),
            None => {
                let folder = self.participant(ispb);
                let folder = folder.display();
                format!(
                    "opening_balance = \"{opening_balance}\"\n\
                     channel_certificates = [\"{folder}/channel.crt\"]\n\
                     signature_certificates = [\"{folder}/signature.crt\"]\n"
                )
            }
        };
        format!(
            "[[participant]]\nispb = \"{ispb}\"\nname = \"Banco {ispb}\"\ncategory = \"{category}\"\n{how}\n"
        )
    }
}

/// One process at a time makes certificates: a pair is two files.
fn locked<T, E: std::fmt::Display>(folder: &Path, make: impl FnOnce() -> Result<T, E>) -> T {
    fs::create_dir_all(folder).expect("the run's folder is there");
    let _lock = lock_file(&folder.join("lock")).expect("a file can be locked");
    make().unwrap_or_else(|e| panic!("the PKI for tests: {e}"))
}

fn signer(folder: &Path) -> Signer {
    Signer::from_pem(&read(folder, "signature.crt"), &read(folder, "signature.key"))
        .expect("the run's PKI works")
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
