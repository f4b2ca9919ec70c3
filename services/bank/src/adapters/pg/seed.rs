//! Accounts of the customers file.

use bank_core::AccountState;
use pix_domain::{AccountNumber, AccountType, Branch, Ispb, Key, Money, TaxId, Text, Timestamp};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Postgres, Transaction};

use super::StoreError;

/// An account to open, from the customers file or for an indirect participant.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    /// The indirect participant whose account it is.
    pub(crate) indirect: Option<Ispb>,
    pub(crate) branch: Branch,
    pub(crate) number: AccountNumber,
    pub(crate) kind: AccountType,
    pub(crate) name: Text<140>,
    pub(crate) tax_id: TaxId,
    pub(crate) balance: Money,
    pub(crate) state: AccountState,
    /// Phones and e-mails that are known to be the holder's.
    pub(crate) contacts: Vec<Key>,
}

/// Opens the accounts that are not there; what is there stays as it is. Gives how many were opened.
pub(super) async fn open_accounts(
    tx: &mut Transaction<'_, Postgres>,
    customers: &[Customer],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let at: OffsetDateTime = now.into();
    let opened: Vec<(i64, i64)> = sqlx::query_as(
        "INSERT INTO account (branch, number, kind, holder, tax_id, state, available, indirect, opened_at)
         SELECT *, $9 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                                  $8::text[])
             ON CONFLICT DO NOTHING
         RETURNING id, available",
    )
    .bind(customers.iter().map(|c| c.branch.to_string()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.number.to_string()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.tax_id.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.state.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.balance.to_i64()).collect::<Vec<_>>())
    .bind(customers.iter().map(|c| c.indirect.map(|ispb| ispb.to_string())).collect::<Vec<_>>())
    .bind(at)
    .fetch_all(&mut **tx)
    .await?;
    let (ids, balances): (Vec<i64>, Vec<i64>) = opened.iter().copied().unzip();
    sqlx::query(
        "INSERT INTO posting (source, target, target_account, amount, at)
         SELECT 'opening', 'available', n.id, n.amount, $3 FROM UNNEST($1::bigint[], $2::bigint[]) AS n (id, amount)",
    )
    .bind(ids)
    .bind(&balances)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    let total = balances
        .iter()
        .try_fold(0_i64, |sum, n| sum.checked_add(*n))
        .ok_or(StoreError::Overflow)?;
    sqlx::query("UPDATE own_account SET balance = balance - $1 WHERE name = 'opening'")
        .bind(total)
        .execute(&mut **tx)
        .await?;
    settle_for(tx, customers).await?;
    confirm_contacts(tx, customers, at).await?;
    Ok(opened.len())
}

/// The bank settles for those it is told of at this start, and for nobody else: what another has here, it keeps.
async fn settle_for(tx: &mut Transaction<'_, Postgres>, customers: &[Customer]) -> Result<(), StoreError> {
    let settled = customers.iter().filter_map(|c| c.indirect);
    sqlx::query(
        "UPDATE account SET state = CASE WHEN indirect = ANY($1) THEN 'open' ELSE 'closed' END
          WHERE indirect IS NOT NULL",
    )
    .bind(settled.map(|ispb| ispb.to_string()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Contacts of the file, also of customers who have been here for long.
async fn confirm_contacts(
    tx: &mut Transaction<'_, Postgres>,
    customers: &[Customer],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let each = |c: &'_ Customer| -> Vec<(String, String)> {
        let of = |key: &Key| (c.tax_id.as_str().to_owned(), key.as_str().to_owned());
        c.contacts.iter().map(of).collect()
    };
    let (holders, contacts): (Vec<_>, Vec<_>) = customers.iter().flat_map(each).unzip();
    sqlx::query(
        "INSERT INTO contact (tax_id, contact, confirmed_at)
         SELECT *, $3 FROM UNNEST($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(holders)
    .bind(contacts)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
