//! The least a reflector can do: every UPDATE byte that one peer sends is put in
//! one shared log, and each other peer's socket is written from that log.
//! No RIB, no attributes, no policy: a floor for S1, S2, S4 and S5, not a daemon.
use crate::{Args, wire};
use std::net::Ipv4Addr;

struct C {
    fd: i32,
    rest: Vec<u8>,
    cur: usize, // position in the segment list
    off: usize, // bytes of that segment already written
    w: bool,
    up: bool,
}

pub fn run(a: &Args) {
    let ip: Ipv4Addr = a.s("addr", "10.99.0.1").parse().unwrap();
    let asn = a.n("as", 65000) as u32;
    let hold = a.n("hold", 90) as u16;
    let port = a.n("port", 179) as u16;
    unsafe {
        let ls = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let one = 1i32;
        libc::setsockopt(ls, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one as *const i32 as *const _, 4);
        let sa = libc::sockaddr_in {
            sin_family: 2,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
            sin_zero: [0; 8],
        };
        assert_eq!(libc::bind(ls, &sa as *const _ as *const _, 16), 0);
        libc::listen(ls, 4096);
        let ep = libc::epoll_create1(0);
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: u64::MAX };
        libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, ls, &mut ev);
        let mut cs: Vec<C> = vec![];
        // shared log: (origin, bytes). Position 0 is the oldest.
        let mut log: Vec<(usize, Vec<u8>)> = vec![];
        let mut buf = vec![0u8; 1 << 20];
        let ka = wire::keepalive();
        let mut last_ka = std::time::Instant::now();
        loop {
            let mut evs: [libc::epoll_event; 256] = std::mem::zeroed();
            let n = libc::epoll_wait(ep, evs.as_mut_ptr(), 256, 1000);
            let before = log.len();
            for e in evs.iter().take(n.max(0) as usize) {
                if e.u64 == u64::MAX {
                    loop {
                        let fd = libc::accept4(ls, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_NONBLOCK);
                        if fd < 0 {
                            break;
                        }
                        libc::setsockopt(fd, 6, libc::TCP_NODELAY, &one as *const i32 as *const _, 4);
                        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: cs.len() as u64 };
                        libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut ev);
                        let o = wire::open(asn, ip, hold, true);
                        libc::send(fd, o.as_ptr() as *const _, o.len(), libc::MSG_NOSIGNAL);
                        cs.push(C { fd, rest: vec![], cur: 0, off: 0, w: false, up: false });
                    }
                    continue;
                }
                let i = e.u64 as usize;
                if cs[i].fd < 0 {
                    continue;
                }
                if e.events & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                    let keep = cs[i].rest.len();
                    buf[..keep].copy_from_slice(&cs[i].rest);
                    let r = libc::recv(cs[i].fd, buf.as_mut_ptr().add(keep) as *mut _, buf.len() - keep, 0);
                    if r <= 0 {
                        if r == 0 || *libc::__errno_location() != libc::EAGAIN {
                            libc::close(cs[i].fd);
                            cs[i].fd = -1;
                        }
                        continue;
                    }
                    let end = keep + r as usize;
                    let (mut at, mut seg) = (0, Vec::new());
                    while end - at >= 19 {
                        let l = u16::from_be_bytes([buf[at + 16], buf[at + 17]]) as usize;
                        if end - at < l {
                            break;
                        }
                        match buf[at + 18] {
                            wire::UPDATE if l > 23 => seg.extend_from_slice(&buf[at..at + l]),
                            wire::OPEN => {
                                libc::send(cs[i].fd, ka.as_ptr() as *const _, ka.len(), libc::MSG_NOSIGNAL);
                                cs[i].up = true;
                            }
                            _ => {}
                        }
                        at += l;
                    }
                    cs[i].rest = buf[at..end].to_vec();
                    if !seg.is_empty() {
                        log.push((i, seg));
                    }
                }
                if e.events & libc::EPOLLOUT as u32 != 0 {
                    pump(ep, &mut cs, i, &log);
                }
            }
            if log.len() != before {
                for i in 0..cs.len() {
                    if cs[i].fd >= 0 && cs[i].up && !cs[i].w {
                        pump(ep, &mut cs, i, &log);
                    }
                }
            }
            if last_ka.elapsed().as_secs() >= hold as u64 / 3 {
                last_ka = std::time::Instant::now();
                for c in cs.iter().filter(|c| c.fd >= 0 && c.up && c.off == 0) {
                    libc::send(c.fd, ka.as_ptr() as *const _, ka.len(), libc::MSG_NOSIGNAL);
                }
            }
        }
    }
}

fn pump(ep: i32, cs: &mut [C], i: usize, log: &[(usize, Vec<u8>)]) {
    let c = &mut cs[i];
    loop {
        // SAFETY: an iovec of nothing is a valid iovec.
        let mut iov: [libc::iovec; 512] = unsafe { std::mem::zeroed() };
        let (mut k, mut p, mut tot) = (0, c.cur, 0);
        while p < log.len() && k < 512 && tot < 1 << 20 {
            if log[p].0 != i {
                let o = if p == c.cur { c.off } else { 0 };
                iov[k].iov_base = log[p].1[o..].as_ptr() as *mut _;
                iov[k].iov_len = log[p].1.len() - o;
                tot += iov[k].iov_len;
                k += 1;
            }
            p += 1;
        }
        if k == 0 {
            c.cur = p;
            c.off = 0;
            break;
        }
        // SAFETY: the first k entries point into `log`, which outlives the call.
        let n = unsafe { libc::writev(c.fd, iov.as_ptr(), k as i32) };
        if n < 0 {
            break;
        }
        let mut left = n as usize;
        while c.cur < p {
            if log[c.cur].0 == i {
                c.cur += 1;
                c.off = 0;
                continue;
            }
            let rem = log[c.cur].1.len() - c.off;
            if left >= rem {
                left -= rem;
                c.cur += 1;
                c.off = 0;
            } else {
                c.off += left;
                break;
            }
        }
        if (n as usize) < tot {
            break;
        }
    }
    let want = c.cur < log.len();
    if want != c.w {
        c.w = want;
        let mut ev = libc::epoll_event { events: (libc::EPOLLIN | if want { libc::EPOLLOUT } else { 0 }) as u32, u64: i as u64 };
        // SAFETY: both descriptors are ours, `ev` lives through the call.
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, c.fd, &mut ev) };
    }
}
