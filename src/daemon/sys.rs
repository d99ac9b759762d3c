//! Socket options that the standard library does not know: TCP-MD5, GTSM, device binding, descriptor limits.
//!
//! In: a socket and a value that is legal by type. Out: the kernel's answer, as `io::Result`, never dropped here.
//! It leaves to `dialer` and `listener` which options a peer needs and when they are set.
//!
//! This is the one file of the daemon where `unsafe` stands: each block is one system call on memory that outlives it.
//!
//! RFC 2385 (TCP-MD5), RFC 5082 (GTSM: TTL 255 out, a minimum in), RFC 9687 (TCP_USER_TIMEOUT stands below the send hold timer).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};
use socket2::{SockFilter, SockRef, Socket};
use tokio::io::unix::AsyncFd;

use crate::ndp::packet::{ADVERTISEMENT, SOLICITATION};
use crate::num::Instant;

/// Longest key that the kernel takes (RFC 2385 §4.5 asks for at least 80 octets).
pub const MD5_KEY_MAX: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    /// A `sockaddr_storage`: family in host order, port, address.
    addr: SockAddr,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: i32,
    key: [u8; MD5_KEY_MAX],
}

#[repr(C, align(8))]
struct SockAddr([u8; 128]);

const TCP_MD5SIG: c_int = 14;
const TCP_MD5SIG_EXT: c_int = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
const IPV6_MINHOPCOUNT: c_int = 73;
const TCP_SAVE_SYN: c_int = 27;
const TCP_SAVED_SYN: c_int = 28;

/// Sets or, with an empty key, removes the TCP-MD5 key for segments exchanged with `remote` (RFC 2385).
///
/// With `prefix_len` the key holds for the whole prefix, which is how a listen range is protected.
///
/// # Errors
/// `InvalidInput` for a key over 80 octets; else the kernel's error. The caller must then not use the socket for this peer.
pub fn set_md5(socket: &impl AsFd, remote: IpAddr, prefix_len: Option<u8>, key: &[u8]) -> io::Result<()> {
    let mut sig = TcpMd5Sig {
        addr: sock_addr(remote),
        flags: if prefix_len.is_some() { TCP_MD5SIG_FLAG_PREFIX } else { 0 },
        prefix_len: prefix_len.unwrap_or(0),
        key_len: 0,
        ifindex: 0,
        key: [0; MD5_KEY_MAX],
    };
    let room = sig.key.get_mut(..key.len()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "MD5 key longer than 80 octets"))?;
    room.copy_from_slice(key);
    sig.key_len = u16::try_from(key.len()).map_err(io::Error::other)?;
    let name = if prefix_len.is_some() { TCP_MD5SIG_EXT } else { TCP_MD5SIG };
    set(socket, libc::IPPROTO_TCP, name, &sig)
}

/// `sockaddr_in` or `sockaddr_in6` with port zero, in the room of a `sockaddr_storage`.
fn sock_addr(addr: IpAddr) -> SockAddr {
    let mut octets = [0u8; 128];
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u16;
    octets[..2].copy_from_slice(&family.to_ne_bytes());
    match addr {
        IpAddr::V4(v4) => octets[4..8].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets[8..24].copy_from_slice(&v6.octets()),
    }
    SockAddr(octets)
}

/// The TTL (IPv4) or hop limit (IPv6) of what we send.
///
/// # Errors
/// The kernel's.
pub fn set_ttl(socket: &impl AsFd, v4: bool, ttl: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if v4 { socket.set_ttl_v4(u32::from(ttl)) } else { socket.set_unicast_hops_v6(u32::from(ttl)) }
}

/// Segments that arrive with a smaller TTL are dropped by the kernel (RFC 5082 §3).
///
/// # Errors
/// The kernel's.
pub fn set_min_ttl(socket: &impl AsFd, v4: bool, ttl: u8) -> io::Result<()> {
    let value = c_int::from(ttl);
    if v4 { set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &value) } else { set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &value) }
}

/// The kernel keeps the headers of each SYN for [`syn_ttl`].
///
/// # Errors
/// The kernel's.
pub fn keep_syn(listener: &impl AsFd) -> io::Result<()> {
    set(listener, libc::IPPROTO_TCP, TCP_SAVE_SYN, &1)
}

/// The TTL or hop limit that the SYN of an accepted connection came with; `None` if it was not kept (a SYN cookie keeps nothing).
///
/// # Errors
/// The kernel's.
pub fn syn_ttl(socket: &impl AsFd) -> io::Result<Option<u8>> {
    let mut headers = [0u8; 128];
    let mut len = socklen_t::try_from(headers.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open (borrowed), and `headers` has room for `len` octets that live across the call.
    check(unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, TCP_SAVED_SYN, headers.as_mut_ptr().cast::<c_void>(), &raw mut len)
    })?;
    let kept = headers.get(..len as usize).unwrap_or_default();
    // RFC 791 §3.1, RFC 8200 §3.
    Ok(match kept.first().map(|octet| octet >> 4) {
        Some(4) => kept.get(8).copied(),
        Some(6) => kept.get(7).copied(),
        _ => None,
    })
}

/// How long sent octets may stay unacknowledged before the kernel gives the connection up.
///
/// # Errors
/// The kernel's.
pub fn set_user_timeout(socket: &impl AsFd, timeout: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(timeout))
}

/// A receive buffer beyond what the system allows everybody (wants CAP_NET_ADMIN), or else as large as it allows.
///
/// # Errors
/// The kernel's.
pub fn set_receive_buffer(socket: &impl AsFd, octets: usize) -> io::Result<()> {
    let value = c_int::try_from(octets).unwrap_or(c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value).or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &value))
}

/// Which of the sockets that share this one's port a packet goes to: the program's answer is the index, in the order of their binding.
///
/// # Errors
/// The kernel's.
pub fn steer(socket: &impl AsFd, program: &[SockFilter]) -> io::Result<()> {
    // `SockFilter` is a `sock_filter` and nothing besides; the kernel copies the program, and writes nothing.
    let filter = program.as_ptr().cast::<libc::sock_filter>().cast_mut();
    let program = libc::sock_fprog { len: u16::try_from(program.len()).map_err(io::Error::other)?, filter };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Of a socket, by [`receive_queue`].
#[derive(Clone, Copy, Debug)]
pub struct ReceiveQueue {
    /// Octets that wait.
    pub waiting: u32,
    /// Octets that may wait.
    pub room: u32,
    /// Packets that found no room.
    pub drops: u32,
}

/// What waits to be read, how much the kernel keeps for this socket, as it counts octets, and how many packets found no room (SO_MEMINFO).
///
/// # Errors
/// The kernel's (before Linux 4.12).
pub fn receive_queue(socket: &impl AsFd) -> io::Result<ReceiveQueue> {
    // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_RCVBUF are the first two of nine, SK_MEMINFO_DROPS the last; a kernel may know more.
    let mut numbers = [0u32; 16];
    let mut len = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: `numbers` is as long as `len` says, and any octets are numbers.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    })?;
    let [waiting, room, _, _, _, _, _, _, drops, ..] = numbers;
    Ok(ReceiveQueue { waiting, room, drops })
}

/// Octets of this process that are in memory; all zero where there is no /proc.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// VmRSS.
    pub all: u64,
    /// RssFile and RssShmem: the program, its libraries, and what it has mapped.
    pub program: u64,
}

/// See [`Resident`].
pub fn resident() -> Resident {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let octets = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0).saturating_mul(1024)
    };
    Resident { all: octets("VmRSS"), program: octets("RssFile") + octets("RssShmem") }
}

/// VmRSS, or zero where there is no /proc.
pub fn resident_bytes() -> u64 {
    resident().all
}

/// Octets that the allocator keeps although nobody uses them; `None` where the C library does not tell (musl).
pub fn free_bytes() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes nothing and returns numbers, which the allocator reads under its own locks.
    return u64::try_from(unsafe { libc::mallinfo2() }.fordblks).ok();
    #[cfg(not(target_env = "gnu"))]
    None
}

/// The longest segment that either side sends (TCP_MAXSEG), in octets; zero: as the path's MTU makes it. To be set before the SYN comes or goes.
///
/// # Errors
/// The kernel's.
pub fn set_mss(socket: &impl AsFd, octets: u16) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, &c_int::from(octets))
}

/// How a connection fares, as its kernel sees it (TCP_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState {
    /// Sent, and not acknowledged.
    pub unacknowledged: u32,
    /// Not sent yet.
    pub unsent: u32,
    /// How often in a row the oldest of it was sent again in vain.
    pub resent: u8,
    /// It was sent for the first time at least so long ago.
    pub waits: Duration,
    /// Octets of the longest segment, and of the longest packet that the path is believed to carry.
    pub mss: u32,
    pub path_mtu: u32,
}

/// # Errors
/// The kernel's.
pub fn tcp_state(socket: &impl AsFd) -> io::Result<TcpState> {
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    let mut info = [0u8; 104];
    let mut len = socklen_t::try_from(info.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open (borrowed), and `info` has room for `len` octets that live across the call.
    check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast::<c_void>(), &raw mut len) })?;
    let (mut queued, mut unsent): (c_int, c_int) = (0, 0);
    // SAFETY: as above; each call writes one integer that lives across it.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut queued) })?;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(fd, SIOCOUTQNSD, &raw mut unsent) })?;
    let number = |at: usize| info.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let (resent, backoff) = (info[2], u32::from(info[4]));
    // Each wait is twice the one before, so all of them together are nearly the last one.
    let rto = Duration::from_micros(u64::from(number(8)));
    Ok(TcpState {
        unacknowledged: u32::try_from(queued.saturating_sub(unsent)).unwrap_or(0),
        unsent: u32::try_from(unsent).unwrap_or(0),
        resent,
        waits: rto.saturating_sub(rto / 2u32.saturating_pow(backoff)),
        mss: number(16),
        path_mtu: number(60),
    })
}

/// Gives back to the kernel what the allocator keeps although nobody uses it. Nobody else allocates meanwhile.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and touches what the allocator itself holds only, under its own locks.
    let _anything = unsafe { libc::malloc_trim(0) };
}

/// `None` when no interface has this name (now).
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a NUL-terminated string that lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of an interface, if there is one of this number.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: `name` has room for IF_NAMESIZE octets, which is all that is written.
    let known = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let text = CStr::from_bytes_until_nul(&name).ok().filter(|_| !known.is_null())?;
    Some(text.to_string_lossy().into_owned())
}

/// Processor time of this process so far.
pub fn process_time() -> Duration {
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spent` is a valid, writable timespec; the clock of the own process always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut spent) };
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// Raises the soft limit of open descriptors to the hard one and says what it is now.
///
/// # Errors
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, writable rlimit for the time of the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit for the time of the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

/// A listening socket that the runtime watches, to be accepted from without making every stranger's connection known to it.
///
/// # Errors
/// The kernel's.
pub fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a `TcpListener` owns its descriptor, answers with the same one always, and keeps it open until it is dropped with the `AsyncFd`.
    Ok(unsafe { AsyncFd::register(listener) }?)
}

/// The same of a socket of datagrams.
///
/// # Errors
/// The kernel's.
pub fn watch_socket(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor likewise.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Datagrams that one system call takes in or hands out.
pub const DATAGRAMS: usize = 64;

/// Octets of a datagram that are kept; a BFD packet has 52 at most.
const PAYLOAD: usize = 128;

/// Room for one datagram with its address and its control messages.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Slot {
    name: [u8; 128],
    control: [u8; 128],
    payload: [u8; PAYLOAD],
    control_len: usize,
    payload_len: usize,
    name_len: usize,
}

const EMPTY_SLOT: Slot = Slot { name: [0; 128], control: [0; 128], payload: [0; PAYLOAD], control_len: 0, payload_len: 0, name_len: 0 };

/// Datagrams on their way in or out, many a system call (`recvmmsg`, `sendmmsg`). Allocates once.
pub struct DatagramBatch {
    slots: Box<[Slot; DATAGRAMS]>,
    len: usize,
}

impl Default for DatagramBatch {
    fn default() -> DatagramBatch {
        DatagramBatch { slots: Box::new([EMPTY_SLOT; DATAGRAMS]), len: 0 }
    }
}

/// A datagram as it came.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its sender.
    pub from: SocketAddr,
    /// The link that it came over.
    pub ifindex: u32,
    /// TTL or hop limit; zero if the kernel did not say.
    pub ttl: u8,
    /// By the wall clock: since 1970.
    pub arrived: Option<Duration>,
    /// The first [`PAYLOAD`] octets of it.
    pub octets: &'a [u8],
}

impl DatagramBatch {
    /// Takes in what waits in a socket, without waiting for more. How many they were.
    ///
    /// # Errors
    /// The kernel's; nothing waiting is `WouldBlock`.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for slot in self.slots.iter_mut() {
            (slot.name_len, slot.control_len, slot.payload_len) = (slot.name.len(), slot.control.len(), PAYLOAD);
        }
        self.len = DATAGRAMS;
        let answer = self.call(|headers| {
            // SAFETY: each header points to a slot of ours that lives across the call, with the lengths of its parts.
            unsafe {
                libc::recvmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    DATAGRAMS as u32,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            }
        });
        self.len = *answer.as_ref().unwrap_or(&0);
        answer
    }

    /// Hands out what was [put](DatagramBatch::put); the batch is empty then. How many the kernel took, and how many it refused.
    pub fn send(&mut self, socket: &impl AsFd) -> (usize, usize) {
        let (mut at, mut refused) = (0, 0);
        while at < self.len {
            let len = self.len;
            let answer = self.call(|headers| {
                let Some(rest) = headers.get_mut(at..len) else { return 0 };
                // SAFETY: as above; the kernel reads `rest.len()` headers and what they point to.
                unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT as _) }
            });
            // An error is of the first of them; the others are tried.
            match answer {
                Ok(sent) if sent > 0 => at += sent,
                Ok(_) | Err(_) => (at, refused) = (at + 1, refused + 1),
            }
        }
        let sent = self.len - refused;
        self.len = 0;
        (sent, refused)
    }

    /// Has headers made for the slots, and afterwards takes over the lengths that the kernel wrote into them.
    fn call(&mut self, call: impl FnOnce(&mut [libc::mmsghdr; DATAGRAMS]) -> c_int) -> io::Result<usize> {
        // SAFETY: both are plain C structures of numbers and pointers, for which zeros are a value.
        let (mut parts, mut headers): ([libc::iovec; DATAGRAMS], [libc::mmsghdr; DATAGRAMS]) = unsafe { std::mem::zeroed() };
        for ((slot, part), header) in self.slots.iter_mut().zip(&mut parts).zip(&mut headers) {
            *part = libc::iovec { iov_base: slot.payload.as_mut_ptr().cast(), iov_len: slot.payload_len };
            header.msg_hdr.msg_name = slot.name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = slot.name_len as socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = if slot.control_len == 0 { std::ptr::null_mut() } else { slot.control.as_mut_ptr().cast() };
            header.msg_hdr.msg_controllen = slot.control_len as _;
        }
        let answer = call(&mut headers);
        let count = usize::try_from(answer).map_err(|_| io::Error::last_os_error())?;
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(count) {
            (slot.control_len, slot.payload_len) = (header.msg_hdr.msg_controllen as _, header.msg_len as usize);
        }
        Ok(count)
    }

    /// Those that were received.
    pub fn received(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.slots.iter().take(self.len).filter_map(Slot::datagram)
    }

    /// No more can be put before the others are sent.
    pub fn is_full(&self) -> bool {
        self.len >= DATAGRAMS
    }

    /// Nothing was put.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more to be sent: from this address of ours and over this link, if they are given. False if there is no room.
    pub fn put(&mut self, to: SocketAddr, from: Option<IpAddr>, ifindex: Option<u32>, octets: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(self.len) else { return false };
        let Some(room) = slot.payload.get_mut(..octets.len()) else { return false };
        room.copy_from_slice(octets);
        slot.payload_len = octets.len();
        slot.name = sock_addr(to.ip()).0;
        slot.name[2..4].copy_from_slice(&to.port().to_be_bytes());
        slot.name_len = if to.is_ipv4() { size_of::<libc::sockaddr_in>() } else { size_of::<libc::sockaddr_in6>() };
        let link = ifindex.unwrap_or(0);
        slot.name[24..28].copy_from_slice(&if to.is_ipv6() { link } else { 0 }.to_ne_bytes());
        // `struct in_pktinfo` and `struct in6_pktinfo`.
        let mut info = [0; 20];
        let (level, kind, len) = match (to.ip(), from) {
            (IpAddr::V4(_), from) => {
                info[..4].copy_from_slice(&link.to_ne_bytes());
                if let Some(IpAddr::V4(from)) = from {
                    info[4..8].copy_from_slice(&from.octets());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
            }
            (IpAddr::V6(_), from) => {
                if let Some(IpAddr::V6(from)) = from {
                    info[..16].copy_from_slice(&from.octets());
                }
                info[16..].copy_from_slice(&link.to_ne_bytes());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
            }
        };
        slot.control_len = 0;
        if from.is_some() || ifindex.is_some() {
            let head = size_of::<libc::cmsghdr>();
            slot.control[..size_of::<usize>()].copy_from_slice(&(head + len).to_ne_bytes());
            slot.control[head - 8..head - 4].copy_from_slice(&level.to_ne_bytes());
            slot.control[head - 4..head].copy_from_slice(&kind.to_ne_bytes());
            slot.control[head..head + len].copy_from_slice(&info[..len]);
            slot.control_len = (head + len).next_multiple_of(size_of::<usize>());
        }
        self.len += 1;
        true
    }
}

impl Slot {
    fn datagram(&self) -> Option<Datagram<'_>> {
        let number = |octets: &[u8], at: usize| octets.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let port = u16::from_be_bytes([self.name[2], self.name[3]]);
        let family = c_int::from(u16::from_ne_bytes([self.name[0], self.name[1]]));
        let from = match family {
            libc::AF_INET => SocketAddr::new(<[u8; 4]>::try_from(&self.name[4..8]).ok()?.into(), port),
            libc::AF_INET6 => SocketAddr::new(<[u8; 16]>::try_from(&self.name[8..24]).ok()?.into(), port),
            _ => return None,
        };
        let octets = self.payload.get(..self.payload_len.min(PAYLOAD))?;
        let mut datagram = Datagram { from, ifindex: 0, ttl: 0, arrived: None, octets };
        let mut rest = self.control.get(..self.control_len.min(self.control.len()))?;
        let head = size_of::<libc::cmsghdr>();
        while let Some(len) = rest.get(..size_of::<usize>()).and_then(|octets| octets.try_into().ok()).map(usize::from_ne_bytes) {
            let Some(data) = rest.get(head..len) else { break };
            match (number(rest, head - 8) as c_int, number(rest, head - 4) as c_int) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => datagram.ifindex = number(data, 0),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => datagram.ifindex = number(data, 16),
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => datagram.ttl = number(data, 0) as u8,
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) if data.len() >= 16 => {
                    let long = |at: usize| data.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_ne_bytes);
                    datagram.arrived = Some(Duration::new(long(0), long(8) as u32));
                }
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
        }
        Some(datagram)
    }
}

/// What [`DatagramBatch`] reads beside the octets: link, TTL, time of arrival.
///
/// # Errors
/// The kernel's.
pub fn want_arrivals(socket: &impl AsFd, v4: bool) -> io::Result<()> {
    let on: c_int = 1;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    if v4 {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &on)?;
        set(socket, libc::IPPROTO_IP, libc::IP_RECVTTL, &on)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &on)
    }
}

/// TOS or traffic class of what a socket sends.
///
/// # Errors
/// The kernel's.
pub fn set_traffic_class(socket: &impl AsFd, v4: bool, class: u8) -> io::Result<()> {
    let value = c_int::from(class);
    if v4 { set(socket, libc::IPPROTO_IP, libc::IP_TOS, &value) } else { set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value) }
}

/// Which packets of ICMPv6 a raw socket takes in: those of router discovery, or none.
///
/// # Errors
/// The kernel's.
pub fn hear_routers(socket: &impl AsFd, on: bool) -> io::Result<()> {
    const ICMPV6_FILTER: c_int = 1;
    // A bit that is set keeps that type out (`struct icmp6_filter`).
    let mut filter = [u32::MAX; 8];
    for kind in [SOLICITATION, ADVERTISEMENT].into_iter().filter(|_| on) {
        filter[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)
}

/// The calling thread runs before all that are not as urgent (`SCHED_FIFO`), and no thread that it starts does.
///
/// # Errors
/// EPERM without CAP_SYS_NICE or a limit (RLIMIT_RTPRIO) that allows it, or in a cgroup without real-time share.
pub fn run_in_real_time(priority: u8) -> io::Result<()> {
    // The kernel's own `struct sched_param`, by its own call: musl's is another one, and its `sched_setscheduler` answers ENOSYS to everybody.
    let param: c_int = priority.into();
    // SAFETY: reads `param`, which lives across the call; zero is the calling thread.
    check_long(unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const param) })
}

/// Capability sets of a thread, bit by bit as capabilities(7) numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a program that is started may get.
    pub inheritable: u64,
}

/// `struct __user_cap_header_struct` and twice `struct __user_cap_data_struct` of linux/capability.h, version 3.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_HEADER: CapHeader = CapHeader { version: 0x2008_0522, pid: 0 };

/// Of the calling thread.
///
/// # Errors
/// The kernel's.
pub fn capabilities() -> io::Result<Capabilities> {
    let (mut header, mut data) = (CAP_HEADER, [CapData::default(); 2]);
    // SAFETY: `header` and `data` have the layout that version 3 asks for and live across the call.
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |part: fn(&CapData) -> u32| u64::from(part(&data[0])) | u64::from(part(&data[1])) << 32;
    Ok(Capabilities { effective: join(|d| d.effective), permitted: join(|d| d.permitted), inheritable: join(|d| d.inheritable) })
}

/// Of the calling thread and of threads that it starts later.
///
/// # Errors
/// EPERM for what is not permitted now.
pub fn set_capabilities(sets: Capabilities) -> io::Result<()> {
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let (mut header, data) = (CAP_HEADER, [half(0), half(32)]);
    // SAFETY: as above; the kernel only reads `data`.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
}

/// No program that this thread starts can have more rights than it has itself.
///
/// # Errors
/// The kernel's.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn check_long(answer: libc::c_long) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Nanoseconds of CLOCK_MONOTONIC, the time line of `clock::Clock`.
pub fn monotonic() -> Instant {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec; CLOCK_MONOTONIC always exists on Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0)))
}

fn set<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open (borrowed), and `value` points to `len` initialised octets that live across the call.
    check(unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast::<c_void>(), len) })
}

fn check(answer: c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn dial(to: SocketAddr, key: &[u8], timeout: Duration) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if !key.is_empty() {
            set_md5(&socket, to.ip(), None, key)?;
        }
        socket.connect_timeout(&to.into(), timeout)?;
        Ok(socket)
    }

    /// Loopback sockets with keys; a kernel without TCP-MD5 says so and the test has nothing to show.
    fn listener(prefix_len: Option<u8>) -> Option<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let net = Ipv4Addr::new(127, 0, 0, if prefix_len.is_some() { 0 } else { 1 });
        match set_md5(&listener, net.into(), prefix_len, b"right") {
            Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => None,
            answer => {
                answer.expect("the key is legal");
                let addr = listener.local_addr().expect("bound");
                Some((listener, addr))
            }
        }
    }

    #[test]
    fn segments_with_the_right_md5_key_pass_and_others_do_not() {
        for prefix_len in [None, Some(8)] {
            let Some((listener, addr)) = listener(prefix_len) else { return };
            let right = dial(addr, b"right", Duration::from_secs(5)).expect("same key on both ends");
            let (mut accepted, _) = listener.accept().expect("a connection waits");
            (&right).write_all(b"hello").expect("connected");
            let mut heard = [0u8; 5];
            accepted.read_exact(&mut heard).expect("the octets come");
            assert_eq!(&heard, b"hello");
            for key in [&b"wrong"[..], b""] {
                let error = dial(addr, key, Duration::from_millis(300)).expect_err("the kernel drops the SYN");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            }
        }
    }

    #[test]
    fn a_removed_md5_key_opens_the_door_again() {
        let Some((listener, addr)) = listener(None) else { return };
        assert!(dial(addr, b"", Duration::from_millis(200)).is_err());
        set_md5(&listener, addr.ip(), None, b"").expect("the key was there");
        dial(addr, b"", Duration::from_secs(5)).expect("no key is asked for");
    }

    #[test]
    fn an_md5_key_over_80_octets_is_refused_before_the_kernel_sees_it() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        let error = set_md5(&socket, Ipv4Addr::LOCALHOST.into(), None, &[7; 81]).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn segments_below_the_minimum_ttl_are_dropped() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        set_ttl(&listener, true, 255).expect("ttl");
        set_min_ttl(&listener, true, 255).expect("min ttl");
        let to = listener.local_addr().expect("bound").into();
        let near = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        set_ttl(&near, true, 255).expect("ttl");
        near.connect_timeout(&to, Duration::from_secs(5)).expect("TTL 255 passes");
        let far = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        set_ttl(&far, true, 254).expect("ttl");
        assert!(far.connect_timeout(&to, Duration::from_millis(300)).is_err(), "TTL 254 came over a router");
    }

    #[test]
    fn interfaces_are_found_by_name() {
        assert!(interface_index("lo").is_some());
        assert_eq!(interface_index("no-such-link"), None);
        assert_eq!(interface_index("a\0b"), None);
    }
}
