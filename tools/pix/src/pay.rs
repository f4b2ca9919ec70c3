//! Pays by key or account through the payer bank's own API, waits for the end, and shows what changed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::{Ispb, Key, Money};
use serde_json::{Value, json};

use crate::bank_keys::{BankKeys, Payee};
use crate::cli;
use crate::http::{Answer, Http, new_order_key};
use crate::payment::{self, Story, bank_index};
use crate::place::Place;
use crate::seed::{self, Account, BANKS, Bank, Customers};

/// A payment ends within its 40 seconds, plus the time its end takes to travel.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(60);
/// The receiver's credit follows the payer's confirmation closely.
pub(crate) const CREDIT_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// Who pays whom.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    from: &'a str,
    from_account: Option<&'a str>,
    to: To<'a>,
    amount: Money,
    description: Option<&'a str>,
}

/// Who is paid.
#[derive(Debug)]
enum To<'a> {
    Key(&'a Key),
    Account {
        bank: &'a str,
        account: Option<&'a str>,
        tax_id: Option<&'a str>,
    },
}

/// Who is paid, once found.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// As the payer's bank takes it.
    pub(crate) body: Value,
    ispb: Ispb,
    /// Whose balance is shown, when the bank runs here and tells.
    account: Option<Account>,
    /// What the key led to.
    found: Option<Payee>,
}

/// A payment that has been made, with the balances that it touched.
#[derive(Debug)]
pub(crate) struct Paid {
    story: Story,
    /// The key, masked, and whom it led to.
    to: Option<(String, Payee)>,
    balances: Vec<Balance>,
}

/// A balance, in reais as the services write it.
#[derive(Debug)]
struct Balance {
    of: String,
    before: String,
    after: String,
}

impl<'a> Order<'a> {
    /// The one that `pix up` makes: by key, when there is one.
    pub(crate) fn first(key: Option<&'a Key>) -> Self {
        let by_account = To::Account {
            bank: "B",
            account: None,
            tax_id: None,
        };
        Self {
            from: "A",
            from_account: None,
            to: key.map_or(by_account, To::Key),
            amount: Money::from_centavos(1050),
            description: Some("first payment"),
        }
    }
}

pub(crate) async fn command(place: &Place, typed: &cli::Pay) -> anyhow::Result<ExitCode> {
    let by_account = To::Account {
        bank: &typed.to,
        account: typed.to_account.as_deref(),
        tax_id: typed.to_tax_id.as_deref(),
    };
    let order = Order {
        from: &typed.from,
        from_account: typed.from_account.as_deref(),
        to: typed.to_key.as_ref().map_or(by_account, To::Key),
        amount: typed.amount,
        description: typed.description.as_deref(),
    };
    let paid = pay(place, &Http::new(), &order).await?;
    if typed.json {
        outln!("{:#}", paid.to_json());
    } else {
        paid.print();
    }
    Ok(paid.story.exit_code())
}

/// Makes the payment and waits until payer and receiver know its end.
pub(crate) async fn pay(place: &Place, http: &Http, order: &Order<'_>) -> anyhow::Result<Paid> {
    let payer = paying_bank(order.from)?;
    let payer_bank = &BANKS[usize::from(payer)];
    let from = paying_account(place, payer_bank, order.from_account)?;
    let keys = BankKeys::of(place, http, payer);
    let to = match &order.to {
        To::Key(key) => by_key(place, http, &keys, &from, key).await?,
        To::Account {
            bank,
            account,
            tax_id,
        } => by_account(place, bank, *account, *tax_id)?,
    };
    let receiver = bank_index(&to.ispb.to_string());

    let mut ispbs = vec![payer_bank.ispb(), to.ispb];
    ispbs.dedup();
    let touched = Touched {
        place,
        http,
        payer,
        receiver,
        from: &from,
        to: to.account.as_ref(),
        ispbs,
    };
    let before = touched.balances().await?;
    let mut body = json!({
        "from": {"branch": from.branch, "number": from.number},
        "to": to.body,
        "amount": order.amount.to_string(),
        "description": order.description,
    });
    // The payment goes by the look-up that was shown, under its id.
    if let Some(id) = to.found.as_ref().and_then(|found| found.end_to_end_id.as_deref()) {
        body["end_to_end_id"] = id.into();
    }
    let port = place.ports.bank(payer);
    let answer = send_order(http, port, &body).await?;
    let Some(end_to_end_id) = answer.body["end_to_end_id"]
        .as_str()
        .filter(|_| answer.is_success())
    else {
        bail!("{} takes no such order: {}", payer_bank.name, answer.refusal());
    };

    let path = format!("/api/payments/{end_to_end_id}");
    if !ended(http, port, &path, END_WITHIN).await {
        errln!(
            "pix: still pending after {} s; ask again with `pix payment {end_to_end_id}`",
            END_WITHIN.as_secs()
        );
    }
    if let Some(receiver) = receiver {
        // A payment that the switch refused never reached the receiver, which then has nothing to say.
        ended(http, place.ports.bank(receiver), &path, CREDIT_WITHIN).await;
    }
    let story = payment::tell(place, http, end_to_end_id).await?;
    let after = touched.balances().await?;
    let balances = before
        .into_iter()
        .zip(after)
        .map(|((of, before), (_, after))| Balance { of, before, after })
        .collect();
    let masked = match &order.to {
        To::Key(key) => key.masked(),
        To::Account { .. } => String::new(),
    };
    let to = to.found.map(|found| (masked, found));
    Ok(Paid { story, to, balances })
}

/// The index of the bank that pays.
pub(crate) fn paying_bank(name: &str) -> anyhow::Result<u16> {
    bank_index(name)
        .with_context(|| format!("{name} is no bank that runs here: --from takes A, B or their ISPB"))
}

/// The account that pays: the one asked for, or the bank's first open one.
pub(crate) fn paying_account(place: &Place, bank: &Bank, asked: Option<&str>) -> anyhow::Result<Account> {
    choose(place, bank.ispb(), asked, "--from-account")?
        .with_context(|| format!("{} has no customers file here: run `pix up` first", bank.name))
}

/// Whoever has the key, as the payer's bank finds him.
async fn by_key(
    place: &Place,
    http: &Http,
    keys: &BankKeys<'_>,
    from: &Account,
    key: &Key,
) -> anyhow::Result<Receiver> {
    let found = keys.lookup(from, key).await?;
    let ispb = Ispb::parse(found.ispb.as_bytes()).map_err(|_| {
        anyhow::anyhow!(
            "{} found the key at {:?}, which is no bank",
            keys.bank,
            found.ispb
        )
    })?;
    let account = match bank_index(&found.ispb) {
        Some(receiver) => account_of(place, &BankKeys::of(place, http, receiver), ispb, key).await?,
        None => None,
    };
    Ok(Receiver {
        body: json!({ "key": key.as_str() }),
        ispb,
        account,
        found: Some(found),
    })
}

/// Where the key leads, by the receiver's own list: the payer is not told, we who run both banks may ask.
async fn account_of(
    place: &Place,
    keys: &BankKeys<'_>,
    ispb: Ispb,
    key: &Key,
) -> anyhow::Result<Option<Account>> {
    let known = keys.list().await?;
    let Some(known) = known
        .iter()
        .find(|known| known.state == "active" && known.key.as_deref() == Some(key.as_str()))
    else {
        return Ok(None);
    };
    let customers = Customers::read(place, ispb)?;
    let mut accounts = customers.into_iter().flat_map(|customers| customers.account);
    Ok(accounts.find(|account| account.id() == known.account))
}

pub(crate) fn by_account(
    place: &Place,
    bank: &str,
    account: Option<&str>,
    tax_id: Option<&str>,
) -> anyhow::Result<Receiver> {
    let ispb = match bank_index(bank) {
        Some(index) => BANKS[usize::from(index)].ispb(),
        None => Ispb::parse(bank.as_bytes()).map_err(|_| {
            anyhow::anyhow!("{bank} is no bank: --to takes A, B or an ISPB of eight of 0-9A-Z")
        })?,
    };
    let to = match (choose(place, ispb, account, "--to-account")?, account, tax_id) {
        (Some(to), _, _) => to,
        (None, Some(account), Some(tax_id)) => outside(account, tax_id),
        (None, account, tax_id) if seed::is_virtual(ispb) => outside(
            account.unwrap_or(seed::VIRTUAL_ACCOUNT),
            tax_id.unwrap_or(seed::VIRTUAL_TAX_ID),
        ),
        (None, _, _) => {
            bail!("{ispb} does not run here: give its customer with --to-account and --to-tax-id")
        }
    };
    Ok(Receiver {
        body: json!({
            "ispb": ispb.to_string(), "branch": to.branch, "number": to.number, "type": to.kind,
            "tax_id": tax_id.unwrap_or(&to.tax_id),
        }),
        ispb,
        account: Some(to),
        found: None,
    })
}

/// Orders once: a bank that falls silent may have taken the order, so it is asked again under the same key.
pub(crate) async fn send_order(http: &Http, port: u16, body: &Value) -> anyhow::Result<Answer> {
    let key = new_order_key()?;
    let answer = http.post_until_answered(port, "/api/payments", body, &key);
    answer.await.with_context(|| {
        format!(
            "whether the payment goes through is unknown: before you pay again, look for it on the bank's page, http://127.0.0.1:{port}, and ask with `pix payment E2EID`"
        )
    })
}

/// Waits until a bank, or the virtual participants, know the end of the payment; false when it does not in time or knows no such payment.
pub(crate) async fn ended(http: &Http, port: u16, path: &str, within: Duration) -> bool {
    let asked = Instant::now();
    while asked.elapsed() < within {
        match http.get(port, path).await {
            Ok(answer) if answer.status == 404 => return false,
            Ok(answer) if matches!(answer.body["state"].as_str(), Some("settled" | "refused")) => {
                return true;
            }
            // Its bank may be restarting: the payment goes on regardless.
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    false
}

/// The customer's account that was asked for, or the first open one. Nothing when the bank does not run here.
fn choose(place: &Place, ispb: Ispb, asked: Option<&str>, option: &str) -> anyhow::Result<Option<Account>> {
    let Some(customers) = Customers::read(place, ispb)? else {
        return Ok(None);
    };
    let is_meant = |account: &&Account| match asked {
        Some(asked) => asked == account.number || asked == account.id(),
        None => account.state == "open",
    };
    match customers.account.iter().find(is_meant) {
        Some(account) => Ok(Some(account.clone())),
        None => {
            let all: Vec<_> = customers.account.iter().map(Account::id).collect();
            bail!(
                "{ispb} has no such account: {option} takes one of {}",
                all.join(", ")
            )
        }
    }
}

/// An account at a bank that does not run here.
fn outside(account: &str, tax_id: &str) -> Account {
    let (branch, number) = account.split_once('/').unwrap_or(("0001", account));
    Account {
        branch: branch.into(),
        number: number.into(),
        kind: "CACC".into(),
        name: String::new(),
        tax_id: tax_id.into(),
        balance: String::new(),
        state: String::new(),
        phones: Vec::new(),
        emails: Vec::new(),
    }
}

/// The balances that a payment touches.
struct Touched<'a> {
    place: &'a Place,
    http: &'a Http,
    payer: u16,
    receiver: Option<u16>,
    from: &'a Account,
    to: Option<&'a Account>,
    ispbs: Vec<Ispb>,
}

impl Touched<'_> {
    /// Name and amount, in a fixed order.
    async fn balances(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for (bank, account) in [(Some(self.payer), Some(self.from)), (self.receiver, self.to)] {
            if let Some((bank, account)) = bank.zip(account) {
                all.push(self.at_bank(bank, account).await?);
            }
        }
        let answer = self
            .http
            .get(self.place.ports.spi_ops(), "/accounts")
            .await
            .context("start everything with `pix up`")?;
        let accounts = answer.body["accounts"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for ispb in &self.ispbs {
            let wanted = ispb.to_string();
            let found = accounts.iter().find(|account| account["ispb"] == wanted.as_str());
            all.push((
                format!("Conta PI {wanted}"),
                found.map_or("?".into(), |found| amount(found, "available")),
            ));
        }
        Ok(all)
    }

    async fn at_bank(&self, bank: u16, account: &Account) -> anyhow::Result<(String, String)> {
        let answer = self
            .http
            .get(self.place.ports.bank(bank), "/api/accounts")
            .await
            .context("start everything with `pix up`")?;
        let accounts = answer.body.as_array().map(Vec::as_slice).unwrap_or_default();
        let found = accounts.iter().find(|found| {
            found["branch"] == account.branch.as_str() && found["number"] == account.number.as_str()
        });
        let name = format!(
            "{}, {} {}",
            account.name,
            BANKS[usize::from(bank)].name,
            account.id()
        );
        Ok((name, found.map_or("?".into(), |found| amount(found, "balance"))))
    }
}

fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

fn amount(of: &Value, field: &str) -> String {
    of[field].as_str().unwrap_or("?").to_owned()
}

impl Paid {
    pub(crate) fn to_json(&self) -> Value {
        let mut all = self.story.to_json();
        let balances = self
            .balances
            .iter()
            .map(|b| json!({"of": b.of, "before": b.before, "after": b.after}));
        all["balances"] = balances.collect();
        all["to"] = self.to.as_ref().map_or(Value::Null, |(key, found)| {
            json!({
                "key": key, "name": found.name, "tax_id": found.tax_id, "ispb": found.ispb, "own": found.own,
                "lookup_ms": milliseconds(found.took),
            })
        });
        all
    }

    pub(crate) fn print(&self) {
        if let Some((key, found)) = &self.to {
            outln!(
                "{key} leads to {}, {}, at {}; looked up in {} ms\n",
                found.name,
                found.tax_id,
                found.ispb,
                milliseconds(found.took)
            );
        }
        self.story.print();
        let width = self
            .balances
            .iter()
            .map(|balance| balance.of.chars().count())
            .max()
            .unwrap_or_default();
        outln!("\n  {:<width$}  {:>14}  {:>14}", "balance", "before", "after");
        for Balance { of, before, after } in &self.balances {
            outln!("  {of:<width$}  {before:>14}  {after:>14}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        seed::write_missing(&place).expect("seed");
        (dir, place)
    }

    #[test]
    fn an_account_is_the_first_open_one_or_the_one_asked_for() {
        let (_dir, place) = place();
        let choose = |asked| choose(&place, BANKS[0].ispb(), asked, "--from-account");
        assert_eq!(choose(None).expect("reads").expect("ours").number, "100001");
        assert_eq!(
            choose(Some("0001/100004")).expect("reads").expect("ours").state,
            "blocked"
        );
        let error = choose(Some("777")).expect_err("no such account").to_string();
        assert!(
            error.contains("--from-account takes one of 0001/100001"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_order_without_an_answer_is_repeated_under_its_key_and_then_called_unknown() {
        use tokio::io::AsyncReadExt as _;
        let bank = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = bank.local_addr().expect("address").port();
        let heard = async {
            let mut keys = Vec::new();
            while keys.len() < 2 {
                let (mut order, _) = bank.accept().await.expect("accepts");
                let mut text = vec![0; 4096];
                let read = order.read(&mut text).await.expect("reads");
                let text = String::from_utf8_lossy(&text[..read]).into_owned();
                let key = text.lines().find(|line| line.starts_with("idempotency-key: "));
                keys.push(key.expect("a key").to_owned());
            }
            keys
        };
        let (http, body) = (Http::new(), json!({}));
        let (keys, answer) = tokio::join!(heard, send_order(&http, port, &body));
        assert_eq!(keys[0], keys[1]);
        let error = answer.expect_err("silent").to_string();
        assert!(
            error.contains("unknown") && error.contains("pix payment"),
            "{error}"
        );
    }

    #[test]
    fn a_bank_that_is_not_ours_has_no_customers() {
        let (_dir, place) = place();
        let other = Ispb::parse(b"33333333").expect("ispb");
        assert!(
            choose(&place, other, None, "--to-account")
                .expect("reads")
                .is_none()
        );
    }
}
