//! Token buckets: the limits of PROTOCOL 6.4, in integers that are exact.
//!
//! A bucket of `capacity` tokens gains `tokens` every `period`. One token is as many units as the period has
//! milliseconds, so a millisecond adds exactly `tokens` units and no rounding ever happens. The script in Redis does
//! the same in doubles: every number here stays far below 2^53, where doubles are exact integers.
//!
//! A bucket that is full is as if it had never been used: what is full need not be stored, and what is not stored is
//! full. That holds also when a clock goes back (see [`Level::refilled`]).

use pix_domain::{Category, KeyType, TaxId};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// A debt is never deeper than so many full buckets.
const DEBT_MAX: i64 = 10;

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a payer at a participant (PROTOCOL 6.4: per pair).
    User,
    /// Of a participant.
    Participant,
}

macro_rules! policies {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $limit:expr),+ $(,)?) => {
        /// A limit of the DICT API (`info.description`, Limitação de requisições; 2.12.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Policy { $($(#[$doc])* $variant),+ }
        impl Policy {
            /// Every policy, in the order of the document.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// Its name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
            /// Reads the name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
            fn limit(self) -> Limit {
                match self { $(Self::$variant => $limit),+ }
            }
        }
    };
}

/// How a policy finds its figures.
enum Limit {
    /// By the kind of payer.
    ByPerson,
    /// By the participant's category.
    ByCategory,
    /// The same for every participant.
    Fixed(Rate),
}

const fn a_minute(tokens: i64, capacity: i64) -> Limit {
    Limit::Fixed(Rate::a_minute(tokens, capacity))
}

policies! {
    /// Lookups of e-mails and phones by a payer.
    EntriesReadUserAntiscan = "ENTRIES_READ_USER_ANTISCAN", Limit::ByPerson,
    /// Lookups of CPF, CNPJ and random keys by a payer.
    EntriesReadUserAntiscanV2 = "ENTRIES_READ_USER_ANTISCAN_V2", Limit::ByPerson,
    /// Lookups by a participant.
    EntriesReadParticipantAntiscan = "ENTRIES_READ_PARTICIPANT_ANTISCAN", Limit::ByCategory,
    /// getEntryStatistics
    EntriesStatisticsRead = "ENTRIES_STATISTICS_READ", Limit::ByCategory,
    /// createEntry and deleteEntry
    EntriesWrite = "ENTRIES_WRITE", a_minute(1200, 36_000),
    /// updateEntry
    EntriesUpdate = "ENTRIES_UPDATE", a_minute(600, 600),
    /// getClaim
    ClaimsRead = "CLAIMS_READ", a_minute(600, 18_000),
    /// The operations that make and move claims.
    ClaimsWrite = "CLAIMS_WRITE", a_minute(1200, 36_000),
    /// listClaims of donor or claimer
    ClaimsListWithRole = "CLAIMS_LIST_WITH_ROLE", a_minute(40, 200),
    /// listClaims of both
    ClaimsListWithoutRole = "CLAIMS_LIST_WITHOUT_ROLE", a_minute(10, 50),
    /// createSyncVerification
    SyncVerificationsWrite = "SYNC_VERIFICATIONS_WRITE", a_minute(10, 50),
    /// createCidSetFile
    CidsFilesWrite = "CIDS_FILES_WRITE", Limit::Fixed(Rate { tokens: 40, period_ms: DAY_MS, capacity: 200 }),
    /// getCidSetFile
    CidsFilesRead = "CIDS_FILES_READ", a_minute(10, 50),
    /// listCidSetEvents
    CidsEventsList = "CIDS_EVENTS_LIST", a_minute(20, 100),
    /// getEntryByCid
    CidsEntriesRead = "CIDS_ENTRIES_READ", a_minute(1200, 36_000),
    /// getInfractionReport
    InfractionReportsRead = "INFRACTION_REPORTS_READ", a_minute(600, 18_000),
    /// The operations that make and move infraction reports.
    InfractionReportsWrite = "INFRACTION_REPORTS_WRITE", a_minute(1200, 36_000),
    /// listInfractionReports of one role
    InfractionReportsListWithRole = "INFRACTION_REPORTS_LIST_WITH_ROLE", a_minute(40, 200),
    /// listInfractionReports of both
    InfractionReportsListWithoutRole = "INFRACTION_REPORTS_LIST_WITHOUT_ROLE", a_minute(10, 50),
    /// checkKeys
    KeysCheck = "KEYS_CHECK", a_minute(70, 70),
    /// getRefund
    RefundsRead = "REFUNDS_READ", a_minute(1200, 36_000),
    /// The operations that make and move refunds.
    RefundsWrite = "REFUNDS_WRITE", a_minute(2400, 72_000),
    /// listRefunds of one role
    RefundListWithRole = "REFUND_LIST_WITH_ROLE", a_minute(40, 200),
    /// listRefunds of both
    RefundListWithoutRole = "REFUND_LIST_WITHOUT_ROLE", a_minute(10, 50),
    /// getFraudMarker
    FraudMarkersRead = "FRAUD_MARKERS_READ", a_minute(600, 18_000),
    /// The operations that make and cancel fraud markers.
    FraudMarkersWrite = "FRAUD_MARKERS_WRITE", a_minute(1200, 36_000),
    /// listFraudMarkers
    FraudMarkersList = "FRAUD_MARKERS_LIST", a_minute(600, 18_000),
    /// getPersonStatistics
    PersonsStatisticsRead = "PERSONS_STATISTICS_READ", a_minute(12_000, 36_000),
    /// getBucketState
    PoliciesRead = "POLICIES_READ", a_minute(60, 200),
    /// listBucketStates
    PoliciesList = "POLICIES_LIST", a_minute(6, 20),
    /// listEventNotifications
    EventList = "EVENT_LIST", a_minute(40, 200),
}

impl Policy {
    /// The user's policy for lookups of a kind of key.
    #[must_use]
    pub fn of_lookups_by_user(key: KeyType) -> Self {
        match key {
            KeyType::Email | KeyType::Phone => Self::EntriesReadUserAntiscan,
            KeyType::Cpf | KeyType::Cnpj | KeyType::Evp => Self::EntriesReadUserAntiscanV2,
        }
    }

    /// Whose buckets it has.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self.limit() {
            Limit::ByPerson => Scope::User,
            Limit::ByCategory | Limit::Fixed(_) => Scope::Participant,
        }
    }

    /// Its rate for a participant of `category` and, where it counts users, for `payer`. Without a payer the rate
    /// of a person is given.
    #[must_use]
    pub fn rate(self, category: Category, payer: Option<&TaxId>) -> Rate {
        match (self.limit(), payer) {
            (Limit::ByPerson, Some(TaxId::Cnpj(_))) => Rate::a_minute(20, 1000),
            (Limit::ByPerson, Some(TaxId::Cpf(_)) | None) => Rate::a_minute(2, 100),
            (Limit::ByCategory, _) => of_category(category),
            (Limit::Fixed(rate), _) => rate,
        }
    }

    /// Tokens that an answer costs in all: a lookup that finds nothing is dear, and what tells nothing is free.
    /// Of the other policies every answer counts but a failure of ours: 500 as the document has it, and with it 503
    /// and 429 of another bucket, where we refused before any work.
    #[must_use]
    pub fn cost(self, status: u16) -> i64 {
        match (self, status) {
            (Self::EntriesReadUserAntiscan | Self::EntriesReadUserAntiscanV2, 404) => 20,
            (Self::EntriesReadParticipantAntiscan, 404) => 3,
            (
                Self::EntriesReadUserAntiscan
                | Self::EntriesReadUserAntiscanV2
                | Self::EntriesReadParticipantAntiscan,
                status,
            ) => i64::from(status == 200),
            (_, 429 | 500 | 503) => 0,
            (_, _) => 1,
        }
    }

    /// Tokens that come back when the SPI received the order of payment that a lookup was for.
    #[must_use]
    pub fn credit(self, payer: &TaxId) -> i64 {
        match (self, payer) {
            (Self::EntriesReadUserAntiscan | Self::EntriesReadUserAntiscanV2, TaxId::Cnpj(_)) => 2,
            (Self::EntriesReadUserAntiscan | Self::EntriesReadUserAntiscanV2, TaxId::Cpf(_))
            | (Self::EntriesReadParticipantAntiscan, _) => 1,
            (_, _) => 0,
        }
    }
}

/// Categories by size (ENTRIES_READ_PARTICIPANT_ANTISCAN).
fn of_category(category: Category) -> Rate {
    match category {
        Category::A => Rate::a_minute(25_000, 50_000),
        Category::B => Rate::a_minute(20_000, 40_000),
        Category::C => Rate::a_minute(15_000, 30_000),
        Category::D => Rate::a_minute(8000, 16_000),
        Category::E => Rate::a_minute(2500, 5000),
        Category::F => Rate::a_minute(250, 500),
        Category::G => Rate::a_minute(25, 250),
        Category::H => Rate::a_minute(2, 50),
    }
}

/// How fast a bucket fills, and how far. All three are above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens gained in a period.
    pub tokens: i64,
    /// The period; also the units of one token.
    pub period_ms: i64,
    /// Tokens of a full bucket.
    pub capacity: i64,
}

impl Rate {
    const fn a_minute(tokens: i64, capacity: i64) -> Self {
        Self {
            tokens,
            period_ms: MINUTE_MS,
            capacity,
        }
    }

    /// Units of a full bucket.
    #[must_use]
    pub fn full(self) -> i64 {
        self.capacity * self.period_ms
    }

    /// Units of the deepest debt: what lies below it is forgiven, and every number stays exact in doubles.
    #[must_use]
    pub fn floor(self) -> i64 {
        -DEBT_MAX * self.full()
    }

    /// Units that a bucket of which nothing is known is taken to hold: a tenth (DESIGN 2).
    #[must_use]
    pub fn unknown(self) -> i64 {
        self.full() / 10
    }

    /// Milliseconds until a bucket with `units` holds `wanted`; 0 when it does.
    #[must_use]
    pub fn until(self, units: i64, wanted: i64) -> i64 {
        let missing = (wanted - units).max(0);
        (missing + self.tokens - 1) / self.tokens
    }
}

/// What a bucket holds, and when it held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Units; below zero it is in debt.
    pub units: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

impl Level {
    /// A full bucket.
    #[must_use]
    pub fn full(rate: Rate, at_ms: i64) -> Self {
        Self {
            units: rate.full(),
            at_ms,
        }
    }

    /// A bucket that nobody knows anything of since the levels were lost at `lost_at_ms`: a tenth then.
    #[must_use]
    pub fn unknown(rate: Rate, lost_at_ms: i64) -> Self {
        Self {
            units: rate.unknown(),
            at_ms: lost_at_ms,
        }
    }

    /// The level at `now_ms`. While the clock is behind `at_ms` nothing is gained, so that no span counts twice. A
    /// bucket that is full forgets its time: it is then the same as one that was never used.
    #[must_use]
    pub fn refilled(self, rate: Rate, now_ms: i64) -> Self {
        let elapsed = (now_ms - self.at_ms).max(0);
        if elapsed >= rate.until(self.units, rate.full()) {
            return Self::full(rate, now_ms);
        }
        Self {
            units: self.units + elapsed * rate.tokens,
            at_ms: self.at_ms.max(now_ms),
        }
    }

    /// Whether it holds one whole token.
    #[must_use]
    pub fn admits(self, rate: Rate) -> bool {
        self.units >= rate.period_ms
    }

    /// With `tokens` more, or fewer when negative: never above full, below zero as far as the deepest debt.
    #[must_use]
    pub fn changed(self, rate: Rate, tokens: i64) -> Self {
        let units = tokens.saturating_mul(rate.period_ms).saturating_add(self.units);
        Self {
            units: units.clamp(rate.floor(), rate.full()),
            ..self
        }
    }

    /// The lower of two accounts of one bucket, at `now_ms`: of what two know, the one that saw more taken is right.
    #[must_use]
    pub fn lower(self, other: Self, rate: Rate, now_ms: i64) -> Self {
        let (one, other) = (self.refilled(rate, now_ms), other.refilled(rate, now_ms));
        Self {
            units: one.units.min(other.units).max(rate.floor()),
            at_ms: one.at_ms.max(other.at_ms),
        }
    }

    /// Whole tokens, as the state of a policy shows them; a debt shows as zero or less.
    #[must_use]
    pub fn tokens(self, rate: Rate) -> i64 {
        self.units.div_euclid(rate.period_ms)
    }

    /// Milliseconds until it admits again.
    #[must_use]
    pub fn wait_ms(self, rate: Rate) -> i64 {
        rate.until(self.units, rate.period_ms)
    }
}

#[cfg(test)]
mod tests;
