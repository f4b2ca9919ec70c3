//! `pix balance`: what every Conta PI holds, now and as it changes.

use std::process::ExitCode;

use pix_proto::settlement_v1::{Balance, WatchBalancesRequest};
use serde_json::{Value, json};

use crate::payment::PENDING;
use crate::place::Place;
use crate::settlement::{Settlement, refused};
use crate::signed;

pub(crate) async fn command(place: &Place, watch: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let settlement = Settlement::connect(place).await?;
    let mut balances = match settlement.windows().watch_balances(WatchBalancesRequest {}).await {
        Ok(balances) => balances.into_inner(),
        Err(status) => return Ok(refused(&status)),
    };
    if !as_json {
        outln!("{:<9} {:>18} {:>18}", "ispb", "available", "blocked");
    }
    let mut is_current;
    loop {
        match balances.message().await {
            Ok(Some(told)) => {
                told.balances.iter().for_each(|balance| print(balance, as_json));
                if !told.current {
                    errln!("pix: the SPI is away: these are the balances of before; `pix status` tells more");
                }
                is_current = told.current;
            }
            Ok(None) => {
                errln!("pix: the settlement service ended its news: it is stopping; ask again when it runs");
                return Ok(ExitCode::FAILURE);
            }
            Err(status) => return Ok(refused(&status)),
        }
        if !watch {
            return Ok(if is_current {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(PENDING)
            });
        }
    }
}

fn print(balance: &Balance, as_json: bool) {
    if as_json {
        outln!("{}", to_json(balance));
        return;
    }
    outln!(
        "{:<9} {:>18} {:>18}{}",
        balance.ispb,
        signed::text(balance.available_centavos),
        signed::text(balance.blocked_centavos),
        if balance.low { "  low" } else { "" }
    );
}

fn to_json(balance: &Balance) -> Value {
    json!({
        "ispb": balance.ispb, "available": signed::text(balance.available_centavos),
        "blocked": signed::text(balance.blocked_centavos), "low": balance.low,
    })
}
