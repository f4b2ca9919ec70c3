//! Who pays and who is paid.

use std::fmt;

/// CPF (11 digits) or CNPJ (12 of `0-9A-Z`, then 2 digits), without dots or dashes.
///
/// Rule: XSD `PICpfCnpj`. The pattern alone: check digits are the receiver's to judge (CH11), and the
/// official examples carry wrong ones; [`TaxId::has_valid_check_digits`] is there for those who ask.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaxId {
    /// A person.
    Cpf([u8; 11]),
    /// A company.
    Cnpj(Cnpj),
}

/// CNPJ: 12 of `0-9A-Z`, then two check digits (XSD `PICnpj`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cnpj([u8; 14]);

/// Neither 11 digits nor a CNPJ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CPF is 11 digits, a CNPJ 12 of 0-9A-Z and 2 digits, without dots or dashes")]
pub struct InvalidTaxId;

impl Cnpj {
    /// Reads 14 characters.
    ///
    /// # Errors
    /// [`InvalidTaxId`] when the pattern does not hold.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidTaxId> {
        let raw: [u8; 14] = wire.try_into().map_err(|_| InvalidTaxId)?;
        let holds = raw[..12].iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'Z'))
            && raw[12..].iter().all(u8::is_ascii_digit);
        if holds { Ok(Self(raw)) } else { Err(InvalidTaxId) }
    }

    /// The 14 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("constructors admit ASCII only")
    }
}

impl TaxId {
    /// Reads 11 or 14 characters.
    ///
    /// # Errors
    /// [`InvalidTaxId`] when neither pattern holds.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidTaxId> {
        match <[u8; 11]>::try_from(wire) {
            Ok(cpf) if cpf.iter().all(u8::is_ascii_digit) => Ok(Self::Cpf(cpf)),
            Ok(_) => Err(InvalidTaxId),
            Err(_) => Cnpj::parse(wire).map(Self::Cnpj),
        }
    }

    /// The 11 or 14 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpf(raw) => std::str::from_utf8(raw).expect("constructors admit ASCII only"),
            Self::Cnpj(cnpj) => cnpj.as_str(),
        }
    }

    /// Whether the two check digits follow from the rest (modulo 11; a letter counts as its ASCII code
    /// less 48, which for a digit is the digit).
    #[must_use]
    pub fn has_valid_check_digits(&self) -> bool {
        let raw = self.as_str().as_bytes();
        let body = raw.len() - 2;
        let highest = if matches!(self, Self::Cpf(_)) { 11 } else { 9 };
        let digit = |len: usize| {
            let mut weight = 2_u32;
            let mut sum = 0_u32;
            for b in raw[..len].iter().rev() {
                sum += u32::from(b - b'0') * weight;
                weight = if weight == highest { 2 } else { weight + 1 };
            }
            let rest = sum % 11;
            if rest < 2 { 0 } else { 11 - rest }
        };
        let same = raw[..body].iter().all(|b| *b == raw[0]);
        !same
            && u32::from(raw[body] - b'0') == digit(body)
            && u32::from(raw[body + 1] - b'0') == digit(body + 1)
    }

    /// The form that may be shown where the whole may not: `***.456.789-**` keeps six digits.
    #[must_use]
    pub fn masked(&self) -> String {
        let raw = self.as_str();
        match self {
            Self::Cpf(_) => format!("***.{}.{}-**", &raw[3..6], &raw[6..9]),
            Self::Cnpj(_) => format!("{}.***.***/{}-**", &raw[..2], &raw[8..12]),
        }
    }
}

impl fmt::Debug for TaxId {
    /// Masked: a CPF never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Cnpj {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_the_schema() {
        assert!(TaxId::parse(b"70000000000").is_ok());
        assert!(TaxId::parse(b"12ABC34501DE35").is_ok());
        for wrong in [
            "7000000000",
            "7000000000A",
            "123.456.789-09",
            "12ABC34501DE3X",
            "12abc34501de35",
        ] {
            assert_eq!(TaxId::parse(wrong.as_bytes()), Err(InvalidTaxId), "{wrong}");
        }
    }

    #[test]
    fn check_digits_follow_the_published_examples() {
        let valid = |id: &str| TaxId::parse(id.as_bytes()).expect(id).has_valid_check_digits();
        assert!(valid("52998224725"));
        assert!(valid("11222333000181"));
        assert!(valid("12ABC34501DE35"), "the Receita's own alphanumeric example");
        assert!(!valid("52998224726") && !valid("11111111111") && !valid("11222333000182"));
    }
}
