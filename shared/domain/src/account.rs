//! Accounts of customers.

use std::fmt;

/// Number of an account with its check digit, 1 to 20 of `0-9A-Z` (XSD 1.16 `ContaUsuarioType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountNumber {
    raw: [u8; 20],
    len: u8,
}

/// Branch (agência) without check digit, 1 to 4 digits (XSD `Max4Numeric`).
///
/// `0001` and `1` name the same branch and are equal; each is written as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Branch {
    number: u16,
    width: u8,
}

/// Why characters are no account number, branch or type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccount {
    /// Not an account number.
    #[error("an account number is 1 to 20 of 0-9 and A-Z")]
    Number,
    /// Not a branch.
    #[error("a branch is 1 to 4 digits")]
    Branch,
    /// Not an account type.
    #[error("an account type is CACC, SVGS, TRAN, SLRY or OTHR")]
    Type,
}

impl AccountNumber {
    /// Reads 1 to 20 characters.
    ///
    /// # Errors
    /// [`InvalidAccount::Number`].
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidAccount> {
        let fits = matches!(wire.len(), 1..=20);
        if !fits || !wire.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'Z')) {
            return Err(InvalidAccount::Number);
        }
        let mut raw = [0; 20];
        raw[..wire.len()].copy_from_slice(wire);
        Ok(Self {
            raw,
            len: u8::try_from(wire.len()).expect("at most 20"),
        })
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.raw[..usize::from(self.len)]).expect("constructors admit ASCII only")
    }
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Branch {
    /// Reads 1 to 4 digits.
    ///
    /// # Errors
    /// [`InvalidAccount::Branch`].
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidAccount> {
        if !matches!(wire.len(), 1..=4) || !wire.iter().all(u8::is_ascii_digit) {
            return Err(InvalidAccount::Branch);
        }
        let number = wire.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'));
        Ok(Self {
            number,
            width: u8::try_from(wire.len()).expect("at most 4"),
        })
    }

    /// The number, 0..=9999.
    #[must_use]
    pub fn get(self) -> u16 {
        self.number
    }
}

impl PartialEq for Branch {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Branch {}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$}", self.number, width = usize::from(self.width))
    }
}

/// Kind of account (XSD `ExternalCashAccountType1Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountType {
    /// `CACC`: current account.
    Current,
    /// `SVGS`: savings account.
    Savings,
    /// `TRAN`: payment account.
    Transacting,
    /// `SLRY`: salary account; cannot be credited.
    Salary,
    /// `OTHR`: a Conta PI (1.16).
    Other,
}

impl AccountType {
    /// Reads the four letters.
    ///
    /// # Errors
    /// [`InvalidAccount::Type`].
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidAccount> {
        Ok(match wire {
            b"CACC" => Self::Current,
            b"SVGS" => Self::Savings,
            b"TRAN" => Self::Transacting,
            b"SLRY" => Self::Salary,
            b"OTHR" => Self::Other,
            _ => return Err(InvalidAccount::Type),
        })
    }

    /// The four letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "CACC",
            Self::Savings => "SVGS",
            Self::Transacting => "TRAN",
            Self::Salary => "SLRY",
            Self::Other => "OTHR",
        }
    }
}
