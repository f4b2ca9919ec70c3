//! What to do about a refusal: one sentence a code, for those that a person can do something about.

/// What whoever paid, or runs the payer's bank, does now.
pub(crate) fn of(code: &str) -> Option<&'static str> {
    Some(match code {
        "AB03" => {
            "The receiver's bank did not answer in time: look whether it runs and reads its stream (`pix status`), then \
             pay again; a new payment gets a new id."
        }
        "AB09" => "The receiver's bank had a fault of its own: pay again later.",
        "AB11" => {
            "The order was older than 34 s when the switch got it: send it at once, and set the clock of the payer's \
             bank (`timedatectl`; `pix doctor` looks at this machine's)."
        }
        "AC03" => {
            "The receiver's bank has no such account: check branch and number, or pay by key, which cannot be mistyped."
        }
        "AC06" => "The receiver's account is blocked: ask the receiver for another one.",
        "AC07" => "The receiver's account is closed: ask the receiver for another one, or for a key.",
        "AC14" => {
            "The receiver's account is of another type: CACC current, SVGS savings, SLRY salary, TRAN payment account."
        }
        "AG12" => {
            "Payer and receiver settle in the same Conta PI: that is a transfer inside that institution, not a Pix \
             through the SPI."
        }
        "AGNT" | "DS0G" => {
            "Whoever signed the order does not settle for the payer's participant: send it by its settler (`pix \
             participant show ISPB` names it)."
        }
        "AM01" => "The amount was zero: pay at least 0.01.",
        "AM02" => "The receiver's account may not take so much: pay less, or ask the receiver.",
        "AM04" => {
            "The Conta PI of the payer's participant holds too little: fund it (`pix participant fund --ispb ISPB \
             --amount 1000.00`), or pay less."
        }
        "AM09" => "A return may not be more than the payment it returns.",
        "AM18" => {
            "The number of transactions in the message's header is not what the message holds: count again."
        }
        "BE01" => "The CPF or CNPJ is not that of the account's holder: check it with the receiver.",
        "CH11" => "The receiver's CPF or CNPJ has wrong check digits: type it again.",
        "DS04" => "The receiver's bank does not want this payment: ask the receiver.",
        "DS27" => {
            "The participant is not registered or suspended: `pix participant list` shows who takes part, and `pix \
             participant resume` lets a suspended one back in."
        }
        "DT02" => {
            "The times in the message lie in the future or make no sense: set the clock of the payer's bank \
             (`timedatectl`; `pix doctor` looks at this machine's)."
        }
        "DU03" => "Another payment had this EndToEndId before: give every payment a new one.",
        "ED05" => "The receiver's participant cannot settle this: ask it why.",
        "FF08" => {
            "The EndToEndId is not one: E, the payer's ISPB, the minute in UTC and eleven letters or digits; its minute \
             may not be far from now, so check the clock, too."
        }
        "RC09" => "The payer's ISPB takes no part here: `pix participant list` shows who does.",
        "RC10" => "The receiver's ISPB takes no part here: check it, `pix participant list` shows who does.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use pix_domain::StatusReason;

    use super::*;

    #[test]
    fn advice_is_given_for_codes_that_exist() {
        let all = [
            "AB03", "AB09", "AB11", "AC03", "AC06", "AC07", "AC14", "AG12", "AGNT", "DS0G", "AM01", "AM02",
            "AM04", "AM09", "AM18", "BE01", "CH11", "DS04", "DS27", "DT02", "DU03", "ED05", "FF08", "RC09",
            "RC10",
        ];
        for code in all {
            assert!(StatusReason::parse(code.as_bytes()).is_ok(), "{code}");
            assert!(of(code).is_some_and(|words| words.ends_with('.')), "{code}");
        }
        assert_eq!(of("XXXX"), None);
    }
}
