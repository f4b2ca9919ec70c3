use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

const A: &str = "11111111";
const B: &str = "22222222";
const A_INDIRECT: &str = "1111000X";

fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).expect("an ISPB")
}

fn reason() -> Reason {
    Reason::parse("lost key").expect("a reason")
}

/// The certificate of this serial number; good until a day from now.
fn certificate(usage: Use, serial: u32) -> Certificate {
    let der: Vec<u8> = format!("certificate {serial}").into_bytes();
    Certificate {
        usage,
        fingerprint: Fingerprint::of(&der),
        der: der.into(),
        issuer_serial: IssuerSerial::from_text("CN=AC", &serial.to_string()).expect("a name and a number"),
        not_before: NOW.minus(DAY),
        not_after: NOW.plus(DAY),
        revoked: None,
    }
}

fn new(own: &str, settler: &str, certificates: Vec<Certificate>) -> NewParticipant {
    NewParticipant {
        ispb: ispb(own),
        name: Name::parse("Banco").expect("a name"),
        settler: ispb(settler),
        category: Category::A,
        certificates,
        low_liquidity: None,
    }
}

fn direct(own: &str, serial: u32) -> NewParticipant {
    let certificates = vec![
        certificate(Use::Channel, serial),
        certificate(Use::Signature, serial + 1),
    ];
    new(own, own, certificates)
}

fn digits(certificate: &Certificate) -> FingerprintDigits {
    FingerprintDigits::parse(&certificate.fingerprint.to_string()).expect("64 digits")
}

fn revoke(of: &str, certificate: &Certificate) -> Command {
    Command::RevokeCertificate {
        ispb: ispb(of),
        digits: digits(certificate),
        reason: reason(),
    }
}

fn suspend(who: &str) -> Command {
    Command::Suspend {
        ispb: ispb(who),
        reason: reason(),
    }
}

fn add_certificate(to: &str, certificate: Certificate) -> Command {
    Command::AddCertificate {
        ispb: ispb(to),
        certificate,
    }
}

/// Decides and applies; the version that it made, if any.
fn run(registry: &mut Registry, command: &Command) -> Result<Option<i64>, Refusal> {
    match registry.decide(command, NOW)? {
        Decision::AsItIs(_) => Ok(None),
        Decision::Change(participant) => {
            let version = participant.version;
            registry.apply(participant).expect("the next one");
            Ok(Some(version))
        }
    }
}

/// A (certificates 1 and 2) with an indirect participant behind it, and B (3 and 4): versions 1 to 3.
fn registry() -> Registry {
    let mut registry = Registry::default();
    for new in [direct(A, 1), direct(B, 3), new(A_INDIRECT, A, vec![])] {
        run(&mut registry, &Command::Add(new)).expect("added");
    }
    assert_eq!(registry.version(), 3);
    registry
}

#[test]
fn whoever_repeats_an_order_gets_what_is_there_and_no_version() {
    let mut registry = registry();
    let third = certificate(Use::Channel, 5);
    let update = Command::Update {
        ispb: ispb(A),
        name: Some(Name::parse("Banco Aurora").expect("a name")),
        category: Some(Category::C),
        low_liquidity: Some(Some(Money::from_centavos(5))),
    };
    let commands = [
        Command::Add(direct("33333333", 7)),
        update,
        add_certificate(A, third.clone()),
        revoke(A, &third),
        suspend(A),
        Command::Resume { ispb: ispb(A) },
    ];
    let mut version = registry.version();
    for command in commands {
        version += 1;
        assert_eq!(run(&mut registry, &command), Ok(Some(version)), "{command:?}");
        assert_eq!(run(&mut registry, &command), Ok(None), "{command:?}");
    }
    let is = registry.get(ispb(A)).expect("there");
    assert_eq!((is.name.as_str(), is.category), ("Banco Aurora", Category::C));
    assert_eq!(is.low_liquidity, Some(Money::from_centavos(5)));
    assert_eq!((is.state, is.version), (State::Active, version));
    assert_eq!(is.certificates.len(), 3);
    assert!(is.certificates[2].revoked.is_some());
}

#[test]
fn an_ispb_is_one_participants_and_never_the_spis() {
    let mut registry = registry();
    assert_eq!(
        run(&mut registry, &Command::Add(direct(A, 9))),
        Err(Refusal::Exists(ispb(A)))
    );
    let mut other = direct(A, 1);
    other.category = Category::B;
    assert_eq!(
        run(&mut registry, &Command::Add(other)),
        Err(Refusal::Exists(ispb(A)))
    );
    let spi = SPI_ISPB.to_string();
    assert_eq!(
        run(&mut registry, &Command::Add(direct(&spi, 9))),
        Err(Refusal::IsTheSpi)
    );
    assert_eq!(
        run(&mut registry, &suspend("33333333")),
        Err(Refusal::Unknown(ispb("33333333")))
    );
}

#[test]
fn a_settler_is_direct_and_active() {
    let mut registry = registry();
    for nobody in ["33333333", A_INDIRECT] {
        assert_eq!(
            run(&mut registry, &Command::Add(new("4444000X", nobody, vec![]))),
            Err(Refusal::SettlerNotDirect(ispb(nobody)))
        );
    }
    run(&mut registry, &suspend(A)).expect("suspended");
    let behind = Command::Add(new("4444000X", A, vec![]));
    let suspended = Err(Refusal::SettlerSuspended(ispb(A)));
    assert_eq!(run(&mut registry, &behind), suspended);
    run(&mut registry, &suspend(A_INDIRECT)).expect("suspended");
    let resume = |who| Command::Resume { ispb: ispb(who) };
    assert_eq!(run(&mut registry, &resume(A_INDIRECT)), suspended);
    run(&mut registry, &resume(A)).expect("resumed");
    run(&mut registry, &resume(A_INDIRECT)).expect("resumed");
    run(&mut registry, &behind).expect("added");
}

#[test]
fn an_indirect_participant_has_neither_certificates_nor_a_conta_pi() {
    let mut registry = registry();
    let one = certificate(Use::Signature, 9);
    let none = Err(Refusal::IndirectHasNoCertificates {
        settler: ispb(A),
        usage: Use::Signature,
    });
    let behind = new("4444000X", A, vec![one.clone()]);
    assert_eq!(run(&mut registry, &Command::Add(behind)), none);
    assert_eq!(run(&mut registry, &add_certificate(A_INDIRECT, one)), none);
    let mut behind = new("4444000X", A, vec![]);
    behind.low_liquidity = Some(Money::ZERO);
    let no_account = Err(Refusal::IndirectHasNoContaPi(ispb(A)));
    assert_eq!(run(&mut registry, &Command::Add(behind)), no_account);
    let update = |low_liquidity| Command::Update {
        ispb: ispb(A_INDIRECT),
        name: None,
        category: None,
        low_liquidity,
    };
    assert_eq!(run(&mut registry, &update(Some(Some(Money::ZERO)))), no_account);
    assert_eq!(run(&mut registry, &update(Some(None))), Ok(None));
}

#[test]
fn a_certificate_has_one_owner_and_one_use() {
    let mut registry = registry();
    let of_a = certificate(Use::Channel, 1);
    let taken = |certificate: &Certificate, owner, usage| {
        Err(Refusal::CertificateTaken {
            fingerprint: certificate.fingerprint,
            owner: ispb(owner),
            usage,
        })
    };
    let by_a = taken(&of_a, A, Use::Channel);
    assert_eq!(run(&mut registry, &add_certificate(B, of_a.clone())), by_a);
    let stolen = new("33333333", "33333333", vec![of_a]);
    assert_eq!(run(&mut registry, &Command::Add(stolen)), by_a);
    let swapped = certificate(Use::Signature, 1);
    assert_eq!(run(&mut registry, &add_certificate(A, swapped)), by_a);
    // Another certificate under the same issuer and serial number would be found in its place.
    let mut double = certificate(Use::Channel, 1);
    double.der = b"something else".as_slice().into();
    double.fingerprint = Fingerprint::of(&double.der);
    let by_double = taken(&double, A, Use::Channel);
    assert_eq!(run(&mut registry, &add_certificate(A, double)), by_double);
    let one = certificate(Use::Channel, 9);
    let twice = certificate(Use::Signature, 9);
    let within = taken(&twice, "33333333", Use::Channel);
    let both = new("33333333", "33333333", vec![one, twice]);
    assert_eq!(run(&mut registry, &Command::Add(both)), within);
}

#[test]
fn what_expired_is_not_taken_and_what_is_yet_to_begin_is() {
    let mut registry = registry();
    let mut old = certificate(Use::Signature, 9);
    old.not_after = NOW.minus(Duration::from_secs(1));
    let expired = Err(Refusal::CertificateExpired {
        fingerprint: old.fingerprint,
        usage: Use::Signature,
        not_after: old.not_after,
    });
    assert_eq!(run(&mut registry, &add_certificate(A, old.clone())), expired);
    let newcomer = new("33333333", "33333333", vec![old]);
    assert_eq!(run(&mut registry, &Command::Add(newcomer.clone())), expired);
    run(&mut registry, &Command::Import(newcomer, State::Active)).expect("taken as it is");
    let mut next = certificate(Use::Channel, 10);
    next.not_before = NOW.plus(DAY);
    next.not_after = NOW.plus(2 * DAY);
    run(&mut registry, &add_certificate(A, next.clone())).expect("for later");
    let is = registry.get(ispb(A)).expect("there");
    assert_eq!(is.good_until(Use::Channel, NOW), Some(next.not_after));
    let is = registry.get(ispb("33333333")).expect("there");
    assert_eq!(is.good_until(Use::Signature, NOW), None);
}

#[test]
fn a_revoked_certificate_never_comes_back_and_the_last_one_may_go() {
    let mut registry = registry();
    let (channel, signature) = (certificate(Use::Channel, 1), certificate(Use::Signature, 2));
    run(&mut registry, &revoke(A, &channel)).expect("revoked");
    run(&mut registry, &revoke(A, &signature)).expect("revoked");
    let is = registry.get(ispb(A)).expect("there");
    assert!(is.certificates.iter().all(|one| one.revoked.is_some()));
    assert_eq!(is.good_until(Use::Channel, NOW), None);
    assert_eq!(is.state, State::Active);
    let back = add_certificate(A, channel.clone());
    assert_eq!(
        run(&mut registry, &back),
        Err(Refusal::CertificateRevoked(channel.fingerprint))
    );
    assert!(matches!(
        run(&mut registry, &add_certificate(B, channel)),
        Err(Refusal::CertificateTaken { .. })
    ));
}

#[test]
fn a_certificate_is_named_by_its_first_digits_as_long_as_they_mean_one() {
    let mut registry = registry();
    let of_a = certificate(Use::Channel, 1);
    let unknown = Err(Refusal::CertificateUnknown(ispb(B)));
    assert_eq!(run(&mut registry, &revoke(B, &of_a)), unknown);
    // Two that begin alike cannot be had from SHA-256 at will.
    let mut alike = Participant::clone(registry.get(ispb(A)).expect("there"));
    let mut octets = *of_a.fingerprint.as_bytes();
    octets[31] ^= 1;
    alike.certificates[1].fingerprint = Fingerprint(octets);
    alike.version += 3;
    registry.apply(Arc::new(alike)).expect("the next one");
    let whole = of_a.fingerprint.to_string();
    let begins = |count: usize| Command::RevokeCertificate {
        ispb: ispb(A),
        digits: FingerprintDigits::parse(&whole[..count]).expect("digits"),
        reason: reason(),
    };
    assert_eq!(
        run(&mut registry, &begins(8)),
        Err(Refusal::CertificateAmbiguous(ispb(A)))
    );
    assert_eq!(run(&mut registry, &begins(64)), Ok(Some(5)));
}

#[test]
fn a_participant_has_only_so_many_good_certificates() {
    let mut registry = registry();
    let capacity = u32::try_from(USABLE_MAX).expect("few");
    for serial in 1..capacity {
        let next = certificate(Use::Channel, 100 + serial);
        run(&mut registry, &add_certificate(A, next)).expect("added");
    }
    let more = add_certificate(A, certificate(Use::Channel, 200));
    assert_eq!(
        run(&mut registry, &more),
        Err(Refusal::TooManyCertificates(Use::Channel))
    );
    let signature = add_certificate(A, certificate(Use::Signature, 201));
    run(&mut registry, &signature).expect("another use");
    run(&mut registry, &revoke(A, &certificate(Use::Channel, 1))).expect("revoked");
    run(&mut registry, &more).expect("there is a place");
}

#[test]
fn a_list_is_taken_over_as_it_is() {
    let mut registry = Registry::default();
    let import = |new, state| Command::Import(new, state);
    let all = [
        import(direct(A, 1), State::Suspended),
        import(new(A_INDIRECT, A, vec![]), State::Active),
    ];
    for command in &all {
        run(&mut registry, command).expect("imported");
    }
    let state = |who| registry.get(ispb(who)).expect("there").state;
    assert_eq!((state(A), state(A_INDIRECT)), (State::Suspended, State::Active));
    let orphan = import(new("4444000X", "33333333", vec![]), State::Active);
    assert_eq!(
        run(&mut registry, &orphan),
        Err(Refusal::SettlerNotDirect(ispb("33333333")))
    );
}

#[test]
fn changes_are_taken_in_order_and_none_is_left_out() {
    let mut registry = registry();
    let known = Arc::clone(registry.get(ispb(A)).expect("there"));
    for version in [3, 5] {
        let mut wrong = Participant::clone(&known);
        wrong.version = version;
        assert_eq!(
            registry.apply(Arc::new(wrong)),
            Err(Gap {
                known: 3,
                found: version
            })
        );
    }
    assert_eq!(registry.version(), 3);
}

fn any_command() -> impl Strategy<Value = Command> {
    let who = || prop::sample::select(vec![A, B, A_INDIRECT, "33333333", "00038166"]);
    let usage = || prop::sample::select(vec![Use::Channel, Use::Signature]);
    prop_oneof![
        (who(), who(), prop::collection::vec((usage(), 0_u32..6), 0..3)).prop_map(
            |(own, settler, certificates)| {
                let certificates = certificates.into_iter();
                let certificates = certificates.map(|(usage, serial)| certificate(usage, serial));
                Command::Add(new(own, settler, certificates.collect()))
            }
        ),
        who().prop_map(suspend),
        who().prop_map(|who| Command::Resume { ispb: ispb(who) }),
        (who(), usage(), 0_u32..6)
            .prop_map(|(who, usage, serial)| add_certificate(who, certificate(usage, serial))),
        (who(), 0_u32..6).prop_map(|(who, serial)| revoke(who, &certificate(Use::Channel, serial))),
    ]
}

proptest! {
    #[test]
    fn whatever_is_ordered_the_registry_is_what_its_changes_say(
        commands in prop::collection::vec(any_command(), 0..60)
    ) {
        let mut registry = Registry::default();
        let mut log: Vec<Arc<Participant>> = Vec::new();
        for command in &commands {
            if let Ok(Decision::Change(participant)) = registry.decide(command, NOW) {
                prop_assert_eq!(participant.version, registry.version() + 1);
                let before = registry.get(participant.ispb).cloned();
                registry.apply(Arc::clone(&participant)).expect("the next one");
                log.push(participant);
                // What was revoked stays so, and nothing that was held is gone.
                for held in before.iter().flat_map(|before| &before.certificates) {
                    let now = registry.get(command.ispb()).expect("nobody leaves");
                    let now = now.certificates.iter().find(|one| one.fingerprint == held.fingerprint);
                    let now = now.expect("no certificate leaves");
                    prop_assert!(held.revoked.is_none() || held.revoked == now.revoked);
                }
            }
        }
        let mut owners = HashMap::new();
        for participant in registry.iter() {
            let settler = registry.get(participant.settler).expect("a settler is there");
            prop_assert!(settler.is_direct());
            prop_assert!(participant.is_direct() || participant.certificates.is_empty());
            for one in &participant.certificates {
                let was = owners.insert(one.issuer_serial.clone(), (participant.ispb, one.usage));
                prop_assert_eq!(was, None);
            }
        }
        // A copy that takes the changes, from the first or from where it was, becomes the same.
        let mut copy = Registry::default();
        for participant in &log {
            copy.apply(Arc::clone(participant)).expect("no gap");
        }
        let all = |registry: &Registry| registry.iter().cloned().collect::<Vec<_>>();
        prop_assert_eq!(all(&copy), all(&registry));
        let loaded = Registry::of(
            registry.version(),
            registry.iter().map(|one| Participant::clone(one)),
        );
        prop_assert_eq!(loaded.owners, registry.owners);
    }
}
