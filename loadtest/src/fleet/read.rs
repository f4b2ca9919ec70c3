//! What a bank does with what it reads: answers orders, notes ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use iso20022::{Document, Pacs002};
use pix_domain::{EndToEndId, Timestamp, TransactionStatus};
use pix_icom::{Pulled, Said};
use pix_runtime::{Clock as _, SystemClock};
use tokio::sync::watch;

use super::bank::Answer;
use super::run::{Run, Shared, What, micros};
use crate::ledger::Heard;
use crate::schedule;

/// Between attempts to open a stream, unless the switch says otherwise.
const PAUSE: Duration = Duration::from_millis(250);
/// Past a payment's deadline no answer changes anything.
const ANSWERS_FOR: Duration = Duration::from_secs(40);

/// Reads one stream until the fleet stops.
pub(crate) async fn read(shared: Shared, index: u16, stopping: watch::Receiver<bool>) {
    let bank = shared.banks[usize::from(index)].clone();
    let mut next: Option<String> = None;
    while !*stopping.borrow() {
        match bank.icom.pull(next.as_deref()).await {
            Pulled::Messages {
                next: token,
                messages,
            } => {
                next = Some(token);
                let Some(run) = shared.current() else { continue };
                for (_, bytes) in messages {
                    take(&shared, &run, index, &bytes);
                }
            }
            Pulled::Gone(_) => next = None,
            Pulled::Later(why, after) => {
                if let Some(run) = shared.current() {
                    run.error(format!("a stream waits: {why}"), 0);
                }
                tokio::time::sleep(after.unwrap_or(PAUSE)).await;
            }
        }
    }
    if let Some(token) = next {
        bank.icom.close(&token).await;
    }
}

fn take(shared: &Shared, run: &Arc<Run>, index: u16, bytes: &[u8]) {
    let bank = &shared.banks[usize::from(index)];
    let Some(opened) = bank.open(bytes) else {
        run.unbelievable.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let available_at = opened.envelope.header.created_at;
    let waited = micros(SystemClock.now().since(available_at));
    let now = run.now();
    let is_ours = match opened.envelope.document {
        Document::Pacs008(order) => {
            let ids = order
                .transactions
                .iter()
                .map(|transaction| transaction.end_to_end_id);
            ordered(shared, run, index, available_at, ids.collect())
        }
        Document::Pacs002(report) => reported(run, index, now, &report),
        Document::Admi002(refusal) => {
            run.error(format!("admi.002: {}", refusal.reason), 1);
            false
        }
    };
    if is_ours {
        run.recorder(|recorder| recorder.consumed(now, waited));
    }
}

/// Answers an order of this run, once: a repeated delivery is known.
fn ordered(
    shared: &Shared,
    run: &Arc<Run>,
    index: u16,
    available_at: Timestamp,
    ids: Vec<EndToEndId>,
) -> bool {
    let What::Payments {
        refuse, answer_delay, ..
    } = run.load.what
    else {
        return false;
    };
    let numbers: Vec<(u32, EndToEndId)> = ids
        .into_iter()
        .filter_map(|id| Some((run.ledger.number(&id)?, id)))
        .collect();
    let mut answers = Vec::with_capacity(numbers.len());
    for (number, id) in &numbers {
        if run.ledger.hear(*number, Heard::Ordered) {
            answers.push(Answer {
                id: *id,
                accepts: !schedule::is_refused(run.load.seed, *number, refuse),
            });
        } else {
            run.delivered_again.fetch_add(1, Ordering::Relaxed);
        }
    }
    if !answers.is_empty() {
        let (shared, run) = (shared.clone(), Arc::clone(run));
        tokio::spawn(async move {
            tokio::time::sleep(answer_delay).await;
            answer(&shared, &run, index, answers, available_at).await;
        });
    }
    !numbers.is_empty()
}

/// Signs now, whatever the payers do: nobody knows an order before it comes.
async fn answer(shared: &Shared, run: &Run, index: u16, answers: Vec<Answer>, available_at: Timestamp) {
    let Ok(_place) = shared.posts[usize::from(index)].acquire().await else {
        return;
    };
    let bank = &shared.banks[usize::from(index)];
    let payments = crate::number::wide(answers.len());
    let signer = bank.clone();
    let message = super::bank::signed(move || signer.answer(&answers, SystemClock.now().to_millis())).await;
    let began = Instant::now();
    while began.elapsed() < ANSWERS_FOR {
        let (why, after) = match bank.icom.post(message.clone()).await {
            Said::Taken(_) => {
                let waited = micros(SystemClock.now().since(available_at));
                return run.recorder(|recorder| recorder.answered(waited));
            }
            Said::Refused(status) => {
                run.error(format!("an answer refused: HTTP {status}"), payments);
                return;
            }
            Said::NotNow(status, after) => (format!("HTTP {}", status.as_u16()), after),
            Said::Unknown(why, after) => (why, after),
            Said::Away(_) => ("no connection".to_owned(), None),
        };
        run.error(format!("an answer sent again: {why}"), payments);
        tokio::time::sleep(after.unwrap_or(PAUSE)).await;
    }
    run.error("an answer never taken", payments);
}

fn reported(run: &Arc<Run>, index: u16, now: u64, report: &Pacs002) -> bool {
    let mut is_ours = false;
    for transaction in &report.transactions {
        let Some(number) = run.ledger.number(&transaction.original_end_to_end_id) else {
            continue;
        };
        is_ours = true;
        let is_payer = run.ledger.payer(number) == index;
        let what = match transaction.status {
            TransactionStatus::SettledDebtor => Heard::Settled,
            TransactionStatus::SettledCreditor => Heard::Credited,
            TransactionStatus::Rejected if is_payer => Heard::Refused,
            TransactionStatus::Rejected => Heard::Withdrawn,
            // Of receivers only: the SPI never says so.
            TransactionStatus::AcceptedSettlementInProcess => continue,
        };
        if !run.ledger.hear(number, what) {
            continue;
        }
        let (scheduled, started) = (run.ledger.scheduled(number), run.ledger.started(number));
        match what {
            Heard::Settled => run.recorder(|recorder| recorder.settled(scheduled, started, now)),
            Heard::Refused => {
                run.recorder(|recorder| recorder.rejected(now));
                let code = transaction.reasons.iter().find_map(|reason| reason.code);
                run.error(format!("RJCT {}", code.map_or("", |code| code.as_str())), 1);
            }
            Heard::Credited | Heard::Withdrawn | Heard::Ordered => {}
        }
        if is_payer {
            run.ended.notify_one();
        }
    }
    is_ours
}
