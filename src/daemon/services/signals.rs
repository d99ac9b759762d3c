//! Signals: TERM and INT end the daemon as configured, HUP reads the configuration again.
//!
//! In: what the kernel delivers to the process. Out: the same requests that an operator makes. It leaves what they mean to the speaker
//! (`stop.on_term`) and to `reload`.
//!
//! A second TERM or INT does not wait for a drain to end: routes stay in the kernel, connections close without a NOTIFICATION.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::speaker::StopMode;

use super::desk::Desk;
use super::handle::Handle;

/// Listens until the daemon ends.
///
/// # Errors
/// The kernel refused a handler.
pub async fn serve(handle: Handle) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    let mut mode = StopMode::Configured;
    loop {
        tokio::select! {
            Some(()) = term.recv() => stop(&handle, &mut mode, "TERM").await,
            Some(()) = int.recv() => stop(&handle, &mut mode, "INT").await,
            Some(()) = hup.recv() => reload(&handle).await,
            else => return Ok(()),
        }
    }
}

async fn stop(handle: &Handle, mode: &mut StopMode, signal: &str) {
    tracing::info!(signal, ?mode, "stopping");
    if handle.stop(*mode).await.is_err() {
        tracing::debug!(signal, "the core had ended already");
    }
    *mode = StopMode::Keep;
}

async fn reload(handle: &Handle) {
    match handle.reload(None).await {
        Ok(reloaded) => tracing::info!(signal = "HUP", changes = reloaded.changes.len(), "configuration read again"),
        Err(report) => tracing::error!(signal = "HUP", "the configuration is not usable and the last good one stays:\n{report}"),
    }
}
