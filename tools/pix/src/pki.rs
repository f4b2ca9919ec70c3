//! `pix pki participant`: what an outside bank joins with.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use pix_domain::{Ispb, Money};
use pix_proto::settlement_v1::{
    AddCertificateRequest, AddRequest, FundRequest, ListRequest, Participant, RevokeCertificateRequest,
};
use x509_parser::pem::parse_x509_pem;

use crate::cli;
use crate::participant::{new_uuid, pem};
use crate::place::{Place, private_dir};
use crate::seed::{self, BANKS, VIRTUALS};
use crate::settlement::{Settlement, in_time};
use crate::up::{make_pki, own_folders};

/// What the bank keeps secret, and what it shows.
const PAIRS: [&str; 2] = ["channel", "signature"];

pub(crate) async fn participant(place: &Place, who: &cli::Participant) -> anyhow::Result<ExitCode> {
    let ispb = who.ispb;
    if BANKS.iter().any(|bank| bank.ispb() == ispb) {
        bail!("{ispb} is a bank that `pix up` runs itself: choose another ISPB for an outside bank");
    }
    if VIRTUALS.iter().any(|one| one.ispb() == ispb) {
        bail!("{ispb} is a virtual participant: choose another ISPB for an outside bank");
    }
    let out = std::path::absolute(&who.out)
        .with_context(|| format!("{} is no usable folder name", who.out.display()))?;
    place.create()?;
    let pki = make_pki(place)?;
    seed::write_missing(place)?;
    let mut register = Registry::open(place).await?;
    if let Some(settler) = register.settler_of(ispb) {
        bail!(
            "{ispb} stands behind {settler}, which settles for it: choose another ISPB for an outside bank"
        );
    }
    let behind = register
        .settled_by(ispb)
        .or_else(|| seed::behind(ispb, |other| other == ispb || register.has(other)))
        .with_context(|| format!("every name for an indirect participant behind {ispb} is taken"))?;

    let keys: Vec<PathBuf> = PAIRS
        .iter()
        .flat_map(|stem| [".key", ".crt"].map(|end| out.join(format!("{stem}{end}"))))
        .collect();
    if let Some(there) = keys.iter().find(|path| path.exists()) {
        if !who.force {
            bail!(
                "{} exists and is not overwritten: choose another --out, or add --force to replace the keys",
                there.display()
            );
        }
    } else if register.has(ispb) && !who.force {
        bail!("{ispb} is registered already: add --force to give it new certificates");
    }
    if who.force {
        for path in keys.iter().filter(|path| path.exists()) {
            fs::remove_file(path).with_context(|| {
                format!("{} cannot be replaced: check the folder's owner", path.display())
            })?;
        }
    }
    private_dir(&out)?;
    pki.participant(ispb, &out)
        .with_context(|| format!("no certificates could be made in {}", out.display()))?;

    // The switch reads its own copies: the bank may take its folder elsewhere.
    let ours = place.free_name(&format!("pki/participant-{ispb}"));
    private_dir(&place.path(&ours))?;
    for stem in PAIRS {
        let name = format!("{stem}.crt");
        copy(&out.join(&name), &place.path(&ours).join(&name))?;
    }
    let name = who.name.clone().unwrap_or_else(|| format!("Banco {ispb}"));
    let newcomer = Newcomer {
        ispb,
        name: &name,
        balance: who.balance,
        order: new_uuid()?,
        folder: &ours,
        behind,
    };
    let (whereabouts, behind) = register.put(place, &newcomer).await?;

    outln!("{}:", out.display());
    outln!("  channel.crt, channel.key          the bank's end of the TLS channel");
    outln!("  signature.crt, signature.key      signs what the bank sends");
    outln!("  ca.crt                            to trust the switch's TLS certificate");
    outln!("  spi-signature.crt, dict-signature.crt   verify what the switch signs");
    outln!("{ispb} ({name}) is {whereabouts}.");
    outln!(
        "{behind} ({}) stands behind it, so that it can settle for another.",
        seed::indirect_name(ispb)
    );
    outln!(
        "ICOM: https://127.0.0.1:{} and {}",
        place.ports.spi_primary(),
        place.ports.spi_secondary()
    );
    outln!(
        "DICT: https://127.0.0.1:{}, checkKeys https://127.0.0.1:{}",
        place.ports.dict(),
        place.ports.dict_np()
    );
    Ok(ExitCode::SUCCESS)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || {
        format!(
            "{} cannot be copied to {}: check owner and space",
            from.display(),
            to.display()
        )
    };
    let text = fs::read(from).with_context(failed)?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .open(to)
        .with_context(failed)?;
    std::io::Write::write_all(&mut file, &text).with_context(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .with_context(failed)
}

/// Who joins.
struct Newcomer<'a> {
    ispb: Ispb,
    name: &'a str,
    balance: Money,
    /// Names the order of its opening balance.
    order: String,
    /// Of our copies of its certificates, in the instance's folder.
    folder: &'a str,
    /// Whom it settles for.
    behind: Ispb,
}

/// Where participants are registered.
enum Registry {
    /// Nothing has run here yet: the file that the settlement service begins with.
    Seed(Register),
    /// The settlement service, with everybody it knew when it was asked.
    Service(Settlement, Vec<Participant>),
}

impl Registry {
    async fn open(place: &Place) -> anyhow::Result<Self> {
        if place.running_pid().is_some() {
            let settlement = Settlement::connect(place).await?;
            let list = settlement.participants().list(in_time(ListRequest {})).await;
            let list = list.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
            return Ok(Self::Service(settlement, list.into_inner().participants));
        }
        // A book of an earlier version has no settlement service yet, and its money: what a file promised here, the next
        // `pix up` would leave out.
        if ["settlement", "spi"]
            .iter()
            .any(|service| place.path(format!("config/{service}.toml")).exists())
        {
            bail!(
                "participants are registered by the settlement service, which does not run: start everything with \
                 `pix up` and ask again"
            );
        }
        Ok(Self::Seed(Register::read(place)?))
    }

    fn has(&self, ispb: Ispb) -> bool {
        match self {
            Self::Seed(register) => register.has(ispb),
            Self::Service(_, known) => find(known, ispb).is_some(),
        }
    }

    /// Behind whom this participant stands.
    fn settler_of(&self, ispb: Ispb) -> Option<Ispb> {
        match self {
            Self::Seed(register) => register.settler_of(ispb),
            Self::Service(_, known) => {
                let settler = Ispb::parse(find(known, ispb)?.settler.as_bytes()).ok()?;
                (settler != ispb).then_some(settler)
            }
        }
    }

    /// Who stands behind this participant already.
    fn settled_by(&self, settler: Ispb) -> Option<Ispb> {
        match self {
            Self::Seed(register) => register.settled_by(settler),
            Self::Service(_, known) => {
                let behind = known
                    .iter()
                    .find(|one| one.settler == settler.as_str() && one.ispb != one.settler)?;
                Ispb::parse(behind.ispb.as_bytes()).ok()
            }
        }
    }

    /// Registers the newcomer, and who stands behind it; says where, and who that is.
    async fn put(&mut self, place: &Place, who: &Newcomer<'_>) -> anyhow::Result<(String, Ispb)> {
        match self {
            Self::Seed(register) => {
                register.put(who.ispb, who.name, who.balance, who.folder);
                register.put_behind(who.behind, who.ispb);
                register.write(place)?;
                let file = place.participants();
                Ok((
                    format!("in {}, which the first `pix up` reads", file.display()),
                    who.behind,
                ))
            }
            Self::Service(settlement, known) => {
                let folder = place.path(who.folder);
                let [channel, signature] = PAIRS.map(|stem| pem(&folder.join(format!("{stem}.crt"))));
                let pems = [channel?, signature?];
                let there = find(known, who.ispb);
                match there {
                    Some(there) => replace_certificates(settlement, there, pems).await,
                    None => add(settlement, who, pems).await,
                }
                .map_err(|status| anyhow::anyhow!("{} is not registered: {}", who.ispb, status.message()))?;
                // It is registered by now, with or without its money: the rest goes on.
                if there.is_none()
                    && let Err(warning) = fund(settlement, who).await
                {
                    errln!("pix: {warning}");
                }
                let behind = match find(known, who.behind) {
                    Some(_) => who.behind,
                    None => add_behind(settlement, known, who).await?,
                };
                Ok((
                    "registered; the running switch knows it at once".to_owned(),
                    behind,
                ))
            }
        }
    }
}

/// Registers what the registry lacks of the certificates that the participants here work with: a pair that was lost is
/// made anew when everything starts. One that was declared bad is good no more, and told.
pub(crate) async fn register_renewed(place: &Place, say: impl Fn(&str)) -> anyhow::Result<()> {
    let settlement = Settlement::connect(place).await?;
    let list = settlement.participants().list(in_time(ListRequest {})).await;
    let known = list.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    let known = known.into_inner().participants;
    for (ispb, folder) in own_folders() {
        // Whom nobody has registered, nobody wants here.
        let Some(there) = find(&known, ispb) else { continue };
        for stem in PAIRS {
            let path = place.path(&folder).join(format!("{stem}.crt"));
            let text = pem(&path)?;
            let parsed = parse_x509_pem(text.as_bytes());
            let (_, parsed) = parsed.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            match standing(there, &parsed.contents) {
                Standing::Good => {}
                Standing::Revoked => say(&format!(
                    "{} is revoked, so {ispb} cannot use it: remove both files of the pair, and the next `pix up` \
                     makes and registers new ones",
                    path.display()
                )),
                Standing::Unknown => {
                    let request = AddCertificateRequest {
                        ispb: ispb.to_string(),
                        r#use: stem.to_ascii_uppercase(),
                        pem: text,
                    };
                    let added = settlement.participants().add_certificate(in_time(request)).await;
                    say(&match added {
                        Ok(_) => format!("{} is new: registered for {ispb}", path.display()),
                        Err(status) => format!(
                            "{} is new and not registered for {ispb}: {}",
                            path.display(),
                            status.message()
                        ),
                    });
                }
            }
        }
    }
    Ok(())
}

/// What the registry thinks of a certificate.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Good,
    Revoked,
    Unknown,
}

fn standing(of: &Participant, der: &[u8]) -> Standing {
    match of.certificates.iter().find(|one| one.der == der) {
        None => Standing::Unknown,
        Some(one) if one.revoked_at_micros.is_some() => Standing::Revoked,
        Some(_) => Standing::Good,
    }
}

fn find(known: &[Participant], ispb: Ispb) -> Option<&Participant> {
    known.iter().find(|one| one.ispb == ispb.as_str())
}

/// A new participant.
async fn add(
    settlement: &Settlement,
    who: &Newcomer<'_>,
    [channel, signature]: [String; 2],
) -> Result<(), tonic::Status> {
    let request = AddRequest {
        ispb: who.ispb.to_string(),
        name: who.name.to_owned(),
        channel_certificates: vec![channel],
        signature_certificates: vec![signature],
        ..AddRequest::default()
    };
    settlement.participants().add(in_time(request)).await.map(drop)
}

/// Who stands behind a new participant. Another one that joins at this moment may take the name: the next is as good.
async fn add_behind(
    settlement: &Settlement,
    known: &[Participant],
    who: &Newcomer<'_>,
) -> anyhow::Result<Ispb> {
    let mut behind = who.behind;
    let mut taken = Vec::new();
    loop {
        let request = AddRequest {
            ispb: behind.to_string(),
            name: seed::indirect_name(who.ispb),
            settler: who.ispb.to_string(),
            ..AddRequest::default()
        };
        match settlement.participants().add(in_time(request)).await {
            Ok(_) => return Ok(behind),
            Err(status) if status.code() == tonic::Code::AlreadyExists => taken.push(behind),
            Err(status) => bail!("{behind} is not registered: {}", status.message()),
        }
        let is_taken =
            |other: Ispb| other == who.ispb || taken.contains(&other) || find(known, other).is_some();
        behind = seed::behind(who.ispb, is_taken).with_context(|| {
            format!(
                "every name for an indirect participant behind {} is taken",
                who.ispb
            )
        })?;
    }
}

/// Why an opening balance is ordered, for the audit.
const OPENING_NOTE: &str = "opening balance, by pix pki participant";

/// Orders what its Conta PI opens with; says what hinders that, and what to do.
async fn fund(settlement: &Settlement, who: &Newcomer<'_>) -> Result<(), String> {
    if who.balance.to_i64() == 0 {
        return Ok(());
    }
    let request = FundRequest {
        id: who.order.clone(),
        ispb: who.ispb.to_string(),
        amount_centavos: who.balance.to_i64(),
        note: OPENING_NOTE.to_owned(),
    };
    match settlement.funding().fund(in_time(request)).await {
        Err(status) => Err(who.not_funded(status.message())),
        Ok(order) => match order.into_inner() {
            refused if refused.state == "REFUSED" => Err(format!(
                "{ispb} is registered, and the book refuses its opening balance: {}; `pix participant fund --ispb {ispb} \
                 --amount {}` orders another",
                refused.reason,
                who.balance,
                ispb = who.ispb,
            )),
            // Done, or recorded: it goes on by itself.
            _ => Ok(()),
        },
    }
}

impl Newcomer<'_> {
    /// The same order in full: one of the same name that differs would be refused.
    fn not_funded(&self, why: &str) -> String {
        format!(
            "{ispb} is registered, and its opening balance is not known to be there: {why}; look with `pix balance`, or \
             order it again, which is done once: `pix participant fund --ispb {ispb} --amount {} --id {} --note \
             \"{OPENING_NOTE}\"`",
            self.balance,
            self.order,
            ispb = self.ispb,
        )
    }
}

/// New certificates for one that is there already; those before are good no more.
async fn replace_certificates(
    settlement: &Settlement,
    there: &Participant,
    pems: [String; 2],
) -> Result<(), tonic::Status> {
    let mut participants = settlement.participants();
    for (r#use, pem) in ["CHANNEL", "SIGNATURE"].into_iter().zip(pems) {
        let request = AddCertificateRequest {
            ispb: there.ispb.clone(),
            r#use: r#use.to_owned(),
            pem,
        };
        participants.add_certificate(in_time(request)).await?;
    }
    let good = |certificate: &&pix_proto::settlement_v1::Certificate| certificate.revoked_at_micros.is_none();
    for certificate in there.certificates.iter().filter(good) {
        let request = RevokeCertificateRequest {
            ispb: there.ispb.clone(),
            fingerprint: certificate.fingerprint.clone(),
            reason: "replaced by pix pki participant --force".to_owned(),
        };
        participants.revoke_certificate(in_time(request)).await?;
    }
    Ok(())
}

/// participants.toml, changed by whole entries: what else stands there, comments included, stays as it is.
struct Register {
    text: String,
    table: toml::Table,
}

impl Register {
    fn read(place: &Place) -> anyhow::Result<Self> {
        let path = place.participants();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read: check its owner", path.display()))?;
        let table = text
            .parse()
            .with_context(|| format!("{} is no TOML: mend the line named below", path.display()))?;
        Ok(Self { text, table })
    }

    fn has(&self, ispb: Ispb) -> bool {
        self.entry(ispb).is_some()
    }

    fn entry(&self, ispb: Ispb) -> Option<&toml::Value> {
        self.entries().find(|entry| named(entry, "ispb") == Some(ispb))
    }

    /// Behind whom this participant stands.
    fn settler_of(&self, ispb: Ispb) -> Option<Ispb> {
        self.entry(ispb).and_then(|entry| named(entry, "settler"))
    }

    /// Who stands behind this participant already.
    fn settled_by(&self, settler: Ispb) -> Option<Ispb> {
        let entry = self
            .entries()
            .find(|entry| named(entry, "settler") == Some(settler));
        entry.and_then(|entry| named(entry, "ispb"))
    }

    fn entries(&self) -> impl Iterator<Item = &toml::Value> {
        self.table
            .get("participant")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
    }

    fn put(&mut self, ispb: Ispb, name: &str, balance: Money, folder: &str) {
        if self.has(ispb) {
            self.remove(ispb);
        }
        self.text += &seed::participant(ispb, name, balance, folder);
    }

    fn put_behind(&mut self, ispb: Ispb, settler: Ispb) {
        if !self.has(ispb) {
            self.text += &seed::indirect(ispb, settler);
        }
    }

    /// Leaves out the entry's lines: from its header to the next one.
    fn remove(&mut self, ispb: Ispb) {
        const HEADER: &str = "[[participant]]";
        let ispb = ispb.to_string();
        let mut kept = String::new();
        for block in split_before(&self.text, HEADER) {
            let names_it = block.parse::<toml::Table>().ok().is_some_and(|table| {
                table
                    .get("participant")
                    .and_then(|all| all.get(0))
                    .and_then(|one| one.get("ispb"))
                    .and_then(toml::Value::as_str)
                    == Some(&ispb)
            });
            if !names_it {
                kept += block;
            }
        }
        self.text = kept;
    }

    fn write(&self, place: &Place) -> anyhow::Result<()> {
        crate::place::write_private(&place.participants(), &self.text)
    }
}

/// The participant that a field of an entry names.
fn named(entry: &toml::Value, field: &str) -> Option<Ispb> {
    Ispb::parse(entry.get(field)?.as_str()?.as_bytes()).ok()
}

/// Cuts `text` before every line that begins with `header`.
fn split_before<'a>(text: &'a str, header: &str) -> Vec<&'a str> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(header) && offset > 0 {
            starts.push(offset);
        }
        offset += line.len();
    }
    starts.push(text.len());
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn new_bank(out: &Path, force: bool) -> cli::Participant {
        cli::Participant {
            ispb: Ispb::parse(b"33333333").expect("ispb"),
            out: out.to_owned(),
            name: Some("Banco de Fora".into()),
            balance: Money::from_centavos(5000),
            force,
        }
    }

    fn registered(place: &Place) -> Vec<toml::Value> {
        Register::read(place).expect("reads").entries().cloned().collect()
    }

    #[tokio::test]
    async fn a_bank_gets_its_files_once_and_new_ones_by_force() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        let out = dir.path().join("out");
        participant(&place, &new_bank(&out, false)).await.expect("first");
        for name in [
            "channel.crt",
            "channel.key",
            "signature.crt",
            "signature.key",
            "ca.crt",
            "spi-signature.crt",
            "dict-signature.crt",
        ] {
            assert!(out.join(name).is_file(), "{name}");
        }
        let mode = fs::metadata(out.join("channel.key"))
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let first_key = fs::read(out.join("channel.key")).expect("key");
        let entries = registered(&place);
        // Two banks and six virtual participants are there before it.
        assert_eq!(entries.len(), 10);
        assert_eq!(entries[8]["opening_balance"].as_str(), Some("50.00"));
        assert_eq!(
            [&entries[9]["ispb"], &entries[9]["settler"]].map(toml::Value::as_str),
            ["3333000V", "33333333"].map(Some)
        );
        assert!(
            place
                .path(entries[8]["channel_certificates"][0].as_str().expect("path"))
                .is_file()
        );

        let error = participant(&place, &new_bank(&out, false))
            .await
            .expect_err("exists")
            .to_string();
        assert!(error.contains("--force"), "{error}");
        let error = participant(&place, &new_bank(&dir.path().join("other"), false))
            .await
            .expect_err("registered")
            .to_string();
        assert!(error.contains("registered already"), "{error}");
        assert_eq!(fs::read(out.join("channel.key")).expect("key"), first_key);

        participant(&place, &new_bank(&out, true))
            .await
            .expect("by force");
        assert_ne!(fs::read(out.join("channel.key")).expect("key"), first_key);
        let again = registered(&place);
        assert_eq!(again.len(), 10);
        let renewed = again
            .iter()
            .find(|entry| entry["ispb"].as_str() == Some("33333333"));
        assert_ne!(
            renewed.expect("it is there")["channel_certificates"],
            entries[8]["channel_certificates"],
            "the switch must see a change"
        );

        // The next bank of the same first four characters gets the next name, and nobody becomes direct by it.
        let next = cli::Participant {
            ispb: Ispb::parse(b"33334444").expect("ispb"),
            ..new_bank(&dir.path().join("next"), false)
        };
        participant(&place, &next).await.expect("next");
        let last = registered(&place).pop().expect("entries");
        assert_eq!(last["ispb"].as_str(), Some("3333001V"));
        let taken = cli::Participant {
            ispb: Ispb::parse(b"3333001V").expect("ispb"),
            ..new_bank(&dir.path().join("taken"), true)
        };
        let error = participant(&place, &taken)
            .await
            .expect_err("it is indirect")
            .to_string();
        assert!(error.contains("stands behind 33334444"), "{error}");
    }

    #[tokio::test]
    async fn a_switch_that_has_run_and_stands_still_registers_nobody() {
        // The second is of a version that had no settlement service.
        for config in ["config/settlement.toml", "config/spi.toml"] {
            let dir = tempfile::tempdir().expect("tempdir");
            let place = Place::find(&dir.path().join("x"), None).expect("find");
            place.create().expect("create");
            crate::place::write_private(&place.path(config), "").expect("writes");
            let error = participant(&place, &new_bank(&dir.path().join("out"), false)).await;
            let error = error.expect_err("it does not run").to_string();
            assert!(error.contains("pix up"), "{error}");
            assert!(!dir.path().join("out").exists(), "no files without a place");
        }
    }

    #[test]
    fn a_certificate_is_good_revoked_or_unknown() {
        let certificate = |der: &[u8], revoked_at_micros| pix_proto::settlement_v1::Certificate {
            der: der.to_vec(),
            revoked_at_micros,
            ..Default::default()
        };
        let of = Participant {
            certificates: vec![certificate(b"old", Some(1)), certificate(b"new", None)],
            ..Default::default()
        };
        assert_eq!(standing(&of, b"old"), Standing::Revoked);
        assert_eq!(standing(&of, b"new"), Standing::Good);
        assert_eq!(standing(&of, b"other"), Standing::Unknown);
    }

    #[test]
    fn an_opening_balance_that_failed_can_be_ordered_again_as_it_was() {
        let ispb = Ispb::parse(b"33333333").expect("ispb");
        let who = Newcomer {
            ispb,
            name: "B",
            balance: Money::from_centavos(123_456),
            order: new_uuid().expect("chance"),
            folder: "",
            behind: ispb,
        };
        let told = who.not_funded("the book is away");
        let command = told
            .split('`')
            .find(|quoted| quoted.starts_with("pix participant fund"));
        // As a shell takes it apart: the note alone is quoted.
        let (options, note) = command
            .and_then(|command| command.trim_end_matches('"').split_once('"'))
            .expect("a command with a note");
        let words = options.split_whitespace().chain([note]);
        let asked = cli::Arguments::try_parse_from(words).expect("clap takes it");
        let cli::Command::Participant {
            command: cli::ParticipantCommand::Fund(asked),
        } = asked.command
        else {
            panic!("{told}");
        };
        assert_eq!((asked.ispb, asked.amount), (ispb, 123_456));
        assert_eq!((asked.id, asked.note.as_str()), (Some(who.order), OPENING_NOTE));
    }

    #[test]
    fn an_entry_leaves_and_what_the_user_wrote_stays() {
        let text =
            "# mine\n[[participant]]\nispb = \"11111111\"\n# kept\n\n[[participant]]\nispb = \"33333333\"\n";
        let mut register = Register {
            text: text.into(),
            table: text.parse().expect("toml"),
        };
        register.remove(Ispb::parse(b"33333333").expect("ispb"));
        assert_eq!(
            register.text,
            "# mine\n[[participant]]\nispb = \"11111111\"\n# kept\n\n"
        );
    }
}
