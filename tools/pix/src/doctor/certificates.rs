//! Of the certificates in the instance's folder: there, with their keys, valid now and for a while.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pix_domain::Timestamp;
use x509_parser::pem::parse_x509_pem;

use super::{Finding, minute, roughly};
use crate::place::Place;
use crate::up::{INSIDE, NEW_CA, NEW_CA_INSIDE, own_folders};

const CHECK: &str = "certificates";
/// Time enough to make new ones, and to have them registered.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn look(place: &Place, now: Timestamp) -> Vec<Finding> {
    let pki = place.path("pki");
    if !place.path("pki/ca.crt").exists() {
        return vec![match place.is_ours() && pki.join("spi").exists() {
            true => Finding::fault(
                CHECK,
                format!("{} is missing", pki.join("ca.crt").display()),
                format!("put it back from a copy; without one, {NEW_CA}"),
            ),
            false => Finding::ok(CHECK, "made by the first `pix up`"),
        }];
    }
    let mut findings = Vec::new();
    let mut fine = 0_usize;
    for path in expected(place) {
        match judge(&path, now) {
            Ok(()) => fine += 1,
            Err(finding) => findings.push(finding),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{fine}, all valid")));
    }
    findings
}

/// Those that the instance itself needs, and those of outside banks that are there.
fn expected(place: &Place) -> Vec<PathBuf> {
    let mut all = vec![place.path("pki/ca.crt"), place.path("pki/inside/ca.crt")];
    for service in ["spi", "dict"] {
        all.extend(["server.crt", "signature.crt"].map(|name| place.path("pki").join(service).join(name)));
    }
    for end in INSIDE {
        all.push(place.path(format!("pki/inside/{end}.crt")));
    }
    for (_, folder) in own_folders() {
        all.extend(["channel.crt", "signature.crt"].map(|name| place.path(&folder).join(name)));
    }
    let entries = place.path("pki").read_dir().into_iter().flatten();
    for folder in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let is_outside = folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("participant-"));
        let files = ["channel.crt", "signature.crt"].map(|name| folder.join(name));
        all.extend(files.into_iter().filter(|path| is_outside && path.exists()));
    }
    all
}

/// Who works with a certificate: that decides what leads to a new one.
enum Whose {
    Authority {
        inside: bool,
    },
    /// A bank elsewhere, by its ISPB.
    Outside(String),
    /// A service's, or that of a participant that runs here. What these show, `pix up` makes and registers.
    Ours,
}

impl Whose {
    fn of(path: &Path) -> Self {
        let folder = path.parent().and_then(Path::file_name);
        let folder = folder.map_or(String::new(), |name| name.to_string_lossy().into_owned());
        if path.file_stem().is_some_and(|stem| stem == "ca") {
            return Self::Authority {
                inside: folder == "inside",
            };
        }
        match folder.strip_prefix("participant-") {
            // A number follows the ISPB when there have been others.
            Some(name) => Self::Outside(name.chars().take(8).collect()),
            None => Self::Ours,
        }
    }

    fn renewal(&self) -> String {
        match self {
            Self::Authority { inside: false } => NEW_CA.to_owned(),
            Self::Authority { inside: true } => NEW_CA_INSIDE.to_owned(),
            Self::Outside(ispb) => format!(
                "`pix pki participant --ispb {ispb} --out DIR --force` makes and registers new ones, `pix participant \
                 certs {ispb} --add FILE --use channel` (or `signature`) registers one that its bank made"
            ),
            Self::Ours => {
                "remove both files of the pair; the next `pix up` makes and registers new ones".to_owned()
            }
        }
    }
}

fn judge(path: &Path, now: Timestamp) -> Result<(), Finding> {
    let shown = path.display();
    let whose = Whose::of(path);
    let renew = whose.renewal();
    let Ok(text) = std::fs::read(path) else {
        return Err(Finding::fault(
            CHECK,
            format!("{shown} is missing or cannot be read"),
            format!("put it back from a copy; without one, {renew}"),
        ));
    };
    // An outside bank keeps its key to itself.
    if !matches!(whose, Whose::Outside(_)) && !path.with_extension("key").exists() {
        return Err(Finding::fault(
            CHECK,
            format!("{} is missing", path.with_extension("key").display()),
            format!("put it back from a copy; without one, {renew}"),
        ));
    }
    let pem = parse_x509_pem(&text).map(|(_, pem)| pem);
    let parsed = pem.as_ref().ok().and_then(|pem| pem.parse_x509().ok());
    let Some(certificate) = parsed else {
        return Err(Finding::fault(
            CHECK,
            format!("{shown} is no certificate (PEM)"),
            format!("put it back from a copy; without one, {renew}"),
        ));
    };
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let from = at(certificate.validity().not_before.timestamp());
    let until = at(certificate.validity().not_after.timestamp());
    if now < from {
        return Err(Finding::fault(
            CHECK,
            format!(
                "{shown} is valid from {} on, and it is {} by this machine's clock: the clock is behind by {} or more",
                minute(from),
                minute(now),
                roughly(from.since(now))
            ),
            "set the clock (`timedatectl set-ntp true`, or `date -s`)",
        ));
    }
    if until < now {
        return Err(Finding::fault(
            CHECK,
            format!("{shown} expired on {}", minute(until)),
            format!("{renew}; or the clock is ahead"),
        ));
    }
    if until.since(now) < EXPIRES_SOON {
        return Err(Finding::warning(
            CHECK,
            format!("{shown} expires in {}", roughly(until.since(now))),
            renew,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Arguments;

    fn fix(path: &str) -> String {
        let missing = judge(Path::new(path), Timestamp::from_micros(0)).expect_err("nothing is there");
        missing.fix.expect("it has one")
    }

    #[test]
    fn what_leads_to_a_new_certificate_depends_on_whose_it_is() {
        assert!(fix("none/pki/ca.crt").contains("--purge"));
        assert!(fix("none/pki/inside/ca.crt").contains("remove the folder pki/inside"));
        for ours in ["spi/server.crt", "inside/pix.crt", "11111111/channel.crt"] {
            assert!(fix(&format!("none/pki/{ours}")).contains("both files of the pair"));
        }
    }

    #[test]
    fn the_commands_for_an_outside_bank_are_taken() {
        let fix = fix("none/pki/participant-33333333-2/channel.crt");
        let commands = fix.split('`').filter(|quoted| quoted.starts_with("pix "));
        let commands: Vec<_> = commands.collect();
        assert_eq!(commands.len(), 2, "{fix}");
        for command in commands {
            assert!(command.contains("33333333 "), "{command}");
            if let Err(error) = Arguments::try_parse_from(command.split_whitespace()) {
                panic!("{command}: {error}");
            }
        }
    }
}
