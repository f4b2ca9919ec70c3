//! The participants as this process knows them now.

use pix_domain::Ispb;
use pix_participants::{Directory, Participant};

/// The latest; shared.
pub(crate) type Current = pix_participants::Current<Directory>;

/// Why one participant may not act for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFor {
    /// Nobody has this ISPB, or it is not active.
    Invalid,
    /// It is settled by somebody else.
    Foreign,
}

/// The participant `wanted`, when it is `caller` itself or one that `caller` settles.
pub(crate) fn acts_for(directory: &Directory, caller: Ispb, wanted: Ispb) -> Result<&Participant, NotFor> {
    let participant = directory
        .by_ispb(wanted)
        .filter(|participant| participant.active)
        .ok_or(NotFor::Invalid)?;
    match participant.ispb == caller || participant.settler == caller {
        true => Ok(participant),
        false => Err(NotFor::Foreign),
    }
}
