//! What the DICT's answers mean to a bank that asks it to register or remove a key.

/// Why the DICT says no, as the last part of its problem's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DictRefusal {
    /// `EntryKeyOwnedByDifferentPerson`.
    OwnedByDifferentPerson,
    /// `EntryKeyInCustodyOfDifferentParticipant`.
    InCustodyOfDifferentParticipant,
    /// `EntryAlreadyExists`.
    AlreadyExists,
    /// `EntryLimitExceeded`.
    LimitExceeded,
    /// `EntryLockedByClaim`.
    LockedByClaim,
    /// `EntryTaxIdNumberByDifferentOwner`.
    TaxIdByDifferentOwner,
    /// `EntryInvalid`.
    Invalid,
    /// `EntryBlocked`.
    Blocked,
    /// `EntryWithFraudRelatedRestriction`.
    FraudRestriction,
    /// `TaxIdNumberBlocked`.
    TaxIdBlocked,
    /// `EntryCannotBeQueriedForBookTransfer`.
    BookTransfer,
    /// `RequestIdAlreadyUsed`.
    RequestIdUsed,
    /// `InvalidReason`.
    InvalidReason,
    /// `ParticipantInvalid`.
    ParticipantInvalid,
    /// `RequestSignatureInvalid`.
    SignatureInvalid,
    /// `BadRequest`.
    BadRequest,
    /// `Forbidden`.
    Forbidden,
    /// `NotFound`.
    NotFound,
    /// `RateLimited`.
    RateLimited,
    /// `ServiceUnavailable`.
    Unavailable,
    /// `InternalServerError`.
    Fault,
    /// A type that this bank does not know: the API may grow.
    Other(Box<str>),
}

/// When the DICT says no, relative to looking up whether the same request was carried out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Judged by the directory itself: no earlier attempt of the same request was carried out.
    Decided,
    /// Turned away before that: says nothing about earlier attempts.
    Door,
    /// Not carried out; the same request may be welcome later.
    Later,
    /// It may have been carried out all the same.
    Unknown,
}

const KNOWN: [(DictRefusal, &str); 21] = [
    (
        DictRefusal::OwnedByDifferentPerson,
        "EntryKeyOwnedByDifferentPerson",
    ),
    (
        DictRefusal::InCustodyOfDifferentParticipant,
        "EntryKeyInCustodyOfDifferentParticipant",
    ),
    (DictRefusal::AlreadyExists, "EntryAlreadyExists"),
    (DictRefusal::LimitExceeded, "EntryLimitExceeded"),
    (DictRefusal::LockedByClaim, "EntryLockedByClaim"),
    (
        DictRefusal::TaxIdByDifferentOwner,
        "EntryTaxIdNumberByDifferentOwner",
    ),
    (DictRefusal::Invalid, "EntryInvalid"),
    (DictRefusal::Blocked, "EntryBlocked"),
    (DictRefusal::FraudRestriction, "EntryWithFraudRelatedRestriction"),
    (DictRefusal::TaxIdBlocked, "TaxIdNumberBlocked"),
    (DictRefusal::BookTransfer, "EntryCannotBeQueriedForBookTransfer"),
    (DictRefusal::RequestIdUsed, "RequestIdAlreadyUsed"),
    (DictRefusal::InvalidReason, "InvalidReason"),
    (DictRefusal::ParticipantInvalid, "ParticipantInvalid"),
    (DictRefusal::SignatureInvalid, "RequestSignatureInvalid"),
    (DictRefusal::BadRequest, "BadRequest"),
    (DictRefusal::Forbidden, "Forbidden"),
    (DictRefusal::NotFound, "NotFound"),
    (DictRefusal::RateLimited, "RateLimited"),
    (DictRefusal::Unavailable, "ServiceUnavailable"),
    (DictRefusal::Fault, "InternalServerError"),
];

impl DictRefusal {
    /// Reads the last part of a problem's type.
    #[must_use]
    pub fn parse(kind: &str) -> Self {
        let known = KNOWN.iter().find(|(_, name)| *name == kind);
        known.map_or_else(|| Self::Other(kind.into()), |(refusal, _)| refusal.clone())
    }

    /// The last part of the problem's type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if let Self::Other(kind) = self {
            return kind;
        }
        let known = KNOWN.iter().find(|(refusal, _)| refusal == self);
        known.map_or("", |(_, name)| name)
    }

    /// What it means and what to do, in English.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.sentences().0
    }

    /// What it means and what to do, in Portuguese.
    #[must_use]
    pub fn meaning_in_portuguese(&self) -> &'static str {
        self.sentences().1
    }

    fn sentences(&self) -> (&'static str, &'static str) {
        match self {
            Self::OwnedByDifferentPerson => (
                "another person has this key; a claim of ownership is the way to get it",
                "outra pessoa tem esta chave; o caminho é a reivindicação de posse",
            ),
            Self::InCustodyOfDifferentParticipant => (
                "the customer has this key at another bank; a portability claim is the way to bring it here",
                "o cliente tem esta chave em outra instituição; o caminho é a portabilidade",
            ),
            Self::AlreadyExists => (
                "the DICT already has this key for this customer at this bank",
                "o DICT já tem esta chave para este cliente nesta instituição",
            ),
            Self::LimitExceeded => (
                "the account has as many keys as it may (5 for a person, 20 for a company); remove one first",
                "a conta já tem o máximo de chaves (5 para pessoa, 20 para empresa); remova uma antes",
            ),
            Self::LockedByClaim => (
                "a claim for this key is open; wait until it ends",
                "há uma reivindicação aberta para esta chave; aguarde o fim dela",
            ),
            Self::TaxIdByDifferentOwner => (
                "the CPF or CNPJ of the key is not the account holder's",
                "o CPF ou CNPJ da chave não é o do titular da conta",
            ),
            Self::Invalid => (
                "the DICT does not accept what the bank has on record; check name, account and key",
                "o DICT não aceita os dados cadastrados; verifique nome, conta e chave",
            ),
            Self::Blocked => (
                "the key is blocked by court order",
                "a chave está bloqueada por ordem judicial",
            ),
            Self::FraudRestriction => (
                "the key is blocked on suspicion of fraud",
                "a chave está bloqueada por suspeita de fraude",
            ),
            Self::TaxIdBlocked => (
                "the CPF or CNPJ is blocked by court order",
                "o CPF ou CNPJ está bloqueado por ordem judicial",
            ),
            Self::BookTransfer => (
                "the DICT has this key at this bank, whose own copy does not know it",
                "o DICT tem esta chave nesta instituição, cuja cópia não a conhece",
            ),
            Self::NotFound => ("nobody registered this key", "ninguém registrou esta chave"),
            Self::RateLimited => (
                "too many look-ups; wait a little and try again",
                "consultas demais; aguarde um pouco e tente de novo",
            ),
            Self::Unavailable | Self::Fault => (
                "the DICT is not available now; try again in a moment",
                "o DICT não está disponível agora; tente de novo em instantes",
            ),
            Self::RequestIdUsed
            | Self::InvalidReason
            | Self::ParticipantInvalid
            | Self::SignatureInvalid
            | Self::BadRequest
            | Self::Forbidden
            | Self::Other(_) => (
                "the DICT refuses the bank's request; the bank has to look into it",
                "o DICT recusa o pedido da instituição, que precisa verificar o motivo",
            ),
        }
    }

    fn moment(&self) -> Moment {
        match self {
            // The last four are judged from the request alone: the same request was never accepted.
            Self::OwnedByDifferentPerson
            | Self::InCustodyOfDifferentParticipant
            | Self::AlreadyExists
            | Self::LimitExceeded
            | Self::LockedByClaim
            | Self::RequestIdUsed
            | Self::Blocked
            | Self::FraudRestriction
            | Self::TaxIdBlocked
            | Self::TaxIdByDifferentOwner
            | Self::Invalid
            | Self::InvalidReason => Moment::Decided,
            Self::BookTransfer
            | Self::ParticipantInvalid
            | Self::SignatureInvalid
            | Self::BadRequest
            | Self::Forbidden
            | Self::NotFound
            | Self::Other(_) => Moment::Door,
            Self::RateLimited | Self::Unavailable => Moment::Later,
            Self::Fault => Moment::Unknown,
        }
    }
}

/// What came of asking the DICT once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// Carried out, now or by an earlier attempt.
    Done(T),
    /// A problem.
    Refused(DictRefusal),
    /// The question never left.
    NotSent,
    /// No answer that can be trusted: it may have been carried out.
    Unknown,
}

/// Whether an earlier attempt of a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// None did: whatever the DICT says now is all that there is.
    None,
    /// One may have been carried out, or may be yet: it can still be on its way.
    Fresh,
    /// One may have been carried out, and none can be any more.
    Old,
}

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// It is so in the DICT.
    Done(T),
    /// It is not so in the DICT, and asking again would not change that.
    Refused(DictRefusal),
    /// The DICT has the key for this very customer and bank by another request: that entry has to go first.
    InTheWay,
    /// It may be so; certain only once no earlier attempt can arrive any more. Then the question is asked again.
    NotYet,
    /// The same question has to be asked again.
    Again {
        /// Whether this attempt may have been carried out, or may be yet.
        unknown: bool,
    },
}

/// What an answer to createEntry means. An attempt in doubt is one with the same RequestId, so the entry that it
/// made is told at once; that there is none is believed only once no attempt can arrive any more.
#[must_use]
pub fn judge_creation<T>(said: Said<T>, doubt: Doubt) -> Heard<T> {
    match said {
        Said::Done(entry) => Heard::Done(entry),
        Said::NotSent => Heard::Again { unknown: false },
        Said::Unknown => Heard::Again { unknown: true },
        Said::Refused(DictRefusal::AlreadyExists) => Heard::InTheWay,
        Said::Refused(why) => refused(why, doubt),
    }
}

/// What an answer to deleteEntry means. An entry that is not there is removed, and so is one that is another
/// bank's by now. While an attempt may still arrive the key is not free: it would remove its next entry too.
#[must_use]
pub fn judge_removal(said: Said<()>, doubt: Doubt) -> Heard<()> {
    use DictRefusal as R;
    match said {
        Said::Done(())
        | Said::Refused(R::NotFound | R::OwnedByDifferentPerson | R::InCustodyOfDifferentParticipant) => {
            match doubt {
                Doubt::Fresh => Heard::NotYet,
                Doubt::None | Doubt::Old => Heard::Done(()),
            }
        }
        Said::NotSent => Heard::Again { unknown: false },
        Said::Unknown => Heard::Again { unknown: true },
        Said::Refused(why) => refused(why, doubt),
    }
}

fn refused<T>(why: DictRefusal, doubt: Doubt) -> Heard<T> {
    match (why.moment(), doubt) {
        (Moment::Decided, Doubt::None | Doubt::Old) | (Moment::Door, Doubt::None) => Heard::Refused(why),
        (Moment::Decided, Doubt::Fresh) => Heard::NotYet,
        (Moment::Door, Doubt::Fresh | Doubt::Old) | (Moment::Later, _) => Heard::Again { unknown: false },
        (Moment::Unknown, _) => Heard::Again { unknown: true },
    }
}

/// Keys that may go missing at the DICT by themselves, however few there are.
const MISSING_MAX: usize = 2;
/// Of this many keys one may, where there are more.
const ONE_MISSING_IN: usize = 10;

/// Whether the DICT can have lost so many of the bank's keys. More are a DICT that was restored from too old a copy,
/// or another one: nothing here follows it until somebody has looked.
#[must_use]
pub fn is_plausible_loss(compared: usize, missing: usize) -> bool {
    missing <= MISSING_MAX || missing.saturating_mul(ONE_MISSING_IN) <= compared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for (refusal, name) in &KNOWN {
            assert_eq!(DictRefusal::parse(name), *refusal);
            assert_eq!(refusal.as_str(), *name);
        }
        assert_eq!(DictRefusal::parse("SomethingNew").as_str(), "SomethingNew");
    }

    #[test]
    fn a_refusal_at_the_door_proves_nothing_once_an_attempt_is_in_doubt() {
        let forbidden = || Said::<()>::Refused(DictRefusal::Forbidden);
        let again = Heard::Again { unknown: false };
        assert_eq!(
            judge_creation(forbidden(), Doubt::None),
            Heard::Refused(DictRefusal::Forbidden)
        );
        for doubt in [Doubt::Fresh, Doubt::Old] {
            assert_eq!(judge_creation(forbidden(), doubt), again);
            assert_eq!(judge_removal(forbidden(), doubt), again);
        }
    }

    #[test]
    fn no_end_is_believed_while_an_attempt_may_still_arrive() {
        let decided = || Said::<()>::Refused(DictRefusal::LimitExceeded);
        let end = Heard::Refused(DictRefusal::LimitExceeded);
        assert_eq!(judge_creation(decided(), Doubt::Fresh), Heard::NotYet);
        assert_eq!(judge_creation(decided(), Doubt::Old), end);
        assert_eq!(judge_removal(Said::Done(()), Doubt::Fresh), Heard::NotYet);
        assert_eq!(judge_removal(Said::Done(()), Doubt::Old), Heard::Done(()));
        assert_eq!(judge_creation(Said::Done(()), Doubt::Fresh), Heard::Done(()));
    }

    #[test]
    fn what_was_not_carried_out_leaves_no_doubt_and_what_may_have_been_does() {
        let again = Heard::Again { unknown: false };
        for later in [DictRefusal::RateLimited, DictRefusal::Unavailable] {
            assert_eq!(judge_creation(Said::<()>::Refused(later), Doubt::None), again);
        }
        assert_eq!(judge_creation(Said::<()>::NotSent, Doubt::None), again);
        for unknown in [Said::Unknown, Said::<()>::Refused(DictRefusal::Fault)] {
            assert_eq!(
                judge_creation(unknown, Doubt::None),
                Heard::Again { unknown: true }
            );
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_removed_and_one_of_ours_is_in_the_way() {
        for gone in [
            DictRefusal::NotFound,
            DictRefusal::InCustodyOfDifferentParticipant,
        ] {
            assert_eq!(judge_removal(Said::Refused(gone), Doubt::Old), Heard::Done(()));
        }
        assert_eq!(
            judge_creation(Said::<()>::Refused(DictRefusal::NotFound), Doubt::None),
            Heard::Refused(DictRefusal::NotFound)
        );
        for doubt in [Doubt::None, Doubt::Fresh, Doubt::Old] {
            let exists = Said::<()>::Refused(DictRefusal::AlreadyExists);
            assert_eq!(judge_creation(exists, doubt), Heard::InTheWay);
        }
    }

    #[test]
    fn a_dict_that_lost_nearly_everything_is_not_believed() {
        for (compared, missing) in [(1, 1), (2, 2), (30, 3), (1_000, 100), (0, 0)] {
            assert!(is_plausible_loss(compared, missing), "{missing} of {compared}");
        }
        for (compared, missing) in [(3, 3), (29, 3), (1_000, 101)] {
            assert!(!is_plausible_loss(compared, missing), "{missing} of {compared}");
        }
    }
}
