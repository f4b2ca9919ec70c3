//! The messages, element by element. One parser for both ways of reading.

use std::borrow::Cow;

use pix_domain::{Category, KEY_CHARS_MAX, Key, KeyType};

use crate::problem::TYPE_BASE;
use crate::read::{Fault, Parsed, Read, Signed};
use crate::shape::{PROBLEM, PROBLEM_NAMESPACE, RESPONSES, Shape};
use crate::{
    AccountText, CheckKeys, CheckKeysResponse, CorrelationId, CreateEntry, DeleteEntry, DeleteEntryResponse,
    Entry, EntryResponse, EntryRoot, EntryText, FraudMarkerStatistics, GetEntryStatisticsResponse,
    GetPolicyResponse, Head, InfractionReportStatistics, KEYS_MAX, KeyEntries, KeyStatistics,
    ListPoliciesResponse, Operation, OwnerText, PersonEntries, PersonStatistics, PolicyState, Problem,
    ProblemKind, Request, Response, SpiStatistics, Statistics, UpdateEntry, Violation,
};

type Result<T> = std::result::Result<T, Fault>;

/// A request, whose root has to be the one that `expected` wants.
pub(crate) fn request(read: Read<'_>, expected: Operation, signed: Signed) -> Result<Parsed<Request>> {
    let root = expected.root();
    read.message(root, root, signed, |read| match expected {
        Operation::CreateEntry => create_entry(read).map(Request::CreateEntry),
        Operation::UpdateEntry => update_entry(read).map(Request::UpdateEntry),
        Operation::DeleteEntry => delete_entry(read).map(Request::DeleteEntry),
        Operation::CheckKeys => check_keys(read).map(Request::CheckKeys),
    })
}

fn create_entry(read: &mut Read<'_>) -> Result<CreateEntry> {
    Ok(CreateEntry {
        entry: read.within("Entry", entry_text)?,
        reason: read.text("Reason")?,
        request_id: read.text("RequestId")?,
    })
}

fn update_entry(read: &mut Read<'_>) -> Result<UpdateEntry> {
    Ok(UpdateEntry {
        key: read.text("Key")?,
        account: read.optional("Account", account)?,
        owner: read.optional("Owner", owner)?,
        reason: read.text("Reason")?,
    })
}

fn delete_entry(read: &mut Read<'_>) -> Result<DeleteEntry> {
    Ok(DeleteEntry {
        key: read.text("Key")?,
        participant: read.text("Participant")?,
        reason: read.text("Reason")?,
    })
}

fn check_keys(read: &mut Read<'_>) -> Result<CheckKeys> {
    let keys = read.within("Keys", |read| {
        let mut keys = Vec::new();
        while !read.at_end()? {
            keys.push(read.text("Key")?);
        }
        Ok(keys)
    })?;
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(Fault::Form(format!("Keys has 1 to {KEYS_MAX} keys")));
    }
    if keys.iter().any(|key| key.chars().count() > KEY_CHARS_MAX) {
        return Err(Fault::Form(format!("a key has up to {KEY_CHARS_MAX} characters")));
    }
    Ok(CheckKeys { keys })
}

fn entry_text(read: &mut Read<'_>) -> Result<EntryText> {
    Ok(EntryText {
        key: read.optional_text("Key")?,
        key_type: read.text("KeyType")?,
        account: read.within("Account", account)?,
        owner: read.within("Owner", owner)?,
    })
}

fn account(read: &mut Read<'_>) -> Result<AccountText> {
    Ok(AccountText {
        participant: read.text("Participant")?,
        branch: read.optional_text("Branch")?,
        number: read.text("AccountNumber")?,
        kind: read.text("AccountType")?,
        opened_at: read.text("OpeningDate")?,
    })
}

fn owner(read: &mut Read<'_>) -> Result<OwnerText> {
    Ok(OwnerText {
        person_type: read.text("Type")?,
        tax_id: read.text("TaxIdNumber")?,
        name: read.text("Name")?,
        trade_name: read.optional_text("TradeName")?,
    })
}

/// The answer whose root is `tag`.
pub(crate) fn shape_of(tag: &str) -> Result<&'static Shape> {
    let known = RESPONSES.iter().find(|shape| shape.name == tag);
    known.ok_or_else(|| Fault::new("the root is no answer of the API"))
}

/// An answer.
pub(crate) fn response(mut read: Read<'_>, signed: Signed) -> Result<Parsed<Response<'static>>> {
    let root = shape_of(read.root()?)?.name;
    read.message(root, root, signed, |read| {
        let head = Head {
            at: read.time("ResponseTime")?,
            correlation_id: read.value("CorrelationId", |text| CorrelationId::parse(text).ok())?,
        };
        Ok(match root {
            "CreateEntryResponse" => Response::Entry(entry_response(read, EntryRoot::Create, head)?),
            "GetEntryResponse" => Response::Entry(entry_response(read, EntryRoot::Get, head)?),
            "UpdateEntryResponse" => Response::Entry(entry_response(read, EntryRoot::Update, head)?),
            "DeleteEntryResponse" => Response::DeleteEntry(DeleteEntryResponse {
                head,
                key: Cow::Owned(key(read)?),
            }),
            "CheckKeysResponse" => Response::CheckKeys(CheckKeysResponse {
                head,
                keys: read.within("Keys", |read| many(read, |read| read.checked_key()))?,
            }),
            "ListPoliciesResponse" => Response::ListPolicies(ListPoliciesResponse {
                head,
                category: category(read)?,
                policies: read.within("Policies", |read| many(read, policy))?,
            }),
            "GetPolicyResponse" => Response::GetPolicy(GetPolicyResponse {
                head,
                category: category(read)?,
                policy: policy(read)?,
            }),
            _ => Response::GetEntryStatistics(GetEntryStatisticsResponse {
                head,
                key: Cow::Owned(key(read)?),
                statistics: Cow::Owned(statistics(read)?),
            }),
        })
    })
}

fn many<T>(read: &mut Read<'_>, mut one: impl FnMut(&mut Read<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while !read.at_end()? {
        all.push(one(read)?);
    }
    Ok(all)
}

fn key(read: &mut Read<'_>) -> Result<Key> {
    read.value("Key", |text| Key::guess(text).ok())
}

fn category(read: &mut Read<'_>) -> Result<Category> {
    let text = read.text("Category")?;
    Category::parse(text.as_bytes()).map_err(|_| Fault::Value("Category"))
}

fn entry_response(read: &mut Read<'_>, root: EntryRoot, head: Head) -> Result<EntryResponse<'static>> {
    let entry = Cow::Owned(read.within("Entry", entry)?);
    let with_statistics = root == EntryRoot::Get && read.ahead("OwnerStatistics")?;
    let statistics = if with_statistics {
        Some(Cow::Owned(statistics(read)?))
    } else {
        None
    };
    Ok(EntryResponse {
        root,
        head,
        entry,
        statistics,
    })
}

fn entry(read: &mut Read<'_>) -> Result<Entry> {
    let text = entry_text(read)?;
    let kind = KeyType::parse(text.key_type.as_bytes()).map_err(|_| Fault::Value("KeyType"))?;
    // Not its check digits: the DICT has judged them, and the official examples have wrong ones.
    let key = text.key.and_then(|key| Key::parse(kind, &key).ok());
    Ok(Entry {
        key: key.ok_or_else(|| Fault::in_element("Key"))?,
        account: text
            .account
            .check()
            .map_err(|all| fault("Account", "AccountType", &all))?,
        owner: text.owner.check().map_err(|all| fault("Owner", "Type", &all))?,
        created_at: read.time("CreationDate")?,
        owned_since: read.time("KeyOwnershipDate")?,
        claim_opened_at: if read.ahead("OpenClaimCreationDate")? {
            Some(read.time("OpenClaimCreationDate")?)
        } else {
            None
        },
    })
}

/// What is wrong in `element`: no more than a value of `enumeration` that we do not know, or its form.
fn fault(element: &str, enumeration: &'static str, violations: &[Violation]) -> Fault {
    let is_value = |violation: &Violation| {
        let property = violation.property.as_deref().unwrap_or_default();
        let (_, name) = property.rsplit_once('.').unwrap_or(("", property));
        name.eq_ignore_ascii_case(enumeration)
    };
    if violations.iter().all(is_value) {
        Fault::Value(enumeration)
    } else {
        Fault::in_element(element)
    }
}

fn policy(read: &mut Read<'_>) -> Result<PolicyState> {
    read.within("Policy", |read| {
        Ok(PolicyState {
            available: read.number("AvailableTokens")?,
            capacity: read.number("Capacity")?,
            refill_tokens: read.number("RefillTokens")?,
            refill_period_s: read.number("RefillPeriodSec")?,
            name: read.text("Name")?,
        })
    })
}

fn statistics(read: &mut Read<'_>) -> Result<Statistics> {
    let owner = read.within("OwnerStatistics", |read| {
        Ok(PersonStatistics {
            spi: spi(read)?,
            fraud_markers: fraud_markers(read)?,
            infraction_reports: infraction_reports(read)?,
            entries: read.within("Entries", |read| {
                Ok(PersonEntries {
                    watermark: read.time("Watermark")?,
                    registered_accounts: read.number("RegisteredAccounts")?,
                })
            })?,
        })
    })?;
    let key = read.within("KeyStatistics", |read| {
        Ok(KeyStatistics {
            spi: spi(read)?,
            fraud_markers: fraud_markers(read)?,
            infraction_reports: infraction_reports(read)?,
            entries: read.within("Entries", |read| {
                Ok(KeyEntries {
                    watermark: read.time("Watermark")?,
                    distinct_accounts: read.windowed("DistinctAccounts")?,
                })
            })?,
        })
    })?;
    Ok(Statistics { owner, key })
}

fn spi(read: &mut Read<'_>) -> Result<SpiStatistics> {
    read.within("Spi", |read| {
        Ok(SpiStatistics {
            watermark: read.time("Watermark")?,
            settlements: read.windowed("Settlements")?,
        })
    })
}

fn fraud_markers(read: &mut Read<'_>) -> Result<FraudMarkerStatistics> {
    read.within("FraudMarkers", |read| {
        Ok(FraudMarkerStatistics {
            watermark: read.time("Watermark")?,
            application_frauds: read.windowed("ApplicationFrauds")?,
            mule_accounts: read.windowed("MuleAccounts")?,
            scammer_accounts: read.windowed("ScammerAccounts")?,
            other_frauds: read.windowed("OtherFrauds")?,
            unknown_frauds: read.windowed("UnknownFrauds")?,
            total_fraud_transaction_amount: read.windowed("TotalFraudTransactionAmount")?,
            distinct_fraud_reporters: read.windowed("DistinctFraudReporters")?,
        })
    })
}

fn infraction_reports(read: &mut Read<'_>) -> Result<InfractionReportStatistics> {
    read.within("InfractionReports", |read| {
        Ok(InfractionReportStatistics {
            watermark: read.time("Watermark")?,
            open_reports: read.number("OpenReports")?,
            open_reports_distinct_reporters: read.number("OpenReportsDistinctReporters")?,
            rejected_reports: read.windowed("RejectedReports")?,
        })
    })
}

/// How the start tag of a problem is written.
pub(crate) fn problem_tag() -> String {
    format!("problem xmlns=\"{PROBLEM_NAMESPACE}\"")
}

/// A problem.
pub(crate) fn problem(read: Read<'_>, signed: Signed) -> Result<Parsed<Problem>> {
    read.message(&problem_tag(), PROBLEM.name, signed, |read| {
        let kind = read.text("type")?;
        let title = read.text("title")?;
        let status = read.number("status")?;
        // Kinds may be added, and clients have to live with it.
        let kind = kind.strip_prefix(TYPE_BASE).and_then(ProblemKind::parse);
        let detail = read.optional_text("detail")?.unwrap_or_default();
        let correlation_id = read.optional_text("correlationId")?;
        let violations = read.optional("violations", |read| many(read, violation))?;
        Ok(Problem {
            kind: kind.unwrap_or_else(|| ProblemKind::of_status(status)),
            title,
            status,
            detail,
            correlation_id: correlation_id.and_then(|id| CorrelationId::parse(&id).ok()),
            violations: violations.unwrap_or_default(),
        })
    })
}

fn violation(read: &mut Read<'_>) -> Result<Violation> {
    read.within("violation", |read| {
        Ok(Violation {
            reason: read.text("reason")?,
            value: read.optional_text("value")?,
            property: read.optional_text("property")?,
        })
    })
}
