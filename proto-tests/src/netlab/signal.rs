//! Ctrl-C: tidy up, then go.
//!
//! In: SIGINT, SIGTERM or SIGHUP. Out: a closure that runs once, on a thread of its own.
//! A handler may do next to nothing, so it writes one octet into a pipe; children get the default back when they start.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: i32) {
    let octet = 1_u8;
    // SAFETY: write is async-signal-safe; the descriptor is open as long as the process lives.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), (&raw const octet).cast(), 1) };
}

/// Runs `deed` at the first of the signals that ask a process to end.
///
/// # Errors
/// When there is no pipe to be had.
pub fn on_end(deed: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are fresh and ours; the writing end is never closed.
    let (mut read, write) = unsafe { (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    let _ = write.into_raw_fd();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    thread::Builder::new().name("signal".into()).spawn(move || {
        let mut octet = [0];
        if read.read_exact(&mut octet).is_ok() {
            deed();
        }
    })?;
    Ok(())
}
