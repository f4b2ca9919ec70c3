//! `pix participant`: who takes part, and the money in their Conta PI.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pix_domain::Ispb;
use pix_proto::settlement_v1::{
    AddCertificateRequest, AddRequest, Certificate, FundRequest, FundingOrder, GetRequest,
    ListFundingRequest, ListRequest, Participant, ResumeRequest, RevokeCertificateRequest, SuspendRequest,
};
use serde_json::{Value, json};
use tonic::Response;

use crate::cli::{CertificateUse, ParticipantAdd, ParticipantCerts, ParticipantCommand, ParticipantFund};
use crate::http::new_order_key;
use crate::payment::{PENDING, REFUSED};
use crate::place::Place;
use crate::settlement::{Settlement, in_time, refused, refused_or, time};
use crate::signed;

const PAUSE: Duration = Duration::from_millis(20);

type Answer<T> = Result<Response<T>, tonic::Status>;

pub(crate) async fn command(place: &Place, command: &ParticipantCommand) -> anyhow::Result<ExitCode> {
    // Files are read before anybody is asked: a file that is missing is the first thing to say.
    let (files, added) = match command {
        ParticipantCommand::Add(asked) => {
            let files = (pems(&asked.channel_cert)?, pems(&asked.signature_cert)?);
            (files, None)
        }
        ParticipantCommand::Certs(asked) => (Default::default(), asked.add.as_deref().map(pem).transpose()?),
        _ => Default::default(),
    };
    let settlement = Settlement::connect(place).await?;
    let mut participants = settlement.participants();
    Ok(match command {
        ParticipantCommand::Add(asked) => {
            let answer = participants.add(in_time(add_request(asked, files))).await;
            changed(answer, asked.json)
        }
        ParticipantCommand::Show(asked) => {
            let ispb = asked.ispb.to_string();
            changed(participants.get(in_time(GetRequest { ispb })).await, asked.json)
        }
        ParticipantCommand::List { json } => list(participants.list(in_time(ListRequest {})).await, *json),
        ParticipantCommand::Certs(asked) => {
            let ispb = asked.ispb.to_string();
            let answer = match (added, asked.use_for) {
                (Some(pem), Some(use_for)) => {
                    let r#use = use_for.on_the_wire().to_owned();
                    let request = AddCertificateRequest { ispb, r#use, pem };
                    participants.add_certificate(in_time(request)).await
                }
                _ => participants.get(in_time(GetRequest { ispb })).await,
            };
            certificates(answer, asked)
        }
        ParticipantCommand::Revoke(asked) => {
            let request = RevokeCertificateRequest {
                ispb: asked.ispb.to_string(),
                fingerprint: asked.fingerprint.clone(),
                reason: asked.reason.clone(),
            };
            changed(
                participants.revoke_certificate(in_time(request)).await,
                asked.json,
            )
        }
        ParticipantCommand::Suspend(asked) => {
            let request = SuspendRequest {
                ispb: asked.ispb.to_string(),
                reason: asked.reason.clone(),
            };
            changed(participants.suspend(in_time(request)).await, asked.json)
        }
        ParticipantCommand::Resume(asked) => {
            let ispb = asked.ispb.to_string();
            changed(
                participants.resume(in_time(ResumeRequest { ispb })).await,
                asked.json,
            )
        }
        ParticipantCommand::Fund(asked) => fund(&settlement, asked).await?,
    })
}

impl CertificateUse {
    fn on_the_wire(self) -> &'static str {
        match self {
            Self::Channel => "CHANNEL",
            Self::Signature => "SIGNATURE",
        }
    }
}

fn add_request(asked: &ParticipantAdd, (channel, signature): (Vec<String>, Vec<String>)) -> AddRequest {
    AddRequest {
        ispb: asked.ispb.to_string(),
        name: asked.name.clone(),
        settler: asked.settler.map_or(String::new(), |settler| settler.to_string()),
        category: asked.category.as_str().to_owned(),
        channel_certificates: channel,
        signature_certificates: signature,
        low_liquidity_centavos: asked.low_liquidity.map(pix_domain::Money::to_i64),
    }
}

fn pems(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    paths.iter().map(|path| pem(path)).collect()
}

/// Everybody who takes part, by ISPB.
pub(crate) async fn everybody(place: &Place) -> anyhow::Result<Vec<Ispb>> {
    let list = Settlement::connect(place)
        .await?
        .participants()
        .list(in_time(ListRequest {}))
        .await;
    let list = list.map_err(|status| anyhow::anyhow!("who takes part is unknown: {}", status.message()))?;
    let all = list.into_inner().participants;
    Ok(all
        .iter()
        .filter_map(|one| Ispb::parse(one.ispb.as_bytes()).ok())
        .collect())
}

/// Waits until no order to fund a Conta PI is under way any more.
pub(crate) async fn until_funded(place: &Place, within: Duration) -> anyhow::Result<()> {
    let settlement = Settlement::connect(place).await?;
    let asked = Instant::now();
    loop {
        let request = in_time(ListFundingRequest::default());
        let answer = settlement.funding().list_funding(request).await;
        let is_done = answer.is_ok_and(|list| {
            let orders = list.into_inner().orders;
            orders.iter().all(|order| order.state != "ORDERED")
        });
        if is_done {
            return Ok(());
        }
        anyhow::ensure!(
            asked.elapsed() < within,
            "the Contas PI are not funded after {} s: `pix logs settlement` shows why",
            within.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The certificates of a PEM file.
pub(crate) fn pem(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "the certificate {} cannot be read: name a PEM file; `pix pki participant` makes a pair for trying out",
            path.display()
        )
    })?;
    anyhow::ensure!(
        text.contains("-----BEGIN CERTIFICATE-----"),
        "{} holds no certificate: name the file that begins with -----BEGIN CERTIFICATE----- (not its key)",
        path.display()
    );
    Ok(text)
}

async fn fund(settlement: &Settlement, asked: &ParticipantFund) -> anyhow::Result<ExitCode> {
    let id = match &asked.id {
        Some(id) => id.clone(),
        None => new_uuid()?,
    };
    let request = FundRequest {
        id: id.clone(),
        ispb: asked.ispb.to_string(),
        amount_centavos: asked.amount,
        note: asked.note.clone(),
    };
    let order = match settlement.funding().fund(in_time(request)).await {
        Ok(order) => order.into_inner(),
        Err(status) => {
            // Without its id the same command would be another order.
            let unknown = format!("the order is {id}: give it again with --id {id}, and it is done once");
            return Ok(refused_or(&status, &unknown));
        }
    };
    if asked.json {
        outln!("{:#}", order_json(&order));
    } else {
        outln!(
            "{} {} of {}: {}{}",
            if order.amount_centavos < 0 {
                "withdrawal"
            } else {
                "funding"
            },
            signed::text(order.amount_centavos),
            order.ispb,
            order.state,
            if order.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", order.reason)
            }
        );
        if let Some(available) = order.available_centavos {
            outln!("  available        {}", signed::text(available));
        }
        if let Some(sequence) = order.sequence {
            outln!("  posting          {sequence}");
        }
        outln!("  order            {}", order.id);
    }
    Ok(match order.state.as_str() {
        "DONE" => ExitCode::SUCCESS,
        "REFUSED" => ExitCode::from(REFUSED),
        _ => ExitCode::from(PENDING),
    })
}

/// Version 4: by chance.
pub(crate) fn new_uuid() -> anyhow::Result<String> {
    let mut digits = new_order_key()?.into_bytes();
    digits[12] = b'4';
    digits[16] = b"89ab"[usize::from(digits[16] % 4)];
    let text = String::from_utf8_lossy(&digits).into_owned();
    let parts = [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ];
    Ok(parts.join("-"))
}

fn order_json(order: &FundingOrder) -> Value {
    json!({
        "id": order.id, "ispb": order.ispb, "amount": signed::text(order.amount_centavos), "note": order.note,
        "state": order.state, "reason": order.reason, "ordered_at": time(order.ordered_at_micros),
        "sequence": order.sequence, "available": order.available_centavos.map(signed::text),
    })
}

fn list(answer: Answer<pix_proto::settlement_v1::ListResponse>, as_json: bool) -> ExitCode {
    let list = match answer {
        Ok(list) => list.into_inner(),
        Err(status) => return refused(&status),
    };
    if as_json {
        let all: Vec<_> = list.participants.iter().map(participant_json).collect();
        outln!(
            "{:#}",
            json!({"registry": list.registry, "version": list.version, "participants": all})
        );
        return ExitCode::SUCCESS;
    }
    outln!(
        "{:<9} {:<9} {:<8} {:<9} {:>5}  name",
        "ispb",
        "settler",
        "category",
        "state",
        "certs"
    );
    for one in &list.participants {
        let good = one
            .certificates
            .iter()
            .filter(|certificate| certificate.revoked_at_micros.is_none())
            .count();
        outln!(
            "{:<9} {:<9} {:<8} {:<9} {good:>5}  {}",
            one.ispb,
            if one.settler == one.ispb {
                "-"
            } else {
                &one.settler
            },
            one.category,
            one.state,
            one.name
        );
    }
    ExitCode::SUCCESS
}

fn changed(answer: Answer<Participant>, as_json: bool) -> ExitCode {
    let one = match answer {
        Ok(one) => one.into_inner(),
        Err(status) => return refused(&status),
    };
    if as_json {
        outln!("{:#}", participant_json(&one));
        return ExitCode::SUCCESS;
    }
    outln!("{} {}: {}", one.ispb, one.name, one.state);
    match one.settler == one.ispb {
        true => outln!("  takes part       directly, with a Conta PI of its own"),
        false => outln!("  takes part       behind {}", one.settler),
    }
    outln!("  category         {}", one.category);
    if let Some(threshold) = one.low_liquidity_centavos {
        outln!("  low liquidity    below {}", signed::text(threshold));
    }
    outln!("  version          {}", one.version);
    one.certificates.iter().for_each(print_certificate);
    ExitCode::SUCCESS
}

fn certificates(answer: Answer<Participant>, asked: &ParticipantCerts) -> ExitCode {
    let one = match answer {
        Ok(one) => one.into_inner(),
        Err(status) => return refused(&status),
    };
    if asked.json {
        let all: Vec<_> = one.certificates.iter().map(certificate_json).collect();
        outln!("{:#}", Value::Array(all));
    } else if one.certificates.is_empty() {
        outln!(
            "{} has no certificates: it stands behind {}",
            one.ispb,
            one.settler
        );
    } else {
        one.certificates.iter().for_each(print_certificate);
    }
    ExitCode::SUCCESS
}

fn print_certificate(certificate: &Certificate) {
    let day = |micros: i64| time(micros).get(..10).unwrap_or_default().to_owned();
    let state = match certificate.revoked_at_micros {
        Some(at) => format!("revoked on {}: {}", day(at), certificate.revoked_reason),
        None => format!(
            "{} to {}",
            day(certificate.not_before_micros),
            day(certificate.not_after_micros)
        ),
    };
    outln!(
        "  {:<10} {}  {state}",
        certificate.r#use.to_ascii_lowercase(),
        certificate
            .fingerprint
            .get(..16)
            .unwrap_or(&certificate.fingerprint)
    );
}

fn participant_json(one: &Participant) -> Value {
    let certificates: Vec<_> = one.certificates.iter().map(certificate_json).collect();
    json!({
        "ispb": one.ispb, "name": one.name, "settler": one.settler, "category": one.category, "state": one.state,
        "low_liquidity": one.low_liquidity_centavos.map(signed::text), "version": one.version,
        "certificates": certificates,
    })
}

fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "use": certificate.r#use, "fingerprint": certificate.fingerprint,
        "not_before": time(certificate.not_before_micros), "not_after": time(certificate.not_after_micros),
        "revoked_at": certificate.revoked_at_micros.map(time), "revoked_reason": certificate.revoked_reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_uuid_is_of_version_4() {
        let id = new_uuid().expect("chance");
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, new_uuid().expect("chance"));
    }

    #[test]
    fn a_missing_certificate_and_a_key_in_its_place_are_told_apart() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("channel.crt");
        let error = pem(&path).expect_err("missing").to_string();
        assert!(
            error.contains("cannot be read") && error.contains("pix pki participant"),
            "{error}"
        );
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").expect("write");
        let error = pem(&path).expect_err("a key").to_string();
        assert!(error.contains("not its key"), "{error}");
    }
}
