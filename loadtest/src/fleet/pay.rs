//! The payers: every message starts at its instant, whatever became of those before it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pix_dict_client::Failure;
use pix_domain::{EndToEndId, Key};
use pix_icom::Said;
use pix_runtime::{Clock as _, SystemClock};
use pix_xmldsig::vector;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::bank::Payment;
use super::keys;
use super::run::{Load, Run, Shared, What};
use crate::ledger::Door;
use crate::plan::{Lookups, Sign};
use crate::schedule::Order;
use crate::{chance, machine};

/// A message signed ahead carries its instant as AccptncDtTm: later than this it would be another message.
const LATE_MAX: u64 = 250_000;
/// A message without an answer is sent again for so long: the same bytes, as any bank does.
const SENT_AGAIN_FOR: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(250);
/// Connections that each payer has before the first payment.
const OPEN_FIRST: usize = 8;
/// Of the free memory, what messages signed ahead may take.
const MEMORY_PART: u64 = 2;

/// Shakes hands beforehand: the first payments would wait for it, and no bank connects anew for each.
pub(crate) async fn open_connections(shared: &Shared, load: &Load) {
    let mut payers: Vec<u16> = load.orders.iter().map(|order| order.payer).collect();
    payers.sort_unstable();
    payers.dedup();
    let mut opening = JoinSet::new();
    for payer in payers {
        for _ in 0..OPEN_FIRST {
            let bank = shared.banks[usize::from(payer)].clone();
            let is_lookup = load.what == What::Lookups;
            opening.spawn(async move {
                if is_lookup {
                    // Any answer opens the connection; this one costs no look-up.
                    bank.dict_answers().await;
                } else {
                    bank.icom.answers().await;
                }
            });
        }
    }
    opening.join_all().await;
}

/// Starts every order at its instant, and waits for what the door says to each.
pub(crate) async fn all(shared: &Shared, run: &Arc<Run>, ahead: Option<Vec<Bytes>>, places: Arc<Semaphore>) {
    let mut sending = JoinSet::new();
    let mut ahead = ahead.map(Vec::into_iter);
    for order in &run.load.orders {
        let signed = ahead.as_mut().and_then(Iterator::next);
        if run.load.one_at_a_time {
            if run.now() >= run.load.span {
                break;
            }
            one(shared, run, order).await;
            continue;
        }
        tokio::time::sleep_until(run.instant(order.at)).await;
        while sending.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            run.not_started
                .fetch_add(u64::from(order.count), Ordering::Relaxed);
            run.error("the fleet has too much on its way", u64::from(order.count));
            continue;
        };
        let (shared, run, order) = (shared.clone(), Arc::clone(run), *order);
        sending.spawn(async move {
            send(&shared, &run, &order, signed).await;
            drop(place);
        });
    }
    sending.join_all().await;
}

/// Of one at a time: from its start to its end.
async fn one(shared: &Shared, run: &Arc<Run>, order: &Order) {
    let now = run.now();
    for number in order.payments() {
        run.ledger.schedule_now(number, now);
    }
    send(shared, run, &Order { at: now, ..*order }, None).await;
    if run.load.what != What::Lookups {
        let ended = async {
            for _ in order.payments() {
                run.ended.notified().await;
            }
        };
        // One without an end is the gate's business.
        drop(tokio::time::timeout(SENT_AGAIN_FOR, ended).await);
    }
}

async fn send(shared: &Shared, run: &Arc<Run>, order: &Order, signed: Option<Bytes>) {
    match run.load.what {
        What::Lookups => look_up(shared, run, order).await,
        What::Payments { lookups, .. } => pay(shared, run, order, signed, lookups).await,
    }
}

async fn pay(shared: &Shared, run: &Arc<Run>, order: &Order, signed: Option<Bytes>, lookups: Lookups) {
    let payments = u64::from(order.count);
    let ids = ids(shared, run, order);
    let keys: Vec<Option<Key>> = match lookups {
        Lookups::None => vec![None; ids.len()],
        Lookups::Beforehand | Lookups::Each => {
            order.payments().map(|number| key(run, order, number)).collect()
        }
    };
    let bank = &shared.banks[usize::from(order.payer)];
    let Ok(_place) = shared.posts[usize::from(order.payer)].acquire().await else {
        return;
    };
    let started = run.now();
    run.recorder(|recorder| recorder.started(order.at, started, payments));
    if lookups == Lookups::Each {
        for ((number, id), key) in order.payments().zip(&ids).zip(keys.iter().flatten()) {
            let asked = Instant::now();
            let payer = keys::payer(run.load.seed, number);
            if let Err(why) = bank.dict.get_entry(key, payer, *id, false).await {
                run.error(format!("look-up: {}", reason(&why)), payments);
                run.recorder(|recorder| recorder.failed(started, payments));
                return;
            }
            run.recorder(|recorder| recorder.looked_up(super::run::micros(asked.elapsed())));
        }
    }
    for number in order.payments() {
        run.ledger.start(number, started);
    }
    if signed.is_some() && started.saturating_sub(order.at) > LATE_MAX {
        run.started_late.fetch_add(1, Ordering::Relaxed);
    }
    let message = match signed {
        Some(message) => message,
        None => {
            let receiver = shared.banks[usize::from(order.receiver)].ispb();
            let all = order.payments().zip(ids).zip(keys);
            let all: Vec<Payment> = all
                .map(|((number, id), key)| payment(run, number, id, key))
                .collect();
            let bank = bank.clone();
            super::bank::signed(move || bank.order(receiver, &all, SystemClock.now().to_millis())).await
        }
    };
    let first = post(shared, run, order, &message).await;
    if let (Some(first), true) = (first, order.twice) {
        run.repeated.fetch_add(1, Ordering::Relaxed);
        if let Said::Taken(again) = bank.icom.post(message).await
            && again != first
        {
            run.repeated_otherwise.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Until it is known whether the switch has it: its ResourceId when it has.
async fn post(
    shared: &Shared,
    run: &Arc<Run>,
    order: &Order,
    message: &Bytes,
) -> Option<pix_domain::ResourceId> {
    let bank = &shared.banks[usize::from(order.payer)];
    let began = Instant::now();
    let payments = u64::from(order.count);
    let tell = |door: Door| {
        for number in order.payments() {
            run.ledger.door(number, door);
        }
    };
    loop {
        let refused = match bank.icom.post(message.clone()).await {
            Said::Taken(id) => {
                tell(Door::Taken);
                return Some(id);
            }
            Said::Refused(status) | Said::NotNow(status, _) => format!("HTTP {}", status.as_u16()),
            Said::Away(_) => "no connection".to_owned(),
            // It may have it: the same bytes again, until it says so.
            Said::Unknown(why, after) => {
                run.error(format!("sent again: {why}"), payments);
                if began.elapsed() > SENT_AGAIN_FOR {
                    run.recorder(|recorder| recorder.failed(run.now(), payments));
                    return None;
                }
                tokio::time::sleep(after.unwrap_or(PAUSE)).await;
                continue;
            }
        };
        run.error(refused, payments);
        run.recorder(|recorder| recorder.failed(run.now(), payments));
        tell(Door::Refused);
        return None;
    }
}

async fn look_up(shared: &Shared, run: &Arc<Run>, order: &Order) {
    let bank = &shared.banks[usize::from(order.payer)];
    let Ok(_place) = shared.posts[usize::from(order.payer)].acquire().await else {
        return;
    };
    let ids = ids(shared, run, order);
    for (number, id) in order.payments().zip(ids) {
        let Some(key) = key(run, order, number) else {
            continue;
        };
        let started = run.now();
        run.recorder(|recorder| recorder.started(order.at, started, 1));
        run.asked.fetch_add(1, Ordering::Relaxed);
        match bank
            .dict
            .get_entry(&key, keys::payer(run.load.seed, number), id, false)
            .await
        {
            Ok(_) => {
                run.found.fetch_add(1, Ordering::Relaxed);
                let now = run.now();
                run.recorder(|recorder| recorder.settled(order.at, started, now));
            }
            Err(why) => {
                if matches!(why, Failure::Untrusted(_)) {
                    run.unbelievable.fetch_add(1, Ordering::Relaxed);
                }
                run.error(reason(&why), 1);
                let now = run.now();
                run.recorder(|recorder| recorder.failed(now, 1));
            }
        }
    }
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Refused(problem) => problem.kind.as_str().to_owned(),
        Failure::Untrusted(_) => "answer not verified".to_owned(),
        Failure::Unknown(_) => "no answer".to_owned(),
        Failure::NotSent(_) => "no connection".to_owned(),
    }
}

fn ids(shared: &Shared, run: &Run, order: &Order) -> Vec<EndToEndId> {
    let payer = shared.banks[usize::from(order.payer)].ispb();
    let at = run.timestamp(order.at);
    order
        .payments()
        .map(|number| run.ledger.id(number, payer, at))
        .collect()
}

fn key(run: &Run, order: &Order, number: u32) -> Option<Key> {
    let which = if run.load.keys_in_turn {
        u64::from(number)
    } else {
        chance::of(run.load.seed, u64::from(number))
    };
    run.load.directory.any(order.receiver, which)
}

fn payment(run: &Run, number: u32, id: EndToEndId, key: Option<Key>) -> Payment {
    Payment {
        id,
        centavos: run.ledger.amount(number),
        payer: keys::payer(run.load.seed, number),
        key,
    }
}

/// How long signing everything ahead will take, measured on the first orders, with room.
///
/// # Errors
/// When the memory for it is missing.
pub(crate) fn time_to_sign(shared: &Shared, load: &Load) -> anyhow::Result<Duration> {
    const SAMPLE: usize = 16;
    const ROOM: u32 = 3;
    const AT_LEAST: Duration = Duration::from_secs(2);
    let sample = load.orders.iter().take(SAMPLE);
    let now = SystemClock.now().to_millis();
    let began = Instant::now();
    let mut octets = 0;
    for order in sample {
        let bank = &shared.banks[usize::from(order.payer)];
        let payments: Vec<Payment> = order
            .payments()
            .map(|number| Payment {
                id: EndToEndId::new(bank.ispb(), now, u128::from(number)),
                centavos: 1,
                payer: super::bank::receiver_tax_id(),
                key: None,
            })
            .collect();
        octets += bank
            .order(shared.banks[usize::from(order.receiver)].ispb(), &payments, now)
            .len();
    }
    let sampled = load.orders.len().clamp(1, SAMPLE);
    let needed_mb = crate::number::wide(octets / sampled * load.orders.len()) >> 20;
    let there_mb = machine::memory_available_mb();
    anyhow::ensure!(
        needed_mb < there_mb / MEMORY_PART,
        "signed ahead, the orders take {needed_mb} MB and {there_mb} MB are free: shorten the run or sign live"
    );
    let threads = u32::try_from(threads()).expect("few threads");
    let share = u32::try_from(load.orders.len() / sampled + 1)?;
    Ok(began.elapsed() * share / threads * ROOM + AT_LEAST)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Signs every order of the run for its instant, on all processors.
pub(crate) fn sign_ahead(shared: &Shared, run: &Run) -> Vec<Bytes> {
    let What::Payments { lookups, sign, .. } = run.load.what else {
        return Vec::new();
    };
    debug_assert!(sign == Sign::Ahead && lookups != Lookups::Each);
    let sign = |order: &Order| {
        let all = order.payments().zip(ids(shared, run, order));
        let all: Vec<Payment> = all
            .map(|(number, id)| {
                let key = (lookups == Lookups::Beforehand).then(|| key(run, order, number));
                payment(run, number, id, key.flatten())
            })
            .collect();
        let receiver = shared.banks[usize::from(order.receiver)].ispb();
        shared.banks[usize::from(order.payer)].order(receiver, &all, run.timestamp(order.at))
    };
    // Signatures that are made together need as many who ask.
    let threads = vector::lanes().map_or_else(threads, |lanes| 2 * lanes);
    let part = run.load.orders.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = run
            .load
            .orders
            .chunks(part)
            .map(|orders| scope.spawn(move || orders.iter().map(sign).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("signing does not panic"))
            .collect()
    })
}
