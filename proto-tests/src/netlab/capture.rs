//! What is on the wire of a namespace, frame by frame: for claims about octets that no counter makes.
//!
//! In: a namespace and a filter. Out: the frames that came in or went out on any of its interfaces, whole, since the capture began.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::patiently;
use super::ns::Ns;

const ETH_P_ALL: u16 = 3;

type Frames = Arc<Mutex<Vec<Vec<u8>>>>;

/// A running capture; it ends when it is dropped.
pub struct Capture {
    frames: Frames,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Listens from now on, and keeps what the filter likes. A frame that a bridge hands on is seen once for each interface that it passes.
    ///
    /// # Errors
    /// Packet sockets are not to be had.
    pub fn start(ns: &Ns, keep: fn(&[u8]) -> bool) -> io::Result<Capture> {
        let socket = ns.run(|| {
            // SAFETY: plain socket call.
            let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(ETH_P_ALL.to_be())) };
            // SAFETY: the descriptor is fresh and ours.
            if raw < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(raw) }) }
        })?;
        let (frames, stop) = (Frames::default(), Arc::<AtomicBool>::default());
        let (kept, ended) = (frames.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 70_000];
            while !ended.load(Ordering::Relaxed) {
                let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one pollfd.
                if unsafe { libc::poll(&raw mut poll, 1, 50) } <= 0 {
                    continue;
                }
                // SAFETY: the buffer is valid for its length.
                let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
                let frame = usize::try_from(got).ok().and_then(|len| buffer.get(..len));
                if let Some(frame) = frame.filter(|f| keep(f)) {
                    kept.lock().expect("nobody panics with it").push(frame.to_vec());
                }
            }
        });
        Ok(Capture { frames, stop, thread: Some(thread) })
    }

    /// All frames so far.
    ///
    /// # Panics
    /// If the listener did.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.frames.lock().expect("nobody panics with it").clone()
    }

    /// Waits until this is among them; the first such.
    ///
    /// # Panics
    /// If it never comes.
    pub fn await_frame(&self, what: &str, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut found = None;
        patiently(Duration::from_secs(60), || {
            found = self.frames().into_iter().find(|f| is_it(f));
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("no {what} among {} frames", self.frames().len()))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
