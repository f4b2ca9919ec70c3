//! A participant as it goes over the wire, and as its change is stored: the same octets.

use pix_domain::{Category, Ispb, Money, Text, Timestamp};
use pix_proto::settlement_v1 as proto;
use settlement_core::certificate::{Certificate, Revocation, Use};
use settlement_core::registry::{Name, Participant, State};

/// A participant for others.
pub(crate) fn participant(known: &Participant) -> proto::Participant {
    proto::Participant {
        ispb: known.ispb.to_string(),
        name: known.name.as_str().to_owned(),
        settler: known.settler.to_string(),
        category: known.category.as_str().to_owned(),
        state: known.state.as_str().to_owned(),
        certificates: known.certificates.iter().map(certificate).collect(),
        low_liquidity_centavos: known.low_liquidity.map(Money::to_i64),
        version: known.version,
    }
}

fn certificate(known: &Certificate) -> proto::Certificate {
    let revoked = known.revoked.as_ref();
    proto::Certificate {
        r#use: known.usage.as_str().to_owned(),
        der: known.der.to_vec(),
        fingerprint: known.fingerprint.to_string(),
        not_before_micros: known.not_before.as_micros(),
        not_after_micros: known.not_after.as_micros(),
        revoked_at_micros: revoked.map(|revoked| revoked.at.as_micros()),
        revoked_reason: revoked.map_or_else(String::new, |revoked| revoked.reason.as_str().to_owned()),
    }
}

/// A participant that [`participant`] wrote.
///
/// # Errors
/// When it did not.
pub(crate) fn read_participant(wire: &proto::Participant) -> anyhow::Result<Participant> {
    let certificates = wire.certificates.iter().map(read_certificate);
    let low_liquidity = wire.low_liquidity_centavos.map(u64::try_from).transpose()?;
    Ok(Participant {
        ispb: Ispb::parse(wire.ispb.as_bytes())?,
        name: Name::parse(&wire.name)?,
        settler: Ispb::parse(wire.settler.as_bytes())?,
        category: Category::parse(wire.category.as_bytes())?,
        state: State::parse(&wire.state)?,
        certificates: certificates.collect::<Result<_, _>>()?,
        low_liquidity: low_liquidity.map(Money::from_centavos),
        version: wire.version,
    })
}

fn read_certificate(wire: &proto::Certificate) -> anyhow::Result<Certificate> {
    let mut read = Certificate::from_der(Use::parse(&wire.r#use)?, &wire.der)?;
    if let Some(at) = wire.revoked_at_micros {
        read.revoked = Some(Revocation {
            at: Timestamp::from_micros(at),
            reason: Text::parse(&wire.revoked_reason)?,
        });
    }
    Ok(read)
}
