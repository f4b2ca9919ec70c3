use pix_domain::Category;

use super::*;
use crate::registry::{Command, Decision, Name, NewParticipant, State};

const A: &str = "11111111";
const A_INDIRECT: &str = "1111000X";

fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).expect("an ISPB")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for (own, settler) in [(A, A), (A_INDIRECT, A)] {
        let new = NewParticipant {
            ispb: ispb(own),
            name: Name::parse("Banco").expect("a name"),
            settler: ispb(settler),
            category: Category::A,
            certificates: vec![],
            low_liquidity: None,
        };
        let command = Command::Import(new, State::Suspended);
        let decided = registry.decide(&command, pix_domain::Timestamp::from_micros(0));
        let Ok(Decision::Change(participant)) = decided else {
            panic!("imported: {decided:?}")
        };
        registry.apply(participant).expect("the next one");
    }
    registry
}

fn order(own: &str) -> Order {
    Order {
        id: OrderId::from_bytes([7; 16]),
        ispb: ispb(own),
        amount: Amount::from_centavos(1).expect("an amount"),
        note: Note::parse("why").expect("a note"),
        is_opening: false,
    }
}

#[test]
fn an_order_is_a_direct_participants_suspended_or_not() {
    let registry = registry();
    assert_eq!(judge(&order(A), None, &registry), Ok(true));
    let nobody = ispb("33333333");
    assert_eq!(
        judge(&order("33333333"), None, &registry),
        Err(Refusal::Unknown(nobody))
    );
    assert_eq!(
        judge(&order(A_INDIRECT), None, &registry),
        Err(Refusal::Indirect {
            ispb: ispb(A_INDIRECT),
            settler: ispb(A)
        })
    );
}

#[test]
fn an_id_names_one_order_for_ever() {
    let recorded = order(A);
    assert_eq!(judge(&recorded, Some(&recorded), &Registry::default()), Ok(false));
    let mut others = [(); 4].map(|()| recorded.clone());
    others[0].ispb = ispb("22222222");
    others[1].amount = Amount::from_centavos(2).expect("an amount");
    others[2].note = Note::parse("another").expect("a note");
    others[3].is_opening = true;
    for other in others {
        assert_eq!(
            judge(&other, Some(&recorded), &registry()),
            Err(Refusal::IdUsed(recorded.id))
        );
    }
}

#[test]
fn ids_are_uuids_and_those_of_openings_follow_from_registry_and_participant() {
    let text = "a946d533-7f22-42a5-9a9b-e87cd55c0f4d";
    let id = OrderId::parse(text).expect("a UUID");
    assert_eq!(id.to_string(), text);
    assert_eq!(OrderId::parse(&text.to_uppercase()), Ok(id));
    assert_eq!(OrderId::from_bytes(*id.as_bytes()), id);
    for wrong in [
        "",
        "a946d5337f2242a59a9be87cd55c0f4d",
        "a946d533-7f22-42a5-9a9b-e87cd55c0f4",
        "a946d533-7f22-42a5-9a9be-87cd55c0f4d",
        "g946d533-7f22-42a5-9a9b-e87cd55c0f4d",
        "+946d533-7f22-42a5-9a9b-e87cd55c0f4d",
    ] {
        assert_eq!(OrderId::parse(wrong), Err(InvalidOrderId), "{wrong}");
    }
    let opening = OrderId::opening(ispb(A));
    assert_eq!(opening, OrderId::opening(ispb(A)));
    assert_ne!(opening, OrderId::opening(ispb("22222222")));
    assert_eq!(opening.to_string().as_bytes()[14], b'8');
}

#[test]
fn an_amount_is_a_centavo_or_more_either_way() {
    for sound in [1, -1, AMOUNT_MAX, -AMOUNT_MAX] {
        assert_eq!(Amount::from_centavos(sound).map(Amount::centavos), Ok(sound));
    }
    for wrong in [0, AMOUNT_MAX + 1, -AMOUNT_MAX - 1, i64::MAX, i64::MIN] {
        assert_eq!(Amount::from_centavos(wrong), Err(InvalidAmount));
    }
}
