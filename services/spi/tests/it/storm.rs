//! Many payments at once while something breaks: every one ends exactly once, the same for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use pix_domain::{EndToEndId, ResourceId};

use crate::support::{A, B, Bank, Heard, TestSpi};

/// How long a storm may last: the settlement limit, and time to sweep up.
const STORM_MAX: Duration = Duration::from_secs(90);

/// What the two banks know at the end.
#[derive(Default)]
struct Known {
    /// The end of each payment as the payer's bank heard it.
    payer: BTreeMap<EndToEndId, BTreeSet<String>>,
    /// As the receiver's bank heard it.
    receiver: BTreeMap<EndToEndId, BTreeSet<String>>,
    /// The receiver's orders.
    orders: BTreeSet<EndToEndId>,
    /// Under which id each thing was heard.
    ids: HashMap<(String, Heard), BTreeSet<ResourceId>>,
}

impl Known {
    fn heard(&mut self, who: &str, id: ResourceId, what: &Heard) {
        self.ids
            .entry((who.to_owned(), what.clone()))
            .or_default()
            .insert(id);
        match what {
            Heard::Order(payment) => drop(self.orders.insert(*payment)),
            Heard::Status(payment, text) => {
                let side = if who == A {
                    &mut self.payer
                } else {
                    &mut self.receiver
                };
                side.entry(*payment).or_default().insert(text.clone());
            }
            Heard::Refusal(reference, reason) => panic!("{who} got an admi.002 for {reference}: {reason}"),
        }
    }
}

/// `payments` from A to B, each posted by itself, B accepting; `fault` runs once half are posted.
/// `resend` posts every message twice.
pub(crate) async fn ride_out(
    spi: &mut TestSpi,
    payments: usize,
    resend: bool,
    fault: impl AsyncFnOnce(&mut TestSpi),
) {
    let (a, b) = (spi.bank(A), spi.bank(B));
    let known = Mutex::new(Known::default());
    let orders: Vec<_> = (0..payments).map(|_| a.order(B, "1.00")).collect();
    let messages: Vec<_> = orders
        .iter()
        .map(|order| a.pacs_008(vec![order.clone()]))
        .collect();
    let (first, second) = messages.split_at(payments / 2);
    let post = async |messages: &[bytes::Bytes]| {
        let posts = messages.iter().map(|message| async {
            let id = a.post(message.clone()).await;
            if resend {
                assert_eq!(a.post(message.clone()).await, id, "a repeat has its first id");
            }
        });
        futures::future::join_all(posts).await;
    };
    let driver = async {
        post(first).await;
        futures::join!(post(second), fault(spi));
    };
    let reading = async {
        let mut reader = a.reader();
        loop {
            listen(A, &mut reader, &known).await;
        }
    };
    let answering = async {
        let mut reader = b.reader();
        loop {
            let orders = listen(B, &mut reader, &known).await;
            answer(&b, &orders, resend).await;
        }
    };
    let all_told = pix_testkit::eventually("every payment ended at both banks", STORM_MAX, || async {
        let known = known.lock().expect("no panic");
        (known.payer.len() == payments && known.receiver.len() == payments).then_some(())
    });
    let finished = async { futures::join!(driver, all_told) };
    tokio::select! {
        _ = finished => {}
        () = reading => {}
        () = answering => {}
    }
    check(spi, &known.into_inner().expect("no panic"), payments).await;
}

/// Reads one batch; the orders in it, new or not: an answer may have got lost.
async fn listen(who: &str, reader: &mut crate::support::Reader<'_>, known: &Mutex<Known>) -> Vec<EndToEndId> {
    let heard = reader.hear().await;
    let mut known = known.lock().expect("no panic");
    let mut orders = Vec::new();
    for (id, what) in heard {
        known.heard(who, id, &what);
        if let Heard::Order(payment) = what {
            orders.push(payment);
        }
    }
    orders
}

async fn answer(bank: &Bank, orders: &[EndToEndId], twice: bool) {
    for orders in orders.chunks(10) {
        let accepted: Vec<_> = orders.iter().map(|id| (*id, None)).collect();
        let message = bank.pacs_002(&accepted);
        bank.post(message.clone()).await;
        if twice {
            bank.post(message).await;
        }
    }
}

/// Payer, switch and receiver tell the same story, and the money is where the story says.
async fn check(spi: &TestSpi, known: &Known, payments: usize) {
    let mut settled = 0;
    for (id, ends) in &known.payer {
        let payer: Vec<_> = ends.iter().collect();
        let receiver: Vec<_> = known.receiver[id].iter().collect();
        match (payer.as_slice(), receiver.as_slice()) {
            ([p], [r]) if *p == "ACSC" && *r == "ACCC" => settled += 1,
            ([p], [r]) if *p == "RJCT AB03" && *r == "RJCT AB03" => {}
            other => panic!("{id} ended as {other:?}"),
        }
    }
    for (what, ids) in &known.ids {
        assert_eq!(ids.len(), 1, "{what:?} came under several ResourceIds");
    }
    let count = async |sql| spi.count(sql).await;
    assert_eq!(
        count("SELECT count(*) FROM payment").await,
        i64::try_from(payments).expect("small")
    );
    assert_eq!(
        count("SELECT count(*) FROM payment_step WHERE step = 1").await,
        i64::try_from(payments).expect("small")
    );
    assert_eq!(
        count("SELECT count(*) FROM payment_step WHERE step = 2").await,
        i64::try_from(payments).expect("small")
    );
    assert_eq!(
        count("SELECT count(*) FROM payment_step WHERE outcome = 'settled'").await,
        settled
    );
    assert_eq!(
        count("SELECT sum(available + blocked)::bigint FROM account").await,
        0,
        "money is only moved"
    );
    assert_eq!(
        count("SELECT sum(blocked)::bigint FROM account").await,
        0,
        "no block is left"
    );
    assert_eq!(spi.balance(B).await.0, format!("{}.00", 1_000_000 + settled));
    let twice = "SELECT count(*) FROM (SELECT outbox_id FROM delivery_item GROUP BY 1 HAVING count(*) > 1) t";
    assert_eq!(count(twice).await, 0, "no transaction in two messages");
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}
