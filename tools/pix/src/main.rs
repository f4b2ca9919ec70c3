//! `pix`: runs the switch and two banks on this machine, and asks them questions.

#[macro_use]
mod out;

mod advice;
mod backoff;
mod balance;
mod bank_keys;
mod bench;
mod board;
mod cli;
mod configs;
mod control;
mod doctor;
mod envelope;
mod help;
mod http;
mod inside;
mod key;
mod logs;
mod metrics;
mod next;
mod orphans;
mod participant;
mod pay;
mod payment;
mod pki;
mod place;
mod seed;
mod seed_keys;
mod settlement;
mod signed;
mod status;
mod supervisor;
mod up;
mod virtuals;
mod window;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    // One thread: children get a signal when the *thread* that started them ends, and this one ends last.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            errln!(
                "pix: the runtime could not start ({error}): free some memory or file descriptors and try again."
            );
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(error) => {
            errln!("pix: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: cli::Arguments) -> anyhow::Result<ExitCode> {
    if let cli::Command::Completions { shell } = arguments.command {
        use clap::CommandFactory as _;
        clap_complete::generate(
            shell,
            &mut cli::Arguments::command(),
            "pix",
            &mut std::io::stdout(),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let place = place::Place::find(&arguments.dir, arguments.port_offset)?;
    match arguments.command {
        cli::Command::Up(options) => up::up(place, &options).await,
        cli::Command::Down { purge } => control::down(&place, purge).await,
        cli::Command::Status(asked) => status::command(&place, &asked).await,
        cli::Command::Doctor(asked) => doctor::command(&place, &asked).await,
        cli::Command::Logs(asked) => logs::command(&place, &asked).await,
        cli::Command::Pay(order) => pay::command(&place, &order).await,
        cli::Command::Payment { end_to_end_id, json } => payment::command(&place, &end_to_end_id, json).await,
        cli::Command::Key { command } => key::command(&place, &command).await,
        cli::Command::Virtual { command } => virtuals::command(&place, &command).await,
        cli::Command::Bench { arguments } => match bench::become_it(&arguments)? {},
        cli::Command::Participant { command } => participant::command(&place, &command).await,
        cli::Command::Window { command } => window::command(&place, &command).await,
        cli::Command::Balance { watch, json } => balance::command(&place, watch, json).await,
        cli::Command::Completions { .. } => unreachable!("done above, without an instance"),
        cli::Command::Pki { command } => match command {
            cli::Pki::Participant(who) => pki::participant(&place, &who).await,
            cli::Pki::Sign(with) => envelope::sign(&with.folder),
            cli::Pki::Verify(with) => envelope::verify(&with.folder),
        },
    }
}
