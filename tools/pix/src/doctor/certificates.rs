//! Of the certificates in the instance's folder: there, with their keys, valid now and for a while.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pix_domain::Timestamp;
use x509_parser::pem::parse_x509_pem;

use super::{Finding, minute, roughly};
use crate::place::Place;
use crate::seed::{BANKS, VIRTUALS};

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
                "put it back from a copy; without one `pix down --purge` forgets everything and the next `pix up` \
                 begins anew",
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
    for end in crate::up::INSIDE {
        all.push(place.path(format!("pki/inside/{end}.crt")));
    }
    let folders = BANKS
        .iter()
        .map(|bank| format!("pki/{}", bank.ispb()))
        .chain(VIRTUALS.iter().map(|one| one.folder()));
    for folder in folders {
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

fn judge(path: &Path, now: Timestamp) -> Result<(), Finding> {
    let shown = path.display();
    let remake = "remove both files of the pair; the next `pix up` makes new ones";
    let Ok(text) = std::fs::read(path) else {
        return Err(Finding::fault(
            CHECK,
            format!("{shown} is missing or cannot be read"),
            format!("put it back from a copy, or {remake}"),
        ));
    };
    let is_outside = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|name| name.to_string_lossy().starts_with("participant-"));
    // An outside bank keeps its key to itself.
    if !is_outside && !path.with_extension("key").exists() {
        return Err(Finding::fault(
            CHECK,
            format!("{} is missing", path.with_extension("key").display()),
            format!("put it back from a copy, or {remake}"),
        ));
    }
    let pem = parse_x509_pem(&text).map(|(_, pem)| pem);
    let parsed = pem.as_ref().ok().and_then(|pem| pem.parse_x509().ok());
    let Some(certificate) = parsed else {
        return Err(Finding::fault(
            CHECK,
            format!("{shown} is no certificate (PEM)"),
            format!("put it back from a copy, or {remake}"),
        ));
    };
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let from = at(certificate.validity().not_before.timestamp());
    let until = at(certificate.validity().not_after.timestamp());
    let renew = match is_outside {
        true => "its bank needs a new one: `pix pki participant --force` makes it here, `pix participant certs add` registers one from elsewhere".to_owned(),
        false => remake.to_owned(),
    };
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
