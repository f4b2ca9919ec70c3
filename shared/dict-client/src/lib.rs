//! The DICT as a participant asks it: requests signed, answers believed only with the DICT's own signature.

mod answer;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, Method, Request as HttpRequest};
use http_body_util::Full;
use pix_dict_api::{
    Account, CheckKeys, CreateEntry, DeleteEntry, Entry, EntryResponse, EntryRoot, NewEntry, Owner,
    PolicyState, Problem, Request, Response, Statistics, UpdateEntry, seal_request, write_unsigned,
};
use pix_domain::{Category, EndToEndId, Ispb, Key, RequestId, TaxId};
use pix_runtime::http::Client;
use pix_xmldsig::{KeySource, Signer};

/// Of the signature's KeyInfo: each message has one only.
const KEY_INFO_ID: &str = "key-info-id";

static PI_REQUESTING_PARTICIPANT: HeaderName = HeaderName::from_static("pi-requestingparticipant");
static PI_PAYER_ID: HeaderName = HeaderName::from_static("pi-payerid");
static PI_END_TO_END_ID: HeaderName = HeaderName::from_static("pi-endtoendid");

/// The DICT, as one participant sees it. Clones share its connections.
#[derive(Clone)]
pub struct Dict {
    /// The connections, with the participant's channel certificate.
    pub client: Client,
    /// `https://host:4001`, without a slash at the end.
    pub base: String,
    /// `https://host:4011`, where keys are checked, without a slash at the end.
    pub np_base: String,
    /// The participant.
    pub ispb: Ispb,
    /// Signs its requests.
    pub signer: Signer,
    /// Verifies the DICT's answers.
    pub keys: Arc<dyn KeySource + Send + Sync>,
}

/// Why there is no answer to build on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The DICT did nothing, and says why.
    #[error("the DICT refuses: {kind}", kind = .0.kind.as_str())]
    Refused(Problem),
    /// No answer, or one that says nothing: it may have been done.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The DICT was not reached: nothing was done.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The answer's signature or form is wrong: it may have been done.
    #[error("the answer is not to be trusted: {0}")]
    Untrusted(String),
}

/// What came, or why nothing did.
pub type Result<T> = std::result::Result<T, Failure>;

impl Dict {
    /// `POST /entries/`: registers a key. Sent again with the same `request_id`, it is done once.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn create_entry(&self, entry: &NewEntry, reason: &str, request_id: RequestId) -> Result<Entry> {
        let request = Request::CreateEntry(CreateEntry {
            entry: entry.into(),
            reason: reason.to_owned(),
            request_id: request_id.to_string(),
        });
        let answer = self.signed(Method::POST, "/entries/", &request).await?;
        let made = of_entry(answer, EntryRoot::Create)?.entry.into_owned();
        let as_asked = made.key.kind() == entry.kind && entry.key.as_ref().is_none_or(|key| *key == made.key);
        if as_asked {
            Ok(made)
        } else {
            Err(other_than_asked())
        }
    }

    /// `GET /entries/{Key}`: whose the key is. With `statistics` the DICT is asked to add them, though
    /// [`Self::get_entry_with_statistics`] is who gives them.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_entry(
        &self,
        key: &Key,
        payer: TaxId,
        end_to_end_id: EndToEndId,
        statistics: bool,
    ) -> Result<Entry> {
        let found = self.look_up(key, payer, end_to_end_id, statistics).await?;
        Ok(found.entry.into_owned())
    }

    /// [`Self::get_entry`], with the statistics of the key and its owner.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_entry_with_statistics(
        &self,
        key: &Key,
        payer: TaxId,
        end_to_end_id: EndToEndId,
    ) -> Result<(Entry, Statistics)> {
        let found = self.look_up(key, payer, end_to_end_id, true).await?;
        let statistics = found.statistics.ok_or_else(other_than_asked)?;
        Ok((found.entry.into_owned(), statistics.into_owned()))
    }

    async fn look_up(
        &self,
        key: &Key,
        payer: TaxId,
        end_to_end_id: EndToEndId,
        statistics: bool,
    ) -> Result<EntryResponse<'static>> {
        let mut path = format!("/entries/{}", segment(key.as_str()));
        if statistics {
            path.push_str("?IncludeStatistics=true");
        }
        let request = self
            .request(Method::GET, &self.api(&path))
            .header(&PI_PAYER_ID, payer.as_str())
            .header(&PI_END_TO_END_ID, end_to_end_id.as_str());
        let found = of_entry(self.send(request, Vec::new()).await?, EntryRoot::Get)?;
        of_key(key, &found.entry.key)?;
        Ok(found)
    }

    /// `PUT /entries/{Key}`: changes account or owner's names.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn update_entry(
        &self,
        key: &Key,
        account: Option<&Account>,
        owner: Option<&Owner>,
        reason: &str,
    ) -> Result<Entry> {
        let request = Request::UpdateEntry(UpdateEntry {
            key: key.as_str().to_owned(),
            account: account.map(Into::into),
            owner: owner.map(Into::into),
            reason: reason.to_owned(),
        });
        let path = format!("/entries/{}", segment(key.as_str()));
        let answer = self.signed(Method::PUT, &path, &request).await?;
        let updated = of_entry(answer, EntryRoot::Update)?.entry.into_owned();
        of_key(key, &updated.key)?;
        Ok(updated)
    }

    /// `POST /entries/{Key}/delete`: removes a key of this participant.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete_entry(&self, key: &Key, reason: &str) -> Result<()> {
        let request = Request::DeleteEntry(DeleteEntry {
            key: key.as_str().to_owned(),
            participant: self.ispb.as_str().to_owned(),
            reason: reason.to_owned(),
        });
        let path = format!("/entries/{}/delete", segment(key.as_str()));
        match self.signed(Method::POST, &path, &request).await? {
            Response::DeleteEntry(deleted) => of_key(key, &deleted.key),
            _ => Err(other_than_asked()),
        }
    }

    /// `POST /keys/check`: whether each of up to [`pix_dict_api::KEYS_MAX`] keys is registered.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn check_keys(&self, keys: &[String]) -> Result<Vec<bool>> {
        let body = write_unsigned(&Request::CheckKeys(CheckKeys { keys: keys.to_vec() }));
        let uri = format!("{}/api-np/v2/keys/check", self.np_base);
        match self.send(self.request(Method::POST, &uri), body).await? {
            Response::CheckKeys(checked) if checked.keys.iter().map(|(key, _)| key).eq(keys) => {
                Ok(checked.keys.into_iter().map(|(_, has_entry)| has_entry).collect())
            }
            _ => Err(other_than_asked()),
        }
    }

    /// `GET /policies/`: the participant's category and the state of its buckets.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn policies(&self) -> Result<(Category, Vec<PolicyState>)> {
        let request = self.request(Method::GET, &self.api("/policies/"));
        match self.send(request, Vec::new()).await? {
            Response::ListPolicies(list) => Ok((list.category, list.policies)),
            _ => Err(other_than_asked()),
        }
    }

    /// `GET /policies/{policy}`: the state of one bucket.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn policy(&self, name: &str) -> Result<PolicyState> {
        let path = format!("/policies/{}", segment(name));
        let request = self.request(Method::GET, &self.api(&path));
        match self.send(request, Vec::new()).await? {
            Response::GetPolicy(got) if got.policy.name == name => Ok(got.policy),
            _ => Err(other_than_asked()),
        }
    }

    async fn signed(&self, method: Method, path: &str, request: &Request) -> Result<Response<'static>> {
        let body = seal_request(request, &self.signer, KEY_INFO_ID);
        self.send(self.request(method, &self.api(path)), body).await
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api/v2{path}", self.base)
    }

    /// `Host` is the client's business: without its port (PROTOCOL 1).
    fn request(&self, method: Method, uri: &str) -> http::request::Builder {
        HttpRequest::builder()
            .method(method)
            .uri(uri)
            .header(&PI_REQUESTING_PARTICIPANT, self.ispb.as_str())
            .header(ACCEPT, "application/xml, application/problem+xml")
            .header(ACCEPT_ENCODING, "gzip")
    }

    async fn send(&self, request: http::request::Builder, body: Vec<u8>) -> Result<Response<'static>> {
        let request = if body.is_empty() {
            request
        } else {
            request.header(CONTENT_TYPE, "application/xml; charset=utf-8")
        };
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Failure::NotSent(e.to_string()))?;
        match self.client.send(request).await {
            Ok((head, body)) => answer::read(&head, body, &*self.keys),
            Err(e) if e.is_unknown() => Err(Failure::Unknown(e.to_string())),
            Err(e) => Err(Failure::NotSent(e.to_string())),
        }
    }
}

fn of_entry(response: Response<'static>, root: EntryRoot) -> Result<EntryResponse<'static>> {
    match response {
        Response::Entry(entry) if entry.root == root => Ok(entry),
        _ => Err(other_than_asked()),
    }
}

fn of_key(asked: &Key, answered: &Key) -> Result<()> {
    if asked == answered {
        Ok(())
    } else {
        Err(other_than_asked())
    }
}

fn other_than_asked() -> Failure {
    Failure::Untrusted("the answer is to another request".to_owned())
}

/// `text` as one segment of a path: only what RFC 3986 calls unreserved stands for itself.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_key_is_one_segment() {
        assert_eq!(segment("+5561988880000"), "%2B5561988880000");
        assert_eq!(segment("a/b?c#d%e@x.br"), "a%2Fb%3Fc%23d%25e%40x.br");
        assert_eq!(
            segment("123e4567-e89b-12d3-a456-426655440000"),
            "123e4567-e89b-12d3-a456-426655440000"
        );
    }
}
