//! What one may type.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pix_domain::{EndToEndId, Ispb, Money};

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
    /// Pay from an account of one bank to an account of another and print what happened.
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
    /// Keys and certificates.
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
    /// Receiving bank: A, B or an ISPB.
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

#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Make the PEM files with which an outside bank joins, and register it as a participant.
    Participant(Participant),
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
    fn a_wrong_id_is_refused_with_its_rule() {
        let error = Arguments::try_parse_from(["pix", "payment", "E123"]).expect_err("4 characters");
        assert!(
            error.to_string().contains("EndToEndId has 32 characters"),
            "{error}"
        );
    }
}
