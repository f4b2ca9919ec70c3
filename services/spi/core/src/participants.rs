//! What the SPI must know of a participant to route and refuse.

use std::collections::HashMap;

use pix_domain::Ispb;

/// One participant, direct or indirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Whose Conta PI it settles on: itself when it is direct.
    pub settler: Ispb,
    /// Whether it may take part now (DS27 otherwise).
    pub active: bool,
}

/// The participants known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Participants(HashMap<Ispb, Participant>);

impl Participants {
    /// The participant with this ISPB.
    #[must_use]
    pub fn get(&self, ispb: Ispb) -> Option<Participant> {
        self.0.get(&ispb).copied()
    }
}

impl FromIterator<(Ispb, Participant)> for Participants {
    fn from_iter<T: IntoIterator<Item = (Ispb, Participant)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}
