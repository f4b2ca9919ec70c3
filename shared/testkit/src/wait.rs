//! Waiting for a condition, with a deadline instead of a guess.

use std::time::{Duration, Instant};

/// Asks until there is an answer; gives up, naming what it waited for, after `within`.
///
/// # Panics
/// When there is none in time.
pub async fn eventually<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    const PAUSE: Duration = Duration::from_millis(5);
    let asked = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            asked.elapsed() < within,
            "waited {} ms in vain until {what}",
            within.as_millis()
        );
        tokio::time::sleep(PAUSE).await;
    }
}
