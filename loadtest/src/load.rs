//! The loop: post while fewer than the window are under way, accept what arrives, count what settled.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iso20022::Document;
use pix_domain::{EndToEndId, TransactionStatus};
use pix_icom::Pulled;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::bank::Bank;

/// Streams that each bank reads.
const STREAMS: usize = 2;
/// Messages of the payer under way at once.
const POSTERS: usize = 16;
/// A run without progress for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Between attempts to open a stream.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) payments: usize,
    pub(crate) per_message: usize,
    pub(crate) in_flight: usize,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) settled: usize,
    refused: usize,
    took: Duration,
    latencies: Vec<Duration>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index into a list that fits memory"
            )]
            let index = (self.latencies.len().saturating_sub(1) as f64 * share) as usize;
            self.latencies
                .get(index)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1000.0
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 payments")]
        let rate = self.settled as f64 / self.took.as_secs_f64();
        write!(
            f,
            "{} settled, {} refused in {:.2} s: {rate:.0} payments/s; from order to ACSC p50 {:.0} ms, p99 {:.0} ms",
            self.settled,
            self.refused,
            self.took.as_secs_f64(),
            at(0.50),
            at(0.99)
        )
    }
}

type Started = Arc<Mutex<HashMap<EndToEndId, Instant>>>;

/// Runs the loop to its end.
pub(crate) async fn run(load: Load, payer: Bank, receiver: Bank) -> anyhow::Result<Outcome> {
    let started: Started = Arc::default();
    let window = Arc::new(Semaphore::new(load.in_flight.max(load.per_message)));
    let (ended_tx, mut ended) = mpsc::channel(1024);
    let mut readers = JoinSet::new();
    for _ in 0..STREAMS {
        readers.spawn(read(receiver.clone(), Role::Receiver));
        readers.spawn(read(payer.clone(), Role::Payer(ended_tx.clone())));
    }
    drop(ended_tx);
    let began = Instant::now();
    let mut posters = JoinSet::new();
    posters.spawn(post_all(
        load,
        payer,
        receiver.icom.ispb,
        Arc::clone(&window),
        Arc::clone(&started),
    ));
    let mut outcome = Outcome {
        settled: 0,
        refused: 0,
        took: Duration::ZERO,
        latencies: Vec::new(),
    };
    while outcome.settled + outcome.refused < load.payments {
        tokio::select! {
            told = tokio::time::timeout(STUCK_AFTER, ended.recv()) => {
                let stuck = || anyhow::anyhow!("no progress for a minute: {outcome}");
                let Some((id, settled)) = told.map_err(|_| stuck())? else { break };
                window.add_permits(1);
                let start = started.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                outcome.latencies.extend(start.map(|start| start.elapsed()));
                *(if settled { &mut outcome.settled } else { &mut outcome.refused }) += 1;
            }
            Some(failed) = readers.join_next() => failed??,
            Some(posted) = posters.join_next() => posted??,
        }
    }
    outcome.took = began.elapsed();
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

async fn post_all(
    load: Load,
    payer: Bank,
    receiver: pix_domain::Ispb,
    window: Arc<Semaphore>,
    started: Started,
) -> anyhow::Result<()> {
    let mut left = load.payments;
    let mut posting = JoinSet::new();
    while left > 0 {
        let count = left.min(load.per_message);
        left -= count;
        window.acquire_many(u32::try_from(count)?).await?.forget();
        if posting.len() >= POSTERS
            && let Some(posted) = posting.join_next().await
        {
            posted??;
        }
        let (payer, started) = (payer.clone(), Arc::clone(&started));
        posting.spawn(async move {
            let at = Instant::now();
            let (ids, message) = payer.order(receiver, count)?;
            started
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(ids.into_iter().map(|id| (id, at)));
            payer.post(message).await
        });
    }
    while let Some(posted) = posting.join_next().await {
        posted??;
    }
    Ok(())
}

enum Role {
    /// Accepts every order.
    Receiver,
    /// Tells of every end.
    Payer(mpsc::Sender<(EndToEndId, bool)>),
}

async fn read(bank: Bank, role: Role) -> anyhow::Result<()> {
    let mut next: Option<String> = None;
    loop {
        let messages = match bank.icom.pull(next.as_deref()).await {
            Pulled::Messages {
                next: token,
                messages,
            } => {
                next = Some(token);
                messages
            }
            Pulled::Gone(status) => anyhow::bail!("a stream ended with {status}"),
            Pulled::Later(why, _) => {
                // The streams of a run before may still be open; the switch says when to try again.
                println!("a stream waits: {why}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let mut answering = JoinSet::new();
        for (_, bytes) in messages {
            match (bank.open(&bytes)?, &role) {
                (Document::Pacs008(order), Role::Receiver) => {
                    let ids: Vec<_> = order.transactions.iter().map(|tx| tx.end_to_end_id).collect();
                    let bank = bank.clone();
                    answering.spawn(async move { bank.post(bank.accept(&ids)).await });
                }
                (Document::Pacs002(report), Role::Payer(ended)) => {
                    for transaction in report.transactions {
                        let settled = transaction.status == TransactionStatus::SettledDebtor;
                        if ended
                            .send((transaction.original_end_to_end_id, settled))
                            .await
                            .is_err()
                        {
                            return Ok(());
                        }
                    }
                }
                (Document::Pacs002(_), Role::Receiver) => {}
                (Document::Admi002(refusal), _) => {
                    println!(
                        "the switch refused a message, of this run or one before: {}",
                        refusal.reason
                    );
                }
                (Document::Pacs008(_), Role::Payer(_)) => anyhow::bail!("the payer was paid"),
            }
        }
        while let Some(answered) = answering.join_next().await {
            answered??;
        }
    }
}
