//! Memory that the tables have given up goes back to the kernel.
//!
//! In: the process's resident memory, and what the tables say that they hold. Out: now and then, the order to the C library to give back the
//! pages that it keeps. It keeps them for good where something small and living lies behind them, as it does when a peer with a large
//! table has left and others stay.
//!
//! While pages go back nobody else can allocate: a gigabyte takes some tens of milliseconds. So it is done only where much is to be had, and
//! not again until the process has grown.

use std::io;
use std::time::Duration;

use super::api::RouterApi;
use crate::api::{Answer, Question};
use crate::daemon::sys;

/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// A process as small as this keeps what it has.
const SMALL: u64 = 64 << 20;

/// By so much it must have grown since the last time.
const GROWTH: u64 = 32 << 20;

/// Looks until the daemon ends.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A) -> io::Result<()> {
    let mut least = 0;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let held = sys::resident_bytes();
        if held < least + GROWTH || held < SMALL {
            least = least.min(held);
            continue;
        }
        let Some(Answer::Status(status)) = api.query(Question::Status).await else { return Ok(()) };
        let used = status.memory.routes_bytes + status.memory.attributes_bytes + status.memory.export_bytes;
        // The tables' estimate leaves out what surrounds them.
        if held < SMALL + 2 * used {
            continue;
        }
        if tokio::task::spawn_blocking(sys::give_memory_back).await.is_err() {
            return Ok(());
        }
        least = sys::resident_bytes();
        tracing::debug!(before = held, after = least, "gave memory back to the kernel");
    }
}
