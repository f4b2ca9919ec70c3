//! The directory in Postgres. Lookups are one prepared question by primary key; a write is one transaction, whose
//! locks are taken in one order: the account, the row of the entry, the row of the VSync.

use std::collections::HashSet;

use pix_dict_api::{Account, Entry, Owner};
use pix_domain::{
    AccountNumber, AccountType, Branch, Cid, Ispb, Key, KeyType, RequestId, TaxId, Text, Timestamp,
};
use pix_runtime::outbox::Event;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row as _, Transaction};
use time::OffsetDateTime;

use super::pg::{self, Readers, StoreError};

const ENTRY: &str = "entry";
const HISTORY: &str = "entry_history";

/// Connections that answer lookups.
const READERS_MAX: usize = 16;
/// Begins a write. Postgres itself stops waiting for a lock: it is not told when the request that waits is given up,
/// and keeps the connection until then.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '4s'";
/// Entries of one page of a list.
pub(crate) const PAGE_MAX: usize = 500;

/// An entry as it is stored, with what its content identifier came from.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) entry: Entry,
    /// Of the request that created it.
    pub(crate) request_id: RequestId,
    pub(crate) cid: Cid,
}

/// What a RequestId was used for.
pub(crate) struct Used {
    pub(crate) key: Key,
    pub(crate) cid: Cid,
    /// The version in the history that it made.
    pub(crate) sequence: i64,
    /// What was answered.
    pub(crate) answer: Vec<u8>,
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Updated,
    Deleted,
}

impl Change {
    /// As the history names it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One version for the history, with the event that tells of it.
pub(crate) struct Version<'a> {
    pub(crate) sequence: i64,
    pub(crate) change: Change,
    pub(crate) reason: &'static str,
    pub(crate) at: Timestamp,
    pub(crate) stored: &'a Stored,
}

/// What a createEntry is remembered by.
pub(crate) struct Answered<'a> {
    pub(crate) participant: Ispb,
    pub(crate) stored: &'a Stored,
    pub(crate) sequence: i64,
    pub(crate) at: Timestamp,
    pub(crate) answer: &'a [u8],
}

/// Which way an identifier went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CidMove {
    Added,
    Removed,
}

/// The directory.
pub(crate) struct Entries {
    readers: Readers,
    writers: PgPool,
}

/// A failure, or one that only says that a connection had died before it was asked.
enum StaleOr {
    Stale,
    Failed(StoreError),
}

impl StaleOr {
    fn of(error: StoreError, was_kept: bool) -> Self {
        match error {
            StoreError::Away(_) if was_kept => Self::Stale,
            error => Self::Failed(error),
        }
    }
}

impl From<StoreError> for StaleOr {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<StaleOr> for StoreError {
    fn from(failure: StaleOr) -> Self {
        match failure {
            StaleOr::Stale => Self::Contended,
            StaleOr::Failed(error) => error,
        }
    }
}

/// The columns of an entry, in the order of [`bind_entry`] and [`stored`].
macro_rules! columns {
    () => {
        "key_type, key, participant, branch, account_number, account_type, opened_at, tax_id, name, trade_name, \
         created_at, owned_since, claim_opened_at, request_id, cid"
    };
}

/// The same question with the kind of key as a constant: the plan has one partition, whatever else there is.
macro_rules! by_kind {
    ($kind:expr, $before:literal, $after:literal) => {
        match $kind {
            KeyType::Cpf => concat!($before, "'CPF'", $after),
            KeyType::Cnpj => concat!($before, "'CNPJ'", $after),
            KeyType::Phone => concat!($before, "'PHONE'", $after),
            KeyType::Email => concat!($before, "'EMAIL'", $after),
            KeyType::Evp => concat!($before, "'EVP'", $after),
        }
    };
}

/// The lookup of a key.
pub(crate) fn lookup_sql(kind: KeyType) -> &'static str {
    macro_rules! sql {
        ($kind:literal) => {
            concat!(
                "SELECT ",
                columns!(),
                " FROM entry WHERE key_type = '",
                $kind,
                "' AND key = $1"
            )
        };
    }
    match kind {
        KeyType::Cpf => sql!("CPF"),
        KeyType::Cnpj => sql!("CNPJ"),
        KeyType::Phone => sql!("PHONE"),
        KeyType::Email => sql!("EMAIL"),
        KeyType::Evp => sql!("EVP"),
    }
}

impl Entries {
    /// Lookups on connections of their own to `url`, writes on `writers`.
    pub(crate) fn new(url: &str, writers: PgPool) -> Self {
        Self {
            readers: Readers::new(url, READERS_MAX),
            writers,
        }
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// The entry of a key.
    pub(crate) async fn find(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let asked = std::time::Instant::now();
        let found = pg::in_time(async {
            let found = match self.try_find(key, false).await {
                Err(StaleOr::Stale) => self.try_find(key, true).await,
                found => found,
            };
            Ok(found?)
        });
        let found = found.await;
        metrics::histogram!("dict_lookup_seconds").record(asked.elapsed().as_secs_f64());
        found
    }

    async fn try_find(&self, key: &Key, fresh: bool) -> Result<Option<Stored>, StaleOr> {
        let mut reader = self.readers.take(fresh).await?;
        let question = sqlx::query(lookup_sql(key.kind())).bind(key.as_str());
        let row = question.fetch_optional(&mut reader.connection).await;
        let row = row.map_err(|error| StaleOr::of(error.into(), reader.was_kept))?;
        self.readers.keep(reader);
        Ok(row.as_ref().map(|row| stored(ENTRY, row)).transpose()?)
    }

    /// Which of these keys have an entry, in their order.
    pub(crate) async fn which_exist(&self, keys: &[Key]) -> Result<Vec<bool>, StoreError> {
        pg::in_time(self.which_of(keys)).await
    }

    async fn which_of(&self, keys: &[Key]) -> Result<Vec<bool>, StoreError> {
        let mut found = HashSet::new();
        for kind in KeyType::ALL {
            let of_kind = keys.iter().filter(|key| key.kind() == *kind);
            let wanted: Vec<&str> = of_kind.map(Key::as_str).collect();
            if wanted.is_empty() {
                continue;
            }
            let registered = match self.try_which(*kind, &wanted, false).await {
                Err(StaleOr::Stale) => self.try_which(*kind, &wanted, true).await,
                registered => registered,
            };
            found.extend(registered?);
        }
        // No text is a key of two kinds.
        Ok(keys.iter().map(|key| found.contains(key.as_str())).collect())
    }

    async fn try_which(&self, kind: KeyType, wanted: &[&str], fresh: bool) -> Result<Vec<String>, StaleOr> {
        let sql = by_kind!(
            kind,
            "SELECT key FROM entry WHERE key_type = ",
            " AND key = ANY($1)"
        );
        let mut reader = self.readers.take(fresh).await?;
        let question = sqlx::query_scalar::<_, String>(sql).bind(wanted);
        let keys = question.fetch_all(&mut reader.connection).await;
        let keys = keys.map_err(|error| StaleOr::of(error.into(), reader.was_kept))?;
        self.readers.keep(reader);
        Ok(keys)
    }

    /// Begins a write. Dropped without [`Write::commit`], nothing of it happens.
    pub(crate) async fn begin(&self) -> Result<Write, StoreError> {
        Ok(Write(self.writers.begin_with(BEGIN).await?))
    }
}

/// The next entries of a participant of one kind, by key, after the key `after`: fewer than [`PAGE_MAX`] are the last.
pub(crate) async fn page(
    pool: &PgPool,
    participant: Ispb,
    kind: KeyType,
    after: &str,
) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM entry WHERE key_type = $1 AND participant = $2 AND key > $3 ORDER BY key LIMIT $4"
    ))
    .bind(kind.as_str())
    .bind(participant.as_str())
    .bind(after)
    .bind(i64::try_from(PAGE_MAX).expect("a small number"))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| stored(ENTRY, row)).collect()
}

/// One transaction.
pub(crate) struct Write(Transaction<'static, Postgres>);

impl Write {
    /// Makes every other write to this account wait: the number of its keys is limited.
    pub(crate) async fn lock_account(&mut self, account: &Account) -> Result<(), StoreError> {
        let name = format!(
            "account {} {} {} {}",
            account.participant,
            branch_number(account),
            account.number,
            account.kind.as_str()
        );
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(name)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// What a RequestId was used for.
    pub(crate) async fn used(
        &mut self,
        participant: Ispb,
        request_id: &RequestId,
    ) -> Result<Option<Used>, StoreError> {
        const TABLE: &str = "create_request";
        let row = sqlx::query(
            "SELECT key_type, key, cid, sequence, answer FROM create_request
             WHERE participant = $1 AND request_id = $2",
        )
        .bind(participant.as_str())
        .bind(&request_id.as_bytes()[..])
        .fetch_optional(&mut *self.0)
        .await?;
        let used = |row: PgRow| {
            Ok(Used {
                key: pg::key(TABLE, row.try_get(0)?, row.try_get(1)?)?,
                cid: Cid::from_bytes(pg::bytes(TABLE, row.try_get(2)?)?),
                sequence: row.try_get(3)?,
                answer: row.try_get(4)?,
            })
        };
        row.map(used).transpose()
    }

    /// The entry that a createEntry made, from the history.
    pub(crate) async fn version(&mut self, sequence: i64) -> Result<Stored, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM entry_history WHERE sequence = $1"
        ))
        .bind(sequence)
        .fetch_one(&mut *self.0)
        .await?;
        stored(HISTORY, &row)
    }

    /// The entry of a key as it is now.
    pub(crate) async fn entry(&mut self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let row = sqlx::query(lookup_sql(key.kind()))
            .bind(key.as_str())
            .fetch_optional(&mut *self.0)
            .await?;
        row.as_ref().map(|row| stored(ENTRY, row)).transpose()
    }

    /// The entry of a key; nobody else changes it until the end.
    pub(crate) async fn lock_entry(&mut self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let sql = by_kind!(
            key.kind(),
            "SELECT key_type, key, participant, branch, account_number, account_type, opened_at, tax_id, name, \
             trade_name, created_at, owned_since, claim_opened_at, request_id, cid FROM entry WHERE key_type = ",
            " AND key = $1 FOR UPDATE"
        );
        let row = sqlx::query(sql)
            .bind(key.as_str())
            .fetch_optional(&mut *self.0)
            .await?;
        row.as_ref().map(|row| stored(ENTRY, row)).transpose()
    }

    /// How many keys an account has.
    pub(crate) async fn account_keys(&mut self, account: &Account) -> Result<u32, StoreError> {
        let row = sqlx::query(
            "SELECT count(*) FROM entry
             WHERE participant = $1 AND branch_number = $2 AND account_number = $3 AND account_type = $4",
        )
        .bind(account.participant.as_str())
        .bind(branch_number(account))
        .bind(account.number.as_str())
        .bind(account.kind.as_str())
        .fetch_one(&mut *self.0)
        .await?;
        pg::parsed(ENTRY, u32::try_from(row.try_get::<i64, _>(0)?))
    }

    /// The next number of a change.
    pub(crate) async fn next_change(&mut self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT nextval('entry_change')")
            .fetch_one(&mut *self.0)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Writes a new entry; false when somebody else has registered the key meanwhile.
    pub(crate) async fn insert(&mut self, stored: &Stored) -> Result<bool, StoreError> {
        let insert = sqlx::query(concat!(
            "INSERT INTO entry (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING"
        ));
        let done = bind_entry(insert, stored).execute(&mut *self.0).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Writes what may change of an entry that is locked: account, names, identifier.
    pub(crate) async fn update(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let Stored { entry, cid, .. } = stored;
        sqlx::query(
            "UPDATE entry SET participant = $3, branch = $4, account_number = $5, account_type = $6,
                    opened_at = $7, name = $8, trade_name = $9, cid = $10
             WHERE key_type = $1 AND key = $2",
        )
        .bind(entry.key.kind().as_str())
        .bind(entry.key.as_str())
        .bind(entry.account.participant.as_str())
        .bind(entry.account.branch.map(|branch| branch.to_string()))
        .bind(entry.account.number.as_str())
        .bind(entry.account.kind.as_str())
        .bind(OffsetDateTime::from(entry.account.opened_at))
        .bind(entry.owner.name.as_str())
        .bind(entry.owner.trade_name.as_ref().map(Text::as_str))
        .bind(&cid.as_bytes()[..])
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Removes an entry that is locked.
    pub(crate) async fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM entry WHERE key_type = $1 AND key = $2")
            .bind(key.kind().as_str())
            .bind(key.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Appends a version to the history and its event to what is published.
    pub(crate) async fn record(&mut self, version: &Version<'_>, event: &Event) -> Result<(), StoreError> {
        let insert = sqlx::query(concat!(
            "WITH told AS (
                 INSERT INTO outbox_event (sequence, subject, payload, at) VALUES ($16, $20, $21, $19))
             INSERT INTO entry_history (",
            columns!(),
            ", sequence, change, reason, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
        ));
        bind_entry(insert, version.stored)
            .bind(version.sequence)
            .bind(version.change.as_str())
            .bind(version.reason)
            .bind(OffsetDateTime::from(version.at))
            .bind(event.subject)
            .bind(&event.payload)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Remembers what a createEntry made and was answered; false when its RequestId was used meanwhile.
    pub(crate) async fn remember(&mut self, answered: &Answered<'_>) -> Result<bool, StoreError> {
        let Stored {
            entry,
            request_id,
            cid,
        } = answered.stored;
        let done = sqlx::query(
            "INSERT INTO create_request (participant, request_id, key_type, key, cid, sequence, at, answer)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(answered.participant.as_str())
        .bind(&request_id.as_bytes()[..])
        .bind(entry.key.kind().as_str())
        .bind(entry.key.as_str())
        .bind(&cid.as_bytes()[..])
        .bind(answered.sequence)
        .bind(OffsetDateTime::from(answered.at))
        .bind(answered.answer)
        .execute(&mut *self.0)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds an identifier to a participant's set, or takes it out: the VSync, and the event with the VSync after.
    pub(crate) async fn move_cid(
        &mut self,
        participant: Ispb,
        kind: KeyType,
        cid: &Cid,
        way: CidMove,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let way = match way {
            CidMove::Added => "ADDED",
            CidMove::Removed => "REMOVED",
        };
        sqlx::query(
            "WITH after AS (
                 INSERT INTO vsync (participant, key_type, value)
                 VALUES ($1, $2, ('x' || encode($3, 'hex'))::bit(256))
                 ON CONFLICT (participant, key_type) DO UPDATE SET value = vsync.value # EXCLUDED.value
                 RETURNING value)
             INSERT INTO cid_event (participant, key_type, kind, cid, at, vsync_after)
             SELECT $1, $2, $4, $3, $5, value FROM after",
        )
        .bind(participant.as_str())
        .bind(kind.as_str())
        .bind(&cid.as_bytes()[..])
        .bind(way)
        .bind(OffsetDateTime::from(at))
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Makes all of it true at once. No answer in time is no answer.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let silent = |_| StoreError::Unknown(sqlx::Error::PoolTimedOut);
        tokio::time::timeout(pg::STORE_WITHIN, self.0.commit())
            .await
            .map_err(silent)?
            .map_err(StoreError::Unknown)
    }
}

/// As the column `branch_number` has it.
fn branch_number(account: &Account) -> i16 {
    let number = account.branch.map_or(-1, |branch| i32::from(branch.get()));
    i16::try_from(number).expect("a branch has at most four digits")
}

/// Binds `$1` to `$15`.
fn bind_entry<'q>(
    query: Query<'q, Postgres, PgArguments>,
    stored: &'q Stored,
) -> Query<'q, Postgres, PgArguments> {
    let Entry {
        key,
        account,
        owner,
        created_at,
        owned_since,
        claim_opened_at,
    } = &stored.entry;
    query
        .bind(key.kind().as_str())
        .bind(key.as_str())
        .bind(account.participant.as_str())
        .bind(account.branch.map(|branch| branch.to_string()))
        .bind(account.number.as_str())
        .bind(account.kind.as_str())
        .bind(OffsetDateTime::from(account.opened_at))
        .bind(owner.tax_id.as_str())
        .bind(owner.name.as_str())
        .bind(owner.trade_name.as_ref().map(Text::as_str))
        .bind(OffsetDateTime::from(*created_at))
        .bind(OffsetDateTime::from(*owned_since))
        .bind(claim_opened_at.map(OffsetDateTime::from))
        .bind(&stored.request_id.as_bytes()[..])
        .bind(&stored.cid.as_bytes()[..])
}

/// Reads [`columns!`].
fn stored(table: &'static str, row: &PgRow) -> Result<Stored, StoreError> {
    let at = |index: usize| Ok::<_, StoreError>(row.try_get::<OffsetDateTime, _>(index)?.into());
    let branch: Option<&str> = row.try_get(3)?;
    let trade_name: Option<&str> = row.try_get(9)?;
    let claim_opened_at: Option<OffsetDateTime> = row.try_get(12)?;
    let entry = Entry {
        key: pg::key(table, row.try_get(0)?, row.try_get(1)?)?,
        account: Account {
            participant: pg::ispb(table, row.try_get(2)?)?,
            branch: pg::parsed(
                table,
                branch.map(|text| Branch::parse(text.as_bytes())).transpose(),
            )?,
            number: pg::parsed(table, AccountNumber::parse(row.try_get::<&str, _>(4)?.as_bytes()))?,
            kind: pg::parsed(table, AccountType::parse(row.try_get::<&str, _>(5)?.as_bytes()))?,
            opened_at: at(6)?,
        },
        owner: Owner {
            tax_id: pg::parsed(table, TaxId::parse(row.try_get::<&str, _>(7)?.as_bytes()))?,
            name: pg::parsed(table, Text::parse(row.try_get(8)?))?,
            trade_name: pg::parsed(table, trade_name.map(Text::parse).transpose())?,
        },
        created_at: at(10)?,
        owned_since: at(11)?,
        claim_opened_at: claim_opened_at.map(Timestamp::from),
    };
    Ok(Stored {
        entry,
        request_id: pg::parsed(table, RequestId::from_bytes(pg::bytes(table, row.try_get(13)?)?))?,
        cid: Cid::from_bytes(pg::bytes(table, row.try_get(14)?)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/dict");

    #[tokio::test]
    async fn a_lookup_reads_one_index_of_one_partition() {
        let database = pix_testkit::database("dict", &MIGRATIONS).await;
        let mut connection = database.connect().await;
        for kind in KeyType::ALL {
            let fill = format!(
                "INSERT INTO entry (key_type, key, participant, account_number, account_type, opened_at, tax_id,
                                    name, created_at, owned_since, request_id, cid)
                 SELECT '{0}', 'key' || n, '12345678', n::text, 'CACC', now(), '52998224725', 'Ana', now(), now(),
                        uuid_send(gen_random_uuid()), decode(md5('{0}' || n) || md5('x' || n), 'hex')
                 FROM generate_series(1, 5000) AS n;
                 ANALYZE entry;
                 SET plan_cache_mode = force_generic_plan;
                 PREPARE lookup_{0} (text) AS {1}",
                kind.as_str(),
                lookup_sql(*kind)
            );
            let filled = sqlx::raw_sql(sqlx::AssertSqlSafe(fill))
                .execute(&mut connection)
                .await;
            filled.expect("as owner");
            let explain = format!("EXPLAIN (COSTS OFF) EXECUTE lookup_{}('key77')", kind.as_str());
            let rows = sqlx::query(sqlx::AssertSqlSafe(explain))
                .fetch_all(&mut connection)
                .await;
            let rows = rows.expect("a plan");
            let plan: Vec<String> = rows.iter().map(|row| row.try_get(0).expect("text")).collect();
            let plan = plan.join("\n");
            let index = format!("Index Scan using entry_{}_pkey", kind.as_str().to_lowercase());
            assert!(plan.contains(&index), "{plan}");
            assert!(!plan.contains("Append") && !plan.contains("Seq"), "{plan}");
        }
    }
}
