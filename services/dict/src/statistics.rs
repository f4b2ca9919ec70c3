//! What participants are told of a key and its owner, to judge fraud by (DICT API, tag Antifraud).

use pix_dict_api::{
    Entry, FraudMarkerStatistics, InfractionReportStatistics, KeyEntries, KeyStatistics, PersonEntries,
    PersonStatistics, SpiStatistics, Statistics,
};
use pix_domain::Timestamp;
use sqlx::PgPool;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_statistics::{self, Figures};

/// Where statistics are read.
#[derive(Clone)]
pub(crate) struct StatisticsStore(PgPool);

impl StatisticsStore {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// The statistics of an entry now.
    pub(crate) async fn of(&self, entry: &Entry) -> Result<Statistics, StoreError> {
        let now = pg_statistics::now(&self.0).await?;
        of(&self.0, entry, now).await
    }
}

/// The statistics of an entry at `now`.
async fn of(pool: &PgPool, entry: &Entry, now: Timestamp) -> Result<Statistics, StoreError> {
    let figures = pg_statistics::figures(pool, &entry.key, &entry.owner.tax_id, now).await?;
    Ok(told(&figures, now))
}

/// Entries are counted as they are now; settlements up to the last event. Fraud markers and infraction reports do
/// not exist in this DICT yet, so there are none, up to now.
fn told(figures: &Figures, now: Timestamp) -> Statistics {
    let settled_until = figures.settled_until.unwrap_or(now).to_millis();
    let now = now.to_millis();
    Statistics {
        owner: PersonStatistics {
            spi: SpiStatistics {
                watermark: settled_until,
                settlements: figures.settled_to_owner,
            },
            fraud_markers: FraudMarkerStatistics::none(now),
            infraction_reports: InfractionReportStatistics::none(now),
            entries: PersonEntries {
                watermark: now,
                registered_accounts: figures.accounts_of_owner,
            },
        },
        key: KeyStatistics {
            spi: SpiStatistics {
                watermark: settled_until,
                settlements: figures.settled_to_key,
            },
            fraud_markers: FraudMarkerStatistics::none(now),
            infraction_reports: InfractionReportStatistics::none(now),
            entries: KeyEntries {
                watermark: now,
                distinct_accounts: figures.accounts_of_key,
            },
        },
    }
}

#[cfg(test)]
mod tests;
