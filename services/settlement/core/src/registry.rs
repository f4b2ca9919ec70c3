//! The registry: who takes part. It is what its changes made of it, one version after the other, and decides about
//! the next one. Whoever asks again for what has been done gets what is there, and no change more.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use pix_domain::{Category, Ispb, Money, SPI_ISPB, Text, Timestamp};
use pix_xmldsig::IssuerSerial;

use crate::certificate::{Certificate, Fingerprint, FingerprintDigits, Reason, Revocation, Use};

/// Certificates of one use that a participant may have at once: one after the other, and some to spare.
pub const USABLE_MAX: usize = 16;

/// The name of a participant, for people.
pub type Name = Text<140>;

/// Whether a participant may take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Active,
    /// It is refused at the door, and as receiver.
    Suspended,
}

/// A word that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a participant is ACTIVE or SUSPENDED")]
pub struct InvalidState;

impl State {
    /// Reads `ACTIVE` or `SUSPENDED`.
    ///
    /// # Errors
    /// [`InvalidState`] for anything else.
    pub fn parse(word: &str) -> Result<Self, InvalidState> {
        match word {
            "ACTIVE" => Ok(Self::Active),
            "SUSPENDED" => Ok(Self::Suspended),
            _ => Err(InvalidState),
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A participant (participante), as of one version of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its ISPB.
    pub ispb: Ispb,
    /// Its name.
    pub name: Name,
    /// Whose Conta PI its payments are settled in (liquidante): its own when it is direct.
    pub settler: Ispb,
    /// How large its buckets of the DICT are.
    pub category: Category,
    /// Whether it may take part.
    pub state: State,
    /// All it ever had, in the order in which they came.
    pub certificates: Vec<Certificate>,
    /// Operators are told when less than this is left in its Conta PI.
    pub low_liquidity: Option<Money>,
    /// The change that made it so.
    pub version: i64,
}

impl Participant {
    /// Whether it has a Conta PI and speaks to the SPI itself.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.settler == self.ispb
    }

    /// The last instant at which one of its certificates of this use is good; none when there is none.
    #[must_use]
    pub fn good_until(&self, usage: Use, now: Timestamp) -> Option<Timestamp> {
        let of_use = self.certificates.iter().filter(|one| one.usage == usage);
        let usable = of_use.filter(|one| one.is_usable(now));
        usable.map(|one| one.not_after).max()
    }

    fn usable(&self, usage: Use, now: Timestamp) -> usize {
        let of_use = self.certificates.iter().filter(|one| one.usage == usage);
        of_use.filter(|one| one.is_usable(now)).count()
    }
}

/// A participant that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewParticipant {
    /// Its ISPB.
    pub ispb: Ispb,
    /// Its name.
    pub name: Name,
    /// Its own ISPB when it is direct.
    pub settler: Ispb,
    /// How large its buckets of the DICT are.
    pub category: Category,
    /// None for an indirect participant.
    pub certificates: Vec<Certificate>,
    /// None for an indirect participant.
    pub low_liquidity: Option<Money>,
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A participant joins.
    Add(NewParticipant),
    /// The same from a list that was true before: certificates that expired and settlers that are suspended are
    /// taken as they are.
    Import(NewParticipant, State),
    /// What is `None` stays.
    Update {
        /// Who.
        ispb: Ispb,
        /// Its new name.
        name: Option<Name>,
        /// Its new category.
        category: Option<Category>,
        /// Its new threshold, or none any more.
        low_liquidity: Option<Option<Money>>,
    },
    /// It may not take part until it is resumed.
    Suspend {
        /// Who.
        ispb: Ispb,
        /// Why.
        reason: Reason,
    },
    /// It may take part again.
    Resume {
        /// Who.
        ispb: Ispb,
    },
    /// One more certificate.
    AddCertificate {
        /// Whose.
        ispb: Ispb,
        /// Which.
        certificate: Certificate,
    },
    /// A certificate is never good again. The last one may go too: that is what an emergency looks like.
    RevokeCertificate {
        /// Whose.
        ispb: Ispb,
        /// Which.
        digits: FingerprintDigits,
        /// Why.
        reason: Reason,
    },
}

impl Command {
    /// Whom it is about.
    #[must_use]
    pub fn ispb(&self) -> Ispb {
        match self {
            Self::Add(new) | Self::Import(new, _) => new.ispb,
            Self::Update { ispb, .. }
            | Self::Suspend { ispb, .. }
            | Self::Resume { ispb }
            | Self::AddCertificate { ispb, .. }
            | Self::RevokeCertificate { ispb, .. } => *ispb,
        }
    }

    /// As the audit names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADDED",
            Self::Import(..) => "IMPORTED",
            Self::Update { .. } => "UPDATED",
            Self::Suspend { .. } => "SUSPENDED",
            Self::Resume { .. } => "RESUMED",
            Self::AddCertificate { .. } => "CERTIFICATE_ADDED",
            Self::RevokeCertificate { .. } => "CERTIFICATE_REVOKED",
        }
    }

    /// The operator's reason, where one is asked for.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Suspend { reason, .. } | Self::RevokeCertificate { reason, .. } => Some(reason),
            Self::Add(_)
            | Self::Import(..)
            | Self::Update { .. }
            | Self::Resume { .. }
            | Self::AddCertificate { .. } => None,
        }
    }
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has this ISPB.
    #[error("there is no participant {0}")]
    Unknown(Ispb),
    /// Somebody has this ISPB, and is not what was to be added.
    #[error("participant {0} is there already, and differs; what is to change in it has calls of its own")]
    Exists(Ispb),
    /// The SPI's own ISPB, which names the funding account.
    #[error("{SPI_ISPB} is the SPI itself")]
    IsTheSpi,
    /// The settler is nobody, or an indirect participant.
    #[error("{0} is no direct participant")]
    SettlerNotDirect(Ispb),
    /// The settler may not take part.
    #[error("its settler {0} is suspended; resume that first")]
    SettlerSuspended(Ispb),
    /// An indirect participant speaks by its settler.
    #[error("an indirect participant has no certificates: it speaks by its settler {settler}")]
    IndirectHasNoCertificates {
        /// Its settler.
        settler: Ispb,
        /// Of the certificate that was given.
        usage: Use,
    },
    /// An indirect participant settles in another's Conta PI.
    #[error("an indirect participant has no Conta PI, and no threshold of it: its settler {0} has")]
    IndirectHasNoContaPi(Ispb),
    /// A certificate whose time is over.
    #[error("certificate {fingerprint} expired at {not_after}; register one that is valid")]
    CertificateExpired {
        /// Which.
        fingerprint: Fingerprint,
        /// What it was for.
        usage: Use,
        /// Its last valid instant.
        not_after: Timestamp,
    },
    /// Somebody has a certificate of this issuer and serial number, or the participant itself for another use.
    #[error(
        "certificate {fingerprint} is participant {owner}'s already, for {usage}: each has one owner and one use"
    )]
    CertificateTaken {
        /// Which was given.
        fingerprint: Fingerprint,
        /// Whose it is.
        owner: Ispb,
        /// What it is for there.
        usage: Use,
    },
    /// A certificate that was revoked.
    #[error("certificate {0} was revoked, and that is for ever; take another one")]
    CertificateRevoked(Fingerprint),
    /// It has [`USABLE_MAX`].
    #[error("it has {USABLE_MAX} certificates for {0} that are good; revoke those that it no longer uses")]
    TooManyCertificates(Use),
    /// No certificate of the participant begins so.
    #[error("participant {0} has no such certificate")]
    CertificateUnknown(Ispb),
    /// Several begin so.
    #[error("more than one of participant {0}'s certificates begin so; give more digits")]
    CertificateAmbiguous(Ispb),
}

/// What comes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is so already.
    AsItIs(Arc<Participant>),
    /// The participant is to become this, with the next version.
    Change(Arc<Participant>),
}

/// A change that does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {found} follows change {known}: something is missing between them")]
pub struct Gap {
    /// The last one.
    pub known: i64,
    /// What came.
    pub found: i64,
}

/// All participants, as of one version.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    version: i64,
    participants: BTreeMap<Ispb, Arc<Participant>>,
    owners: HashMap<IssuerSerial, (Ispb, Use)>,
}

impl Registry {
    /// These participants, as of this version.
    #[must_use]
    pub fn of(version: i64, participants: impl IntoIterator<Item = Participant>) -> Self {
        let mut registry = Self {
            version,
            ..Self::default()
        };
        participants
            .into_iter()
            .for_each(|participant| registry.install(Arc::new(participant)));
        registry
    }

    /// The last change in it; 0 when there was none.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The participant of this ISPB.
    #[must_use]
    pub fn get(&self, ispb: Ispb) -> Option<&Arc<Participant>> {
        self.participants.get(&ispb)
    }

    /// Every participant, by ISPB.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Participant>> {
        self.participants.values()
    }

    /// Takes the next change.
    ///
    /// # Errors
    /// [`Gap`] when it is not the next one.
    pub fn apply(&mut self, participant: Arc<Participant>) -> Result<(), Gap> {
        if participant.version != self.version + 1 {
            return Err(Gap {
                known: self.version,
                found: participant.version,
            });
        }
        self.version = participant.version;
        self.install(participant);
        Ok(())
    }

    fn install(&mut self, participant: Arc<Participant>) {
        for certificate in &participant.certificates {
            let owner = (participant.ispb, certificate.usage);
            self.owners.insert(certificate.issuer_serial.clone(), owner);
        }
        self.participants.insert(participant.ispb, participant);
    }

    /// What comes of `command` at this instant.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Decision, Refusal> {
        match command {
            Command::Add(new) => self.add(new, State::Active, Some(now)),
            Command::Import(new, state) => self.add(new, *state, None),
            Command::Update {
                ispb,
                name,
                category,
                low_liquidity,
            } => {
                let known = self.known(*ispb)?;
                if matches!(low_liquidity, Some(Some(_))) && !known.is_direct() {
                    return Err(Refusal::IndirectHasNoContaPi(known.settler));
                }
                Ok(self.changed(known, |next| {
                    if let Some(name) = name {
                        next.name = name.clone();
                    }
                    next.category = category.unwrap_or(next.category);
                    next.low_liquidity = low_liquidity.unwrap_or(next.low_liquidity);
                }))
            }
            Command::Suspend { ispb, .. } => {
                Ok(self.changed(self.known(*ispb)?, |next| next.state = State::Suspended))
            }
            Command::Resume { ispb } => {
                let known = self.known(*ispb)?;
                let settler = self.known(known.settler)?;
                if !known.is_direct() && settler.state == State::Suspended {
                    return Err(Refusal::SettlerSuspended(known.settler));
                }
                Ok(self.changed(known, |next| next.state = State::Active))
            }
            Command::AddCertificate { ispb, certificate } => self.add_certificate(*ispb, certificate, now),
            Command::RevokeCertificate { ispb, digits, reason } => self.revoke(*ispb, digits, reason, now),
        }
    }

    /// With a `now`, time counts: nothing that expired, no settler that is suspended.
    fn add(&self, new: &NewParticipant, state: State, now: Option<Timestamp>) -> Result<Decision, Refusal> {
        if new.ispb == SPI_ISPB {
            return Err(Refusal::IsTheSpi);
        }
        if let Some(known) = self.get(new.ispb) {
            return match is_what_was_added(known, new, state) {
                true => Ok(Decision::AsItIs(Arc::clone(known))),
                false => Err(Refusal::Exists(new.ispb)),
            };
        }
        if new.settler != new.ispb {
            let settler = self.get(new.settler).filter(|settler| settler.is_direct());
            let settler = settler.ok_or(Refusal::SettlerNotDirect(new.settler))?;
            if now.is_some() && settler.state == State::Suspended {
                return Err(Refusal::SettlerSuspended(new.settler));
            }
            if let Some(certificate) = new.certificates.first() {
                return Err(Refusal::IndirectHasNoCertificates {
                    settler: new.settler,
                    usage: certificate.usage,
                });
            }
            if new.low_liquidity.is_some() {
                return Err(Refusal::IndirectHasNoContaPi(new.settler));
            }
        }
        let mut added = Participant {
            ispb: new.ispb,
            name: new.name.clone(),
            settler: new.settler,
            category: new.category,
            state,
            certificates: Vec::with_capacity(new.certificates.len()),
            low_liquidity: new.low_liquidity,
            version: self.version + 1,
        };
        for certificate in &new.certificates {
            self.take(&mut added, certificate, now)?;
        }
        Ok(Decision::Change(Arc::new(added)))
    }

    fn add_certificate(
        &self,
        ispb: Ispb,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let known = self.known(ispb)?;
        if !known.is_direct() {
            return Err(Refusal::IndirectHasNoCertificates {
                settler: known.settler,
                usage: certificate.usage,
            });
        }
        let mut held = known.certificates.iter();
        let same = held.find(|held| held.fingerprint == certificate.fingerprint);
        match same {
            Some(held) if held.revoked.is_some() => Err(Refusal::CertificateRevoked(held.fingerprint)),
            Some(held) if held.usage == certificate.usage => Ok(Decision::AsItIs(Arc::clone(known))),
            _ => {
                let mut next = Participant::clone(known);
                self.take(&mut next, certificate, Some(now))?;
                next.version = self.version + 1;
                Ok(Decision::Change(Arc::new(next)))
            }
        }
    }

    /// Gives `participant` a certificate that nobody has.
    fn take(
        &self,
        participant: &mut Participant,
        certificate: &Certificate,
        now: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let mut own = participant.certificates.iter();
        let own = own.find(|held| held.issuer_serial == certificate.issuer_serial);
        let own = own.map(|held| (participant.ispb, held.usage));
        let owner = own.or_else(|| self.owners.get(&certificate.issuer_serial).copied());
        if let Some((owner, usage)) = owner {
            return Err(Refusal::CertificateTaken {
                fingerprint: certificate.fingerprint,
                owner,
                usage,
            });
        }
        if let Some(now) = now {
            if !certificate.is_usable(now) {
                return Err(Refusal::CertificateExpired {
                    fingerprint: certificate.fingerprint,
                    usage: certificate.usage,
                    not_after: certificate.not_after,
                });
            }
            if participant.usable(certificate.usage, now) >= USABLE_MAX {
                return Err(Refusal::TooManyCertificates(certificate.usage));
            }
        }
        participant.certificates.push(certificate.clone());
        Ok(())
    }

    fn revoke(
        &self,
        ispb: Ispb,
        digits: &FingerprintDigits,
        reason: &Reason,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let known = self.known(ispb)?;
        let certificates = known.certificates.iter().enumerate();
        let mut named = certificates.filter(|(_, one)| digits.name(&one.fingerprint));
        let (index, _) = named.next().ok_or(Refusal::CertificateUnknown(ispb))?;
        if named.next().is_some() {
            return Err(Refusal::CertificateAmbiguous(ispb));
        }
        Ok(self.changed(known, |next| {
            let revoked = &mut next.certificates[index].revoked;
            revoked.get_or_insert_with(|| Revocation {
                at: now,
                reason: reason.clone(),
            });
        }))
    }

    fn known(&self, ispb: Ispb) -> Result<&Arc<Participant>, Refusal> {
        self.get(ispb).ok_or(Refusal::Unknown(ispb))
    }

    fn changed(&self, known: &Arc<Participant>, change: impl FnOnce(&mut Participant)) -> Decision {
        let mut next = Participant::clone(known);
        change(&mut next);
        if next == **known {
            return Decision::AsItIs(Arc::clone(known));
        }
        next.version = self.version + 1;
        Decision::Change(Arc::new(next))
    }
}

/// Whether `known` is what adding `new` made, and nothing was done with it since.
fn is_what_was_added(known: &Participant, new: &NewParticipant, state: State) -> bool {
    let given = |certificates: &[Certificate]| -> Vec<_> {
        let given = certificates.iter();
        given
            .map(|one| (one.usage, one.fingerprint, one.revoked.is_some()))
            .collect()
    };
    known.name == new.name
        && known.settler == new.settler
        && known.category == new.category
        && known.state == state
        && known.low_liquidity == new.low_liquidity
        && given(&known.certificates) == given(&new.certificates)
}

#[cfg(test)]
mod tests;
