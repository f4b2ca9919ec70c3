//! May this account take this money?

use pix_domain::{AccountType, Ispb, Money, Purpose, StatusReason};

use crate::{Account, AccountState, Destination};

/// The rules for an account that is to be credited, in their precedence: the first that fails is the answer.
///
/// | # | Code | When |
/// |---|------|------|
/// | 1 | ED05 | the order names another participant: it should never have come here |
/// | 2 | AC03 | no account has this branch and number |
/// | 3 | BE01 | the CPF or CNPJ is not the holder's |
/// | 4 | AC07 | closed |
/// | 5 | AC06 | blocked |
/// | 6 | AC14 | the account is of another type |
/// | 7 | AG03 | a salary account, or cash (Saque, Troco), which this bank does not hand out |
/// | 8 | AM02 | the account cannot hold that much |
///
/// Who the holder is comes before what state the account is in: only someone who can name the holder
/// learns that an account is closed or blocked.
///
/// # Errors
/// The code to answer RJCT with.
pub fn judge_receiver<'a>(
    ours: Ispb,
    account: Option<&'a Account>,
    to: &Destination,
    purpose: Purpose,
    amount: Money,
) -> Result<&'a Account, StatusReason> {
    if to.ispb != ours {
        return Err(StatusReason::ED05);
    }
    let account = account.ok_or(StatusReason::AC03)?;
    if account.tax_id != to.tax_id {
        return Err(StatusReason::BE01);
    }
    match account.state {
        AccountState::Closed => return Err(StatusReason::AC07),
        AccountState::Blocked => return Err(StatusReason::AC06),
        AccountState::Open => {}
    }
    if account.kind != to.kind {
        return Err(StatusReason::AC14);
    }
    let cash = matches!(purpose, Purpose::CashBack | Purpose::Withdrawal);
    if account.kind == AccountType::Salary || cash {
        return Err(StatusReason::AG03);
    }
    if !account.balances.has_room_for(amount) {
        return Err(StatusReason::AM02);
    }
    Ok(account)
}

/// The rules for the account of an indirect participant that is to be credited for one of its customers. Whether it has
/// that customer, only it could tell.
///
/// | # | Code | When |
/// |---|------|------|
/// | 1 | ED05 | this bank does not settle for it any more |
/// | 2 | AG03 | cash (Saque, Troco) |
/// | 3 | AM02 | the account cannot hold that much |
///
/// # Errors
/// The code to answer RJCT with.
pub fn judge_indirect(account: &Account, purpose: Purpose, amount: Money) -> Result<&Account, StatusReason> {
    if account.state != AccountState::Open {
        return Err(StatusReason::ED05);
    }
    if matches!(purpose, Purpose::CashBack | Purpose::Withdrawal) {
        return Err(StatusReason::AG03);
    }
    if !account.balances.has_room_for(amount) {
        return Err(StatusReason::AM02);
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use pix_domain::{AccountNumber, Branch, TaxId, Text};

    use super::*;
    use crate::{AccountId, Balances};

    const OURS: &[u8] = b"22222222";

    fn ispb(wire: &[u8]) -> Ispb {
        Ispb::parse(wire).unwrap()
    }

    fn account() -> Account {
        Account {
            id: AccountId(1),
            indirect: None,
            branch: Branch::parse(b"0001").unwrap(),
            number: AccountNumber::parse(b"100001").unwrap(),
            kind: AccountType::Current,
            holder: Text::parse("Ana Souza").unwrap(),
            tax_id: TaxId::parse(b"52998224725").unwrap(),
            state: AccountState::Open,
            balances: Balances::default(),
        }
    }

    fn to() -> Destination {
        Destination {
            ispb: ispb(OURS),
            branch: Some(Branch::parse(b"1").unwrap()),
            number: AccountNumber::parse(b"100001").unwrap(),
            kind: AccountType::Current,
            tax_id: TaxId::parse(b"52998224725").unwrap(),
        }
    }

    fn judge(account: Option<&Account>, to: &Destination) -> Result<AccountId, StatusReason> {
        let ten = Money::from_centavos(1000);
        judge_receiver(ispb(OURS), account, to, Purpose::InstantPayment, ten).map(|account| account.id)
    }

    #[test]
    fn a_matching_order_is_taken() {
        assert_eq!(judge(Some(&account()), &to()), Ok(AccountId(1)));
    }

    #[test]
    fn an_indirect_participants_account_takes_what_it_can_hold() {
        use StatusReason as R;
        let held = |state, available| Account {
            indirect: Some(ispb(b"2222000V")),
            state,
            balances: Balances {
                available: Money::from_centavos(available),
                ..Balances::default()
            },
            ..account()
        };
        let judge = |account: &Account, purpose| {
            judge_indirect(account, purpose, Money::from_centavos(1)).map(|account| account.id)
        };
        let (open, pay) = (held(AccountState::Open, 0), Purpose::InstantPayment);
        assert_eq!(judge(&open, pay), Ok(AccountId(1)));
        assert_eq!(judge(&held(AccountState::Closed, 0), pay), Err(R::ED05));
        assert_eq!(judge(&open, Purpose::CashBack), Err(R::AG03));
        assert_eq!(
            judge(&held(AccountState::Open, i64::MAX as u64), pay),
            Err(R::AM02)
        );
    }

    #[test]
    fn every_rule_has_its_code() {
        use StatusReason as R;
        let elsewhere = Destination {
            ispb: ispb(b"33333333"),
            ..to()
        };
        assert_eq!(judge(Some(&account()), &elsewhere), Err(R::ED05));
        assert_eq!(judge(None, &to()), Err(R::AC03));
        let another = Destination {
            tax_id: TaxId::parse(b"11222333000181").unwrap(),
            ..to()
        };
        assert_eq!(judge(Some(&account()), &another), Err(R::BE01));
        let closed = Account {
            state: AccountState::Closed,
            ..account()
        };
        assert_eq!(judge(Some(&closed), &to()), Err(R::AC07));
        assert_eq!(
            judge(Some(&closed), &another),
            Err(R::BE01),
            "a stranger does not learn that it is closed"
        );
        let blocked = Account {
            state: AccountState::Blocked,
            ..account()
        };
        assert_eq!(judge(Some(&blocked), &to()), Err(R::AC06));
        let savings = Destination {
            kind: AccountType::Savings,
            ..to()
        };
        assert_eq!(judge(Some(&account()), &savings), Err(R::AC14));
        let salary = Account {
            kind: AccountType::Salary,
            ..account()
        };
        assert_eq!(judge(Some(&salary), &to()), Err(R::AC14));
        let to_salary = Destination {
            kind: AccountType::Salary,
            ..to()
        };
        assert_eq!(judge(Some(&salary), &to_salary), Err(R::AG03));
        let full = Balances {
            available: Money::from_centavos(i64::MAX as u64),
            ..Balances::default()
        };
        assert_eq!(
            judge(
                Some(&Account {
                    balances: full,
                    ..account()
                }),
                &to()
            ),
            Err(R::AM02)
        );
        let (account, one) = (account(), Money::from_centavos(1));
        let cash = judge_receiver(ispb(OURS), Some(&account), &to(), Purpose::Withdrawal, one);
        assert_eq!(cash.map(|a| a.id), Err(R::AG03));
    }
}
