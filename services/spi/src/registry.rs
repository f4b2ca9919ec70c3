//! The participants as this process knows them now.

use pix_domain::Money;
use pix_participants::{Directory, Resident};
use spi_core::book::Command;
use spi_core::participants::{Participant, Participants};
use tokio::sync::mpsc;

use crate::book::Job;

/// One state of the directory, and what the order rules know of it.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) directory: Directory,
    pub(crate) participants: Participants,
}

/// The latest; shared.
pub(crate) type Current = pix_participants::Current<Registry>;

impl AsRef<Directory> for Registry {
    fn as_ref(&self) -> &Directory {
        &self.directory
    }
}

impl From<Directory> for Registry {
    fn from(directory: Directory) -> Self {
        let of = |one: &pix_participants::Participant| Participant {
            settler: one.settler,
            active: one.active,
        };
        let participants = directory.iter().map(|one| (one.ispb, of(one))).collect();
        Self {
            directory,
            participants,
        }
    }
}

/// Has the book open a Conta PI for every direct participant before it may pay or be paid.
pub(crate) struct Opening {
    pub(crate) current: Current,
    pub(crate) book: mpsc::Sender<Job>,
}

impl Resident for Opening {
    async fn take(&mut self, directory: Directory) {
        let known = self.current.load();
        let is_new = |one: &&pix_participants::Participant| {
            let before = known.directory.by_ispb(one.ispb);
            one.is_direct() && !before.is_some_and(pix_participants::Participant::is_direct)
        };
        let accounts: Vec<Job> = directory
            .iter()
            .filter(is_new)
            .map(|one| {
                Job::internal(Command::Open {
                    account: one.ispb,
                    balance: one.opening_balance.unwrap_or(Money::ZERO),
                })
            })
            .collect();
        drop(known);
        for job in accounts {
            if self.book.send(job).await.is_err() {
                return; // the book stopped, and with it the process stops
            }
        }
        self.current.store(directory.into());
    }
}
