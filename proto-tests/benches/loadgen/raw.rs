//! S8: how fast the same bytes go with no daemon in between.
use crate::engine::rd4;
use crate::table::{self, Universe};
use crate::{Args, J, peer_ip};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Instant;

fn corpus(a: &Args) -> (table::Encoded, Universe) {
    let u = Universe::load(&a.s("data", "/tmp/bgpbench-data"), a.n("table4", 1_000_000) as usize, a.n("table6", 0) as usize);
    let e = table::encode_table(&u, Some(65001), peer_ip(0), Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 1, 10), a.n("pack", 100000) as usize);
    (e, u)
}

pub fn dump(a: &Args) {
    let (e, _) = corpus(a);
    std::fs::write(a.s("out", "corpus.bin"), &e.bytes).unwrap();
    println!("{{\"bytes\":{},\"updates\":{},\"groups\":{}}}", e.bytes.len(), e.updates, e.groups);
}

/// messages, NLRI and a checksum of a whole stream
fn count(b: &[u8], u: Option<&Universe>) -> (u64, u64, usize) {
    let (mut at, mut m, mut n, mut hit) = (0, 0u64, 0u64, 0usize);
    while b.len() - at >= 19 {
        let len = u16::from_be_bytes([b[at + 16], b[at + 17]]) as usize;
        if b.len() - at < len {
            break;
        }
        if b[at + 18] == 2 {
            m += 1;
            let x = &b[at + 19..at + len];
            let wl = u16::from_be_bytes([x[0], x[1]]) as usize;
            let al = u16::from_be_bytes([x[2 + wl], x[3 + wl]]) as usize;
            let mut q = 4 + wl + al;
            while q < x.len() {
                let l = x[q];
                let (p, k) = rd4(x, q, l);
                if let Some(u) = u {
                    hit += u.idx4(p, l).is_some() as usize;
                } else {
                    hit = hit.wrapping_add(p as usize);
                }
                n += 1;
                q += 1 + k;
            }
        }
        at += len;
    }
    std::hint::black_box(hit);
    (m, n, at)
}

pub fn run(a: &Args) {
    let (e, u) = corpus(a);
    let bytes = e.bytes;
    let mb = bytes.len() as f64 / 1e6;
    let mut j = J::new();
    j.u("bytes", bytes.len() as u64);
    j.u("updates", e.updates as u64);
    j.u("nlri", u.len() as u64);
    j.u("groups", e.groups as u64);
    let best = |f: &mut dyn FnMut()| {
        (0..5)
            .map(|_| {
                let t = Instant::now();
                f();
                t.elapsed().as_secs_f64()
            })
            .fold(f64::MAX, f64::min)
    };
    let mut dst = vec![0u8; bytes.len()];
    let s = best(&mut || {
        dst.copy_from_slice(&bytes);
        std::hint::black_box(&dst);
    });
    j.f("memcpy_s", s);
    j.f("memcpy_mb_s", mb / s);
    let s = best(&mut || {
        std::hint::black_box(count(&bytes, None));
    });
    j.f("scan_s", s);
    let s = best(&mut || {
        std::hint::black_box(count(&bytes, Some(&u)));
    });
    j.f("scan_index_s", s);
    // loopback TCP, sender thread and receiver thread
    for parse in [false, true] {
        let mut v = vec![];
        for _ in 0..5 {
            let l = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = l.local_addr().unwrap();
            let total = bytes.len();
            let b2: &[u8] = &bytes;
            let uu = &u;
            let c0 = crate::probe::own_cpu();
            let dt = std::thread::scope(|s| {
                s.spawn(move || {
                    let mut c = TcpStream::connect(to).unwrap();
                    c.set_nodelay(true).unwrap();
                    c.write_all(b2).unwrap();
                });
                let (mut c, _) = l.accept().unwrap();
                let t = Instant::now();
                let mut buf = vec![0u8; 1 << 20];
                let (mut keep, mut got) = (0, 0);
                while got < total {
                    let n = c.read(&mut buf[keep..]).unwrap();
                    got += n;
                    if parse {
                        let used = count(&buf[..keep + n], Some(uu)).2;
                        buf.copy_within(used..keep + n, 0);
                        keep = keep + n - used;
                    }
                }
                t.elapsed().as_secs_f64()
            });
            v.push((dt, crate::probe::own_cpu() - c0));
        }
        v.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap());
        let k = if parse { "tcp_parse" } else { "tcp" };
        j.f(&format!("{k}_s"), v[2].0);
        j.f(&format!("{k}_mb_s"), mb / v[2].0);
        j.f(&format!("{k}_cpu_s"), v[2].1);
    }
    j.print();
}
