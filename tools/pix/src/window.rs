//! `pix window`: what was settled, window by window.

use std::process::ExitCode;

use pix_proto::settlement_v1::{
    CloseWindowRequest, GetWindowRequest, ListWindowsRequest, Position, Proof, Window,
};
use serde_json::{Value, json};

use crate::cli::WindowCommand;
use crate::place::Place;
use crate::settlement::{Settlement, in_time, refused, refused_or, time};
use crate::signed;

/// The window that is open by then would be another one.
const CLOSE_UNKNOWN: &str = "`pix window list` shows whether the window has closed; given again, the command may close the next one too";

pub(crate) async fn command(place: &Place, command: &WindowCommand) -> anyhow::Result<ExitCode> {
    let settlement = Settlement::connect(place).await?;
    let mut windows = settlement.windows();
    let (answer, as_json) = match command {
        WindowCommand::List { date, limit, json } => {
            let request = ListWindowsRequest {
                settlement_date: date.clone(),
                limit: *limit,
            };
            let list = match windows.list_windows(in_time(request)).await {
                Ok(list) => list.into_inner().windows,
                Err(status) => return Ok(refused(&status)),
            };
            print_list(&list, *json);
            return Ok(ExitCode::SUCCESS);
        }
        WindowCommand::Show { number, json } => {
            let number = number.unwrap_or_default();
            (
                windows.get_window(in_time(GetWindowRequest { number })).await,
                json,
            )
        }
        WindowCommand::Close { json } => match windows.close_window(in_time(CloseWindowRequest {})).await {
            Err(status) => return Ok(refused_or(&status, CLOSE_UNKNOWN)),
            closed => (closed, json),
        },
    };
    let window = match answer {
        Ok(window) => window.into_inner(),
        Err(status) => return Ok(refused(&status)),
    };
    if *as_json {
        outln!("{:#}", to_json(&window));
    } else {
        print(&window);
    }
    let fails = window.proof.as_ref().is_some_and(|proof| !proof.holds);
    Ok(if fails {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print_list(list: &[Window], as_json: bool) {
    if as_json {
        let all: Vec<_> = list.iter().map(to_json).collect();
        outln!("{:#}", Value::Array(all));
        return;
    }
    outln!(
        "{:>7} {:<11} {:<8} {:<20} {:<20} {:>9} {:>16}  proof",
        "number",
        "date",
        "state",
        "opened",
        "ends",
        "payments",
        "gross"
    );
    for window in list {
        let second = |micros: i64| time(micros).get(..19).unwrap_or_default().to_owned();
        let proof = match &window.proof {
            Some(proof) if proof.holds => "holds",
            Some(_) => "FAILS",
            None => "-",
        };
        outln!(
            "{:>7} {:<11} {:<8} {:<20} {:<20} {:>9} {:>16}  {proof}",
            window.number,
            window.settlement_date,
            window.state,
            second(window.opened_at_micros),
            second(window.ends_at_micros),
            window.count,
            signed::text(window.gross_centavos)
        );
    }
}

fn print(window: &Window) {
    outln!(
        "Window {} of {}: {}, from {} to {}",
        window.number,
        window.settlement_date,
        window.state,
        time(window.opened_at_micros),
        time(window.ends_at_micros)
    );
    outln!(
        "  {} payments, {} gross; the book's batches {} to {}\n",
        window.count,
        signed::text(window.gross_centavos),
        window.after_batch + 1,
        window.to_batch
    );
    outln!(
        "  {:<9} {:>16} {:>8} {:>16} {:>8} {:>16}",
        "ispb",
        "sent",
        "",
        "received",
        "",
        "net"
    );
    for position in &window.positions {
        outln!(
            "  {:<9} {:>16} {:>8} {:>16} {:>8} {:>16}",
            position.ispb,
            signed::text(position.sent_centavos),
            position.sent_count,
            signed::text(position.received_centavos),
            position.received_count,
            signed::text(position.net_centavos)
        );
    }
    let Some(proof) = &window.proof else {
        outln!("\nIt is proven when it closes: `pix window close` does so now.");
        return;
    };
    outln!(
        "\nProof of {}: the nets sum up to {}; the book's rows {} to {} hold {} payments of {} gross.",
        time(proof.proven_at_micros),
        signed::text(proof.net_sum_centavos),
        proof.first_sequence,
        proof.last_sequence,
        proof.book_count,
        signed::text(proof.book_gross_centavos)
    );
    match proof.holds {
        true => outln!("It holds: what every participant sent and received is what the book's postings say."),
        false => {
            outln!("IT DOES NOT HOLD:");
            for difference in &proof.differences {
                outln!("  {difference}");
            }
        }
    }
}

fn to_json(window: &Window) -> Value {
    let positions: Vec<_> = window.positions.iter().map(position_json).collect();
    json!({
        "number": window.number, "settlement_date": window.settlement_date, "state": window.state,
        "opened_at": time(window.opened_at_micros), "ends_at": time(window.ends_at_micros),
        "after_batch": window.after_batch, "to_batch": window.to_batch, "count": window.count,
        "gross": signed::text(window.gross_centavos), "positions": positions,
        "proof": window.proof.as_ref().map(proof_json),
    })
}

fn position_json(position: &Position) -> Value {
    json!({
        "ispb": position.ispb,
        "sent": signed::text(position.sent_centavos), "sent_count": position.sent_count,
        "received": signed::text(position.received_centavos), "received_count": position.received_count,
        "returned": signed::text(position.returned_centavos), "returned_count": position.returned_count,
        "net": signed::text(position.net_centavos),
    })
}

fn proof_json(proof: &Proof) -> Value {
    json!({
        "holds": proof.holds, "net_sum": signed::text(proof.net_sum_centavos),
        "first_sequence": proof.first_sequence, "last_sequence": proof.last_sequence,
        "book_count": proof.book_count, "book_gross": signed::text(proof.book_gross_centavos),
        "differences": proof.differences, "proven_at": time(proof.proven_at_micros),
    })
}
