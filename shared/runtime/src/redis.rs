//! Redis: positive idempotency hits. Away, empty or slow, it is done without.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult};

/// Slower than this it is as good as away, unless a service is told otherwise.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(20);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A connection that is opened at its first use and again whenever it is lost. Clones share it.
///
/// An answer that takes longer than `within` is none. While Redis is away a command may wait for the attempt to
/// connect: put `within` around it.
///
/// # Errors
/// When the URL is none; a server that is away is no error. Call it inside the runtime.
pub fn connect(url: &str, within: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(within))
        .set_number_of_retries(1)
        .set_max_delay(within);
    ConnectionManager::new_lazy_with_config(Client::open(url)?, config)
}
