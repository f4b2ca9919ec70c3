//! Settings: the layers, and every fault at once.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use pix_runtime::{Faults, Key, Settings};
use tempfile::TempDir;

static KEYS: &[Key] = &[
    Key::with_default::<SocketAddr>(
        "listen.primary",
        "127.0.0.1:4002",
        "address",
        "the primary channel",
    ),
    Key::required::<String>("database.url", "URL", "the service's database"),
    Key::with_default::<u32>("pool.max", "8", "connections", "connections to the database"),
    Key::with_default::<bool>(
        "unsafe_durability",
        "false",
        "true or false",
        "allows a Postgres that loses money",
    ),
    Key::optional::<PathBuf>("tls.key", "PEM file", "private key"),
];

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn parse(args: &[&str], pairs: &[(&str, &str)]) -> Result<Settings, Faults> {
    Settings::parse("spi", KEYS, args.iter().copied(), env(pairs))
}

#[test]
fn a_stronger_layer_covers_a_weaker_one() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("spi.toml");
    fs::write(&file, "database.url = \"file\"\nunsafe_durability = true\n[pool]\nmax = 3\n[listen]\nprimary = \"127.0.0.1:1\"\n").unwrap();
    let config = format!("--config={}", file.display());
    let pairs = [
        ("PIX_SPI_POOL_MAX", "4"),
        ("PIX_SPI_LISTEN_PRIMARY", "127.0.0.1:2"),
        ("PIX_BANK_POOL_MAX", "9"),
    ];
    let settings = parse(&[&config, "--listen.primary", "127.0.0.1:3"], &pairs).unwrap();
    assert_eq!(settings.get::<String>("database.url"), "file");
    assert!(settings.get::<bool>("unsafe_durability"));
    assert_eq!(settings.get::<u32>("pool.max"), 4);
    assert_eq!(settings.get::<SocketAddr>("listen.primary").port(), 3);
    assert_eq!(settings.optional::<PathBuf>("tls.key"), None);

    let by_env = parse(&[], &[("PIX_SPI_CONFIG", file.to_str().unwrap())]).unwrap();
    assert_eq!(by_env.get::<u32>("pool.max"), 3);
}

#[test]
fn every_fault_is_reported_at_once_with_its_source_and_without_values() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("spi.toml");
    fs::write(
        &file,
        "listen = { primary = \"secret-1\", backup = \"x\" }\npool.max = [1]\n",
    )
    .unwrap();
    let config = format!("--config={}", file.display());
    let faults = parse(
        &[
            &config,
            "--pool.min=1",
            "--unsafe_durability",
            "--oops",
            "stray",
            "--pool.max=secret-2",
        ],
        &[("PIX_SPI_TYPO", "x"), ("PIX_SPI_UNSAFE_DURABILITY", "secret-3")],
    )
    .err()
    .unwrap()
    .to_string();
    let file = file.display();
    for expected in [
        &format!("file {file}, key listen.primary: invalid socket address syntax (expected: address)"),
        &format!("file {file}, key listen.backup: is not a setting"),
        &format!("file {file}, key pool.max: has to be a text, a number, true or false"),
        "env PIX_SPI_TYPO: is not a setting",
        "env PIX_SPI_UNSAFE_DURABILITY: ",
        "flag --pool.min: is not a setting",
        "flag --unsafe_durability: has no value",
        "flag --oops: is not a setting",
        "flag --pool.max: invalid digit",
        "key database.url: is missing; set it in the file, as PIX_SPI_DATABASE_URL or as --database.url=",
    ] {
        assert!(faults.contains(expected), "{expected:?} is missing in:\n{faults}");
    }
    assert!(!faults.contains("secret"), "values may be secrets:\n{faults}");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_a_fault() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("spi.toml");
    let args = [
        format!("--config={}", file.display()),
        "--database.url=x".to_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(
        parse(&args, &[])
            .err()
            .unwrap()
            .to_string()
            .contains("No such file")
    );
    fs::write(&file, "pool max = 3").unwrap();
    assert!(
        parse(&args, &[])
            .err()
            .unwrap()
            .to_string()
            .contains("TOML parse error")
    );
}

#[test]
fn faults_that_only_the_service_sees_carry_the_source_too() {
    let settings = parse(
        &["--database.url=x", "--tls.key=/nowhere"],
        &[("PIX_SPI_POOL_MAX", "0")],
    )
    .unwrap();
    assert!(settings.read_file("tls.key").is_empty());
    settings.fault("pool.max", "has to be at least 1");
    let faults = settings.finish().unwrap_err().to_string();
    assert!(
        faults.contains("flag --tls.key: cannot read /nowhere"),
        "{faults}"
    );
    assert!(
        faults.contains("env PIX_SPI_POOL_MAX: has to be at least 1"),
        "{faults}"
    );
}

#[test]
fn help_names_every_key() {
    let help = Settings::help("spi", KEYS);
    for key in KEYS {
        assert!(help.contains(&format!("--{}", key.name)), "{help}");
    }
    assert!(
        help.contains("default 127.0.0.1:4002") && help.contains("required") && help.contains("optional")
    );
}
