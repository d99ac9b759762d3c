//! What systemd is told (sd_notify): that the daemon is ready, that it lives, that it ends.
//!
//! In: the core's answers, and what the unit says in `NOTIFY_SOCKET` and `WATCHDOG_USEC`. Out: datagrams to the service manager. Without a
//! service manager nothing is said. Ready is who has a control socket and whose core answers: sessions come up behind that, and no unit that is
//! ordered after this one waits for a peer. Alive is whose core answers, as with `/livez`; one that hangs is ended by systemd and started again.

use std::io;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};

use super::api::RouterApi;
use super::handle::DaemonHandle;
use crate::api::Question;

/// Between two looks at whether the start is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Tells until the daemon ends.
///
/// # Errors
/// The service manager cannot be reached.
pub async fn serve(handle: DaemonHandle) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    while tokio::fs::metadata(&handle.config().control.socket).await.is_err() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    if handle.query(Question::Status).await.is_none() {
        return Ok(());
    }
    notify(&[NotifyState::Ready, NotifyState::Status("routing; `catbird status` tells more")])?;
    // Half of what the unit grants, as sd_watchdog_enabled(3) advises.
    let Some(pause) = watchdog_enabled().map(|limit| limit / 2) else { return Ok(()) };
    while handle.query(Question::Status).await.is_some() {
        notify(&[NotifyState::Watchdog])?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// The end has begun: what it takes (a drain, `on_term`) is no reason to take the process for dead.
pub fn stopping() {
    if std::env::var_os("NOTIFY_SOCKET").is_some()
        && let Err(error) = notify(&[NotifyState::Stopping])
    {
        tracing::debug!(%error, "systemd was not told of the end");
    }
}
