//! `Funding`: money into and out of a Conta PI, by order of an operator.

use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::funding_server::Funding;
use settlement_core::funding::{Amount, Order, OrderId, Outcome, Refusal};
use tonic::{Request, Response, Status};

use super::participants::{ispb, text, writer};
use super::{Inside, invalid, unavailable};
use crate::adapters::pg::in_time;
use crate::adapters::pg_funding::{self, Recorded};
use crate::funding::Failure;

/// Orders of a list, unless another number is asked for.
const LIST_DEFAULT: u32 = 100;
/// And at most.
const LIST_MAX: u32 = 1000;

#[tonic::async_trait]
impl Funding for Inside {
    async fn fund(
        &self,
        request: Request<proto::FundRequest>,
    ) -> Result<Response<proto::FundingOrder>, Status> {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let order = Order {
            id: OrderId::parse(&asked.id).map_err(|fault| invalid("id", fault))?,
            ispb: ispb("ispb", &asked.ispb)?,
            amount: Amount::from_centavos(asked.amount_centavos)
                .map_err(|fault| invalid("amount_centavos", fault))?,
            note: text("note", &asked.note)?,
            is_opening: false,
        };
        let recorded = self.funder.fund(&order, &by).await;
        let recorded = recorded.map_err(|failure| match failure {
            Failure::Refused(refusal) => refused(&refusal),
            Failure::Store(error) => unavailable(&error),
            Failure::Pending => Status::unavailable(format!(
                "order {} is recorded and goes on by itself; ask again with the same id",
                order.id
            )),
        })?;
        Ok(Response::new(on_wire(recorded)))
    }

    async fn list_funding(
        &self,
        request: Request<proto::ListFundingRequest>,
    ) -> Result<Response<proto::ListFundingResponse>, Status> {
        let asked = request.into_inner();
        let of = match asked.ispb.as_str() {
            "" => None,
            one => Some(ispb("ispb", one)?),
        };
        let limit = match asked.limit {
            0 => LIST_DEFAULT,
            limit => limit.min(LIST_MAX),
        };
        let newest = in_time(pg_funding::newest(&self.pool, of, limit)).await;
        let newest = newest.map_err(|error| unavailable(&error))?;
        Ok(Response::new(proto::ListFundingResponse {
            orders: newest.into_iter().map(on_wire).collect(),
        }))
    }
}

fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Unknown(_) => Status::not_found(refusal.to_string()),
        Refusal::Indirect { .. } => invalid("ispb", refusal),
        Refusal::IdUsed(_) => Status::already_exists(refusal.to_string()),
    }
}

fn on_wire(recorded: Recorded) -> proto::FundingOrder {
    let Order {
        id,
        ispb,
        amount,
        note,
        is_opening: _,
    } = recorded.order;
    let mut told = proto::FundingOrder {
        id: id.to_string(),
        ispb: ispb.to_string(),
        amount_centavos: amount.centavos(),
        note: note.as_str().to_owned(),
        state: "ORDERED".to_owned(),
        ordered_at_micros: recorded.ordered_at.as_micros(),
        ordered_by: recorded.ordered_by,
        ..proto::FundingOrder::default()
    };
    match recorded.outcome {
        None => {}
        Some(Outcome::Done {
            sequence, available, ..
        }) => {
            told.state = "DONE".to_owned();
            told.sequence = Some(sequence);
            told.available_centavos = Some(available);
        }
        Some(Outcome::Refused { reason }) => {
            told.state = "REFUSED".to_owned();
            told.reason = reason;
        }
    }
    told
}
