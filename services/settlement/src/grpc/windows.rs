//! `settlement.v1.Windows`: windows and balances.

use std::pin::Pin;

use futures::{Stream, stream};
use pix_domain::Ispb;
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::windows_server::Windows;
use pix_runtime::Stopping;
use settlement_core::balances::Balance;
use settlement_core::windows::Position;
use sqlx::PgPool;
use time::Date;
use time::macros::format_description;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::adapters::pg::StoreError;
use crate::adapters::pg_windows::{self, Shown, Wanted};
use crate::balances::Balances;
use crate::windows::{self, WindowError};

/// Who may end a window.
const WRITERS: &[&str] = &["pix"];
/// Windows of a list, unless said,
pub(crate) const LIST_DEFAULT: i64 = 20;
/// and at most.
pub(crate) const LIST_MAX: i64 = 1000;

/// The calls.
#[derive(Clone)]
pub(crate) struct WindowsService {
    pub(crate) windows: windows::Windows,
    pub(crate) balances: Balances,
    pub(crate) pool: PgPool,
    pub(crate) stopping: Stopping,
}

#[tonic::async_trait]
impl Windows for WindowsService {
    type WatchBalancesStream = Pin<Box<dyn Stream<Item = Result<proto::Balances, Status>> + Send>>;

    async fn list_windows(
        &self,
        request: Request<proto::ListWindowsRequest>,
    ) -> Result<Response<proto::ListWindowsResponse>, Status> {
        let asked = request.into_inner();
        let wanted = wanted(&asked.settlement_date, asked.limit.into()).map_err(Status::invalid_argument)?;
        let shown = pg_windows::list(&self.pool, wanted)
            .await
            .map_err(|error| away(&error))?;
        Ok(Response::new(proto::ListWindowsResponse {
            windows: shown.iter().map(on_wire).collect(),
        }))
    }

    async fn get_window(
        &self,
        request: Request<proto::GetWindowRequest>,
    ) -> Result<Response<proto::Window>, Status> {
        let number = request.into_inner().number;
        let found = pg_windows::find(&self.pool, number)
            .await
            .map_err(|error| away(&error))?;
        let found = found.ok_or_else(|| match number {
            0 => Status::not_found("there is no window yet: the SPI has not been heard"),
            _ => Status::not_found(format!("there is no window {number}")),
        })?;
        Ok(Response::new(on_wire(&found)))
    }

    async fn close_window(
        &self,
        request: Request<proto::CloseWindowRequest>,
    ) -> Result<Response<proto::Window>, Status> {
        pix_inside::only(WRITERS, &request)?;
        // On its own: a caller that leaves does not leave the window half ended.
        let windows = self.windows.clone();
        let closed = tokio::spawn(async move { windows.end_now().await }).await;
        let closed =
            closed.map_err(|_| Status::internal("the window could not be ended; the log says why"))?;
        Ok(Response::new(on_wire(
            &closed.map_err(|error| not_closed(&error))?,
        )))
    }

    async fn watch_balances(
        &self,
        _request: Request<proto::WatchBalancesRequest>,
    ) -> Result<Response<Self::WatchBalancesStream>, Status> {
        let watcher = Watcher {
            news: self.balances.news(),
            balances: self.balances.clone(),
            stopping: self.stopping.clone(),
            version: None,
            was_current: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(watcher), next))))
    }
}

/// One who watches, and the version that he was told.
struct Watcher {
    balances: Balances,
    news: watch::Receiver<u64>,
    stopping: Stopping,
    version: Option<u64>,
    was_current: bool,
}

/// What the watcher is told next. It is called when the one before is on its way: one that is slow is told the newest,
/// and nobody waits for it.
async fn next(watcher: Option<Watcher>) -> Option<(Result<proto::Balances, Status>, Option<Watcher>)> {
    let mut watcher = watcher?;
    loop {
        let is_first = watcher.version.is_none();
        watcher.news.borrow_and_update();
        let (version, changed) = watcher.balances.after(watcher.version.unwrap_or(0));
        let current = watcher.balances.is_current();
        // The first is told although there may be none yet: whoever watches knows that it is heard.
        if is_first || !changed.is_empty() || current != watcher.was_current {
            watcher.version = Some(version);
            watcher.was_current = current;
            let told = proto::Balances {
                balances: changed.iter().map(balance_on_wire).collect(),
                current,
            };
            return Some((Ok(told), Some(watcher)));
        }
        let is_over = tokio::select! {
            () = watcher.stopping.stopped() => true,
            changed = watcher.news.changed() => changed.is_err(),
        };
        if is_over {
            let stops = Status::unavailable("the settlement service is stopping; ask again");
            return Some((Err(stops), None));
        }
    }
}

/// Which windows are asked for: a date, or empty; a number of them, or 0.
pub(crate) fn wanted(date: &str, limit: i64) -> Result<Wanted, String> {
    let format = format_description!("[year]-[month]-[day]");
    let date = match date {
        "" => None,
        date => {
            let date = Date::parse(date, format);
            Some(date.map_err(|_| "settlement_date: a date is written YYYY-MM-DD".to_owned())?)
        }
    };
    let limit = match limit {
        0 => LIST_DEFAULT,
        1..=LIST_MAX => limit,
        _ => return Err(format!("limit: 1 to {LIST_MAX}, or 0 for {LIST_DEFAULT}")),
    };
    Ok(Wanted { date, limit })
}

fn on_wire(shown: &Shown) -> proto::Window {
    let window = &shown.window;
    let positions = shown
        .positions
        .iter()
        .map(|(ispb, position)| position_on_wire(*ispb, position));
    let proof = shown.proof.as_ref().map(|(proof, proven_at)| proto::Proof {
        net_sum_centavos: proof.net_sum,
        first_sequence: proof.first_sequence,
        last_sequence: proof.last_sequence,
        book_count: proof.book.count,
        book_gross_centavos: proof.book.centavos,
        holds: proof.holds(),
        differences: proof.differences.clone(),
        proven_at_micros: proven_at.as_micros(),
    });
    proto::Window {
        number: window.number,
        settlement_date: window.settlement_date(),
        state: shown.state.as_str().to_owned(),
        opened_at_micros: window.opened_at.as_micros(),
        ends_at_micros: window.ends_at.as_micros(),
        after_batch: window.after_batch,
        to_batch: window.to_batch,
        count: window.gross.count,
        gross_centavos: window.gross.centavos,
        positions: positions.collect(),
        proof,
    }
}

fn position_on_wire(ispb: Ispb, position: &Position) -> proto::Position {
    proto::Position {
        ispb: ispb.to_string(),
        sent_centavos: position.sent.centavos,
        sent_count: position.sent.count,
        received_centavos: position.received.centavos,
        received_count: position.received.count,
        returned_centavos: position.returned.centavos,
        returned_count: position.returned.count,
        net_centavos: position.net(),
    }
}

fn balance_on_wire(balance: &Balance) -> proto::Balance {
    proto::Balance {
        ispb: balance.ispb.to_string(),
        available_centavos: balance.available,
        blocked_centavos: balance.blocked,
        low: balance.is_low,
    }
}

fn not_closed(error: &WindowError) -> Status {
    tracing::warn!(%error, "a window could not be closed on request");
    match error {
        WindowError::Store(_) | WindowError::Book(_) => {
            Status::unavailable("the window cannot be closed while Postgres or the SPI is away; ask again")
        }
        WindowError::WentBack { .. } => Status::failed_precondition(error.to_string()),
        WindowError::StillClosing(_) => Status::deadline_exceeded(error.to_string()),
    }
}

fn away(error: &StoreError) -> Status {
    tracing::warn!(%error, "a call inside could not be answered");
    Status::unavailable("the database cannot be asked at present; ask again")
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use pix_runtime::StopSwitch;

    use super::*;

    #[tokio::test]
    async fn a_watcher_that_dawdles_is_told_the_newest_and_keeps_nobody_waiting() {
        let balances = Balances::new();
        let (switch, stopping) = StopSwitch::new();
        let watch = || {
            let watcher = Watcher {
                news: balances.news(),
                balances: balances.clone(),
                stopping: stopping.clone(),
                version: None,
                was_current: false,
            };
            Box::pin(stream::unfold(Some(watcher), next))
        };
        let [a, b] = [b"11111111", b"22222222"].map(|raw| Ispb::parse(raw).expect("an ISPB"));
        let told = |told: Option<Result<proto::Balances, Status>>| {
            let balances = told.expect("it goes on").expect("balances").balances;
            balances
                .iter()
                .map(|one| (one.ispb.clone(), one.available_centavos))
                .collect::<Vec<_>>()
        };
        let (mut quick, mut slow) = (watch(), watch());
        assert_eq!(told(slow.next().await), [], "it is heard, and nothing is known");
        balances.change(|board| board.set(a, 100, 0));
        assert_eq!(told(quick.next().await), [(a.to_string(), 100)]);
        for available in [90, 80, 70] {
            balances.change(|board| board.set(a, available, 0));
            assert_eq!(told(quick.next().await), [(a.to_string(), available)]);
        }
        balances.change(|board| board.set(b, 5, 0));
        assert_eq!(told(slow.next().await), [(a.to_string(), 70), (b.to_string(), 5)]);
        assert!(slow.next().now_or_never().is_none(), "nothing is new");
        switch.stop();
        let end = slow.next().await.expect("it is told why").expect_err("the end");
        assert_eq!(end.code(), tonic::Code::Unavailable);
        assert!(slow.next().await.is_none());
    }
}
