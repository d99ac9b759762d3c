//! Datagrams that go there and back between two namespaces, each counted: what a fault costs those who speak through it.
//!
//! In: two namespaces, an address in each. Out: how many were sent and how many did not come back. One who tests waits until enough were
//! sent ([`Echo::await_more`]), never for a time: so neither a quick machine nor a slow one decides.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::patiently;
use super::ns::Ns;

/// Between two datagrams.
const INTERVAL: Duration = Duration::from_millis(1);
/// For a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// What has not come back when nothing came for so long is lost.
const SILENCE: Duration = Duration::from_secs(1);

/// A sender at one end, and at the other end one who sends everything back.
pub struct Echo {
    stop: Arc<AtomicBool>,
    /// The echo goes on until its sender has heard all that it will.
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    counted: JoinHandle<(u64, u64)>,
    echo: JoinHandle<()>,
}

impl Echo {
    /// Begins to send, a thousand a second or as many as the machine can.
    ///
    /// # Errors
    /// The addresses are not there.
    pub fn start(near: (&Ns, IpAddr), far: (&Ns, IpAddr)) -> io::Result<Echo> {
        Echo::start_every(INTERVAL, near, far)
    }

    /// One every so often, where many talk at a time.
    ///
    /// # Errors
    /// The addresses are not there.
    pub fn start_every(interval: Duration, near: (&Ns, IpAddr), far: (&Ns, IpAddr)) -> io::Result<Echo> {
        let (from, to) = (SocketAddr::new(near.1, 0), SocketAddr::new(far.1, 0));
        let (far, near) = (far.0.run(move || roomy(to))?, near.0.run(move || roomy(from))?);
        let to = far.local_addr()?;
        far.set_read_timeout(Some(Duration::from_millis(50)))?;
        near.set_nonblocking(true)?;
        let (stop, ended, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let over = ended.clone();
        let echo = std::thread::spawn(move || send_back(&far, &over));
        let (flag, told) = (stop.clone(), sent.clone());
        let counted = std::thread::spawn(move || count(&near, to, interval, &flag, &told));
        Ok(Echo { stop, ended, sent, counted, echo })
    }

    /// Waits until this many more were sent.
    ///
    /// # Panics
    /// If hardly any is sent for long.
    pub fn await_more(&self, more: u64) {
        let until = self.sent.load(Ordering::Relaxed) + more;
        let sent = || self.sent.load(Ordering::Relaxed) >= until;
        patiently(PATIENCE, sent).unwrap_or_else(|| panic!("{more} more were to be sent, a millisecond each"));
    }

    /// How many were sent, and how many did not come back.
    ///
    /// # Panics
    /// If a thread of ours did.
    pub fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, back) = self.counted.join().expect("it only counts");
        self.ended.store(true, Ordering::Relaxed);
        self.echo.join().expect("it only answers");
        (sent, sent.saturating_sub(back))
    }
}

/// A socket that holds what comes while its thread waits for a core.
fn roomy(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    let octets: libc::c_int = 8 << 20;
    let len = libc::socklen_t::try_from(size_of_val(&octets)).expect("a few octets");
    // SAFETY: the option is an int, and lives through the call. Who may not force it has the usual room.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const octets).cast(), len) };
    Ok(socket)
}

fn send_back(far: &UdpSocket, ended: &AtomicBool) {
    let mut buffer = [0; 64];
    while !ended.load(Ordering::Relaxed) {
        if let Ok((n, from)) = far.recv_from(&mut buffer) {
            // Without a way back it is lost, and its sender will see that.
            let _ = far.send_to(&buffer[..n], from);
        }
    }
}

fn count(near: &UdpSocket, to: SocketAddr, interval: Duration, stop: &AtomicBool, told: &AtomicU64) -> (u64, u64) {
    let (mut sent, mut back) = (0_u64, 0_u64);
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // Refused is as good as lost.
        let _ = near.send_to(&sent.to_be_bytes(), to);
        sent += 1;
        told.store(sent, Ordering::Relaxed);
        std::thread::sleep(interval);
        back += heard(near, &mut buffer);
    }
    let mut last = Instant::now();
    while back < sent && last.elapsed() < SILENCE {
        std::thread::sleep(INTERVAL);
        match heard(near, &mut buffer) {
            0 => {}
            more => (back, last) = (back + more, Instant::now()),
        }
    }
    (sent, back)
}

fn heard(near: &UdpSocket, buffer: &mut [u8]) -> u64 {
    let mut back = 0;
    while near.recv(buffer).is_ok() {
        back += 1;
    }
    back
}
