//! Reading about keys: for the page, for the registrar, and for payments by key.

use std::collections::HashMap;

use bank_core::{Account, AccountId, OrderKey, Question, Registration};
use pix_domain::{Key, RequestId, TaxId, Timestamp};
use sqlx::types::time::OffsetDateTime;

use super::StoreError;
use super::read::Reader;
use super::rows::{RegistrationRow, corrupt, key, request_id, tax_id};

/// Registrations that one list shows.
const KEYS_MAX: i64 = 1000;

/// A registration in a list, with its timeline: stage, when, detail.
#[derive(Debug)]
pub(crate) struct KeyLine {
    pub(crate) registration: Registration,
    pub(crate) account: Account,
    pub(crate) steps: Vec<(String, Timestamp, Option<String>)>,
}

/// A question that the DICT has to answer.
#[derive(Debug)]
pub(crate) struct OpenQuestion {
    pub(crate) registration: Registration,
    pub(crate) question: Question,
    /// Whether it may have been asked before.
    pub(crate) sent: bool,
    pub(crate) account: Account,
    pub(crate) opened_at: Timestamp,
}

/// A key whose state here is compared with the DICT's.
#[derive(Debug)]
pub(crate) struct Comparable {
    pub(crate) request_id: RequestId,
    pub(crate) key: Key,
    /// The DICT is to have it; else it is to have it no more, or not yet again.
    pub(crate) active: bool,
    pub(crate) holder: TaxId,
}

impl Reader {
    /// Registrations in any state, newest first; of one account, or of all.
    pub(crate) async fn keys(&self, of: Option<AccountId>) -> Result<Vec<KeyLine>, StoreError> {
        let rows: Vec<RegistrationRow> = sqlx::query_as(
            "SELECT * FROM key_registration WHERE $1::bigint IS NULL OR account = $1
              ORDER BY requested_at DESC, request_id LIMIT $2",
        )
        .bind(of.map(|account| account.0))
        .bind(KEYS_MAX)
        .fetch_all(&self.0)
        .await?;
        self.lines(rows).await
    }

    /// The registration of this id, or the latest of this key.
    pub(crate) async fn key(&self, name: &str) -> Result<Option<KeyLine>, StoreError> {
        let rows: Vec<RegistrationRow> = sqlx::query_as(
            "SELECT * FROM key_registration WHERE request_id = $1 OR key = $1
              ORDER BY requested_at DESC, request_id LIMIT 1",
        )
        .bind(name)
        .fetch_all(&self.0)
        .await?;
        Ok(self.lines(rows).await?.pop())
    }

    async fn lines(&self, rows: Vec<RegistrationRow>) -> Result<Vec<KeyLine>, StoreError> {
        let ids: Vec<String> = rows.iter().map(|row| row.request_id.clone()).collect();
        let accounts: Vec<i64> = rows.iter().map(|row| row.account).collect();
        let accounts = self.accounts_by_id(&accounts).await?;
        let found: Vec<(String, String, OffsetDateTime, Option<String>)> = sqlx::query_as(
            "SELECT request_id, stage, at, detail FROM key_step WHERE request_id = ANY($1) ORDER BY id",
        )
        .bind(&ids)
        .fetch_all(&self.0)
        .await?;
        let mut steps: HashMap<String, Vec<_>> = HashMap::new();
        for (id, stage, at, detail) in found {
            steps.entry(id).or_default().push((stage, at.into(), detail));
        }
        let line = |row: RegistrationRow| {
            let steps = steps.remove(&row.request_id).unwrap_or_default();
            let account = account_of(&accounts, row.account)?;
            Ok(KeyLine {
                registration: row.try_into()?,
                account,
                steps,
            })
        };
        rows.into_iter().map(line).collect()
    }

    /// The live registration of a key, and its account.
    pub(crate) async fn live_key(&self, key: &Key) -> Result<Option<(Registration, Account)>, StoreError> {
        let row: Option<RegistrationRow> = sqlx::query_as(
            "SELECT * FROM key_registration WHERE key = $1 AND state IN ('requested', 'active', 'removing')",
        )
        .bind(key.as_str())
        .fetch_optional(&self.0)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let accounts = self.accounts_by_id(&[row.account]).await?;
        let account = account_of(&accounts, row.account)?;
        Ok(Some((row.try_into()?, account)))
    }

    /// The oldest questions for the DICT, without those in `in_flight`.
    pub(crate) async fn questions(
        &self,
        in_flight: &[String],
        limit: usize,
    ) -> Result<Vec<OpenQuestion>, StoreError> {
        let rows: Vec<RegistrationRow> = sqlx::query_as(
            "SELECT * FROM key_registration
              WHERE state IN ('requested', 'removing') AND NOT request_id = ANY($1)
              ORDER BY requested_at LIMIT $2",
        )
        .bind(in_flight)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.account).collect();
        let accounts = self.accounts_by_id(&ids).await?;
        let opened: Vec<(i64, OffsetDateTime)> =
            sqlx::query_as("SELECT id, opened_at FROM account WHERE id = ANY($1)")
                .bind(&ids)
                .fetch_all(&self.0)
                .await?;
        let opened: HashMap<i64, OffsetDateTime> = opened.into_iter().collect();
        let read = |row: RegistrationRow| {
            let account = account_of(&accounts, row.account)?;
            let opened_at = opened.get(&row.account).ok_or_else(corrupt("account"))?;
            let registration: Registration = row.try_into()?;
            let (question, sent) = registration.question().ok_or_else(corrupt("open question"))?;
            Ok(OpenQuestion {
                registration,
                question,
                sent,
                account,
                opened_at: (*opened_at).into(),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// What is to be compared with the DICT, in the order of the keys, from behind `after` on: active keys, and
    /// ended ones that the DICT may have all the same; of several for one key, the latest.
    pub(crate) async fn comparable(&self, after: &str, limit: usize) -> Result<Vec<Comparable>, StoreError> {
        let rows: Vec<(String, String, bool, String)> = sqlx::query_as(
            "SELECT DISTINCT ON (k.key) k.request_id, k.key, k.state = 'active', a.tax_id
               FROM key_registration k JOIN account a ON a.id = k.account
              WHERE k.key > $1
                AND (k.state = 'active'
                     OR (((k.state = 'refused' AND k.sent) OR (k.state = 'lost' AND k.kind = 'EVP'))
                         AND NOT EXISTS (SELECT 1 FROM key_registration l WHERE l.key = k.key
                                            AND l.state IN ('requested', 'active', 'removing'))))
              ORDER BY k.key, k.requested_at DESC LIMIT $2",
        )
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await?;
        let read = |(id, text, active, holder): &(String, String, bool, String)| {
            Ok(Comparable {
                request_id: request_id(id)?,
                key: key(text)?,
                active: *active,
                holder: tax_id(holder)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Confirmed phones and e-mails of a customer.
    pub(crate) async fn contacts(&self, holder: &TaxId) -> Result<Vec<Key>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT contact FROM contact WHERE tax_id = $1 ORDER BY contact")
                .bind(holder.as_str())
                .fetch_all(&self.0)
                .await?;
        rows.iter().map(|contact| key(contact)).collect()
    }

    /// Whether an order with this Idempotency-Key was taken before.
    pub(crate) async fn is_used(&self, order: &OrderKey) -> Result<bool, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM order_key WHERE key = $1)")
                .bind(order.as_str())
                .fetch_one(&self.0)
                .await?,
        )
    }
}

fn account_of(accounts: &[Account], id: i64) -> Result<Account, StoreError> {
    let found = accounts.iter().find(|account| account.id == AccountId(id));
    found.cloned().ok_or_else(corrupt("account of a key"))
}
