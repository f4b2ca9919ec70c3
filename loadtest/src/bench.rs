//! A bench from its start to its report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pix_domain::EndToEndId;
use pix_runtime::{Clock as _, Ids, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::{Bank, Directory, Fleet, Load, Outcome, Run, What, payer};
use crate::gate::{self, Accounts, Check, Facts};
use crate::instance::{self, Instance, Wishes};
use crate::knee::{self, Tried};
use crate::machine::{Machine, Ticks, Used, Watch};
use crate::number::{float, whole};
use crate::plan::{Kind, Lookups, Plan, Preset, Size};
use crate::report::{self, AWS_LC, Counts, FORMAT, Report, RunReport, Sample, Setup};
use crate::slo::Slo;
use crate::switch::{Gauges, Switch};
use crate::view::View;
use crate::{homologation, join, keys, recovery, schedule, yardstick};

/// What was asked for on the command line.
pub(crate) struct Wanted {
    pub(crate) preset: Preset,
    pub(crate) plan: Plan,
    pub(crate) size: Size,
    pub(crate) runs: u16,
    pub(crate) slos: Vec<Slo>,
    /// 0 to 1.
    pub(crate) steal_max: f64,
    pub(crate) yardsticks: bool,
    /// Look-ups are of so many keys that are loaded by SQL first, instead of the banks' own.
    pub(crate) loaded_keys: Option<u64>,
    /// What signs eight at a time.
    pub(crate) vector_library: Option<PathBuf>,
    /// The running switch that is attacked; one of our own unless given.
    pub(crate) attack: Option<PathBuf>,
    /// Where a switch of our own stays.
    pub(crate) keep: Option<PathBuf>,
    pub(crate) pix: Option<PathBuf>,
    pub(crate) out: PathBuf,
    pub(crate) streams: u8,
    pub(crate) connections: u16,
}

/// The Central Bank's bucket on the primary channel, in tokens a second (ICOM manual).
const BUCKET_PER_SECOND: f64 = 750.0;
/// A bank that takes more than this part of it meets it by chance.
const BUCKET_PART: f64 = 0.8;
/// Raised, it has so much room above what is needed.
const BUCKET_ROOM: f64 = 2.0;
/// Its size, in seconds of its refill: as the Central Bank's.
const BUCKET_SECONDS: f64 = 5.0;

/// Look-ups that the DICT gives a participant of category A, the bench's banks, a second for long, and at once
/// (ENTRIES_READ_PARTICIPANT_ANTISCAN).
const LOOKUPS_PER_SECOND: f64 = 25_000.0 / 60.0;
const LOOKUPS_AT_ONCE: f64 = 50_000.0;

/// Keys of each bank that payments go to; of a bench of look-ups more, as customers ask for many.
const KEYS: u16 = 5;
const KEYS_OF_LOOKUPS: u16 = 50;

/// The promise that a sweep looks for the end of.
const KNEE_P99_MS: f64 = 200.0;
/// A step of a sweep that settles less than this part of what is due is past the knee: it was catching up afterwards.
const KNEE_SHARE: f64 = 0.95;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The last confirmations take a long poll to come.
const EMPTY_WITHIN: Duration = Duration::from_secs(20);
const EMPTY_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How it ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    /// Valid, but a promise was broken.
    Broken,
    /// There is no result.
    Invalid,
}

/// `pix up` has every step of every payment logged, for who looks at it; a switch of our own logs what services log by
/// default.
const LOG_LEVELS: [&str; 3] = [
    "PIX_DICT_LOG_LEVEL",
    "PIX_SETTLEMENT_LOG_LEVEL",
    "PIX_SPI_LOG_LEVEL",
];

/// Settings of those services of a switch of our own that sign.
const VECTOR_LIBRARIES: [&str; 2] = [
    "PIX_DICT_SIGNATURE_VECTOR_LIBRARY",
    "PIX_SPI_SIGNATURE_VECTOR_LIBRARY",
];

/// Runs it. The switch of our own ends whatever happens.
pub(crate) async fn bench(wanted: &Wanted) -> anyhow::Result<Verdict> {
    let mut view = View::new();
    let pix = match &wanted.pix {
        Some(pix) => pix.clone(),
        None => instance::pix_beside_us()?,
    };
    let (mut settings, buckets) = buckets(wanted);
    if let Some(library) = &wanted.vector_library {
        let library = library.display().to_string();
        settings.extend(VECTOR_LIBRARIES.map(|name| (name.to_owned(), library.clone())));
    }
    settings.extend(LOG_LEVELS.map(|name| (name.to_owned(), "info".to_owned())));
    let began = Instant::now();
    let instance = match &wanted.attack {
        Some(dir) => Instance::running(pix, dir)?,
        None => {
            view.say("starting a switch for this bench");
            let wishes = Wishes {
                keep: wanted.keep.clone(),
                settings,
            };
            tokio::select! {
                started = Instance::start(pix, &wishes) => started?,
                by = asked_to_stop() => anyhow::bail!("{}: nothing was measured", by?),
            }
        }
    };
    if instance.is_own() {
        view.say(&format!("it serves after {:.1} s", began.elapsed().as_secs_f64()));
    }
    let done = tokio::select! {
        done = on(&instance, wanted, buckets, &mut view) => done,
        by = asked_to_stop() => by.and_then(|by| Err(anyhow::anyhow!("{by}: the bench has no result"))),
    };
    if done.is_err() && instance.is_own() {
        view.say("stopping the switch of this bench");
    }
    let stopped = instance.stop().await;
    let verdict = done?;
    stopped?;
    Ok(verdict)
}

/// Until somebody wants it to end, and how he says so.
async fn asked_to_stop() -> anyhow::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hang_up.recv() => "SIGHUP",
    })
}

/// How a switch of our own has to be set so that no bank meets its bucket, and a sentence about it.
fn buckets(wanted: &Wanted) -> (BTreeMap<String, String>, Option<String>) {
    let (settings, of_spi) = buckets_of_spi(wanted);
    let all: Vec<String> = of_spi.into_iter().chain(bucket_of_dict(&wanted.plan)).collect();
    (settings, (!all.is_empty()).then(|| all.join("; ")))
}

/// A sentence when the busiest bank asks more than the DICT answers a participant: there is nothing to raise.
fn bucket_of_dict(plan: &Plan) -> Option<String> {
    let needed = plan.lookups_per_second();
    let there = LOOKUPS_PER_SECOND * BUCKET_PART + LOOKUPS_AT_ONCE / plan.arrivals.span().as_secs_f64();
    (needed > there).then(|| {
        format!(
            "the DICT's are not raised: the busiest bank asks {needed:.0} times a second, and a participant has \
             {LOOKUPS_PER_SECOND:.0}; with more --banks it has enough"
        )
    })
}

fn buckets_of_spi(wanted: &Wanted) -> (BTreeMap<String, String>, Option<String>) {
    let needed = match wanted.plan.kind {
        Kind::Lookups => 0.0,
        // Nobody knows where it ends.
        Kind::Sweep => 200_000.0,
        Kind::Payments | Kind::Homologation => wanted.plan.tokens_per_second(),
    };
    if needed <= BUCKET_PER_SECOND * BUCKET_PART {
        return (BTreeMap::new(), None);
    }
    if wanted.attack.is_some() {
        let text = format!(
            "as the switch has them: the busiest bank needs {needed:.0} tokens a second, the Central Bank gives {BUCKET_PER_SECOND:.0}"
        );
        return (BTreeMap::new(), Some(text));
    }
    let refill = whole(needed * BUCKET_ROOM);
    let size = whole(needed * BUCKET_ROOM * BUCKET_SECONDS);
    let settings = [("PIX_SPI_BUCKET_PRIMARY".to_owned(), format!("{size}/{refill}"))].into();
    let text = format!(
        "raised to {size} tokens and {refill} a second (the Central Bank gives 3750 and 750): the busiest bank needs {needed:.0} a second"
    );
    (settings, Some(text))
}

async fn on(
    instance: &Instance,
    wanted: &Wanted,
    buckets: Option<String>,
    view: &mut View,
) -> anyhow::Result<Verdict> {
    let plan = &wanted.plan;
    if let Some(buckets) = &buckets {
        view.say(&format!("buckets: {buckets}"));
    }
    let machine = Machine::look(&instance.dir);
    let switch = Switch::at(&format!("http://127.0.0.1:{}", instance.port(5002)));
    if !instance.is_own() {
        // Before anything is asked of it: a folder stays when its switch has stopped.
        switch.accounts().await?;
    }
    let owner_url = instance.setting("spi", "database.owner_url");
    let lines = Mutex::new(view);
    let tell = |line: &str| lines.lock().unwrap_or_else(PoisonError::into_inner).say(line);
    let folders = join::join(instance, plan.banks, tell).await?;
    let banks = join::banks(instance, &folders, usize::from(wanted.connections))?;
    join::are_known(&switch, &banks).await?;
    let directory = match wanted.loaded_keys {
        Some(count) => loaded(instance, count, tell).await?,
        None => directory(plan, &banks, tell).await?,
    };
    let yardsticks = if wanted.yardsticks {
        Some(yardstick::measure(owner_url.as_deref(), plan.banks, plan.yardstick, tell).await?)
    } else {
        None
    };
    let view = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    let postgres = match &owner_url {
        Some(url) => yardstick::settings(url).await?,
        None => BTreeMap::new(),
    };

    let fleet = Fleet::start(
        banks,
        usize::from(wanted.streams),
        usize::from(wanted.connections),
    );
    let mut bench = Bench {
        instance,
        wanted,
        switch,
        fleet,
        directory,
        view,
        runs: Vec::new(),
        verdicts: Vec::new(),
        knee: None,
        ids: Ids::system(),
    };
    let started_at = SystemClock.now().to_string();
    let ran = bench.all().await;
    let Bench {
        fleet,
        runs,
        mut verdicts,
        knee,
        view,
        ..
    } = bench;
    fleet.stop().await;
    ran?;

    verdicts.extend(promises(&wanted.slos, &runs));
    let mut report = Report {
        format: FORMAT,
        preset: wanted.preset,
        kind: plan.kind,
        started_at,
        commit: commit().await,
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        machine,
        setup: setup(wanted, instance, buckets),
        durability: durability(&postgres),
        postgres,
        yardsticks,
        medians: None,
        knee,
        runs,
        verdicts,
    };
    if report.has_medians() {
        report.medians = report::medians(&report.runs);
    }
    let (json, html) = report.write(&wanted.out)?;
    view.say(&crate::summary::text(&report));
    view.say(&format!("report: {}\n        {}", html.display(), json.display()));
    Ok(match (report.is_valid(), report.is_kept()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Broken,
        (true, true) => Verdict::Kept,
    })
}

/// The keys that the plan needs, looked up once where it says so.
async fn directory(plan: &Plan, banks: &[Bank], tell: impl Fn(&str)) -> anyhow::Result<Directory> {
    let count = match plan.kind {
        Kind::Lookups => KEYS_OF_LOOKUPS,
        // As many as are asked for in a minute, in each direction, so that they all differ.
        Kind::Homologation => u16::try_from(whole(plan.arrivals.peak() * 60.0 / 2.0))?,
        Kind::Payments | Kind::Sweep if plan.lookups != Lookups::None => KEYS,
        Kind::Payments | Kind::Sweep => return Ok(Directory::default()),
    };
    let whose = match plan.kind {
        // One participant asks, and the other has the keys.
        Kind::Homologation => plan.lookups_of_one(f64::from(count)).choice.receivers,
        _ => plan.choice.receivers.clone(),
    };
    tell(&match whose.len() {
        1 => format!("registering {count} keys of one bank"),
        banks => format!("registering {count} keys of each of {banks} banks"),
    });
    let directory = Directory::register(banks, whose.clone(), count, SystemClock.now().to_millis()).await?;
    if plan.lookups == Lookups::Beforehand {
        let mut number = 0;
        for payer_index in plan.choice.payers.clone() {
            for receiver in whose.clone().filter(|receiver| *receiver != payer_index) {
                let bank = &banks[usize::from(payer_index)];
                let Some(key) = directory.any(receiver, u64::from(payer_index)) else {
                    continue;
                };
                let now = SystemClock.now().to_millis();
                let id = EndToEndId::new(bank.ispb(), now, bank.ids().u128());
                number += 1;
                bank.dict
                    .get_entry(&key, payer(plan.choice.seed, number), id, false)
                    .await
                    .with_context(|| format!("{} cannot look a key up", bank.ispb()))?;
            }
        }
        tell(&format!("{number} keys looked up beforehand"));
    }
    Ok(directory)
}

/// A DICT that has grown for years: keys by SQL, as nobody could register them one by one for a bench.
async fn loaded(instance: &Instance, count: u64, tell: impl Fn(&str)) -> anyhow::Result<Directory> {
    let url = instance
        .setting("dict", "database.owner_url")
        .context("the DICT's database is not known")?;
    let progress = |done: u64, took: Duration| {
        tell(&format!(
            "{done} of {count} keys loaded after {:.0} s",
            took.as_secs_f64()
        ));
    };
    keys::load(&url, keys::owner(), count, progress).await?;
    Ok(Directory::loaded(count))
}

/// What the runs of one bench share.
struct Bench<'a> {
    instance: &'a Instance,
    wanted: &'a Wanted,
    switch: Switch,
    fleet: Fleet,
    directory: Directory,
    view: &'a mut View,
    runs: Vec<RunReport>,
    verdicts: Vec<Check>,
    knee: Option<f64>,
    ids: Ids,
}

impl Bench<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        let plan = self.wanted.plan.clone();
        match plan.kind {
            Kind::Payments | Kind::Lookups => {
                for number in 1..=self.wanted.runs {
                    let name = match self.wanted.runs {
                        1 => "run".to_owned(),
                        _ => format!("run {number}"),
                    };
                    self.run(&name, &plan, plan.kind == Kind::Lookups).await?;
                }
            }
            Kind::Sweep => self.sweep(&plan).await?,
            Kind::Homologation => self.homologation(&plan).await?,
        }
        Ok(())
    }

    async fn sweep(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut tried = Vec::new();
        while let Some(rate) = knee::next(plan.arrivals.peak(), &tried) {
            let step = self.run(&format!("{rate:.0}/s"), &plan.at(rate), false).await?;
            let holds = step.is_valid
                && step.figures.latency.p99_ms <= KNEE_P99_MS
                && step.figures.rate >= step.figures.due_rate * KNEE_SHARE
                && step.error_share() <= 0.0;
            tried.push(Tried { rate, holds });
        }
        self.knee = knee::highest_good(&tried);
        Ok(())
    }

    async fn homologation(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let (size, span) = (self.wanted.size, plan.arrivals.span());
        let run = self.run("pacs.008 both ways", plan, false).await?;
        let payments = homologation::payments(size, span, &run.counts, &run.figures);
        let lookups = plan.lookups_of_one(size.per_minute());
        let keys = self.directory.count(lookups.choice.receivers.start);
        let run = self.run("look-ups", &lookups, true).await?;
        let lookups = homologation::lookups(size, span, &run.counts, keys);
        self.verdicts.extend(payments);
        self.verdicts.extend(lookups);
        Ok(())
    }

    /// One run of the plan, judged; it is among the bench's runs then.
    async fn run(&mut self, name: &str, plan: &Plan, is_lookups: bool) -> anyhow::Result<RunReport> {
        let load = self.load(plan, is_lookups)?;
        let before = self.switch.accounts().await?;
        let gauges_before = self.switch.gauges().await?;
        let samples = Mutex::new(Vec::new());
        let looking = Looking {
            name,
            switch: &self.switch,
            watch: Watch::of(self.instance.processes()),
            before: gauges_before,
            samples: &samples,
        };
        let span = float(load.span) / 1e6;
        let view = &mut *self.view;
        let entropy = u64::from_ne_bytes(self.ids.bytes());
        let outcome = self
            .fleet
            .run(load, entropy, async |run| looking.go(run, view).await)
            .await?;
        let after_gauges = if is_lookups {
            self.switch.gauges().await?
        } else {
            self.emptied().await?
        };
        let after = self.switch.accounts().await?;
        self.view.leave();
        let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
        let checks = if is_lookups {
            lookup_checks(&outcome)
        } else {
            gate::judge(&self.facts(&outcome, before, after, &after_gauges))
        };
        let (steal, busy, processes) = means(&samples, span);
        let recovery = plan.arrivals.burst_span().and_then(|burst| {
            recovery::after(
                burst,
                plan.warm_up,
                &outcome.figures.points,
                &outcome.figures.in_burst,
            )
        });
        let run = RunReport {
            name: name.to_owned(),
            asked_rate: plan.arrivals.peak(),
            counts: counts(&outcome, is_lookups),
            is_valid: gate::is_valid(&checks),
            checks,
            steal,
            is_quiet: steal <= self.wanted.steal_max,
            busy,
            processes,
            samples,
            signatures_a_payment: after_gauges.signatures_a_payment(&gauges_before),
            recovery,
            errors: outcome.errors,
            figures: outcome.figures,
        };
        self.view.say(&crate::summary::line(&run));
        self.runs.push(run.clone());
        Ok(run)
    }

    fn load(&self, plan: &Plan, is_lookups: bool) -> anyhow::Result<Load> {
        let micros = |span: Duration| u64::try_from(span.as_micros());
        let span = micros(plan.arrivals.span())?;
        let burst = plan.arrivals.burst_span().unwrap_or_default();
        Ok(Load {
            orders: schedule::orders(&plan.arrivals, &plan.choice)?,
            what: if is_lookups {
                What::Lookups
            } else {
                What::Payments {
                    sign: plan.sign,
                    lookups: plan.lookups,
                    answer_delay: plan.answer_delay,
                    refuse: plan.refuse,
                }
            },
            seed: plan.choice.seed,
            span,
            warm_up: micros(plan.warm_up)?,
            burst: micros(burst.start)?..micros(burst.end)?,
            keys_in_turn: plan.keys_in_turn,
            one_at_a_time: matches!(plan.arrivals, crate::arrivals::Arrivals::OneAtATime { .. }),
            directory: self.directory.clone(),
        })
    }

    /// Waits until the switch has nothing left to do, or it is clear that it will not come to that.
    async fn emptied(&self) -> anyhow::Result<Gauges> {
        let began = Instant::now();
        loop {
            let gauges = self.switch.gauges().await?;
            let is_empty = gauges.is_complete && gauges.backlog == gate::Backlog::default();
            if is_empty || began.elapsed() > EMPTY_WITHIN {
                anyhow::ensure!(
                    gauges.is_complete,
                    "the switch does not tell what it has left to do: the bench and the switch are of different versions"
                );
                return Ok(gauges);
            }
            tokio::time::sleep(EMPTY_LOOK_EVERY).await;
        }
    }

    fn facts(&self, outcome: &Outcome, before: Accounts, after: Accounts, gauges: &Gauges) -> Facts {
        Facts {
            tally: outcome.tally.clone(),
            banks: self
                .fleet
                .banks()
                .iter()
                .map(|bank| bank.ispb().to_string())
                .collect(),
            before,
            after,
            backlog: gauges.backlog,
            unbelievable: outcome.unbelievable,
            repeated_otherwise: outcome.repeated_otherwise,
            started_late: outcome.started_late,
            not_started: outcome.not_started,
        }
    }
}

/// Looks at the machine and the switch every second.
struct Looking<'a> {
    name: &'a str,
    switch: &'a Switch,
    watch: Watch,
    before: Gauges,
    samples: &'a Mutex<Vec<Sample>>,
}

impl Looking<'_> {
    async fn go(mut self, run: Arc<Run>, view: &mut View) {
        let mut ticks = Ticks::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let at_s = float(run.now()) / 1e6;
            let processes = self.watch.look();
            // One question that is not answered leaves a gap in a plot.
            let Ok(gauges) = self.switch.gauges().await else {
                continue;
            };
            let now = Ticks::now();
            let sample = Sample {
                at_s,
                steal: now.steal_since(ticks),
                busy: now.busy_since(ticks),
                book_queue: gauges.book_queue,
                outbox: gauges.backlog.outbox,
                streams: gauges.backlog.streams,
                open: gauges.backlog.open,
                processes,
            };
            ticks = now;
            let signatures = gauges.signatures_a_payment(&self.before);
            view.show(self.name, &run, &sample, &gauges, signatures);
            self.samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sample);
        }
    }
}

/// Steal, business and processes while payments were started: what comes before, as signing ahead, is no load of the
/// switch, and what comes after is its end.
fn means(samples: &[Sample], span: f64) -> (f64, f64, BTreeMap<String, Used>) {
    let under_load = || {
        samples
            .iter()
            .filter(|sample| sample.at_s >= 1.0 && sample.at_s <= span)
    };
    let count = float(crate::number::wide(under_load().count())).max(1.0);
    let mean = |of: fn(&Sample) -> f64| under_load().map(of).sum::<f64>() / count;
    let mut means: BTreeMap<String, Used> = BTreeMap::new();
    for (name, used) in under_load().flat_map(|sample| &sample.processes) {
        let mean = means.entry(name.clone()).or_default();
        mean.cpu += used.cpu / count;
        mean.memory_mb += used.memory_mb / count;
    }
    (mean(|sample| sample.steal), mean(|sample| sample.busy), means)
}

fn counts(outcome: &Outcome, is_lookups: bool) -> Counts {
    let tally = &outcome.tally;
    if is_lookups {
        return Counts {
            sent: outcome.asked,
            accepted: outcome.asked,
            settled: outcome.found,
            refused_at_door: outcome.asked - outcome.found,
            not_started: outcome.not_started,
            ..Counts::default()
        };
    }
    Counts {
        sent: tally.sent,
        accepted: tally.accepted,
        settled: tally.settled,
        rejected: tally.rejected,
        refused_at_door: tally.refused_at_door,
        unknown: tally.unknown + tally.open,
        not_started: outcome.not_started,
        repeated: outcome.repeated,
        delivered_again: outcome.delivered_again,
    }
}

/// Look-ups move no money: what counts is that each was answered, and believed.
fn lookup_checks(outcome: &Outcome) -> Vec<Check> {
    let check = |name: &str, holds: bool, detail: String| Check {
        name: name.to_owned(),
        holds,
        detail,
    };
    let failed: u64 = outcome.errors.values().sum();
    vec![
        check(
            "every look-up has one end",
            outcome.asked == outcome.found + failed.saturating_sub(outcome.not_started),
            format!("{} asked, {} found, {failed} not", outcome.asked, outcome.found),
        ),
        check(
            "every answer believed",
            outcome.unbelievable == 0,
            format!("{} answers could not be verified", outcome.unbelievable),
        ),
        check(
            "the fleet kept the schedule",
            outcome.not_started == 0,
            format!("{} look-ups were not started", outcome.not_started),
        ),
    ]
}

/// Each promise, by the worst of the runs that count; with none that counts it is not kept.
fn promises(slos: &[Slo], runs: &[RunReport]) -> Vec<Check> {
    let judge = |slo: &Slo| {
        let judged: Vec<(f64, bool)> = runs
            .iter()
            .filter(|run| run.is_valid)
            .map(|run| slo.judge(&run.figures, run.error_share()))
            .collect();
        let figures: Vec<String> = judged.iter().map(|(figure, _)| format!("{figure:.3}")).collect();
        Check {
            name: slo.text().to_owned(),
            holds: !judged.is_empty() && judged.iter().all(|(_, holds)| *holds),
            detail: figures.join(", "),
        }
    };
    slos.iter().map(judge).collect()
}

fn setup(wanted: &Wanted, instance: &Instance, buckets: Option<String>) -> Setup {
    let plan = &wanted.plan;
    let count = |range: &std::ops::Range<u16>| range.end - range.start;
    Setup {
        banks: plan.banks,
        payers: count(&plan.choice.payers),
        receivers: count(&plan.choice.receivers),
        skew: plan.choice.skew,
        arrivals: plan.arrivals_text(),
        span_s: plan.arrivals.span().as_secs_f64(),
        warm_up_s: plan.warm_up.as_secs_f64(),
        per_message: plan.choice.per_message,
        sign: plan.sign,
        lookups: plan.lookups,
        answer_delay_ms: plan.answer_delay.as_secs_f64() * 1000.0,
        refuse: plan.refuse,
        duplicates: plan.choice.duplicates,
        seed: plan.choice.seed,
        streams: u64::from(wanted.streams),
        connections: u64::from(wanted.connections),
        own_switch: instance.is_own(),
        buckets,
        signer: match wanted.vector_library {
            Some(_) => "libcrypto_mb, 8 at a time".to_owned(),
            None => AWS_LC.to_owned(),
        },
        steal_max: wanted.steal_max,
    }
}

fn durability(postgres: &BTreeMap<String, String>) -> String {
    let is_on = |name: &str| postgres.get(name).is_some_and(|value| value == "on");
    if postgres.is_empty() {
        return "not known: the switch's database was not asked".to_owned();
    }
    let off: Vec<&str> = ["fsync", "synchronous_commit", "full_page_writes"]
        .into_iter()
        .filter(|name| !is_on(name))
        .collect();
    if off.is_empty() {
        "every COMMIT is on disk before a bank is answered".to_owned()
    } else {
        format!("NOT DURABLE: {} not on", off.join(", "))
    }
}

/// Of the sources in the current folder.
async fn commit() -> String {
    let git = async |arguments: &[&str]| {
        let out = tokio::process::Command::new("git")
            .args(arguments)
            .output()
            .await
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).await else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]).await {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_promise_is_kept_by_every_valid_run_or_not_at_all() {
        let report = sample();
        let judged = |text: &str, runs: &[RunReport]| promises(&[text.parse().unwrap()], runs)[0].holds;
        assert!(judged("p99<31ms", &report.runs));
        assert!(!judged("p99<25ms", &report.runs), "the second run has 30 ms");
        let mut runs = report.runs;
        runs[1].is_valid = false;
        assert!(judged("p99<25ms", &runs));
        assert!(!judged("p99<25ms", &[]), "nothing was shown");
    }

    #[test]
    fn durability_is_told_by_what_the_server_says() {
        let settings = |fsync: &str| -> BTreeMap<String, String> {
            [
                ("fsync", fsync),
                ("synchronous_commit", "on"),
                ("full_page_writes", "on"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        };
        assert!(durability(&settings("on")).contains("on disk"));
        assert_eq!(durability(&settings("off")), "NOT DURABLE: fsync not on");
        assert!(durability(&BTreeMap::new()).contains("not known"));
    }
}
