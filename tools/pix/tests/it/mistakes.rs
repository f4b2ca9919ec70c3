//! Mistakes of a newcomer: each ends with a sentence that says what to do, and changes nothing.
//!
//! Of the machine: a busy port, no root, an old Postgres, a full disk, a clock that is wrong by an hour (here, or at a
//! bank), a missing and an expired certificate (a registered one: in `participants`). Of the command line: a wrong ISPB, an amount of zero, one with three decimals, no balance, an
//! unknown key, a closed account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pix_domain::{Ispb, Timestamp};
use pix_pki::{DevPki, Subject, Use, Validity};
use tokio::process::Command;

use crate::docs::session;
use crate::money::Money;
use crate::switch::{Home, PIX, Switch};

/// User and group of those who have nothing.
const NOBODY: u32 = 65_534;

/// Says no, in one sentence that holds all of `words`.
fn assert_says((worked, said): (bool, String), words: &[&str]) {
    assert!(!worked, "it worked: {said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Runs a command to its end: whether it succeeded, and both outputs.
async fn run(command: &mut Command) -> (bool, String) {
    let out = command.output().await.expect("pix starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").expect("Linux").uid() == 0
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_way_out() {
    let home = Home::new().await;
    let port = home.port(4432);
    let _taken = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).expect("free");
    let named = format!("port {port} (postgres)");
    assert_says(home.run(&["up"]).await, &[&named, "stop it", "--port-offset"]);
    let named = format!("{port} (postgres)");
    assert_says(home.run(&["doctor"]).await, &[&named, "stop it", "--port-offset"]);
}

#[tokio::test]
async fn who_is_not_root_and_may_not_write_is_told_whose_the_folder_is() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).expect("ours");
    // The program where everybody gets to it: a target folder of root's may be closed.
    let program = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(program.path(), Permissions::from_mode(0o755)).expect("ours");
    let pix = program.path().join("pix");
    fs::copy(PIX, &pix).expect("copies");
    for arguments in [&["up"][..], &["doctor"]] {
        let mut command = Command::new(&pix);
        command
            .arg("--dir")
            .arg(folder.path().join("pix"))
            .args(arguments);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        assert_says(run(&mut command).await, &["another", "--dir"]);
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
}

#[tokio::test]
async fn an_old_postgres_is_named_with_the_version_it_takes() {
    let home = Home::new().await;
    let old = tempfile::tempdir().expect("a folder can be made");
    let postgres = old.path().join("postgres");
    fs::write(&postgres, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n").expect("writes");
    fs::set_permissions(&postgres, Permissions::from_mode(0o755)).expect("ours");
    for arguments in [&["up"][..], &["doctor"]] {
        let mut command = home.pix(arguments);
        let said = run(command.env("PIX_POSTGRES_BIN", old.path())).await;
        assert_says(
            said,
            &["postgres 13.4 is too old", "15.0 or newer", "postgresql-15"],
        );
    }
    assert!(!home.dir().join("postgres").exists(), "nothing was begun with it");
}

#[tokio::test]
async fn a_program_that_is_not_installed_is_named_with_its_package() {
    let home = Home::new().await;
    let empty = tempfile::tempdir().expect("a folder can be made");
    for arguments in [&["up"][..], &["doctor"]] {
        let mut command = home.pix(arguments);
        let said = run(command.env("PIX_POSTGRES_BIN", empty.path())).await;
        assert_says(said, &["postgresql-15 not installed", "apt-get install"]);
    }
}

#[tokio::test]
async fn a_full_disk_is_told_before_anything_is_begun() {
    // A file system that never has room.
    for arguments in [&["up"][..], &["doctor"]] {
        let mut command = Command::new(PIX);
        let said = run(command.args(["--dir", "/proc/pix"]).args(arguments)).await;
        assert_says(said, &["the disk is full", "free some", "another disk"]);
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_meanwhile_is_named_with_the_file() {
    let home = Home::new().await;
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let dir = home.dir();
    let out = dir.join("bank");
    let mut command = Command::new("sh");
    command.args(["-c", limited, PIX, "--dir"]).arg(&dir);
    command
        .args(["pki", "participant", "--ispb", "33333333", "--out"])
        .arg(&out);
    assert_says(run(&mut command).await, &["cannot be written", "space"]);
}

#[tokio::test]
async fn a_clock_an_hour_behind_is_found_by_what_was_written() {
    let switch = Switch::new().await;
    let hour_ago = now().minus(Duration::from_secs(3_600)).to_string();
    let said = switch.home.run(&["doctor", "--now", &hour_ago]).await;
    assert_says(
        said,
        &[
            "the clock is behind by",
            "logged here",
            "newest batch",
            "timedatectl",
        ],
    );
    switch.stop().await;
}

#[tokio::test]
async fn a_bank_whose_clock_is_an_hour_behind_is_told_so_by_its_refusal() {
    let switch = Switch::new().await;
    let home = &switch.home;
    let session = session(include_str!("../../../../docs/connect-a-bank.md"));
    let (right, behind) = ("now=$(date -u ", "now=$(date -u -d '1 hour ago' ");
    assert!(
        session.contains(right),
        "the document takes the time once: {session}"
    );
    let out = Command::new("sh")
        .args(["-euc", &session.replace(right, behind)])
        .env("PIX", PIX)
        .env("PIX_DIR", home.dir())
        .env("ICOM", format!("https://localhost:{}", home.port(4002)))
        .env("BANK_DIR", home.dir().join("bank-behind"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("sh is there");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "refused, by pix payment: {said}");
    for words in ["RJCT", "AB11", "set the clock of the payer's bank"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    switch.stop().await;
}

fn now() -> Timestamp {
    use pix_runtime::Clock as _;
    pix_runtime::SystemClock.now().to_millis()
}

#[tokio::test]
async fn a_missing_or_expired_certificate_is_named_with_the_fix() {
    let home = Home::new().await;
    let files = home.dir().join("bank");
    let arguments = ["pki", "participant", "--ispb", "33333333", "--out"];
    let (worked, said) = home
        .run(&[&arguments[..], &[&files.display().to_string()]].concat())
        .await;
    assert!(worked, "{said}");

    let pki = home.dir().join("pki");
    let key = pki.join("spi/server.key");
    fs::remove_file(&key).expect("it is there");
    assert_says(
        home.run(&["doctor"]).await,
        &["spi/server.key is missing", "put it back"],
    );

    write_expired(&pki, &pki.join("dict"), "signature");
    assert_says(
        home.run(&["doctor"]).await,
        &[
            "dict/signature.crt expired on 2020-01-31",
            "makes and registers new ones",
        ],
    );

    let add = |channel: &str| {
        let name = |file: &str| files.join(file).display().to_string();
        let words = [
            "participant",
            "add",
            "--ispb",
            "44444444",
            "--name",
            "Banco Novo",
            "--channel-cert",
        ];
        let mut all: Vec<String> = words.map(str::to_owned).to_vec();
        all.extend([name(channel), "--signature-cert".into(), name("signature.crt")]);
        all
    };
    let run = async |words: Vec<String>| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        home.run(&words).await
    };
    assert_says(
        run(add("nowhere.crt")).await,
        &["nowhere.crt cannot be read", "pix pki participant"],
    );
    assert_says(
        run(add("channel.key")).await,
        &["channel.key holds no certificate", "not its key"],
    );
}

/// Replaces a pair by one that expired long ago.
fn write_expired(pki: &Path, folder: &Path, stem: &str) {
    let pki = DevPki::open_or_create(pki).expect("a PKI");
    let at = |text: &[u8]| Timestamp::parse(text).expect("a time");
    let validity = Validity {
        from: at(b"2020-01-01T00:00:00.000Z"),
        until: at(b"2020-01-31T00:00:00.000Z"),
    };
    let subject = Subject {
        common_name: "expired".into(),
        ispb: Some(Ispb::parse(b"33333333").expect("an ISPB")),
    };
    let issued = pki.authority().issue(&subject, Use::Signature, validity);
    let issued = issued.expect("issued");
    fs::write(folder.join(format!("{stem}.crt")), issued.certificate_pem).expect("writes");
    fs::write(folder.join(format!("{stem}.key")), issued.key_pem).expect("writes");
}

#[tokio::test]
async fn what_cannot_be_an_amount_or_an_ispb_never_leaves_the_command_line() {
    let home = Home::new().await;
    for (arguments, words) in [
        (
            &["pay", "--amount", "10.505"][..],
            &["two digits after the dot", "10.505"][..],
        ),
        (
            &["participant", "fund", "--ispb", "11111111", "--amount", "1.234"],
            &["two digits after the dot", "like 1000.00"],
        ),
        (
            &["participant", "fund", "--ispb", "11111111", "--amount", "0.00"],
            &["nothing would move", "0.01"],
        ),
        (
            &["participant", "show", "123"],
            &["8 characters", "like 33333333"],
        ),
        (
            &[
                "participant",
                "add",
                "--ispb",
                "1234-678",
                "--name",
                "N",
                "--settler",
                "11111111",
            ],
            &["0-9", "like 33333333"],
        ),
        (&["payment", "E123"], &["EndToEndId has 32 characters"]),
    ] {
        assert_says(home.run(arguments).await, words);
    }
    assert!(!home.dir().exists(), "nothing was made");
}

#[tokio::test]
async fn what_a_payer_gets_wrong_moves_no_money_and_says_what_to_do() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    for (mistake, arguments, words) in [
        ("amount 0", &["--amount", "0.00"][..], &["pay at least 0.01"][..]),
        (
            "no balance",
            &["--from-account", "100002", "--amount", "99999999.00"],
            &["available balance is 1250.00", "pay at most that"],
        ),
        ("unknown key", &["--to-key", "nobody@nowhere.example"], &["key"]),
        (
            "closed account that pays",
            &["--from-account", "100005", "--amount", "1.00"],
            &["the paying account is closed", "another one"],
        ),
        (
            "closed account that is paid",
            &["--to-account", "200005", "--amount", "1.00"],
            &["AC07", "closed", "available again", "ask the receiver"],
        ),
        (
            "wrong ISPB",
            &[
                "--to",
                "98765432",
                "--to-account",
                "1",
                "--to-tax-id",
                "52998224725",
            ],
            &["RC10", "check it", "pix participant list"],
        ),
        (
            "no such bank",
            &["--to", "Aurora"],
            &["Aurora is no bank", "A, B or an ISPB"],
        ),
        ("no such account", &["--from-account", "777"], &["takes one of"]),
    ] {
        eprintln!("{mistake}");
        let arguments = [&["pay"], arguments].concat();
        assert_says(switch.home.run(&arguments).await, words);
    }
    Money::count(&switch).await.assert_conserved(&before);
    assert_eq!(Money::count(&switch).await, before);
    switch.stop().await;
}
