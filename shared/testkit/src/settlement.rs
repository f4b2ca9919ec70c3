//! A running settlement service, for the tests of the services that copy its registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pix_domain::Ispb;
use pix_inside::Ends;
use pix_parts::{Probe, Process, ProcessSpec, Signal, free_port};
use pix_pki::{Identity, Subject, Use, Validity};
use pix_proto::settlement_v1::participants_client::ParticipantsClient;
use pix_proto::settlement_v1::{
    AddCertificateRequest, AddRequest, Participant, ResumeRequest, RevokeCertificateRequest, SuspendRequest,
};
use pix_runtime::{Clock as _, SystemClock};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{TestPki, empty_database};

/// How long it may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A settlement process with a registry of its own, which is empty at first.
pub struct Settlement {
    pki: TestPki,
    port: u16,
    folder: TempDir,
    spec: ProcessSpec,
    process: Option<Process>,
}

impl Settlement {
    /// With its own database on the run's Postgres, this NATS, and the SPI whose calls inside are at this port.
    ///
    /// # Panics
    /// When it does not start; the program has to be built.
    pub async fn start(nats_url: &str, spi: u16) -> Self {
        let pki = TestPki::shared().await;
        let inside = pki.inside("settlement");
        let database = empty_database("settlement").await;
        let folder = TempDir::with_prefix("pix-settlement-").expect("a folder can be made");
        let [port, ops] = std::array::from_fn(|_| free_port().expect("a free port"));
        let flags = [
            ("listen", format!("127.0.0.1:{port}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", database.url_as("settlement_app")),
            ("database.owner_url", database.url()),
            ("nats.url", nats_url.to_owned()),
            ("spi.url", format!("https://127.0.0.1:{spi}")),
            ("inside.certificate", inside.certificate.display().to_string()),
            ("inside.key", inside.key.display().to_string()),
            ("inside.ca", inside.ca.display().to_string()),
        ];
        let spec = ProcessSpec {
            name: "settlement".to_owned(),
            program: program("settlement"),
            args: flags
                .iter()
                .map(|(key, value)| format!("--{key}={value}"))
                .collect(),
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: Signal::Terminate,
            log: folder.path().join("settlement.log"),
            probe: Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        let mut settlement = Self {
            pki,
            port,
            folder,
            spec,
            process: None,
        };
        settlement.run().await;
        settlement
    }

    /// Starts the process again.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn run(&mut self) {
        let mut process = self.spec.spawn().await.expect("settlement starts");
        let ready = process.ready(READY_WITHIN).await;
        self.process = Some(process);
        let log = fs::read_to_string(self.folder.path().join("settlement.log")).unwrap_or_default();
        assert!(ready.is_ok(), "settlement does not serve: {ready:?}\n{log}");
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.signal(Signal::Kill).expect("can be killed");
        process.wait().await.expect("can be waited for");
    }

    /// `settlement.url` of those that copy its registry.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its calls, as operators may make them.
    ///
    /// # Panics
    /// When the run's PKI is damaged.
    #[must_use]
    pub fn participants(&self) -> ParticipantsClient<Channel> {
        let own = self.pki.inside("pix");
        let ends = Ends::from_pem(own.identity.certificate_pem, own.identity.key_pem, own.ca_pem);
        ParticipantsClient::new(ends.service(&self.url()).expect("the run's PKI works"))
    }

    /// A participant joins with the certificates of the run's PKI; behind a settler without any.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(&self, ispb: &str, settler: Option<&str>) -> Participant {
        let pem = |name: &str| {
            let folder = self.pki.participant(ispb);
            let direct = settler.is_none().then(|| fs::read_to_string(folder.join(name)));
            direct
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
                .expect("readable")
        };
        let request = AddRequest {
            ispb: ispb.to_owned(),
            name: format!("Banco {ispb}"),
            settler: settler.unwrap_or_default().to_owned(),
            channel_certificates: pem("channel.crt"),
            signature_certificates: pem("signature.crt"),
            ..AddRequest::default()
        };
        answered(self.participants().add(request).await)
    }

    /// Suspends a participant.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn suspend(&self, ispb: &str) -> Participant {
        let request = SuspendRequest {
            ispb: ispb.to_owned(),
            reason: "a test".to_owned(),
        };
        answered(self.participants().suspend(request).await)
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn resume(&self, ispb: &str) -> Participant {
        let request = ResumeRequest {
            ispb: ispb.to_owned(),
        };
        answered(self.participants().resume(request).await)
    }

    /// Registers one more certificate.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn add_certificate(&self, ispb: &str, usage: &str, pem: &str) -> Participant {
        let request = AddCertificateRequest {
            ispb: ispb.to_owned(),
            r#use: usage.to_owned(),
            pem: pem.to_owned(),
        };
        answered(self.participants().add_certificate(request).await)
    }

    /// Revokes the oldest certificate of this use that is good.
    ///
    /// # Panics
    /// When there is none, or it is refused.
    pub async fn revoke(&self, ispb: &str, usage: &str) -> Participant {
        let get = pix_proto::settlement_v1::GetRequest {
            ispb: ispb.to_owned(),
        };
        let known = answered(self.participants().get(get).await);
        let mut good = known.certificates.iter();
        let good = good.find(|one| one.r#use == usage && one.revoked_at_micros.is_none());
        let request = RevokeCertificateRequest {
            ispb: ispb.to_owned(),
            fingerprint: good.expect("it has one").fingerprint.clone(),
            reason: "a test".to_owned(),
        };
        answered(self.participants().revoke_certificate(request).await)
    }
}

impl TestPki {
    /// One more certificate of a participant, in no folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn another(&self, ispb: &str, usage: Use) -> Identity {
        let subject = Subject {
            common_name: format!("{ispb} another"),
            ispb: Some(Ispb::parse(ispb.as_bytes()).expect("an ISPB")),
        };
        let validity = Validity::long(SystemClock.now());
        let issued = self.pki().authority().issue(&subject, usage, validity);
        issued.expect("the run's PKI works")
    }
}

fn answered(answer: Result<tonic::Response<Participant>, tonic::Status>) -> Participant {
    answer.expect("the registry does as it is told").into_inner()
}

/// A program of the switch: beside the test, where one build has made all of them.
fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("PIX_TEST_BINARIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("a test has a file");
        let folder = own.ancestors().nth(2);
        folder.expect("it lies in deps").to_path_buf()
    });
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `make test`, or build it with `cargo build -p {name}`",
        program.display()
    );
    program
}
