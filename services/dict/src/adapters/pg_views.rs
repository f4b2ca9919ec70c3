//! What operators ask of the tables.

use std::fmt::Write as _;

use pix_domain::{Ispb, KeyType};
use serde::Serialize;
use sqlx::{PgPool, Row as _};

use super::pg::StoreError;

/// A participant's keys of one kind.
#[derive(Serialize)]
pub(crate) struct SetView {
    pub(crate) key_type: &'static str,
    pub(crate) entries: i64,
    pub(crate) vsync: String,
}

/// A participant's keys, counted by kind.
pub(crate) async fn sets(pool: &PgPool, participant: Ispb) -> Result<Vec<SetView>, StoreError> {
    let mut sets = Vec::with_capacity(KeyType::ALL.len());
    for kind in KeyType::ALL {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM entry WHERE key_type = $1 AND participant = $2),
                    COALESCE((SELECT value::text FROM vsync WHERE key_type = $1 AND participant = $2), '')",
        )
        .bind(kind.as_str())
        .bind(participant.as_str())
        .fetch_one(pool)
        .await?;
        sets.push(SetView {
            key_type: kind.as_str(),
            entries: row.try_get(0)?,
            vsync: hexadecimal(row.try_get(1)?),
        });
    }
    Ok(sets)
}

/// The 64 digits of a bit string; none at all is the empty set.
fn hexadecimal(bits: &str) -> String {
    let digits = bits.as_bytes().chunks(4).map(|four| {
        four.iter()
            .fold(0_u8, |digit, bit| digit << 1 | u8::from(*bit == b'1'))
    });
    let mut text = String::with_capacity(64);
    for digit in digits {
        write!(text, "{digit:x}").expect("a string takes everything");
    }
    if text.is_empty() { "0".repeat(64) } else { text }
}
