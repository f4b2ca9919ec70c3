//! What the same machine and the same Postgres do with simpler work, just before: a rate means little by itself, its
//! ratio to these travels.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::number::{float, wide};

/// A database of its own: the switch's stay as they are.
const DATABASE: &str = "bench_yardstick";
/// Connections at once; which is best differs by machine.
const CLIENTS: [u32; 3] = [4, 8, 16];
/// Rows of pgbench's smallest table: `-N` does not touch it, so contention is not what it measures.
const SCALE: u32 = 5;

/// All of them; none where it could not be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Yardsticks {
    /// `pgbench -N`, transactions a second by clients.
    pub(crate) pgbench: Vec<(u32, f64)>,
    /// Payments a second of the naive switch, by clients.
    pub(crate) naive: Vec<(u32, f64)>,
    /// RSA-2048 signatures a second, on all processors.
    pub(crate) rsa_signs: f64,
    /// Why something is missing.
    pub(crate) missing: Option<String>,
}

impl Yardsticks {
    /// For people: name, and how much a second.
    pub(crate) fn rows(&self) -> Vec<(String, Option<f64>)> {
        let best = |all: &[(u32, f64)]| all.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let named = |what: &str, best: Option<(u32, f64)>| match best {
            Some((clients, rate)) => (format!("{what}, best with {clients} clients"), Some(rate)),
            None => (what.to_owned(), None),
        };
        vec![
            named("pgbench -N", best(&self.pgbench)),
            named(
                "the naive switch: three steps, three COMMITs, row locks",
                best(&self.naive),
            ),
            (
                "RSA-2048 signatures on all processors".to_owned(),
                Some(self.rsa_signs).filter(|rate| *rate > 0.0),
            ),
        ]
    }
}

/// Measures them, each for `span`. `owner_url` is the database that the switch uses, as its owner.
pub(crate) async fn measure(
    owner_url: Option<&str>,
    banks: u16,
    span: Duration,
    tell: impl Fn(&str),
) -> anyhow::Result<Yardsticks> {
    tell("measuring yardsticks");
    let mut all = Yardsticks {
        rsa_signs: tokio::task::spawn_blocking(move || rsa_signs(span)).await??,
        ..Yardsticks::default()
    };
    let measured = match owner_url {
        Some(url) => of_postgres(&mut all, url, banks, span).await,
        None => Err(anyhow::anyhow!("the switch's database is not known")),
    };
    if let Err(why) = measured {
        tell(&format!("no yardstick of Postgres: {why:#}"));
        all.missing = Some(format!("{why:#}"));
    }
    Ok(all)
}

/// A private key's work, on every processor at once.
fn rsa_signs(span: Duration) -> anyhow::Result<f64> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).context("no RSA key")?;
    let der = key.as_der().context("no RSA key")?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let one = || -> anyhow::Result<u64> {
        let key = RsaKeyPair::from_pkcs8(der.as_ref()).context("no RSA key")?;
        let (chance, mut signature) = (SystemRandom::new(), vec![0; key.public_modulus_len()]);
        let (began, mut signed) = (Instant::now(), 0);
        while began.elapsed() < span {
            key.sign(&RSA_PKCS1_SHA256, &chance, b"yardstick", &mut signature)
                .context("no signature")?;
            signed += 1;
        }
        Ok(signed)
    };
    let began = Instant::now();
    let signed = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        all.into_iter()
            .map(|one| one.join().expect("signing does not panic"))
            .sum::<anyhow::Result<u64>>()
    })?;
    Ok(float(signed) / began.elapsed().as_secs_f64())
}

async fn of_postgres(all: &mut Yardsticks, url: &str, banks: u16, span: Duration) -> anyhow::Result<()> {
    let pgbench = Pgbench::of(url)?;
    let mut owner = PgConnection::connect(url).await?;
    let drop_it = || AssertSqlSafe(format!("DROP DATABASE IF EXISTS {DATABASE}"));
    sqlx::raw_sql(drop_it()).execute(&mut owner).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {DATABASE}")))
        .execute(&mut owner)
        .await?;
    let measured = pgbench.measure(all, banks, span).await;
    sqlx::raw_sql(drop_it()).execute(&mut owner).await?;
    owner.close().await?;
    measured
}

/// The program, with the connection in its environment: a password on a command line can be read by everybody.
struct Pgbench {
    program: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Pgbench {
    /// `postgres://user:password@host:port/database`
    fn of(url: &str) -> anyhow::Result<Self> {
        let parts = || {
            let (user, rest) = url.strip_prefix("postgres://")?.split_once(':')?;
            let (password, rest) = rest.split_once('@')?;
            let (host, rest) = rest.split_once(':')?;
            let (port, _) = rest.split_once('/')?;
            Some([user, password, host, port].map(str::to_owned))
        };
        let [user, password, host, port] = parts().context("the database's URL has another form")?;
        Ok(Self {
            program: find()?,
            env: vec![
                ("PGUSER", user),
                ("PGPASSWORD", password),
                ("PGHOST", host),
                ("PGPORT", port),
                ("PGDATABASE", DATABASE.to_owned()),
            ],
        })
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let out = tokio::process::Command::new(&self.program)
            .args(arguments)
            .envs(self.env.iter().map(|(key, value)| (*key, value)))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if !out.status.success() {
            bail!("pgbench failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    async fn measure(&self, all: &mut Yardsticks, banks: u16, span: Duration) -> anyhow::Result<()> {
        self.run(&["-i", "-q", "-s", &SCALE.to_string()]).await?;
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("naive.sql");
        std::fs::write(&script, include_str!("../sql/naive_payment.sql"))?;
        self.make_tables(banks).await?;
        let (seconds, script) = (span.as_secs().max(1).to_string(), script.display().to_string());
        let banks = format!("banks={banks}");
        for clients in CLIENTS {
            let clients_text = clients.to_string();
            let common = ["-n", "-c", &clients_text, "-j", "2", "-T", &seconds];
            let simple = [&common[..], &["-M", "prepared", "-N"]].concat();
            all.pgbench.push((clients, tps(&self.run(&simple).await?)?));
            // `\gset` needs no prepared form; each step is three round trips all the same.
            let naive = [&common[..], &["-M", "prepared", "-D", &banks, "-f", &script]].concat();
            all.naive.push((clients, tps(&self.run(&naive).await?)?));
        }
        Ok(())
    }

    async fn make_tables(&self, banks: u16) -> anyhow::Result<()> {
        let of = |name: &str| {
            let found = self.env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let url = format!(
            "postgres://{}:{}@{}:{}/{DATABASE}",
            of("PGUSER"),
            of("PGPASSWORD"),
            of("PGHOST"),
            of("PGPORT")
        );
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql(include_str!("../sql/naive_tables.sql"))
            .execute(&mut connection)
            .await?;
        sqlx::query("INSERT INTO naive_account SELECT n, 1000000000, 0 FROM generate_series(1, $1) n")
            .bind(i32::from(banks))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }
}

/// Debian keeps it beside the server, and a wrapper in the path.
fn find() -> anyhow::Result<PathBuf> {
    let beside = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin/pgbench")));
    beside
        .chain([Path::new("/usr/bin/pgbench").to_path_buf()])
        .find(|program| program.is_file())
        .context("pgbench is not installed")
}

fn tps(output: &str) -> anyhow::Result<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix("tps = "));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("pgbench told no rate")
}

/// Settings that decide about speed and durability, as the running server has them.
pub(crate) async fn settings(owner_url: &str) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    const NAMES: [&str; 12] = [
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_compression",
        "shared_buffers",
        "max_wal_size",
        "wal_buffers",
        "checkpoint_timeout",
        "max_connections",
        "wal_sync_method",
        "commit_delay",
    ];
    let mut connection = PgConnection::connect(owner_url).await?;
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY ($1)")
            .bind(&NAMES[..])
            .fetch_all(&mut connection)
            .await?;
    connection.close().await?;
    debug_assert_eq!(wide(rows.len()), wide(NAMES.len()));
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_understood() {
        let text = "latency average = 1 ms\ntps = 1234.5 (without initial connection time)\n";
        assert_eq!(tps(text).unwrap(), 1234.5);
        assert!(tps("nothing").is_err());
    }

    #[test]
    fn the_best_number_of_clients_counts() {
        let yardsticks = Yardsticks {
            pgbench: vec![(4, 10.0), (8, 30.0), (16, 20.0)],
            rsa_signs: 5.0,
            ..Yardsticks::default()
        };
        let rows = yardsticks.rows();
        assert_eq!(
            rows[0],
            ("pgbench -N, best with 8 clients".to_owned(), Some(30.0))
        );
        assert_eq!((rows[1].1, rows[2].1), (None, Some(5.0)));
    }

    #[tokio::test]
    async fn both_yardsticks_of_postgres_run_on_it() {
        let database = pix_testkit::empty_database("bench").await;
        let url = database.url();
        let all = measure(Some(&url), 3, Duration::from_secs(1), |_| ())
            .await
            .unwrap();
        assert_eq!(all.missing, None);
        assert!(all.pgbench.iter().chain(&all.naive).all(|(_, tps)| *tps > 0.0));
        assert_eq!((all.pgbench.len(), all.naive.len()), (3, 3));
        assert!(all.rsa_signs > 0.0);
        let settings = settings(&url).await.unwrap();
        assert_eq!(settings["full_page_writes"], "on");
    }
}
