//! The keys of a bank's customers, by the bank's own API.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::{Key, KeyType};
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::{Answer, Http, new_order_key, segment};
use crate::place::Place;
use crate::seed::{Account, BANKS};

/// A registration or removal has ended by then, unless the DICT is away.
const END_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// A key as its bank has it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BankKey {
    /// Names this registration of the key.
    id: String,
    /// Nothing until the DICT has drawn a random key.
    pub(crate) key: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// requested, active, refused, removing, removed, or lost when the DICT has it no more
    pub(crate) state: String,
    /// `0001/100001`
    pub(crate) account: String,
    /// Why it was refused.
    pub(crate) reason: Option<String>,
    /// What happened, in order.
    pub(crate) steps: Vec<Step>,
}

/// One step of a registration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) stage: String,
    pub(crate) at: String,
    pub(crate) detail: String,
}

/// Whom a key leads to, as the payer's bank shows it before the payer agrees.
#[derive(Clone, Debug)]
pub(crate) struct Payee {
    pub(crate) name: String,
    /// Masked by the bank.
    pub(crate) tax_id: String,
    pub(crate) ispb: String,
    /// Whether it is the payer's own bank.
    pub(crate) own: bool,
    /// Names the payment that follows. A key of the own bank may have none.
    pub(crate) end_to_end_id: Option<String>,
    pub(crate) took: Duration,
}

/// The keys of one bank.
#[derive(Debug)]
pub(crate) struct BankKeys<'a> {
    http: &'a Http,
    pub(crate) bank: &'static str,
    port: u16,
}

impl<'a> BankKeys<'a> {
    /// Of a bank that runs here; `index` from zero.
    pub(crate) fn of(place: &Place, http: &'a Http, index: u16) -> Self {
        Self {
            http,
            bank: BANKS[usize::from(index)].name,
            port: place.ports.bank(index),
        }
    }

    /// All of them, in any state, the oldest first.
    pub(crate) async fn list(&self) -> anyhow::Result<Vec<BankKey>> {
        let answer = self.http.get(self.port, "/api/keys").await.context(START)?;
        let answer = self.taken(answer, "does not list its keys")?;
        let all = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(all.iter().rev().map(BankKey::read).collect())
    }

    /// Asks for a key and waits until the bank knows what came of it; one of the state `requested` is still open.
    pub(crate) async fn add(
        &self,
        account: &Account,
        kind: KeyType,
        key: Option<&str>,
    ) -> anyhow::Result<BankKey> {
        let body = json!({
            "account": {"branch": account.branch, "number": account.number},
            "type": kind.as_str(), "key": key,
        });
        let order_key = new_order_key()?;
        let answer = self
            .http
            .post_until_answered(self.port, "/api/keys", &body, &order_key)
            .await
            .context("whether the key is registered is unknown: ask with `pix key list`")?;
        let asked = BankKey::read(&self.taken(answer, "registers no such key")?);
        self.until(asked, |key| key.state != "requested").await
    }

    /// Gives a key up, likewise.
    pub(crate) async fn remove(&self, key: &Key) -> anyhow::Result<BankKey> {
        let path = format!("/api/keys/{}", segment(key.as_str()));
        let answer = self.http.delete(self.port, &path).await.context(START)?;
        let asked = BankKey::read(&self.taken(answer, "removes no such key")?);
        self.until(asked, |key| key.state != "removing").await
    }

    /// Confirms a phone or e-mail as the customer's own, as the bank's clerk does.
    pub(crate) async fn confirm(&self, account: &Account, contact: &str) -> anyhow::Result<()> {
        let path = format!("/api/accounts/{}/{}/contacts", account.branch, account.number);
        let body = json!({ "contact": contact });
        let answer = self
            .http
            .post(self.port, &path, &body, None)
            .await
            .context(START)?;
        self.taken(answer, "confirms no such contact").map(drop)
    }

    /// Whom a key leads to, asked for the holder of `payer`.
    pub(crate) async fn lookup(&self, payer: &Account, key: &Key) -> anyhow::Result<Payee> {
        let path = format!(
            "/api/keys/{}/lookup?branch={}&number={}",
            segment(key.as_str()),
            payer.branch,
            payer.number
        );
        let asked = Instant::now();
        let answer = self
            .http
            .post(self.port, &path, &json!({}), None)
            .await
            .context(START)?;
        let took = asked.elapsed();
        if answer.status == 404 {
            bail!(
                "{} finds nobody by this key ({}): ask the receiver for it again (`pix key list --all` shows every key \
                 there is), or pay an account with --to-account",
                self.bank,
                answer.refusal()
            );
        }
        let found = self.taken(answer, "finds nobody by this key")?;
        let text = |name: &str| found[name].as_str().map(str::to_owned);
        Ok(Payee {
            name: text("name").unwrap_or_default(),
            tax_id: text("tax_id").unwrap_or_default(),
            ispb: text("ispb").unwrap_or_default(),
            own: found["own"] == true,
            end_to_end_id: text("end_to_end_id"),
            took,
        })
    }

    /// Waits until a registration stands as wanted; gives up after a while, and then gives how it stands.
    async fn until(&self, mut known: BankKey, ended: impl Fn(&BankKey) -> bool) -> anyhow::Result<BankKey> {
        let asked = Instant::now();
        while !ended(&known) && asked.elapsed() < END_WITHIN {
            tokio::time::sleep(PAUSE).await;
            // The bank may be restarting: the registration goes on regardless.
            let all = self.list().await.unwrap_or_default();
            known = all.into_iter().find(|key| key.id == known.id).unwrap_or(known);
        }
        Ok(known)
    }

    fn taken(&self, answer: Answer, otherwise: &str) -> anyhow::Result<Value> {
        if answer.is_success() {
            return Ok(answer.body);
        }
        bail!("{} {otherwise}: {}", self.bank, answer.refusal())
    }
}

const START: &str = "start everything with `pix up`";

impl BankKey {
    fn read(raw: &Value) -> Self {
        let text = |name: &str| raw[name].as_str().map(str::to_owned);
        let account = |name: &str| raw["account"][name].as_str().unwrap_or_default();
        let steps = raw["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            id: text("id").unwrap_or_default(),
            key: text("key"),
            kind: text("type").unwrap_or_default(),
            state: text("state").unwrap_or_default(),
            account: format!("{}/{}", account("branch"), account("number")),
            reason: text("reason_text").or_else(|| text("reason")),
            steps: steps.iter().map(Step::read).collect(),
        }
    }

    /// Whether a person wants to see it: what is over is for programs.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self.state.as_str(), "refused" | "removed" | "lost")
    }
}

impl Step {
    fn read(raw: &Value) -> Self {
        let text = |name: &str| raw[name].as_str().unwrap_or_default().to_owned();
        Self {
            stage: text("stage"),
            at: text("at"),
            detail: text("detail"),
        }
    }
}
