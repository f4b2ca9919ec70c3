//! The DICT's calls for the switch's own use: gRPC with mutual TLS, which no bank can make.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use pix_domain::{Ispb, Key};
use pix_inside::Ends;
use pix_proto::dict_v1::dict_client::DictClient;
use pix_proto::dict_v1::{Entry, ListByParticipantRequest, ResolveRequest};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::place::Place;

/// Our name among those who call inside.
pub(crate) const NAME: &str = "pix";

/// How long the DICT may take to begin an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The DICT, asked from inside.
#[derive(Debug)]
pub(crate) struct Inside(DictClient<Channel>);

impl Inside {
    /// # Errors
    /// When there is no instance here, or it does not run.
    pub(crate) async fn connect(place: &Place) -> anyhow::Result<Self> {
        let port = place.ports.dict_inside();
        let channel = endpoint(place, port)?
            .timeout(ANSWER_WITHIN)
            .connect()
            .await
            .with_context(|| {
                format!("the DICT does not answer on port {port}: start everything with `pix up`")
            })?;
        Ok(Self(DictClient::new(channel)))
    }

    /// The entry of a key; nothing when nobody has registered it.
    pub(crate) async fn resolve(&mut self, key: &Key) -> anyhow::Result<Option<Entry>> {
        let key = key.as_str().to_owned();
        match self.0.resolve(ResolveRequest { key }).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(refused(&status)),
        }
    }

    /// Every entry of a participant, by kind and key.
    pub(crate) async fn list(&mut self, participant: Ispb) -> anyhow::Result<Vec<Entry>> {
        let participant = participant.to_string();
        let asked = self
            .0
            .list_by_participant(ListByParticipantRequest { participant });
        let mut entries = asked.await.map_err(|status| refused(&status))?.into_inner();
        let mut all = Vec::new();
        while let Some(entry) = entries.message().await.map_err(|status| refused(&status))? {
            all.push(entry);
        }
        Ok(all)
    }
}

/// Where a service of ours listens inside, with our certificate to show.
///
/// # Errors
/// When there is no PKI here, or it cannot be used.
pub(crate) fn endpoint(place: &Place, port: u16) -> anyhow::Result<Endpoint> {
    let folder = place.path("pki/inside");
    let ends = Ends::from_pem(
        read(&folder, &format!("{NAME}.crt"))?,
        read(&folder, &format!("{NAME}.key"))?,
        read(&folder, "ca.crt")?,
    );
    let origin = format!("https://127.0.0.1:{port}");
    ends.endpoint(&origin).with_context(|| {
        format!(
            "the PKI in {} cannot be used: `pix down --purge` forgets it",
            folder.display()
        )
    })
}

fn refused(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("the DICT answers {}: {}", status.code(), status.message())
}

fn read(folder: &Path, name: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read: start everything with `pix up` first",
            path.display()
        )
    })
}
