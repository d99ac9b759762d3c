//! Signals: TERM and INT end the daemon as configured, HUP reads the configuration again. As the first process of a container, its orphans.
//!
//! In: what the kernel delivers to the process. Out: the same requests that an operator makes. It leaves what they mean to the speaker
//! (`stop.on_term`) and to `config_manager`.
//!
//! A second TERM or INT does not wait for a drain to end: routes stay in the kernel, connections close without a NOTIFICATION. Should the
//! core not have ended within [`LIMIT`] of it, the process ends without it, so that nothing can keep it alive. No signal waits for another:
//! each is passed on by a task of its own.

use std::io;
use std::time::Duration;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::api::RouterApi;
use super::handle::DaemonHandle;
use crate::speaker::StopMode;

/// The longest time between a second TERM and the end.
const LIMIT: Duration = Duration::from_secs(5);

/// Exit status of a process that had to end without its core.
const CUT_SHORT: i32 = 1;

/// Listens until the daemon ends.
///
/// # Errors
/// The kernel refused a handler.
pub async fn serve(handle: DaemonHandle) -> io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hup = signal(SignalKind::hangup())?;
    let mut children = if std::process::id() == 1 { Some(signal(SignalKind::child())?) } else { None };
    let mut stopping = false;
    if children.is_some() {
        // Those that ended before anybody listened.
        reap();
    }
    loop {
        tokio::select! {
            Some(()) = term.recv() => stop(&handle, &mut stopping, "TERM"),
            Some(()) = int.recv() => stop(&handle, &mut stopping, "INT"),
            Some(()) = hup.recv() => drop(tokio::spawn(reload(handle.clone()))),
            Some(()) = next(&mut children) => reap(),
            else => return Ok(()),
        }
    }
}

async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

fn stop(handle: &DaemonHandle, stopping: &mut bool, signal: &'static str) {
    let second = std::mem::replace(stopping, true);
    let mode = if second { StopMode::Keep } else { StopMode::Configured };
    tracing::info!(signal, ?mode, "stopping");
    super::systemd::stopping();
    let handle = handle.clone();
    tokio::spawn(async move {
        if handle.stop(mode).await.is_err() {
            tracing::debug!(signal, "the core had ended already");
        }
    });
    if second {
        tokio::spawn(async {
            tokio::time::sleep(LIMIT).await;
            tracing::error!("the core has not ended {LIMIT:?} after a second signal: the process ends without it");
            // A moment for that line.
            tokio::time::sleep(Duration::from_millis(100)).await;
            std::process::exit(CUT_SHORT);
        });
    }
}

async fn reload(handle: DaemonHandle) {
    match handle.reload(None).await {
        Ok(reloaded) => tracing::info!(signal = "HUP", changes = reloaded.changes.len(), "configuration read again"),
        Err(report) => tracing::error!(signal = "HUP", "the configuration is not usable and the last good one stays:\n{report}"),
    }
}

/// Whoever lost its parent in our process namespace has become our child; catbird itself starts none.
fn reap() {
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        tracing::debug!(%pid, "an orphan has ended");
    }
}
