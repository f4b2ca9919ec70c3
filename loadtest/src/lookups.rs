//! The loop: each connection looks up one key after the other; every answer's signature is verified.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pix_dict_client::{Dict, Failure};
use pix_domain::{EndToEndId, Ispb, Key, TaxId};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::{Clock as _, Ids, SystemClock, tls};
use pix_xmldsig::{Signer, VerifyingKey};
use tokio::task::JoinSet;

use crate::keys;

/// What is looked up.
pub(crate) enum Keys {
    /// Those of a file, one a line.
    Listed(Vec<Key>),
    /// Those that `loadtest keys` has loaded, by how many they are.
    Loaded(u64),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    took: Duration,
    /// How often each came: `200`, or the DICT's error type.
    answers: BTreeMap<String, usize>,
    /// Of those answered with an entry.
    latencies: Vec<Duration>,
}

/// Answered with an entry.
const FOUND: &str = "200";

/// The first nine digits of payers: of each look-up another one, for everybody has few of them.
const PAYERS_FROM: u64 = 300_000_000;
const PAYERS: u64 = 600_000_000;

impl Keys {
    /// Reads a file with one key a line.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let keys: Result<Vec<Key>, _> = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(Key::guess)
            .collect();
        let keys = keys.with_context(|| format!("{} has a line that is no key", path.display()))?;
        anyhow::ensure!(!keys.is_empty(), "{} has no key", path.display());
        Ok(Self::Listed(keys))
    }

    /// Any of them.
    fn any(&self, chance: u128) -> Key {
        match self {
            Self::Listed(keys) => {
                let index = chance % keys.len() as u128;
                keys[usize::try_from(index).expect("below a length")].clone()
            }
            Self::Loaded(count) => {
                keys::key(1 + u64::try_from(chance % u128::from(*count)).expect("below a u64"))
            }
        }
    }
}

/// The DICT, asked by a participant whose folder `pix pki participant` wrote.
pub(crate) fn participant(
    (ispb, folder): &(Ispb, PathBuf),
    dict: &str,
    connections: usize,
) -> anyhow::Result<Dict> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let tls = tls::client(&read("channel.crt")?, &read("channel.key")?, &read("ca.crt")?)?;
    let limits = ClientLimits {
        idle_max: connections,
        ..ClientLimits::default()
    };
    let base = dict.trim_end_matches('/').to_owned();
    Ok(Dict {
        client: Client::new(&tls, limits),
        np_base: base.clone(),
        base,
        ispb: *ispb,
        signer: Signer::from_pem(&read("signature.crt")?, &read("signature.key")?)?,
        keys: Arc::new(VerifyingKey::from_certificate_pem(&read("dict-signature.crt")?)?),
    })
}

/// Runs the loop for `span`.
pub(crate) async fn run(
    participants: Vec<Dict>,
    keys: Keys,
    connections: usize,
    span: Duration,
) -> anyhow::Result<Outcome> {
    let keys = Arc::new(keys);
    let began = Instant::now();
    let mut loops = JoinSet::new();
    for dict in participants.iter().cycle().take(connections) {
        loops.spawn(ask(dict.clone(), Arc::clone(&keys), began + span));
    }
    let mut all = Outcome::default();
    while let Some(one) = loops.join_next().await {
        let one = one?;
        all.latencies.extend(one.latencies);
        for (answer, count) in one.answers {
            *all.answers.entry(answer).or_default() += count;
        }
    }
    all.took = began.elapsed();
    all.latencies.sort_unstable();
    Ok(all)
}

async fn ask(dict: Dict, keys: Arc<Keys>, until: Instant) -> Outcome {
    let ids = Ids::system();
    let mut outcome = Outcome::default();
    while Instant::now() < until {
        let key = keys.any(ids.u128());
        let id = EndToEndId::new(dict.ispb, SystemClock.now().to_millis(), ids.u128());
        let payer = payer(ids.u128());
        let asked = Instant::now();
        let answer = match dict.get_entry(&key, payer, id, false).await {
            Ok(_) => {
                outcome.latencies.push(asked.elapsed());
                FOUND.to_owned()
            }
            Err(Failure::Refused(problem)) => problem.kind.as_str().to_owned(),
            Err(Failure::Untrusted(_)) => "answer not verified".to_owned(),
            Err(Failure::Unknown(_) | Failure::NotSent(_)) => "no answer".to_owned(),
        };
        *outcome.answers.entry(answer).or_default() += 1;
    }
    outcome
}

fn payer(chance: u128) -> TaxId {
    let base = PAYERS_FROM + u64::try_from(chance % u128::from(PAYERS)).expect("below a u64");
    TaxId::parse(keys::cpf(base).as_bytes()).expect("eleven digits")
}

impl Outcome {
    /// Whether every look-up found its entry.
    pub(crate) fn is_whole(&self) -> bool {
        !self.latencies.is_empty() && self.answers.keys().all(|answer| answer == FOUND)
    }
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
            let index = (self.latencies.len() as f64 * share) as usize;
            let found = self.latencies.get(index).or(self.latencies.last());
            found.map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.latencies.len() as f64 / self.took.as_secs_f64();
        writeln!(
            f,
            "{} lookups in {:.2} s: {rate:.0} lookups/s; p50 {:.2} ms, p99 {:.2} ms",
            self.latencies.len(),
            self.took.as_secs_f64(),
            at(0.50),
            at(0.99)
        )?;
        let answers = self
            .answers
            .iter()
            .map(|(answer, count)| format!("{answer}: {count}"));
        write!(f, "answers: {}", answers.collect::<Vec<_>>().join(", "))
    }
}
