//! Between rows and domain values.

use bank_core::{
    Account, AccountId, AccountState, Balances, Counterparty, Course, DictRefusal, Incoming, KeyState,
    Lookup, OrderKey, Outgoing, Payment, Pocket, Refusal, Registration,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, KeyType, Money, RequestId, TaxId, Text,
};
use sqlx::types::time::OffsetDateTime;

use super::StoreError;

/// A value in the database that the domain does not admit: somebody else wrote it.
pub(super) fn corrupt(what: &'static str) -> impl Fn() -> StoreError {
    move || StoreError::Corrupt(what)
}

pub(super) fn money(centavos: i64) -> Result<Money, StoreError> {
    u64::try_from(centavos)
        .map(Money::from_centavos)
        .map_err(|_| StoreError::Corrupt("amount"))
}

pub(super) fn end_to_end_id(text: &str) -> Result<EndToEndId, StoreError> {
    EndToEndId::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("end_to_end_id"))
}

fn ispb(text: &str) -> Result<Ispb, StoreError> {
    Ispb::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("ispb"))
}

fn branch(text: &str) -> Result<Branch, StoreError> {
    Branch::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("branch"))
}

fn number(text: &str) -> Result<AccountNumber, StoreError> {
    AccountNumber::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("account number"))
}

fn kind(text: &str) -> Result<AccountType, StoreError> {
    AccountType::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("account type"))
}

pub(super) fn tax_id(text: &str) -> Result<TaxId, StoreError> {
    TaxId::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("tax_id"))
}

fn text<const MAX: usize>(text: &str) -> Result<Text<MAX>, StoreError> {
    Text::parse(text).map_err(|_| StoreError::Corrupt("text"))
}

pub(super) fn request_id(text: &str) -> Result<RequestId, StoreError> {
    RequestId::parse(text).map_err(|_| StoreError::Corrupt("request_id"))
}

/// A key, whose kind its form tells.
pub(super) fn key(text: &str) -> Result<Key, StoreError> {
    Key::guess(text).map_err(|_| StoreError::Corrupt("key"))
}

#[derive(sqlx::FromRow)]
pub(super) struct AccountRow {
    id: i64,
    indirect: Option<String>,
    branch: String,
    number: String,
    kind: String,
    holder: String,
    tax_id: String,
    state: String,
    available: i64,
    blocked: i64,
    provisional: i64,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: AccountId(row.id),
            indirect: row.indirect.as_deref().map(ispb).transpose()?,
            branch: branch(&row.branch)?,
            number: number(&row.number)?,
            kind: kind(&row.kind)?,
            holder: text(&row.holder)?,
            tax_id: tax_id(&row.tax_id)?,
            state: AccountState::parse(&row.state).map_err(|_| StoreError::Corrupt("account state"))?,
            balances: Balances {
                available: money(row.available)?,
                blocked: money(row.blocked)?,
                provisional: money(row.provisional)?,
            },
        })
    }
}

/// A row of `payment`, without when it was created.
#[derive(sqlx::FromRow)]
pub(super) struct PaymentRow {
    pub(super) end_to_end_id: String,
    pub(super) course: String,
    pub(super) account: Option<i64>,
    pub(super) receiver: Option<i64>,
    pub(super) amount: i64,
    pub(super) accepted_at: OffsetDateTime,
    pub(super) counterparty_ispb: String,
    pub(super) counterparty_branch: Option<String>,
    pub(super) counterparty_number: String,
    pub(super) counterparty_kind: String,
    pub(super) counterparty_tax_id: String,
    pub(super) counterparty_name: Option<String>,
    pub(super) behalf_ispb: Option<String>,
    pub(super) behalf_branch: Option<String>,
    pub(super) behalf_number: Option<String>,
    pub(super) behalf_kind: Option<String>,
    pub(super) behalf_tax_id: Option<String>,
    pub(super) behalf_name: Option<String>,
    pub(super) key: Option<String>,
    pub(super) description: Option<String>,
    pub(super) state: String,
    pub(super) ended_at: Option<OffsetDateTime>,
    pub(super) refusal: Option<String>,
    pub(super) refused_by_us: Option<bool>,
}

impl From<&Payment> for PaymentRow {
    fn from(payment: &Payment) -> Self {
        let (course, account, receiver, by_us) = match &payment.course {
            Course::Outgoing { account, .. } => ("out", Some(account.0), None, None),
            Course::Incoming {
                account,
                state: Incoming::Refused { by_us, .. },
            } => ("in", account.map(|id| id.0), None, Some(*by_us)),
            Course::Incoming { account, .. } => ("in", account.map(|id| id.0), None, None),
            Course::Book { from, to, .. } => ("book", Some(from.0), Some(to.0), None),
        };
        let to = &payment.counterparty;
        let behalf = payment.on_behalf_of.as_ref();
        Self {
            end_to_end_id: payment.end_to_end_id.to_string(),
            course: course.to_owned(),
            account,
            receiver,
            amount: payment.amount.to_i64(),
            accepted_at: payment.accepted_at.into(),
            counterparty_ispb: to.ispb.to_string(),
            counterparty_branch: to.branch.map(|branch| branch.to_string()),
            counterparty_number: to.number.to_string(),
            counterparty_kind: to.kind.as_str().to_owned(),
            counterparty_tax_id: to.tax_id.as_str().to_owned(),
            counterparty_name: to.name.as_ref().map(|name| name.as_str().to_owned()),
            behalf_ispb: behalf.map(|customer| customer.ispb.to_string()),
            behalf_branch: behalf.and_then(|customer| Some(customer.branch?.to_string())),
            behalf_number: behalf.map(|customer| customer.number.to_string()),
            behalf_kind: behalf.map(|customer| customer.kind.as_str().to_owned()),
            behalf_tax_id: behalf.map(|customer| customer.tax_id.as_str().to_owned()),
            behalf_name: behalf.and_then(|customer| Some(customer.name.as_ref()?.as_str().to_owned())),
            key: payment.key.as_ref().map(|key| key.as_str().to_owned()),
            description: payment.description.as_ref().map(|text| text.as_str().to_owned()),
            state: payment.state().to_owned(),
            ended_at: payment.ended_at().map(Into::into),
            refusal: payment.refusal().map(Refusal::code),
            refused_by_us: by_us,
        }
    }
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        let counterparty = Counterparty {
            ispb: ispb(&row.counterparty_ispb)?,
            branch: row.counterparty_branch.as_deref().map(branch).transpose()?,
            number: number(&row.counterparty_number)?,
            kind: kind(&row.counterparty_kind)?,
            tax_id: tax_id(&row.counterparty_tax_id)?,
            name: row.counterparty_name.as_deref().map(text).transpose()?,
        };
        Ok(Self {
            end_to_end_id: end_to_end_id(&row.end_to_end_id)?,
            amount: money(row.amount)?,
            accepted_at: row.accepted_at.into(),
            counterparty,
            on_behalf_of: on_behalf_of(&row)?,
            key: row.key.as_deref().map(key).transpose()?,
            description: row.description.as_deref().map(text).transpose()?,
            course: course(&row)?,
        })
    }
}

fn on_behalf_of(row: &PaymentRow) -> Result<Option<Counterparty>, StoreError> {
    let Some(participant) = row.behalf_ispb.as_deref() else {
        return Ok(None);
    };
    let whole = |column: &'_ Option<String>| {
        column
            .clone()
            .ok_or_else(corrupt("customer of an indirect participant"))
    };
    Ok(Some(Counterparty {
        ispb: ispb(participant)?,
        branch: row.behalf_branch.as_deref().map(branch).transpose()?,
        number: number(&whole(&row.behalf_number)?)?,
        kind: kind(&whole(&row.behalf_kind)?)?,
        tax_id: tax_id(&whole(&row.behalf_tax_id)?)?,
        name: row.behalf_name.as_deref().map(text).transpose()?,
    }))
}

fn course(row: &PaymentRow) -> Result<Course, StoreError> {
    let at = || row.ended_at.map(Into::into).ok_or_else(corrupt("ended_at"));
    let refusal = || {
        row.refusal
            .as_deref()
            .and_then(Refusal::from_code)
            .ok_or_else(corrupt("refusal"))
    };
    let account = row.account.map(AccountId);
    match row.course.as_str() {
        "out" => {
            let state = match row.state.as_str() {
                "pending" => Outgoing::Pending,
                "settled" => Outgoing::Settled { at: at()? },
                _ => Outgoing::Refused {
                    at: at()?,
                    refusal: refusal()?,
                },
            };
            Ok(Course::Outgoing {
                account: account.ok_or_else(corrupt("account"))?,
                state,
            })
        }
        "in" => {
            let state = match row.state.as_str() {
                "pending" => Incoming::Answered,
                "settled" => Incoming::Settled { at: at()? },
                _ => Incoming::Refused {
                    at: at()?,
                    refusal: refusal()?,
                    by_us: row.refused_by_us == Some(true),
                },
            };
            Ok(Course::Incoming { account, state })
        }
        _ => {
            let to = row.receiver.map(AccountId).ok_or_else(corrupt("receiver"))?;
            Ok(Course::Book {
                from: account.ok_or_else(corrupt("account"))?,
                to,
                settled_at: at()?,
            })
        }
    }
}

/// A row of `key_registration`.
#[derive(sqlx::FromRow)]
pub(super) struct RegistrationRow {
    pub(super) request_id: String,
    pub(super) account: i64,
    pub(super) kind: String,
    pub(super) key: Option<String>,
    pub(super) wish: Option<String>,
    pub(super) requested_at: OffsetDateTime,
    pub(super) state: String,
    pub(super) sent: bool,
    pub(super) refusal: Option<String>,
    pub(super) repairs: bool,
}

impl From<&Registration> for RegistrationRow {
    fn from(registration: &Registration) -> Self {
        let (sent, refusal) = match &registration.state {
            KeyState::Requested { sent } | KeyState::Removing { sent } => (*sent, None),
            KeyState::Refused { why, doubt } => (*doubt, Some(why.as_str().to_owned())),
            KeyState::Active { kept } => (true, kept.as_ref().map(|why| why.as_str().to_owned())),
            KeyState::Removed | KeyState::Lost => (true, None),
        };
        Self {
            request_id: registration.request_id.to_string(),
            account: registration.account.0,
            kind: registration.kind.as_str().to_owned(),
            key: registration.key.as_ref().map(|key| key.as_str().to_owned()),
            wish: registration.wish.as_ref().map(|wish| wish.as_str().to_owned()),
            requested_at: registration.requested_at.into(),
            state: registration.state.as_str().to_owned(),
            sent,
            refusal,
            repairs: registration.repairs,
        }
    }
}

impl TryFrom<RegistrationRow> for Registration {
    type Error = StoreError;

    fn try_from(row: RegistrationRow) -> Result<Self, StoreError> {
        let kind = KeyType::parse(row.kind.as_bytes()).map_err(|_| StoreError::Corrupt("kind of key"))?;
        let read = |text: &String| Key::parse(kind, text).map_err(|_| StoreError::Corrupt("key"));
        let refusal = row.refusal.as_deref().map(DictRefusal::parse);
        let state = match row.state.as_str() {
            "requested" => KeyState::Requested { sent: row.sent },
            "active" => KeyState::Active { kept: refusal },
            "refused" => KeyState::Refused {
                why: refusal.ok_or_else(corrupt("refusal of a key"))?,
                doubt: row.sent,
            },
            "removing" => KeyState::Removing { sent: row.sent },
            "removed" => KeyState::Removed,
            "lost" => KeyState::Lost,
            _ => return Err(StoreError::Corrupt("state of a key")),
        };
        Ok(Self {
            request_id: request_id(&row.request_id)?,
            account: AccountId(row.account),
            kind,
            key: row.key.as_ref().map(read).transpose()?,
            wish: row
                .wish
                .as_deref()
                .map(|wish| OrderKey::parse(wish).map_err(|_| StoreError::Corrupt("wish")))
                .transpose()?,
            requested_at: row.requested_at.into(),
            repairs: row.repairs,
            state,
        })
    }
}

/// A row of `lookup`.
#[derive(sqlx::FromRow)]
pub(super) struct LookupRow {
    end_to_end_id: String,
    account: i64,
    kind: String,
    key: String,
    ispb: String,
    branch: Option<String>,
    number: String,
    account_kind: String,
    tax_id: String,
    name: String,
    at: OffsetDateTime,
}

impl TryFrom<LookupRow> for Lookup {
    type Error = StoreError;

    fn try_from(row: LookupRow) -> Result<Self, StoreError> {
        let of_key = KeyType::parse(row.kind.as_bytes()).map_err(|_| StoreError::Corrupt("kind of key"))?;
        Ok(Self {
            end_to_end_id: end_to_end_id(&row.end_to_end_id)?,
            account: AccountId(row.account),
            key: Key::parse(of_key, &row.key).map_err(|_| StoreError::Corrupt("key"))?,
            to: Counterparty {
                ispb: ispb(&row.ispb)?,
                branch: row.branch.as_deref().map(branch).transpose()?,
                number: number(&row.number)?,
                kind: kind(&row.account_kind)?,
                tax_id: tax_id(&row.tax_id)?,
                name: Some(text(&row.name)?),
            },
            at: row.at.into(),
        })
    }
}

/// Name of a pocket, and its account when it is a customer's.
pub(super) fn pocket(pocket: Pocket) -> (&'static str, Option<i64>) {
    match pocket {
        Pocket::Available(id) => ("available", Some(id.0)),
        Pocket::Blocked(id) => ("blocked", Some(id.0)),
        Pocket::Provisional(id) => ("provisional", Some(id.0)),
        Pocket::Settlement => ("settlement", None),
        Pocket::InTransit => ("in_transit", None),
        Pocket::Opening => ("opening", None),
    }
}
