//! What the DICT answers.

use std::borrow::Cow;
use std::fmt;

use pix_domain::{Category, Key, Timestamp};

use crate::Entry;

/// An answer of status 2xx with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// One entry.
    Entry(EntryResponse<'a>),
    /// A key was removed.
    DeleteEntry(DeleteEntryResponse<'a>),
    /// Which keys are registered.
    CheckKeys(CheckKeysResponse),
    /// State of all buckets.
    ListPolicies(ListPoliciesResponse),
    /// State of one bucket.
    GetPolicy(GetPolicyResponse),
    /// Statistics of a key and its owner.
    GetEntryStatistics(GetEntryStatisticsResponse<'a>),
}

/// How every answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// `ResponseTime`, in milliseconds.
    pub at: Timestamp,
    /// `CorrelationId`.
    pub correlation_id: CorrelationId,
}

/// 32 hexadecimal digits that name an answer to the support.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId([u8; 16]);

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CorrelationId is 32 hexadecimal digits")]
pub struct InvalidCorrelationId;

impl CorrelationId {
    /// The id that 128 bits of chance make.
    #[must_use]
    pub fn new(entropy: u128) -> Self {
        Self(entropy.to_be_bytes())
    }

    /// Reads the digits, in either case.
    ///
    /// # Errors
    /// [`InvalidCorrelationId`].
    pub fn parse(text: &str) -> Result<Self, InvalidCorrelationId> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidCorrelationId);
        }
        u128::from_str_radix(text, 16)
            .map(Self::new)
            .map_err(|_| InvalidCorrelationId)
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which operation an [`EntryResponse`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryRoot {
    /// createEntry.
    Create,
    /// getEntry.
    Get,
    /// updateEntry.
    Update,
}

impl EntryRoot {
    /// Name of the root element.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CreateEntryResponse",
            Self::Get => "GetEntryResponse",
            Self::Update => "UpdateEntryResponse",
        }
    }
}

/// `CreateEntryResponse`, `GetEntryResponse` or `UpdateEntryResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryResponse<'a> {
    /// Which of them.
    pub root: EntryRoot,
    /// Time and id.
    pub head: Head,
    /// The entry.
    pub entry: Cow<'a, Entry>,
    /// Statistics, when getEntry was asked to include them.
    pub statistics: Option<Cow<'a, Statistics>>,
}

/// `DeleteEntryResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteEntryResponse<'a> {
    /// Time and id.
    pub head: Head,
    /// The key that is no longer registered.
    pub key: Cow<'a, Key>,
}

/// `CheckKeysResponse`.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckKeysResponse {
    /// Time and id.
    pub head: Head,
    /// The keys as they were asked, and whether each is registered.
    pub keys: Vec<(String, bool)>,
}

impl fmt::Debug for CheckKeysResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckKeysResponse({:?}, {} keys)", self.head, self.keys.len())
    }
}

/// `ListPoliciesResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPoliciesResponse {
    /// Time and id.
    pub head: Head,
    /// Category of the participant.
    pub category: Category,
    /// Its buckets.
    pub policies: Vec<PolicyState>,
}

/// `GetPolicyResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetPolicyResponse {
    /// Time and id.
    pub head: Head,
    /// Category of the participant.
    pub category: Category,
    /// The bucket.
    pub policy: PolicyState,
}

/// State of a bucket (`Policy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyState {
    /// Name of the policy, like `ENTRIES_WRITE`.
    pub name: String,
    /// Tokens in the bucket now; below zero in debt.
    pub available: i64,
    /// Tokens that fit.
    pub capacity: i64,
    /// Tokens that each period adds.
    pub refill_tokens: i64,
    /// The period, in seconds.
    pub refill_period_s: i64,
}

/// `GetEntryStatisticsResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetEntryStatisticsResponse<'a> {
    /// Time and id.
    pub head: Head,
    /// The key.
    pub key: Cow<'a, Key>,
    /// Of the key and of its owner.
    pub statistics: Cow<'a, Statistics>,
}

/// Statistics that an entry may be shown with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// `OwnerStatistics`.
    pub owner: PersonStatistics,
    /// `KeyStatistics`.
    pub key: KeyStatistics,
}

/// `PersonStatistics`: of one CPF or CNPJ, over all its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonStatistics {
    /// Settled payments received.
    pub spi: SpiStatistics,
    /// Fraud markers.
    pub fraud_markers: FraudMarkerStatistics,
    /// Infraction reports.
    pub infraction_reports: InfractionReportStatistics,
    /// Entries.
    pub entries: PersonEntries,
}

/// `KeyStatistics`: of one key, whoever owned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatistics {
    /// Settled payments in which it was used.
    pub spi: SpiStatistics,
    /// Fraud markers.
    pub fraud_markers: FraudMarkerStatistics,
    /// Infraction reports.
    pub infraction_reports: InfractionReportStatistics,
    /// Entries.
    pub entries: KeyEntries,
}

/// A count over three windows, each ending now (`WindowedValue`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windowed {
    /// Last 90 days.
    pub d90: u64,
    /// Last 12 months.
    pub m12: u64,
    /// Last 60 months.
    pub m60: u64,
}

/// `Spi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiStatistics {
    /// Time of the last event that counts.
    pub watermark: Timestamp,
    /// Settlements.
    pub settlements: Windowed,
}

/// `FraudMarkers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FraudMarkerStatistics {
    /// Time of the last event that counts.
    pub watermark: Timestamp,
    /// Markers of type APPLICATION_FRAUD.
    pub application_frauds: Windowed,
    /// Markers of type MULE_ACCOUNT.
    pub mule_accounts: Windowed,
    /// Markers of type SCAMMER_ACCOUNT.
    pub scammer_accounts: Windowed,
    /// Markers of type OTHER.
    pub other_frauds: Windowed,
    /// Markers without a type, from version 1 of the API.
    pub unknown_frauds: Windowed,
    /// Whole reais of the payments behind them.
    pub total_fraud_transaction_amount: Windowed,
    /// Participants that made them.
    pub distinct_fraud_reporters: Windowed,
}

/// `InfractionReports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfractionReportStatistics {
    /// Time of the last event that counts.
    pub watermark: Timestamp,
    /// Neither closed nor cancelled.
    pub open_reports: u64,
    /// Participants that made those.
    pub open_reports_distinct_reporters: u64,
    /// Closed as not agreed.
    pub rejected_reports: Windowed,
}

/// `Entries` of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonEntries {
    /// Time of the last event that counts.
    pub watermark: Timestamp,
    /// Accounts of the person that keys stand for now.
    pub registered_accounts: u64,
}

/// `Entries` of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntries {
    /// Time of the last event that counts.
    pub watermark: Timestamp,
    /// Different accounts that the key stood for.
    pub distinct_accounts: Windowed,
}

impl FraudMarkerStatistics {
    /// No markers until `watermark`.
    #[must_use]
    pub fn none(watermark: Timestamp) -> Self {
        let none = Windowed::default();
        Self {
            watermark,
            application_frauds: none,
            mule_accounts: none,
            scammer_accounts: none,
            other_frauds: none,
            unknown_frauds: none,
            total_fraud_transaction_amount: none,
            distinct_fraud_reporters: none,
        }
    }
}

impl InfractionReportStatistics {
    /// No reports until `watermark`.
    #[must_use]
    pub fn none(watermark: Timestamp) -> Self {
        Self {
            watermark,
            open_reports: 0,
            open_reports_distinct_reporters: 0,
            rejected_reports: Windowed::default(),
        }
    }
}
