//! Our own ping: one echo after the other until the first answer, or a stream of them whose losses are counted.
//!
//! In: an address, asked from the namespace of the calling thread. Out: the round trip time, or why not.
//! Raw ICMP sockets, so that neither `ping` nor a sysctl for datagram ICMP is needed.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time between two echo requests: quick, for we wait for convergence and not for the Internet.
const INTERVAL: Duration = Duration::from_millis(50);
static NEXT_IDENT: AtomicU16 = AtomicU16::new(1);

/// Sends echo requests to `to` until one is answered or `limit` has passed; the round trip time of the answered one.
///
/// # Errors
/// `TimedOut` if nothing came, else what the kernel said at the end (`NetworkUnreachable` where no route leads there).
pub fn ping(to: IpAddr, limit: Duration) -> io::Result<Duration> {
    let socket = Socket::open(to)?;
    let ident = fresh_ident();
    let start = Instant::now();
    let mut seq = 0_u16;
    loop {
        seq = seq.wrapping_add(1);
        let sent = Instant::now();
        let mut failure = socket.send(&echo_request(to, ident, seq)).err();
        if failure.is_none() {
            let wait = INTERVAL.min(limit.saturating_sub(start.elapsed()).max(Duration::from_millis(1)));
            match socket.await_reply(ident, sent + wait) {
                Ok(true) => return Ok(sent.elapsed()),
                Ok(false) => {}
                Err(e) => failure = Some(e),
            }
        }
        if start.elapsed() >= limit {
            return Err(failure.unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
        }
        if failure.is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Echo requests without end, one each [`EVERY`]; [`Stream::end`] counts.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

const EVERY: Duration = Duration::from_millis(10);
/// So long the last answers may take.
const LAST: Duration = Duration::from_millis(300);

/// What became of a stream's echo requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: usize,
    /// How many never got an answer.
    pub lost: usize,
}

impl Stream {
    /// Begins one over a socket, which stays in the namespace in which it was opened, whoever uses it.
    ///
    /// # Errors
    /// No thread.
    pub fn begin(socket: Socket, to: IpAddr) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().stack_size(256 * 1024).spawn(move || run_stream(&socket, to, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Sends no more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it, waits for what is still under way, and counts.
    pub fn end(self) -> Tally {
        self.stop();
        self.thread.join().unwrap_or_default()
    }
}

fn run_stream(socket: &Socket, to: IpAddr, stop: &AtomicBool) -> Tally {
    let ident = fresh_ident();
    let (mut open, mut sent, mut next) = (BTreeSet::new(), 0_usize, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let seq = sent as u16;
        // A request that the kernel refuses is lost like any other.
        let _ = socket.send(&echo_request(to, ident, seq));
        open.insert(seq);
        sent += 1;
        next += EVERY;
        socket.take_replies(ident, next, &mut open);
    }
    socket.take_replies(ident, Instant::now() + LAST, &mut open);
    Tally { sent, lost: open.len() }
}

fn fresh_ident() -> u16 {
    NEXT_IDENT.fetch_add(1, Ordering::Relaxed) ^ (std::process::id() as u16).rotate_left(8)
}

/// A raw socket for echo requests to one address.
pub struct Socket {
    fd: OwnedFd,
    addr: libc::sockaddr_storage,
    len: libc::socklen_t,
    v6: bool,
}

impl Socket {
    /// # Errors
    /// No rights for raw sockets.
    pub fn open(to: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
            IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        };
        // SAFETY: plain socket call.
        let raw = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: sockaddr_storage is plain data for which zeroes are valid.
        let mut addr: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let len = fill(&mut addr, to);
        Ok(Self { fd, addr, len, v6: to.is_ipv6() })
    }

    fn send(&self, packet: &[u8]) -> io::Result<()> {
        // SAFETY: packet and address are valid for their lengths.
        let sent =
            unsafe { libc::sendto(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, (&raw const self.addr).cast(), self.len) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads until our answer, until `deadline` (then `false`), or until an error (unreachable).
    fn await_reply(&self, ident: u16, deadline: Instant) -> io::Result<bool> {
        loop {
            match self.receive(ident, deadline)? {
                Heard::Reply(_) => return Ok(true),
                Heard::Unreachable => return Err(io::ErrorKind::HostUnreachable.into()),
                Heard::Other => {}
                Heard::Nothing => return Ok(false),
            }
        }
    }

    /// Strikes out what is answered until `deadline`, and goes on until then.
    fn take_replies(&self, ident: u16, deadline: Instant, open: &mut BTreeSet<u16>) {
        loop {
            match self.receive(ident, deadline) {
                Ok(Heard::Reply(seq)) => drop(open.remove(&seq)),
                Ok(Heard::Nothing) => return,
                Ok(Heard::Unreachable | Heard::Other) | Err(_) => {}
            }
        }
    }

    /// One packet, or [`Heard::Nothing`] at the deadline.
    fn receive(&self, ident: u16, deadline: Instant) -> io::Result<Heard> {
        let mut buffer = [0_u8; 2048];
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Heard::Nothing);
        }
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&raw mut poll, 1, i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1)) };
        // SAFETY: the buffer is valid for its length.
        let got = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(got) {
            Ok(len) => Ok(self.read(&buffer[..len], ident).unwrap_or(Heard::Other)),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Other),
                e => Err(e),
            },
        }
    }

    /// RFC 792 and RFC 4443: an echo reply with our identifier, or a router's word that it knows no way.
    fn read(&self, packet: &[u8], ident: u16) -> Option<Heard> {
        let header = if self.v6 { 0 } else { usize::from(packet.first()? & 15) * 4 };
        let icmp = packet.get(header..)?;
        match (self.v6, *icmp.first()?) {
            (false, 0) | (true, 129) if icmp.get(4..6) == Some(&ident.to_be_bytes()) => {
                Some(Heard::Reply(u16::from_be_bytes([*icmp.get(6)?, *icmp.get(7)?])))
            }
            (false, 3) | (true, 1) => Some(Heard::Unreachable),
            _ => None,
        }
    }
}

enum Heard {
    /// With its number.
    Reply(u16),
    Unreachable,
    Other,
    Nothing,
}

fn fill(addr: &mut libc::sockaddr_storage, to: IpAddr) -> libc::socklen_t {
    let len = match to {
        IpAddr::V4(ip) => {
            // SAFETY: sockaddr_storage is larger than and aligned for every socket address.
            let v4 = unsafe { &mut *(&raw mut *addr).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(ip) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *(&raw mut *addr).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_addr.s6_addr = ip.octets();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    len as libc::socklen_t
}

fn echo_request(to: IpAddr, ident: u16, seq: u16) -> Vec<u8> {
    let mut packet = vec![if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    packet.extend(ident.to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(b"catbird looks whether you are there");
    if to.is_ipv4() {
        // The kernel makes the checksum of ICMPv6 alone.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let mut packet = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, 9];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_ne!(sum, 0);
        assert_eq!(checksum(&packet), 0);
    }
}
