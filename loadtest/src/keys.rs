//! Keys in numbers: loaded by SQL, and computed again for whoever looks them up.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use pix_domain::{Ispb, Key, KeyType};
use sqlx::{Connection as _, PgConnection};

/// As many persons as the numbers of `keys.sql` have room for.
pub(crate) const KEYS_MAX: u64 = 10_000_000;

/// Entries in one statement: a few seconds each, so that one sees how it goes.
const CHUNK: u64 = 250_000;

/// Whose entries they are unless somebody says otherwise: nobody's who looks them up.
pub(crate) fn owner() -> Ispb {
    Ispb::parse(b"88880009").expect("eight digits")
}

/// What a load did.
pub(crate) struct Loaded {
    pub(crate) new: u64,
    pub(crate) took: Duration,
}

/// Adds keys 1 to `count` of a participant, and tells the planner about them. `tell` hears how it goes.
pub(crate) async fn load(
    url: &str,
    participant: Ispb,
    count: u64,
    tell: impl Fn(u64, Duration),
) -> anyhow::Result<Loaded> {
    let mut connection = PgConnection::connect(url)
        .await
        .context("the DICT's database does not answer: give its owner's URL")?;
    let began = Instant::now();
    let mut new = 0;
    let mut first = 1;
    while first <= count {
        let last = count.min(first + CHUNK - 1);
        let inserted = sqlx::query(include_str!("../sql/keys.sql"))
            .bind(i64::try_from(first)?)
            .bind(i64::try_from(last)?)
            .bind(participant.as_str())
            .execute(&mut connection)
            .await
            .context("entries cannot be inserted")?;
        new += inserted.rows_affected();
        tell(last, began.elapsed());
        first = last + 1;
    }
    // Visibility and statistics, as a directory that has grown for years has them.
    sqlx::raw_sql("VACUUM (ANALYZE) entry")
        .execute(&mut connection)
        .await
        .context("the table cannot be analysed")?;
    connection.close().await?;
    Ok(Loaded {
        new,
        took: began.elapsed(),
    })
}

/// Key number `n`, from 1 to [`KEYS_MAX`]: what `keys.sql` makes of it.
pub(crate) fn key(n: u64) -> Key {
    let kind = match n % 100 {
        0..46 => return Key::random(entropy(n)),
        46..65 => KeyType::Cpf,
        65..83 => KeyType::Phone,
        83..97 => KeyType::Email,
        _ => KeyType::Cnpj,
    };
    let text = match kind {
        KeyType::Phone => format!("+55119{n:08}"),
        KeyType::Email => format!("pessoa{n}@carga.example"),
        KeyType::Cnpj => cnpj(n),
        KeyType::Cpf | KeyType::Evp => cpf(100_000_000 + n),
    };
    Key::parse(kind, &text).expect("numbers make keys; a test tries each kind")
}

/// The first half of the number's digest.
fn entropy(n: u64) -> u128 {
    let digest = digest(&SHA256, n.to_string().as_bytes());
    u128::from_be_bytes(digest.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes"))
}

/// A CPF with right check digits from its first nine.
pub(crate) fn cpf(base: u64) -> String {
    let mut text = format!("{base:09}");
    for longest in [10, 11] {
        let check = check_digit(&text, (2..=longest).rev());
        text.push(check);
    }
    text
}

/// A CNPJ likewise; its weights begin again at 9.
fn cnpj(n: u64) -> String {
    let mut text = format!("{}0001", 20_000_000 + n);
    for first in [5, 6] {
        let check = check_digit(&text, (2..=first).rev().chain((2..=9).rev()));
        text.push(check);
    }
    text
}

fn check_digit(text: &str, weights: impl Iterator<Item = u32>) -> char {
    let sum: u32 = text
        .bytes()
        .zip(weights)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    char::from_digit(10 * sum % 11 % 10, 10).expect("a digit is below ten")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pix_testkit::database;
    use sqlx::Row as _;

    use super::*;

    #[test]
    fn numbers_make_keys_of_every_kind_with_right_check_digits() {
        let keys: HashSet<Key> = (1..=1_000).map(key).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(Key::has_valid_check_digits));
        let of = |kind| keys.iter().filter(|key| key.kind() == kind).count();
        assert_eq!(
            [
                KeyType::Evp,
                KeyType::Cpf,
                KeyType::Phone,
                KeyType::Email,
                KeyType::Cnpj
            ]
            .map(of),
            [460, 190, 180, 140, 30]
        );
        assert!(key(KEYS_MAX).has_valid_check_digits() && key(KEYS_MAX - 1).has_valid_check_digits());
    }

    #[tokio::test]
    async fn the_sql_makes_the_same_keys_and_a_second_load_none() {
        const COUNT: u64 = 500;
        static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/dict");
        let database = database("dict", &MIGRATIONS).await;
        let participant = Ispb::parse(b"88880003").unwrap();
        let loaded = async || {
            load(&database.url(), participant, COUNT, |_, _| ())
                .await
                .unwrap()
                .new
        };
        assert_eq!(loaded().await, COUNT);
        assert_eq!(loaded().await, 0);
        let rows = sqlx::query("SELECT key_type, key, tax_id, request_id FROM entry")
            .fetch_all(&mut database.connect().await)
            .await
            .unwrap();
        let stored: HashSet<Key> = rows
            .iter()
            .map(|row| {
                let kind = KeyType::parse(row.get::<&str, _>(0).as_bytes()).unwrap();
                let owner = pix_domain::TaxId::parse(row.get::<&str, _>(2).as_bytes()).unwrap();
                assert!(owner.has_valid_check_digits());
                let request_id: [u8; 16] = row.get::<Vec<u8>, _>(3).try_into().unwrap();
                pix_domain::RequestId::from_bytes(request_id).unwrap();
                let key = Key::parse(kind, row.get(1)).unwrap();
                if let Some(tax_id) = key.tax_id() {
                    assert_eq!(tax_id, owner, "a CPF or CNPJ is its owner's");
                }
                key
            })
            .collect();
        let computed: HashSet<Key> = (1..=COUNT).map(key).collect();
        assert!(stored == computed, "keys.sql and keys.rs differ");
    }
}
