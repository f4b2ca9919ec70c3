//! From texts to values. Whatever is wrong is said at once, each with the rule of the API's document that it breaks.

use pix_domain::{
    AccountNumber, AccountType, Branch, InvalidKey, Ispb, Key, KeyType, RequestId, TaxId, Text, key_pattern,
};

use crate::{Account, AccountText, EntryText, NewEntry, Owner, OwnerText, Violation, time};

const KEY_TYPE: &str = "^(CPF|CNPJ|PHONE|EMAIL|EVP)$";
const PARTICIPANT: &str = "^[0-9A-Z]{8}$";
const BRANCH: &str = "^[0-9]{1,4}$";
const ACCOUNT_NUMBER: &str = "^(?i)[a-z0-9]{1,20}$";
const ACCOUNT_TYPE: &str = "^(CACC|TRAN|SLRY|SVGS)$";
const PERSON_TYPE: &str = "^(NATURAL_PERSON|LEGAL_PERSON)$";
const CPF: &str = "^[0-9]{11}$";
const CNPJ: &str = "^[0-9A-Z]{12}[0-9]{2}$";
const CPF_OR_CNPJ: &str = "^([0-9]{11}|[0-9A-Z]{12}[0-9]{2})$";
const NATURAL_NAME: &str = "^([A-Za-zÀ-ÖØ-öø-ÿ' -]+)$";
const LEGAL_NAME: &str = r"^[\u0020-\u007E\u00A1-\u00FF]+$";
const REQUEST_ID: &str =
    "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$";

impl EntryText {
    /// The entry that these texts are. The check digits of CPF and CNPJ *keys* have to be right; those of the
    /// owner's CPF or CNPJ are not looked at, because the official examples carry wrong ones.
    ///
    /// # Errors
    /// Every violation, with properties like `entry.account.branch`.
    pub fn check(&self) -> Result<NewEntry, Vec<Violation>> {
        let mut check = Check::new("entry.");
        let kind = KeyType::parse(self.key_type.as_bytes()).ok();
        let kind = check.matches("keyType", &self.key_type, KEY_TYPE, kind);
        let key = kind.and_then(|kind| check.entry_key(kind, self.key.as_deref()));
        check.prefix = "entry.account.";
        let account = check.account(&self.account);
        check.prefix = "entry.owner.";
        let owner = check.owner(&self.owner);
        check.result(|| {
            Some(NewEntry {
                kind: kind?,
                key: key?,
                account: account?,
                owner: owner?,
            })
        })
    }
}

impl AccountText {
    /// The account that these texts are.
    ///
    /// # Errors
    /// Every violation, with properties like `account.branch`.
    pub fn check(&self) -> Result<Account, Vec<Violation>> {
        let mut check = Check::new("account.");
        let account = check.account(self);
        check.result(|| account)
    }
}

impl OwnerText {
    /// The owner that these texts are.
    ///
    /// # Errors
    /// Every violation, with properties like `owner.taxIdNumber`.
    pub fn check(&self) -> Result<Owner, Vec<Violation>> {
        let mut check = Check::new("owner.");
        let owner = check.owner(self);
        check.result(|| owner)
    }
}

/// The key that `text` is, by its form ([`Key::guess`]); its check digits are not looked at.
///
/// # Errors
/// The violation, of property `key`.
pub fn check_key(text: &str) -> Result<Key, Violation> {
    Key::guess(text).map_err(|why| Violation {
        reason: match why {
            InvalidKey::Pattern(kind) => no_match(key_pattern(kind)),
            InvalidKey::NoKind => "Value does not have the form of any type of key".to_owned(),
        },
        value: Some(text.to_owned()),
        property: Some("key".to_owned()),
    })
}

/// The RequestId that `text` is.
///
/// # Errors
/// The violation, of property `requestId`.
pub fn check_request_id(text: &str) -> Result<RequestId, Violation> {
    RequestId::parse(text).map_err(|_| Violation {
        reason: no_match(REQUEST_ID),
        value: Some(text.to_owned()),
        property: Some("requestId".to_owned()),
    })
}

fn no_match(pattern: &str) -> String {
    format!("Value does not match regex '{pattern}'")
}

/// Collects violations of the object that `prefix` names.
struct Check {
    prefix: &'static str,
    violations: Vec<Violation>,
}

impl Check {
    fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            violations: Vec::new(),
        }
    }

    /// What `value` makes, when nothing was wrong.
    fn result<T>(self, value: impl FnOnce() -> Option<T>) -> Result<T, Vec<Violation>> {
        if self.violations.is_empty() {
            Ok(value().expect("what is not there has its violation"))
        } else {
            Err(self.violations)
        }
    }

    fn violation(&mut self, property: &str, value: Option<&str>, reason: String) {
        self.violations.push(Violation {
            reason,
            value: value.map(str::to_owned),
            property: Some(format!("{}{property}", self.prefix)),
        });
    }

    /// `parsed`; nothing is the violation of `pattern`.
    fn matches<T>(&mut self, property: &str, value: &str, pattern: &str, parsed: Option<T>) -> Option<T> {
        if parsed.is_none() {
            self.violation(property, Some(value), no_match(pattern));
        }
        parsed
    }

    /// The key of an entry: nothing after a violation, and no key for an EVP.
    #[expect(
        clippy::option_option,
        reason = "wrong, absent and present are three different things"
    )]
    fn entry_key(&mut self, kind: KeyType, text: Option<&str>) -> Option<Option<Key>> {
        let why = match (kind, text) {
            (KeyType::Evp, None) => return Some(None),
            (KeyType::Evp, Some(_)) => "A key of type EVP is drawn by the DICT and may not be given",
            (_, None) => "Value is missing",
            (_, Some(text)) => {
                let key = Key::parse(kind, text).ok();
                let key = self.matches("key", text, key_pattern(kind), key)?;
                if key.has_valid_check_digits() {
                    return Some(Some(key));
                }
                "Check digits are wrong"
            }
        };
        self.violation("key", text, why.to_owned());
        None
    }

    fn account(&mut self, text: &AccountText) -> Option<Account> {
        let participant = Ispb::parse(text.participant.as_bytes()).ok();
        let participant = self.matches("participant", &text.participant, PARTICIPANT, participant);
        let branch = match &text.branch {
            None => Some(None),
            Some(branch) => {
                let parsed = Branch::parse(branch.as_bytes()).ok();
                self.matches("branch", branch, BRANCH, parsed).map(Some)
            }
        };
        // Either case is accepted; the canonical one, as the SPI writes it, is upper.
        let number = AccountNumber::parse(text.number.to_ascii_uppercase().as_bytes()).ok();
        let number = self.matches("accountNumber", &text.number, ACCOUNT_NUMBER, number);
        let kind = AccountType::parse(text.kind.as_bytes())
            .ok()
            .filter(|kind| *kind != AccountType::Other);
        let kind = self.matches("accountType", &text.kind, ACCOUNT_TYPE, kind);
        let opened_at = time::parse(&text.opened_at);
        if opened_at.is_none() {
            let why = "Value is not a date-time of RFC 3339".to_owned();
            self.violation("openingDate", Some(&text.opened_at), why);
        }
        Some(Account {
            participant: participant?,
            branch: branch?,
            number: number?,
            kind: kind?,
            opened_at: opened_at?,
        })
    }

    fn owner(&mut self, text: &OwnerText) -> Option<Owner> {
        // Where the kind is wrong, the rest has to be right for one of the two: every violation is told at once.
        let (is_company, tax_pattern) = match text.person_type.as_str() {
            "NATURAL_PERSON" => (Some(false), CPF),
            "LEGAL_PERSON" => (Some(true), CNPJ),
            _ => (None, CPF_OR_CNPJ),
        };
        self.matches("type", &text.person_type, PERSON_TYPE, is_company);
        let tax_id = TaxId::parse(text.tax_id.as_bytes()).ok();
        let tax_id = tax_id
            .filter(|id| is_company.is_none_or(|is_company| matches!(id, TaxId::Cnpj(_)) == is_company));
        let tax_id = self.matches("taxIdNumber", &text.tax_id, tax_pattern, tax_id);
        let name = if is_company == Some(false) {
            self.text("name", &text.name, NATURAL_NAME, in_natural_name)
        } else {
            self.text("name", &text.name, LEGAL_NAME, in_legal_name)
        };
        let trade_name = match &text.trade_name {
            None => Some(None),
            Some(name) if is_company != Some(false) => {
                self.text("tradeName", name, LEGAL_NAME, in_legal_name).map(Some)
            }
            Some(name) => {
                let why = "Only a LEGAL_PERSON has a trade name".to_owned();
                self.violation("tradeName", Some(name), why);
                None
            }
        };
        is_company?;
        Some(Owner {
            tax_id: tax_id?,
            name: name?,
            trade_name: trade_name?,
        })
    }

    fn text<const MAX: usize>(
        &mut self,
        property: &str,
        value: &str,
        pattern: &str,
        allowed: impl Fn(char) -> bool,
    ) -> Option<Text<MAX>> {
        if value.is_empty() || !value.chars().all(allowed) {
            return self.matches(property, value, pattern, None);
        }
        let text = Text::parse(value).ok();
        if text.is_none() {
            let why = format!("Value is longer than {MAX} characters");
            self.violation(property, Some(value), why);
        }
        text
    }
}

fn in_natural_name(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' | '\'' | ' ' | '-')
}

fn in_legal_name(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{7E}' | '\u{A1}'..='\u{FF}')
}
