//! What one may type.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pix_domain::{EndToEndId, Ispb, Key, KeyType, Money};

/// Where the instance of a clone lives, from its root.
pub(crate) const DEFAULT_DIR: &str = ".pix";

/// Runs the PIX switch with two banks on this machine, and asks them questions.
#[derive(Debug, Parser)]
#[command(name = "pix", version, arg_required_else_help = true)]
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
    Up(Up),
    /// Stop what `up` started, from another terminal.
    Down {
        /// Then forget everything: databases, keys, balances.
        #[arg(long)]
        purge: bool,
    },
    /// List the processes with pid, port and health.
    Status {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Pay from an account of a bank to a key, or to an account of another bank, and print what happened.
    #[command(after_help = PAY_EXAMPLES)]
    Pay(Pay),
    /// Print one payment as payer bank, switch and receiver bank saw it.
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
    /// Certificates and their private keys.
    Pki {
        #[command(subcommand)]
        command: Pki,
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
