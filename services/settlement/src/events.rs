//! What the rest of the switch is told: written with what it tells of, published until it is acknowledged.

use pix_proto::settlement_v1 as proto;
use pix_runtime::outbox::Event;
use prost::Message as _;
use settlement_core::balances::Crossing;
use settlement_core::registry::Participant;
use settlement_core::windows::{Proof, Window};

use crate::adapters::nats_events::{LIQUIDITY_LOW, PARTICIPANT_CHANGED, WINDOW_CLOSED};

/// The event of a change in the registry.
pub(crate) fn participant_changed(participant: &Participant) -> Event {
    let changed = proto::ParticipantChanged {
        version: participant.version,
        ispb: participant.ispb.to_string(),
    };
    Event {
        subject: PARTICIPANT_CHANGED,
        payload: changed.encode_to_vec(),
    }
}

/// The event of a window that closes.
pub(crate) fn window_closed(window: &Window, proof: &Proof) -> Event {
    let closed = proto::WindowClosed {
        number: window.number,
        settlement_date: window.settlement_date(),
        count: window.gross.count,
        gross_centavos: window.gross.centavos,
        proof_holds: proof.holds(),
    };
    Event {
        subject: WINDOW_CLOSED,
        payload: closed.encode_to_vec(),
    }
}

/// The event of a participant that went below its threshold; none of one that went above it.
pub(crate) fn liquidity_low(crossing: &Crossing) -> Option<Event> {
    let low = proto::LiquidityLow {
        ispb: crossing.ispb.to_string(),
        available_centavos: crossing.available,
        threshold_centavos: crossing.threshold?,
    };
    crossing.is_low.then(|| Event {
        subject: LIQUIDITY_LOW,
        payload: low.encode_to_vec(),
    })
}
