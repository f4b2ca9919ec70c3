//! Amounts that may be below zero, as operators write and read them. Centavos.

use pix_domain::Money;

/// `1000.00` or `-250.00`.
///
/// # Errors
/// One sentence: two decimals, and not zero.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let amount = Money::parse(digits.as_bytes())
        .map_err(|why| format!("{why}; an amount is written like 1000.00, or -250.00 to take out"))?
        .to_i64();
    match amount {
        0 => Err(
            "nothing would move: name an amount of 0.01 or more, or of -0.01 or less to take out".to_owned(),
        ),
        amount if digits.len() == text.len() => Ok(amount),
        amount => Ok(-amount),
    }
}

/// With two decimals.
pub(crate) fn text(centavos: i64) -> String {
    let sign = if centavos < 0 { "-" } else { "" };
    format!("{sign}{}", Money::from_centavos(centavos.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_sign_and_two_decimals() {
        for (written, centavos) in [("1000.00", 100_000), ("-0.01", -1)] {
            assert_eq!(parse(written), Ok(centavos));
            assert_eq!(text(centavos), written);
        }
        for wrong in ["0.00", "-0.00", "1.234", "--1.00", "1,00", ""] {
            let said = parse(wrong).expect_err(wrong);
            assert!(said.contains("like 1000.00") || said.contains("0.01"), "{said}");
        }
    }
}
