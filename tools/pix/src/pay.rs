//! Pays by account through the payer bank's own API, waits for the end, and shows what changed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::{Ispb, Money};
use serde_json::{Value, json};

use crate::cli;
use crate::http::{Answer, Http};
use crate::payment::{self, Story, bank_index};
use crate::place::Place;
use crate::seed::{Account, BANKS, Customers};

/// A payment ends within its 40 seconds, plus the time its end takes to travel.
const END_WITHIN: Duration = Duration::from_secs(60);
/// The receiver's credit follows the payer's confirmation closely.
const CREDIT_WITHIN: Duration = Duration::from_secs(3);
/// A bank that was killed serves again by then.
const RESTARTED_WITHIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Who pays whom.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    from: &'a str,
    to: &'a str,
    amount: Money,
    from_account: Option<&'a str>,
    to_account: Option<&'a str>,
    to_tax_id: Option<&'a str>,
    description: Option<&'a str>,
}

/// A payment that has been made, with the balances that it touched.
#[derive(Debug)]
pub(crate) struct Paid {
    story: Story,
    balances: Vec<Balance>,
}

/// A balance, in reais as the services write it.
#[derive(Debug)]
struct Balance {
    of: String,
    before: String,
    after: String,
}

impl Order<'_> {
    /// The one that `pix up` makes.
    pub(crate) fn first() -> Self {
        let amount = Money::from_centavos(1050);
        let description = Some("first payment");
        Self {
            from: "A",
            to: "B",
            amount,
            from_account: None,
            to_account: None,
            to_tax_id: None,
            description,
        }
    }
}

pub(crate) async fn command(place: &Place, typed: &cli::Pay) -> anyhow::Result<ExitCode> {
    let order = Order {
        from: &typed.from,
        to: &typed.to,
        amount: typed.amount,
        from_account: typed.from_account.as_deref(),
        to_account: typed.to_account.as_deref(),
        to_tax_id: typed.to_tax_id.as_deref(),
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
    let payer = bank_index(order.from).with_context(|| {
        format!(
            "{} is no bank that runs here: --from takes A, B or their ISPB",
            order.from
        )
    })?;
    let receiver = bank_index(order.to);
    let payer_bank = &BANKS[usize::from(payer)];
    let to_ispb = match receiver {
        Some(index) => BANKS[usize::from(index)].ispb(),
        None => Ispb::parse(order.to.as_bytes()).map_err(|_| {
            anyhow::anyhow!(
                "{} is no bank: --to takes A, B or an ISPB of eight of 0-9A-Z",
                order.to
            )
        })?,
    };
    let from =
        choose(place, payer_bank.ispb(), order.from_account, "--from-account")?.with_context(|| {
            format!(
                "{} has no customers file here: run `pix up` first",
                payer_bank.name
            )
        })?;
    let to = choose(place, to_ispb, order.to_account, "--to-account")?;
    let to = match (to, order.to_account, order.to_tax_id) {
        (Some(to), _, _) => to,
        (None, Some(account), Some(tax_id)) => outside(account, tax_id),
        (None, _, _) => {
            bail!("{to_ispb} does not run here: give its customer with --to-account and --to-tax-id")
        }
    };

    let touched = Touched {
        place,
        http,
        payer,
        receiver,
        from: &from,
        to: &to,
        ispbs: [payer_bank.ispb(), to_ispb],
    };
    let before = touched.balances().await?;
    let body = json!({
        "from": {"branch": from.branch, "number": from.number},
        "to": {
            "ispb": to_ispb.to_string(), "branch": to.branch, "number": to.number, "type": to.kind,
            "tax_id": order.to_tax_id.unwrap_or(&to.tax_id),
        },
        "amount": order.amount.to_string(),
        "description": order.description,
    });
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
    Ok(Paid { story, balances })
}

/// Orders once: a bank that falls silent may have taken the order, so it is asked again under the same key.
async fn send_order(http: &Http, port: u16, body: &Value) -> anyhow::Result<Answer> {
    let mut chance = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut chance))
        .context("no chance can be read from /dev/urandom: mount /dev")?;
    let key = format!("{:032x}", u128::from_ne_bytes(chance));
    let path = "/api/payments";
    if let Ok(answer) = http.post(port, path, body, Some(&key)).await {
        return Ok(answer);
    }
    tokio::time::sleep(RESTARTED_WITHIN).await;
    http.post(port, path, body, Some(&key)).await.with_context(|| {
        format!(
            "whether the payment goes through is unknown: before you pay again, look for it on the bank's page, http://127.0.0.1:{port}, and ask with `pix payment E2EID`"
        )
    })
}

/// Waits until a bank knows the end of the payment; false when it does not in time or knows no such payment.
async fn ended(http: &Http, port: u16, path: &str, within: Duration) -> bool {
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
    }
}

/// The balances that a payment touches.
struct Touched<'a> {
    place: &'a Place,
    http: &'a Http,
    payer: u16,
    receiver: Option<u16>,
    from: &'a Account,
    to: &'a Account,
    ispbs: [Ispb; 2],
}

impl Touched<'_> {
    /// Name and amount, in a fixed order.
    async fn balances(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for (bank, account) in [(Some(self.payer), self.from), (self.receiver, self.to)] {
            if let Some(bank) = bank {
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
        all
    }

    pub(crate) fn print(&self) {
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
