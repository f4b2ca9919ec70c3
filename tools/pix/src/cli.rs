//! What one may type.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pix_domain::{Category, EndToEndId, Ispb, Key, KeyType, Money, Timestamp};

use crate::{help, signed};

/// Where the instance of a clone lives, from its root.
pub(crate) const DEFAULT_DIR: &str = ".pix";

/// Runs the PIX switch with two banks on this machine, and asks them questions.
#[derive(Debug, Parser)]
#[command(name = "pix", version, arg_required_else_help = true, after_long_help = help::PIX)]
pub(crate) struct Arguments {
    /// Folder that holds everything of one instance.
    #[arg(long, global = true, env = "PIX_DIR", default_value = DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
    /// Added to every port, so that instances run side by side; remembered in the folder.
    #[arg(long, global = true, env = "PIX_PORT_OFFSET")]
    pub(crate) port_offset: Option<u16>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything, make one payment, supervise until Ctrl-C.
    #[command(after_help = help::UP)]
    Up(Up),
    /// Stop what `up` started, from another terminal.
    #[command(after_help = help::DOWN)]
    Down {
        /// Then forget everything: databases, keys, balances.
        #[arg(long)]
        purge: bool,
    },
    /// What runs: health, versions, ports, what waits and how much goes through.
    #[command(after_help = help::STATUS)]
    Status(Status),
    /// What is missing or wrong on this machine and in this instance, each with its fix.
    #[command(after_help = help::DOCTOR)]
    Doctor(Doctor),
    /// What the services and parts have written, in the order of time.
    #[command(after_help = help::LOGS)]
    Logs(Logs),
    /// Pay from an account of a bank to a key, or to an account of another bank, and print what happened.
    #[command(after_help = PAY_EXAMPLES)]
    Pay(Pay),
    /// Where is my Pix: one payment as payer bank, switch and receiver bank know it, and what happens next.
    #[command(after_help = help::PAYMENT)]
    Payment {
        /// The 32 characters that name the payment.
        #[arg(value_name = "E2EID", value_parser = |text: &str| EndToEndId::parse(text.as_bytes()))]
        end_to_end_id: EndToEndId,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Keys of the DICT (chaves Pix): register, find, remove, list.
    #[command(after_help = KEY_EXAMPLES)]
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// The virtual participants: have one pay, and set what they do with what is paid to them.
    #[command(after_help = VIRTUAL_EXAMPLES)]
    Virtual {
        #[command(subcommand)]
        command: VirtualCommand,
    },
    /// Load a switch with payments or look-ups from outside, and report what it did; `pix bench --help` tells how.
    #[command(disable_help_flag = true)]
    Bench {
        /// What the bench is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Who takes part: add, show, certificates, suspend, resume, money into and out of the Conta PI.
    #[command(after_help = help::PARTICIPANT)]
    Participant {
        #[command(subcommand)]
        command: ParticipantCommand,
    },
    /// What was settled, window by window, with its proof.
    #[command(after_help = help::WINDOW)]
    Window {
        #[command(subcommand)]
        command: WindowCommand,
    },
    /// What every Conta PI holds.
    #[command(after_help = help::BALANCE)]
    Balance {
        /// Then each change, until Ctrl-C.
        #[arg(long)]
        watch: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Certificates and their private keys.
    #[command(after_help = help::PKI)]
    Pki {
        #[command(subcommand)]
        command: Pki,
    },
    /// Completion of commands and options for your shell, on standard output.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// Over how long rates are counted; 0 leaves them out and answers at once.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub(crate) over: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Below so much free disk, in GiB, a warning is due.
    #[arg(long, value_name = "GIB", default_value_t = crate::doctor::COMFORT_GIB)]
    pub(crate) free_gib: f64,
    /// As if the machine's clock said so, like 2026-11-21T15:00:00.000Z.
    #[arg(long, value_name = "TIME", hide_short_help = true,
        value_parser = |text: &str| Timestamp::parse(text.as_bytes()))]
    pub(crate) now: Option<Timestamp>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Of this one only.
    pub(crate) service: Option<String>,
    /// Lines about this payment only, however old.
    #[arg(long, value_name = "E2EID", value_parser = |text: &str| EndToEndId::parse(text.as_bytes()))]
    pub(crate) e2e: Option<EndToEndId>,
    /// The last so many.
    #[arg(long, short = 'n', default_value = "50")]
    pub(crate) lines: Option<usize>,
    /// Then whatever is written, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParticipantCommand {
    /// A new participant.
    #[command(after_help = help::PARTICIPANT)]
    Add(ParticipantAdd),
    /// One participant.
    Show(ParticipantNamed),
    /// Everybody who takes part.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Its certificates; one more with --add.
    Certs(ParticipantCerts),
    /// Declare a certificate bad, for ever.
    Revoke(ParticipantRevoke),
    /// Keep it out until it is resumed.
    Suspend(ParticipantSuspend),
    /// Let a suspended one back in.
    Resume(ParticipantNamed),
    /// Put money into its Conta PI, or take some out.
    #[command(after_help = help::PARTICIPANT)]
    Fund(ParticipantFund),
}

/// An ISPB on the command line.
fn ispb(text: &str) -> Result<Ispb, String> {
    Ispb::parse(text.as_bytes())
        .map_err(|why| format!("{why}: an ISPB is eight of 0-9 and A-Z, like 33333333"))
}

fn category(text: &str) -> Result<Category, String> {
    Category::parse(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| "a category is one of A to H".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "a number of seconds, like 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds from 0 on, like 0.5".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantNamed {
    /// Its ISPB.
    #[arg(value_name = "ISPB", value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantAdd {
    /// Its ISPB: eight of 0-9 and A-Z.
    #[arg(long, value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// Its name, for people.
    #[arg(long)]
    pub(crate) name: String,
    /// Who settles for it (liquidante), by ISPB: then it is indirect, without Conta PI and certificates.
    #[arg(long, value_parser = ispb, conflicts_with_all = ["channel_cert", "signature_cert"])]
    pub(crate) settler: Option<Ispb>,
    /// How many keys its customers may look up in the DICT: A (25,000 a minute) to H (2).
    #[arg(long, default_value = "A", value_parser = category)]
    pub(crate) category: Category,
    /// PEM file with the certificate of its TLS channel; several when one follows another.
    #[arg(long, value_name = "FILE", required_unless_present = "settler")]
    pub(crate) channel_cert: Vec<PathBuf>,
    /// PEM file with the certificate that it signs with, likewise.
    #[arg(long, value_name = "FILE", required_unless_present = "settler")]
    pub(crate) signature_cert: Vec<PathBuf>,
    /// Tell when its Conta PI has less available than this, in reais.
    #[arg(long, value_name = "AMOUNT", value_parser = |text: &str| Money::parse(text.as_bytes()))]
    pub(crate) low_liquidity: Option<Money>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CertificateUse {
    /// The TLS channel.
    Channel,
    /// The signature of messages.
    Signature,
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantCerts {
    /// Its ISPB.
    #[arg(value_name = "ISPB", value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// PEM file with one certificate more; those there are stay good.
    #[arg(long, value_name = "FILE", requires = "use_for")]
    pub(crate) add: Option<PathBuf>,
    /// What the added one is for.
    #[arg(long = "use", value_name = "USE", requires = "add", ignore_case = true)]
    pub(crate) use_for: Option<CertificateUse>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantRevoke {
    /// Its ISPB.
    #[arg(value_name = "ISPB", value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// The certificate's, as `pix participant certs` shows it: eight digits or more.
    #[arg(long)]
    pub(crate) fingerprint: String,
    /// Why, for the audit.
    #[arg(long, default_value = "pix participant revoke")]
    pub(crate) reason: String,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantSuspend {
    /// Its ISPB.
    #[arg(value_name = "ISPB", value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// Why, for the audit.
    #[arg(long, default_value = "pix participant suspend")]
    pub(crate) reason: String,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParticipantFund {
    /// Its ISPB.
    #[arg(long, value_parser = ispb)]
    pub(crate) ispb: Ispb,
    /// In reais, like 1000.00; below zero takes out.
    #[arg(long, allow_hyphen_values = true, value_parser = signed::parse)]
    pub(crate) amount: i64,
    /// Names the order (UUID): given again, it does nothing and answers as the first time. Drawn unless given.
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    pub(crate) id: Option<String>,
    /// Why, for the audit.
    #[arg(long, default_value = "pix participant fund")]
    pub(crate) note: String,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('-').collect();
    let holds = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts
            .iter()
            .all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
    match holds {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a UUID has 8-4-4-4-12 hexadecimal digits".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum WindowCommand {
    /// The newest windows.
    List {
        /// Of this day only, as YYYY-MM-DD.
        #[arg(long, value_name = "DATE", default_value = "")]
        date: String,
        /// At most so many.
        #[arg(long, default_value = "20")]
        limit: u32,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// One window, by participant, with its proof.
    Show {
        /// Its number; the open one unless given.
        number: Option<i64>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// End the open window now, and show it closed and proven.
    Close {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Start only.
    #[arg(long)]
    pub(crate) no_payment: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pay {
    /// Paying bank: A, B or an ISPB.
    #[arg(long, default_value = "A")]
    pub(crate) from: String,
    /// Receiver's key: CPF, CNPJ, phone (+5561999990000), e-mail or random key.
    #[arg(long, value_name = "KEY", value_parser = Key::guess, conflicts_with_all = ["to", "to_account", "to_tax_id"])]
    pub(crate) to_key: Option<Key>,
    /// Receiving bank, when paying by account: A, B or an ISPB.
    #[arg(long, default_value = "B")]
    pub(crate) to: String,
    /// In reais, like 10.50.
    #[arg(long, default_value = "10.50", value_parser = |text: &str| Money::parse(text.as_bytes()))]
    pub(crate) amount: Money,
    /// Paying account, as 0001/100001 or 100001; the bank's first open one unless given.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) from_account: Option<String>,
    /// Receiving account, likewise.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to_account: Option<String>,
    /// CPF or CNPJ of the receiver; looked up unless given.
    #[arg(long, value_name = "CPF|CNPJ")]
    pub(crate) to_tax_id: Option<String>,
    /// What the payer writes to the receiver.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

const PAY_EXAMPLES: &str = "Examples:
  pix pay --from A --to-key elisa.prado@horizonte.example --amount 10.50
  pix pay --from B --to-key +5561990100001
  pix pay --from A --from-account 100002 --to B --to-account 200003 --amount 25.00";

const KEY_EXAMPLES: &str = "Examples:
  pix key list                                         every key of both banks, as the banks have them
  pix key list --all                                   every key of every participant, as the DICT has them
  pix key add --bank A --type EVP                      a random key for bank A's first open account
  pix key add --bank A --account 100002 --type CPF     the holder's own CPF
  pix key add --bank A --key bruno@aurora.example --account 100002 --confirm
  pix key find 12ABC34501DE35                          where a key leads, asked from inside the switch
  pix key find 12ABC34501DE35 --from A                 the same, as a customer of bank A sees it
  pix key remove --bank B +5581990200001";

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Register a key for an account.
    #[command(after_help = KEY_EXAMPLES)]
    Add(KeyAdd),
    /// Print where a key leads.
    #[command(after_help = KEY_EXAMPLES)]
    Find(KeyFind),
    /// Give a key up.
    #[command(after_help = KEY_EXAMPLES)]
    Remove(KeyRemove),
    /// List keys.
    #[command(after_help = KEY_EXAMPLES)]
    List(KeyList),
}

#[derive(Debug, Args)]
pub(crate) struct KeyAdd {
    /// The account's bank: A, B or its ISPB.
    #[arg(long)]
    pub(crate) bank: String,
    /// As 0001/100001 or 100001; unless given, the first open account that can have the key.
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// CPF, CNPJ, PHONE, EMAIL or EVP; told by the key unless given.
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "key",
        value_parser = |text: &str| KeyType::parse(text.to_ascii_uppercase().as_bytes()))]
    pub(crate) kind: Option<KeyType>,
    /// The key. Not for EVP, which the DICT draws; the holder's own CPF or CNPJ unless given.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// First confirm the phone or e-mail as the customer's own, as the bank's clerk.
    #[arg(long)]
    pub(crate) confirm: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyFind {
    /// The key.
    #[arg(value_parser = Key::guess)]
    pub(crate) key: Key,
    /// As a customer of this bank sees it: A, B or an ISPB. It counts against the limits of look-ups.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// The account that asks, as 0001/100001 or 100001; the bank's first open one unless given.
    #[arg(long, value_name = "ACCOUNT", requires = "from")]
    pub(crate) from_account: Option<String>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRemove {
    /// The bank that holds it: A, B or its ISPB.
    #[arg(long)]
    pub(crate) bank: String,
    /// The key.
    #[arg(value_parser = Key::guess)]
    pub(crate) key: Key,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyList {
    /// Of this bank only: A, B or an ISPB.
    #[arg(long)]
    pub(crate) bank: Option<String>,
    /// What the DICT has, participant by participant, instead of what the banks have.
    #[arg(long)]
    pub(crate) all: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

const VIRTUAL_EXAMPLES: &str = "Examples:
  pix virtual pay --to B --to-account 200001 --amount 5.00
  pix virtual pay --to-key elisa.prado@horizonte.example --amount 5.00
  pix virtual pay --from 1111000V --to B                       by bank A, which settles for it
  pix virtual rule --amount 13.37 --do reject:AC03             pay 99999A04 R$ 13.37, and it is refused
  pix virtual rule --participant 99999A04 --do delay:5 --times 1
  pix virtual rules
  pix virtual clear                                            everything is accepted again

What --do takes: accept, delay:SECONDS, silence, reject:CODE, accept-then-reject:CODE, twice, bad-signature.";

#[derive(Debug, Subcommand)]
pub(crate) enum VirtualCommand {
    /// Have a virtual participant's customer (Fulano, account 1) pay, and print what happened.
    #[command(after_help = VIRTUAL_EXAMPLES)]
    Pay(VirtualPay),
    /// List the rules, in the order in which they are asked.
    #[command(after_help = VIRTUAL_EXAMPLES)]
    Rules {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Set a rule, before the others.
    #[command(after_help = VIRTUAL_EXAMPLES)]
    Rule(VirtualRule),
    /// Remove every rule: everything is accepted.
    #[command(after_help = VIRTUAL_EXAMPLES)]
    Clear,
}

#[derive(Debug, Args)]
pub(crate) struct VirtualPay {
    /// Paying participant: a virtual one, or the indirect one behind it or behind bank A or B.
    #[arg(long, default_value = "99999A03", value_parser = |text: &str| Ispb::parse(text.as_bytes()))]
    pub(crate) from: Ispb,
    /// Receiver's key, as the DICT has it.
    #[arg(long, value_name = "KEY", value_parser = Key::guess, conflicts_with_all = ["to", "to_account", "to_tax_id"])]
    pub(crate) to_key: Option<Key>,
    /// Receiving bank, when paying by account: A, B or an ISPB.
    #[arg(long, default_value = "B")]
    pub(crate) to: String,
    /// Receiving account, as 0001/200001 or 200001; the bank's first open one unless given.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to_account: Option<String>,
    /// CPF or CNPJ of the receiver; looked up unless given.
    #[arg(long, value_name = "CPF|CNPJ")]
    pub(crate) to_tax_id: Option<String>,
    /// In reais, like 5.00.
    #[arg(long, default_value = "5.00", value_parser = |text: &str| Money::parse(text.as_bytes()))]
    pub(crate) amount: Money,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VirtualRule {
    /// For orders to this participant only, by ISPB.
    #[arg(long, value_parser = |text: &str| Ispb::parse(text.as_bytes()))]
    pub(crate) participant: Option<Ispb>,
    /// For orders of exactly this amount only, in reais.
    #[arg(long, value_parser = |text: &str| Money::parse(text.as_bytes()))]
    pub(crate) amount: Option<Money>,
    /// What to do, like reject:AC03.
    #[arg(long = "do", value_name = "BEHAVIOUR")]
    pub(crate) behaviour: String,
    /// For so many orders; for all unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: Option<u32>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Make the PEM files with which an outside bank joins, and register it as a participant.
    Participant(Participant),
    /// Sign the ISO 20022 envelope on standard input as the bank of a folder would, by hand.
    ///
    /// The envelope is written to standard output, in canonical form, with its signature in AppHdr/Sgntr:
    ///   pix pki sign --with bank-33333333 <order.xml >signed.xml
    #[command(verbatim_doc_comment)]
    Sign(With),
    /// Check the SPI's signature of the envelope on standard input, and write it to standard output when it holds.
    Verify(With),
}

#[derive(Debug, Args)]
pub(crate) struct With {
    /// Folder that `pix pki participant` made.
    #[arg(long = "with", value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Participant {
    /// ISPB of the bank: eight of 0-9A-Z.
    #[arg(long, value_parser = |text: &str| Ispb::parse(text.as_bytes()))]
    pub(crate) ispb: Ispb,
    /// Folder for the PEM files.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Name of the bank.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What its Conta PI opens with, in reais.
    #[arg(long, default_value = "1000000.00", value_parser = |text: &str| Money::parse(text.as_bytes()))]
    pub(crate) balance: Money,
    /// Replace keys that are already there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surface_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_examples() {
        use clap::CommandFactory as _;
        let mut command = Arguments::command();
        let names: Vec<_> = command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect();
        // The bench tells its own.
        for name in names.iter().filter(|name| *name != "bench") {
            let sub = command.find_subcommand_mut(name).expect("it is there");
            let help = sub.render_help().to_string();
            assert!(
                help.contains("Examples:") && help.contains(&format!("pix {name}")),
                "{help}"
            );
        }
    }

    #[test]
    fn a_direct_participant_has_certificates_and_an_indirect_one_a_settler() {
        let parse = |extra: &[&str]| {
            let words = ["pix", "participant", "add", "--ispb", "44444444", "--name", "N"];
            Arguments::try_parse_from(words.iter().chain(extra)).map_err(|error| error.to_string())
        };
        let both = ["--channel-cert", "a", "--signature-cert", "b"];
        assert!(parse(&both).is_ok());
        assert!(parse(&["--settler", "11111111"]).is_ok());
        let error = parse(&[]).expect_err("neither");
        assert!(error.contains("--channel-cert"), "{error}");
        assert!(parse(&[&both[..], &["--settler", "11111111"]].concat()).is_err());
    }

    #[test]
    fn money_is_taken_out_with_a_minus() {
        let parse = |amount: &str| {
            Arguments::try_parse_from([
                "pix",
                "participant",
                "fund",
                "--ispb",
                "44444444",
                "--amount",
                amount,
            ])
        };
        let Command::Participant {
            command: ParticipantCommand::Fund(fund),
        } = parse("-250.00").expect("parses").command
        else {
            panic!("another command")
        };
        assert_eq!(fund.amount, -25_000);
        for wrong in ["0.00", "1.234", "ten"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_payment_goes_to_a_key_or_to_an_account() {
        let parse = |extra: &[&str]| {
            let words = ["pix", "pay", "--to-key", "+5561990100001"];
            Arguments::try_parse_from(words.iter().chain(extra)).map(drop)
        };
        assert!(parse(&[]).is_ok());
        for account in [["--to", "B"], ["--to-account", "200001"], ["--to-tax-id", "1"]] {
            assert!(parse(&account).is_err(), "{account:?}");
        }
    }

    #[test]
    fn a_key_of_no_kind_is_refused_with_the_kinds() {
        let error = Arguments::try_parse_from(["pix", "key", "find", "somebody"]).expect_err("no key");
        assert!(error.to_string().contains("e-mail in lower case"), "{error}");
    }

    #[test]
    fn the_bench_gets_its_words_as_they_are() {
        let words = ["pix", "bench", "smoke", "--for", "2", "--help"];
        let command = Arguments::try_parse_from(words)
            .expect("words for the bench")
            .command;
        assert!(matches!(command, Command::Bench { arguments } if arguments.len() == 4));
    }

    #[test]
    fn a_wrong_id_is_refused_with_its_rule() {
        let error = Arguments::try_parse_from(["pix", "payment", "E123"]).expect_err("4 characters");
        assert!(
            error.to_string().contains("EndToEndId has 32 characters"),
            "{error}"
        );
    }
}
