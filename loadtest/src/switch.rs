//! What the switch says about itself to its operators: accounts, metrics, who takes part. The one module that knows
//! the names on that side; everything else of the bench speaks ICOM and the DICT's API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::gate::{Account, Accounts, Backlog};

const OUTBOX: &str = "spi_outbox_waiting";
const STREAMS: &str = "spi_stream_depth";
const UNCONFIRMED: &str = "spi_stream_age_seconds";
const OPEN: &str = "spi_payments_open";
const BACKLOG: [&str; 4] = [OUTBOX, STREAMS, UNCONFIRMED, OPEN];

const ANSWER_MAX: usize = 16 * 1024 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The SPI's operators' listener.
#[derive(Clone)]
pub(crate) struct Switch {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// What is followed during a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    /// Whether the switch tells everything that the backlog is made of: a metric that went must not look like an empty
    /// outbox.
    pub(crate) is_complete: bool,
    pub(crate) backlog: Backlog,
    /// Messages that wait for the book.
    pub(crate) book_queue: f64,
    /// Messages formed and signed since the switch started.
    pub(crate) signed: f64,
    /// Payments settled since the switch started.
    pub(crate) settled: f64,
}

impl Switch {
    /// `base`: `http://127.0.0.1:5002`, without a slash at the end.
    pub(crate) fn at(base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            http: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let uri = format!("{}{path}", self.base);
        let asked = async {
            let answer = self.http.get(uri.parse()?).await?;
            anyhow::ensure!(answer.status().is_success(), "HTTP {}", answer.status());
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            Ok(body.map_err(|e| anyhow::anyhow!(e))?.to_bytes())
        };
        tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|answer| answer)
            .with_context(|| format!("{uri} does not answer: is the switch running?"))
    }

    /// Every Conta PI, the one that they are funded from included.
    pub(crate) async fn accounts(&self) -> anyhow::Result<Accounts> {
        accounts(&serde_json::from_slice(&self.get("/accounts").await?)?)
    }

    pub(crate) async fn gauges(&self) -> anyhow::Result<Gauges> {
        Ok(gauges(&String::from_utf8_lossy(&self.get("/metrics").await?)))
    }
}

fn accounts(answer: &Value) -> anyhow::Result<Accounts> {
    let all = answer["accounts"]
        .as_array()
        .context("the switch's accounts have another form")?;
    let one = |account: &Value| {
        let ispb = account["ispb"].as_str()?.to_owned();
        let of = |field: &str| centavos(account[field].as_str()?);
        Some((
            ispb,
            Account {
                available: of("available")?,
                blocked: of("blocked")?,
            },
        ))
    };
    all.iter()
        .map(|account| one(account).with_context(|| format!("an account that cannot be read: {account}")))
        .collect()
}

/// `-12.34`
fn centavos(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let amount = pix_domain::Money::parse(digits.as_bytes()).ok()?.to_i64();
    Some(if digits.len() == text.len() {
        amount
    } else {
        -amount
    })
}

fn gauges(metrics: &str) -> Gauges {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let is_other = name == "spi_payments_total" && !labels.contains("state=\"settled\"");
        if let Ok(value) = value.parse::<f64>()
            && !is_other
        {
            *sums.entry(name).or_default() += value;
        }
    }
    let of = |name: &str| sums.get(name).copied().unwrap_or_default();
    Gauges {
        is_complete: BACKLOG.iter().all(|name| sums.contains_key(name)),
        backlog: Backlog {
            outbox: of(OUTBOX),
            streams: of(STREAMS),
            // In a batch that was read and not yet confirmed, it is in no stream and still not delivered.
            unconfirmed_s: of(UNCONFIRMED),
            open: of(OPEN),
        },
        book_queue: of("spi_book_queue"),
        signed: of("spi_message_transactions_count"),
        settled: of("spi_payments_total"),
    }
}

impl Gauges {
    /// Messages signed for each payment settled since `before`; nothing without one.
    pub(crate) fn signatures_a_payment(&self, before: &Self) -> Option<f64> {
        let settled = self.settled - before.settled;
        (settled > 0.0).then(|| (self.signed - before.signed) / settled)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accounts_are_read_with_their_sign() {
        let answer = json!({"accounts": [
            {"ispb": "98000001", "available": "10.50", "blocked": "0.01", "name": null},
            {"ispb": "00038166", "available": "-10.51", "blocked": "0.00"},
        ]});
        let all = accounts(&answer).unwrap();
        assert_eq!((all["98000001"].available, all["98000001"].blocked), (1050, 1));
        assert_eq!(all["00038166"].available, -1051);
        assert!(accounts(&json!({"accounts": [{"ispb": "98000001"}]})).is_err());
        assert!(accounts(&json!({})).is_err());
    }

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let before = gauges("");
        let after = gauges(
            "# TYPE spi_stream_depth gauge\n\
             spi_stream_depth{participant=\"98000001\",channel=\"primary\"} 2\n\
             spi_stream_depth{participant=\"98000002\",channel=\"primary\"} 3\n\
             spi_outbox_waiting 4\nspi_book_queue 1\nspi_payments_open 7\n\
             spi_payments_total{state=\"settled\",reason=\"none\"} 10\n\
             spi_payments_total{state=\"blocked\",reason=\"none\"} 12\n\
             spi_stream_age_seconds{participant=\"98000001\",channel=\"primary\"} 0.5\n\
             spi_message_transactions_count 20\n",
        );
        assert_eq!(
            after.backlog,
            Backlog {
                outbox: 4.0,
                streams: 5.0,
                unconfirmed_s: 0.5,
                open: 7.0
            }
        );
        assert!(after.is_complete && !before.is_complete);
        assert!(!gauges("spi_outbox_waiting 0\nspi_payments_open 0\n").is_complete);
        assert_eq!(after.signatures_a_payment(&before), Some(2.0));
        assert_eq!(after.signatures_a_payment(&after), None);
    }
}
