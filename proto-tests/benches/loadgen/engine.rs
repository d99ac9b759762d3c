//! N BGP peers on one epoll thread. Nothing is encoded while a phase is timed.
use crate::table::Universe;
use crate::wire;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum St {
    Down,
    Connecting,
    OpenSent,
    OpenConfirm,
    Up,
    Lost,
}

pub struct Peer {
    pub src: Ipv4Addr,
    pub asn: u32,
    pub fd: i32,
    pub st: St,
    rest: Vec<u8>,
    outq: VecDeque<(Arc<Vec<u8>>, usize)>,
    want_w: bool,
    pub upd: u64,
    pub nlri: u64,
    pub wdr: u64,
    pub other: u64,
    pub bytes: u64,
    pub have: usize,
    bits: Vec<u64>,
    pub target: Option<usize>,
    /// own prefixes: some reflectors send them back, they are not counted
    pub mine: std::ops::Range<u32>,
    pub echo: u64,
    pub blast: Option<Arc<Vec<u8>>>,
    next_try: Instant,
    last_tx: Instant,
    pub notif: Option<(u8, u8)>,
    pub closes: u32,
    pub t_up: Option<Instant>,
}

/// log-linear histogram of microseconds, 32 steps per power of two
pub struct Hist {
    c: Vec<u64>,
    pub n: u64,
    pub max: u64,
}
impl Hist {
    pub fn new() -> Self {
        Hist { c: vec![0; 40 * 32], n: 0, max: 0 }
    }
    #[inline]
    pub fn add(&mut self, us: u64) {
        let v = us.max(1);
        let e = 63 - v.leading_zeros() as usize;
        let m = if e >= 5 { (v >> (e - 5)) as usize & 31 } else { (v << (5 - e)) as usize & 31 };
        self.c[e * 32 + m] += 1;
        self.n += 1;
        self.max = self.max.max(us);
    }
    pub fn q(&self, q: f64) -> f64 {
        let want = (self.n as f64 * q).ceil() as u64;
        let mut s = 0;
        for (i, c) in self.c.iter().enumerate() {
            s += c;
            if s >= want && s > 0 {
                return (1u64 << (i / 32)) as f64 * (1.0 + (i % 32) as f64 / 32.0) / 1000.0;
            }
        }
        0.0
    }
    pub fn reset(&mut self) {
        *self = Hist::new();
    }
}

pub struct Engine {
    ep: i32,
    pub daemon: (Ipv4Addr, u16),
    pub peers: Vec<Peer>,
    pub uni: Universe,
    pub hist: Hist,
    pub phase_t0: Instant,
    pub t_first: Option<Instant>,
    pub t_last: Instant,
    pub pending: usize,
    pub up: usize,
    pub eager: bool,
    pub keep_retry: bool,
    pub window: usize,
    pub hold: u16,
    pub v6: bool,
    pub retry: Duration,
    inflight: usize,
    rxbuf: Vec<u8>,
    ka: Arc<Vec<u8>>,
    pub tx_bytes: u64,
    pub wakeups: u64,
    last_ka_scan: Instant,
    pub lost: u32,
}

fn sa(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    }
}

impl Engine {
    pub fn new(daemon: (Ipv4Addr, u16), uni: Universe, hold: u16, v6: bool) -> Engine {
        let now = Instant::now();
        Engine {
            ep: unsafe { libc::epoll_create1(0) },
            daemon,
            peers: vec![],
            uni,
            hist: Hist::new(),
            phase_t0: now,
            t_first: None,
            t_last: now,
            pending: 0,
            up: 0,
            eager: false,
            keep_retry: true,
            window: 32,
            hold,
            v6,
            retry: Duration::from_millis(200),
            inflight: 0,
            rxbuf: vec![0; 1 << 20],
            ka: Arc::new(wire::keepalive()),
            tx_bytes: 0,
            wakeups: 0,
            last_ka_scan: now,
            lost: 0,
        }
    }

    pub fn add_peer(&mut self, src: Ipv4Addr, asn: u32) {
        let now = Instant::now();
        self.peers.push(Peer {
            src,
            asn,
            fd: -1,
            st: St::Down,
            rest: vec![],
            outq: VecDeque::new(),
            want_w: false,
            upd: 0,
            nlri: 0,
            wdr: 0,
            other: 0,
            bytes: 0,
            have: 0,
            bits: vec![0; self.uni.len().div_ceil(64)],
            target: None,
            mine: 0..0,
            echo: 0,
            blast: None,
            next_try: now,
            last_tx: now,
            notif: None,
            closes: 0,
            t_up: None,
        });
    }

    pub fn set_targets(&mut self, f: impl Fn(usize) -> Option<usize>) {
        for i in 0..self.peers.len() {
            self.peers[i].target = f(i);
        }
        self.pending = self.peers.iter().filter(|p| p.target.is_some_and(|t| t != p.have)).count();
    }
    pub fn begin_phase(&mut self) {
        self.hist.reset();
        self.phase_t0 = Instant::now();
        self.t_first = None;
        self.t_last = self.phase_t0;
    }

    fn connect(&mut self, i: usize) {
        unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
            let one: i32 = 1;
            let p = &one as *const i32 as *const libc::c_void;
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, p, 4);
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, p, 4);
            let a = sa(self.peers[i].src, 0);
            if libc::bind(fd, &a as *const _ as *const libc::sockaddr, 16) != 0 {
                panic!("bind {}: {}", self.peers[i].src, std::io::Error::last_os_error());
            }
            let d = sa(self.daemon.0, self.daemon.1);
            libc::connect(fd, &d as *const _ as *const libc::sockaddr, 16);
            let mut ev = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLOUT) as u32, u64: i as u64 };
            libc::epoll_ctl(self.ep, libc::EPOLL_CTL_ADD, fd, &mut ev);
            let p = &mut self.peers[i];
            p.fd = fd;
            p.st = St::Connecting;
            p.want_w = true;
            p.rest.clear();
            p.outq.clear();
            self.inflight += 1;
        }
    }

    pub fn close(&mut self, i: usize, lost: bool) {
        let p = &mut self.peers[i];
        if p.fd < 0 {
            return;
        }
        unsafe { libc::close(p.fd) };
        p.fd = -1;
        match p.st {
            St::Up => self.up -= 1,
            St::Connecting | St::OpenSent | St::OpenConfirm => self.inflight -= 1,
            _ => {}
        }
        p.outq.clear();
        p.rest.clear();
        if lost {
            p.closes += 1;
            if p.st == St::Up {
                self.lost += 1;
            }
            if self.keep_retry {
                p.st = St::Down;
                p.next_try = Instant::now() + self.retry;
            } else {
                p.st = St::Lost;
            }
            // what it had learned is void
            if p.target.is_some() && p.have > 0 {
                let was_done = p.target == Some(p.have);
                p.have = 0;
                p.bits.iter_mut().for_each(|b| *b = 0);
                if was_done && p.target != Some(0) {
                    self.pending += 1;
                }
            }
        } else {
            p.st = St::Lost;
        }
    }

    fn interest(&mut self, i: usize, w: bool) {
        let p = &mut self.peers[i];
        if p.want_w != w && p.fd >= 0 {
            p.want_w = w;
            let mut e = libc::EPOLLIN as u32;
            if w {
                e |= libc::EPOLLOUT as u32;
            }
            let mut ev = libc::epoll_event { events: e, u64: i as u64 };
            unsafe { libc::epoll_ctl(self.ep, libc::EPOLL_CTL_MOD, p.fd, &mut ev) };
        }
    }

    pub fn send(&mut self, i: usize, b: Arc<Vec<u8>>) {
        if self.peers[i].fd < 0 {
            return;
        }
        self.peers[i].outq.push_back((b, 0));
        self.flush(i);
    }

    fn flush(&mut self, i: usize) {
        loop {
            let p = &mut self.peers[i];
            let Some((b, off)) = p.outq.front_mut() else {
                break;
            };
            let n =
                unsafe { libc::send(p.fd, b.as_ptr().add(*off) as *const libc::c_void, (b.len() - *off).min(1 << 20), libc::MSG_NOSIGNAL) };
            if n < 0 {
                let e = std::io::Error::last_os_error();
                if e.kind() == std::io::ErrorKind::WouldBlock {
                    self.interest(i, true);
                    return;
                }
                self.close(i, true);
                return;
            }
            self.tx_bytes += n as u64;
            *off += n as usize;
            p.last_tx = Instant::now();
            if *off == b.len() {
                p.outq.pop_front();
            }
        }
        self.interest(i, false);
    }

    /// One turn of the loop, waiting at most `ms`.
    pub fn turn(&mut self, ms: i32) {
        let now = Instant::now();
        // start sessions
        if self.up + self.inflight < self.peers.len() && self.inflight < self.window {
            for i in 0..self.peers.len() {
                if self.inflight >= self.window {
                    break;
                }
                if self.peers[i].st == St::Down && self.peers[i].next_try <= now {
                    self.connect(i);
                }
            }
        }
        if now - self.last_ka_scan > Duration::from_millis(500) {
            self.last_ka_scan = now;
            let every = Duration::from_secs(self.hold.max(3) as u64 / 3);
            for i in 0..self.peers.len() {
                let p = &self.peers[i];
                if p.st == St::Up && p.outq.is_empty() && now - p.last_tx >= every {
                    let k = self.ka.clone();
                    self.send(i, k);
                }
            }
        }
        let mut evs: [libc::epoll_event; 256] = unsafe { std::mem::zeroed() };
        let n = unsafe { libc::epoll_wait(self.ep, evs.as_mut_ptr(), 256, ms) };
        self.wakeups += 1;
        for e in evs.iter().take(n.max(0) as usize) {
            let i = e.u64 as usize;
            let f = e.events;
            if self.peers[i].fd < 0 {
                continue;
            }
            if self.peers[i].st == St::Connecting && f & (libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0 {
                let mut err: i32 = 0;
                let mut l: u32 = 4;
                unsafe {
                    libc::getsockopt(self.peers[i].fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut err as *mut i32 as *mut libc::c_void, &mut l)
                };
                if err != 0 {
                    self.close(i, true);
                    continue;
                }
                self.peers[i].st = St::OpenSent;
                let o = wire::open(self.peers[i].asn, self.peers[i].src, self.hold, self.v6);
                self.interest(i, false);
                self.send(i, Arc::new(o));
                continue;
            }
            if f & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                self.readable(i);
            }
            if f & libc::EPOLLOUT as u32 != 0 && self.peers[i].fd >= 0 {
                self.flush(i);
            }
        }
    }

    fn readable(&mut self, i: usize) {
        let mut buf = std::mem::take(&mut self.rxbuf);
        let keep = self.peers[i].rest.len();
        buf[..keep].copy_from_slice(&self.peers[i].rest);
        let n = unsafe { libc::recv(self.peers[i].fd, buf.as_mut_ptr().add(keep) as *mut libc::c_void, buf.len() - keep, 0) };
        if n <= 0 {
            let again = n < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock;
            self.rxbuf = buf;
            if !again {
                self.close(i, true);
            }
            return;
        }
        let now = Instant::now();
        self.peers[i].bytes += n as u64;
        let end = keep + n as usize;
        let mut at = 0;
        while end - at >= 19 {
            let len = u16::from_be_bytes([buf[at + 16], buf[at + 17]]) as usize;
            if len < 19 {
                eprintln!("peer {i}: bad length {len}");
                self.close(i, true);
                break;
            }
            if end - at < len {
                break;
            }
            let typ = buf[at + 18];
            if typ == wire::UPDATE {
                self.update(i, &buf[at + 19..at + len], now);
            } else if !self.control(i, typ, &buf[at + 19..at + len], now) {
                at = end;
                break;
            }
            at += len;
        }
        if self.peers[i].fd >= 0 {
            let p = &mut self.peers[i];
            p.rest.clear();
            p.rest.extend_from_slice(&buf[at..end]);
        }
        self.rxbuf = buf;
    }

    fn control(&mut self, i: usize, typ: u8, body: &[u8], now: Instant) -> bool {
        match typ {
            wire::OPEN => {
                self.peers[i].st = St::OpenConfirm;
                let k = self.ka.clone();
                self.send(i, k);
            }
            wire::KEEPALIVE if self.peers[i].st == St::OpenConfirm => {
                self.peers[i].st = St::Up;
                self.peers[i].t_up = Some(now);
                self.up += 1;
                self.inflight -= 1;
                if self.eager
                    && let Some(b) = self.peers[i].blast.clone()
                {
                    self.send(i, b);
                }
            }
            wire::NOTIFICATION => {
                self.peers[i].notif = Some((body[0], body[1]));
                self.close(i, true);
                return false;
            }
            _ => {}
        }
        true
    }

    #[inline]
    fn mark(&mut self, i: usize, idx: Option<u32>, up: bool, now: Instant) {
        let p = &mut self.peers[i];
        let Some(ix) = idx else {
            p.other += 1;
            return;
        };
        if p.mine.contains(&ix) {
            p.echo += 1;
            return;
        }
        let (w, b) = (ix as usize / 64, 1u64 << (ix % 64));
        let is = p.bits[w] & b != 0;
        if is == up {
            return;
        }
        p.bits[w] ^= b;
        let Some(t) = p.target else {
            p.have = if up { p.have + 1 } else { p.have - 1 };
            return;
        };
        if p.have == t {
            self.pending += 1;
        }
        p.have = if up { p.have + 1 } else { p.have - 1 };
        if p.have == t {
            self.pending -= 1;
        }
        if self.t_first.is_none() {
            self.t_first = Some(now);
        }
        self.t_last = now;
        self.hist.add((now - self.phase_t0).as_micros() as u64);
    }

    fn update(&mut self, i: usize, b: &[u8], now: Instant) {
        self.peers[i].upd += 1;
        if b.len() < 4 {
            return;
        }
        let wl = u16::from_be_bytes([b[0], b[1]]) as usize;
        let al = u16::from_be_bytes([b[2 + wl], b[3 + wl]]) as usize;
        let (mut at, end) = (2, 2 + wl);
        while at < end {
            let l = b[at];
            let (a, n) = rd4(b, at, l);
            self.peers[i].wdr += 1;
            let ix = self.uni.idx4(a, l);
            self.mark(i, ix, false, now);
            at += 1 + n;
        }
        let nl = 4 + wl + al;
        if self.v6 && al > 0 {
            let mut at = 4 + wl;
            while at < nl {
                let ext = b[at] & 0x10 != 0;
                let typ = b[at + 1];
                let (h, l) = if ext { (4, u16::from_be_bytes([b[at + 2], b[at + 3]]) as usize) } else { (3, b[at + 2] as usize) };
                let v = &b[at + h..at + h + l];
                if (typ == 14 || typ == 15) && v[..2] == [0, 2] {
                    let mut q = if typ == 14 { 5 + v[3] as usize } else { 3 };
                    while q < v.len() {
                        let l = v[q];
                        let n = (l as usize).div_ceil(8);
                        let mut o = [0u8; 16];
                        o[..n].copy_from_slice(&v[q + 1..q + 1 + n]);
                        let ix = self.uni.idx6(u128::from_be_bytes(o), l);
                        if typ == 14 {
                            self.peers[i].nlri += 1;
                        } else {
                            self.peers[i].wdr += 1;
                        }
                        self.mark(i, ix, typ == 14, now);
                        q += 1 + n;
                    }
                }
                at += h + l;
            }
        }
        let mut at = nl;
        while at < b.len() {
            let l = b[at];
            let (a, n) = rd4(b, at, l);
            self.peers[i].nlri += 1;
            let ix = self.uni.idx4(a, l);
            self.mark(i, ix, true, now);
            at += 1 + n;
        }
    }
}

#[inline]
pub fn rd4(b: &[u8], at: usize, l: u8) -> (u32, usize) {
    let n = (l as usize).div_ceil(8);
    let mut o = [0u8; 4];
    o[..n].copy_from_slice(&b[at + 1..at + 1 + n]);
    (u32::from_be_bytes(o), n)
}
