//! The load generator of `benches/run.py`: plays up to some thousand BGP peers from one thread, with messages encoded beforehand, and
//! prints one line of JSON: wall time, CPU and memory of the daemon under test, latencies. It knows no BGP library, so that no daemon
//! is measured with its own eyes.

mod engine;
mod nl;
mod nullrr;
mod probe;
mod raw;
mod table;
mod wire;

use engine::{Engine, St};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Universe;

pub struct Args(HashMap<String, String>);
impl Args {
    fn parse(it: impl Iterator<Item = String>) -> Args {
        let mut m = HashMap::new();
        let v: Vec<String> = it.collect();
        let mut i = 0;
        while i < v.len() {
            let k = v[i].trim_start_matches("--").to_string();
            if i + 1 < v.len() && !v[i + 1].starts_with("--") {
                m.insert(k, v[i + 1].clone());
                i += 2;
            } else {
                m.insert(k, "1".into());
                i += 1;
            }
        }
        Args(m)
    }
    pub fn s(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or_else(|| d.into())
    }
    pub fn n(&self, k: &str, d: u64) -> u64 {
        self.0.get(k).map_or(d, |x| x.parse().unwrap_or_else(|_| panic!("--{k} {x}")))
    }
    pub fn has(&self, k: &str) -> bool {
        self.0.contains_key(k)
    }
}

#[derive(Default)]
pub struct J(Vec<String>);
impl J {
    pub fn new() -> J {
        J(vec![])
    }
    pub fn f(&mut self, k: &str, v: f64) {
        self.0.push(format!("\"{k}\":{}", (v * 10000.0).round() / 10000.0));
    }
    pub fn u(&mut self, k: &str, v: u64) {
        self.0.push(format!("\"{k}\":{v}"));
    }
    pub fn b(&mut self, k: &str, v: bool) {
        self.0.push(format!("\"{k}\":{v}"));
    }
    pub fn s(&mut self, k: &str, v: &str) {
        self.0.push(format!("\"{k}\":\"{}\"", v.replace('"', "'")));
    }
    pub fn print(&self) {
        println!("{{{}}}", self.0.join(","));
    }
}

/// address of peer i; run.py uses the same formula
pub fn peer_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, (1 + i / 200) as u8, (10 + i % 200) as u8)
}

fn nofile() {
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur = r.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &r);
    }
}

fn main() {
    nofile();
    let mut it = std::env::args().skip(1);
    let cmd = it.next().unwrap_or_default();
    let a = Args::parse(it);
    match cmd.as_str() {
        "play" => play(&a),
        "raw" => raw::run(&a),
        "dump" => raw::dump(&a),
        "nullrr" => nullrr::run(&a),
        "nl" => nl::run(&a),
        _ => eprintln!("usage: loadgen play|raw|dump|nullrr|nl --key value ..."),
    }
}

fn play(a: &Args) {
    let n = a.n("n", 2) as usize;
    let mode = a.s("mode", "all");
    let senders = a.n("senders", n as u64) as usize;
    let per = a.n("per-peer", 4) as usize;
    let own = a.n("own", 0) as usize;
    let plen = a.n("plen", 26) as u8;
    let hold = a.n("hold", 90) as u16;
    let pack = a.n("pack", 100000) as usize;
    let timeout = Duration::from_secs(a.n("timeout", 300));
    let das = a.n("das", 65000) as u32;
    let mon_as = a.n("monitor-asn", 0) as u32;
    let flap_blocks = if a.has("flap") { a.n("flap-blocks", 1000) as usize } else { 0 };
    let (t4, t6) = (a.n("table4", 0) as usize, a.n("table6", 0) as usize);
    let v6 = t6 > 0;
    let pids: Vec<u32> = a.s("pids", "").split(',').filter_map(|x| x.parse().ok()).collect();
    let uni = if mode == "table" {
        Universe::load(&a.s("data", "/tmp/bgpbench-data"), t4, t6)
    } else {
        Universe::Synth { base: 0x14000000, plen, count: (senders * per + own + flap_blocks) as u32 }
    };
    let d: Ipv4Addr = a.s("daemon", "10.99.0.1").parse().unwrap();
    let mut e = Engine::new((d, a.n("port", 179) as u16), uni, hold, v6);
    e.eager = a.has("eager");
    e.window = a.n("conn-window", 8) as usize;
    let mut asns = vec![];
    for i in 0..n {
        let asn = if a.has("asn-base") { a.n("asn-base", 0) as u32 + i as u32 } else { das };
        asns.push(asn);
        e.add_peer(peer_ip(i), asn);
    }
    if mon_as > 0 {
        asns.push(mon_as);
        e.add_peer(peer_ip(n), mon_as);
    }
    // --- pre-encode everything
    let mut j = J::new();
    let enc0 = Instant::now();
    let (mut tx_upd, mut groups) = (0, 0);
    let total;
    if mode == "table" {
        let first = (asns[0] != das).then_some(asns[0]);
        let v6nh = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 1, 10);
        let enc = table::encode_table(&e.uni, first, peer_ip(0), v6nh, pack);
        tx_upd = enc.updates;
        groups = enc.groups;
        total = e.uni.len();
        e.peers[0].blast = Some(Arc::new(enc.bytes));
        e.set_targets(|i| (i > 0).then_some(total));
    } else {
        total = senders * per + own;
        for (i, &asn) in asns.iter().enumerate().take(senders) {
            let mut at = wire::Attrs::default();
            if asn == das {
                at.local_pref = Some(100);
            } else {
                at.path.push(asn);
                // some realism for wide eBGP feeds: a few origins behind each peer
            }
            let at = at.encode(Some(peer_ip(i)));
            let mut out = vec![];
            let pf: Vec<_> = (0..per).map(|k| e.uni.pfx4((i * per + k) as u32)).collect();
            tx_upd += wire::announce4(&mut out, &at, &pf, pack);
            out.extend_from_slice(&wire::eor4());
            e.peers[i].blast = Some(Arc::new(out));
            e.peers[i].mine = (i * per) as u32..((i + 1) * per) as u32;
        }
        if mode == "mesh" {
            e.set_targets(|i| if i == n { Some(total) } else { (own > 0).then_some(own) });
        } else if mode == "sink" {
            e.set_targets(|_| None);
        } else {
            e.set_targets(|i| Some(if i < senders { total - per } else { total }));
        }
    }
    j.f("encode_s", enc0.elapsed().as_secs_f64());
    // --- sessions
    let c_start = probe::cpu(&pids);
    let rss0 = probe::rss_mb(&pids);
    let t_conn = Instant::now();
    let want = e.peers.len();
    e.begin_phase();
    let lg0 = probe::own_cpu();
    let m0 = probe::machine();
    while e.up < want && t_conn.elapsed() < timeout {
        e.turn(20);
    }
    let est = t_conn.elapsed().as_secs_f64();
    let closes: u32 = e.peers.iter().map(|p| p.closes).sum();
    j.f("est_s", est);
    j.u("up", e.up as u64);
    j.u("closes_before_up", closes as u64);
    let c_est = probe::cpu(&pids);
    j.f("est_cpu_s", c_est.minus(&c_start).sum());
    if e.up < want {
        let nf: Vec<_> = e.peers.iter().filter_map(|p| p.notif).take(3).collect();
        let sts: Vec<_> = e.peers.iter().filter(|p| p.st != St::Up).take(3).map(|p| format!("{}:{:?}", p.src, p.st)).collect();
        j.b("ok", false);
        j.s("why", &format!("only {}/{} sessions up; notif {:?}; {:?}", e.up, want, nf, sts));
        j.print();
        return;
    }
    let (c0, t0, fine0, sw0);
    if e.eager {
        c0 = c_start;
        t0 = t_conn;
        fine0 = 0.0;
        sw0 = 0;
    } else {
        // let the initial exchange (EoR, own routes) settle; a daemon that drops a session
        // here gets it back before the clock starts
        let settle = Duration::from_millis(a.n("settle-ms", 1500));
        let mut s = Instant::now();
        while s.elapsed() < settle && t_conn.elapsed() < timeout {
            e.turn(20);
            if e.up < want {
                s = Instant::now();
            }
        }
        j.u("dropped_after_up", e.lost as u64);
        e.lost = 0;
        e.keep_retry = false;
        c0 = probe::cpu(&pids);
        fine0 = probe::cpu_fine(&pids);
        sw0 = probe::ctxsw(&pids);
        for p in e.peers.iter_mut() {
            p.upd = 0;
            p.nlri = 0;
            p.wdr = 0;
            p.bytes = 0;
            p.echo = 0;
        }
        e.tx_bytes = 0;
        e.begin_phase();
        t0 = e.phase_t0;
        for i in 0..n {
            if let Some(b) = e.peers[i].blast.clone() {
                e.send(i, b);
            }
        }
    }
    let lg1 = if e.eager { lg0 } else { probe::own_cpu() };
    let fibmode = a.has("fib-pid");
    let fib = fibmode.then(|| probe::Fib::watch(a.n("fib-pid", 0) as u32));
    let fib_base = a.n("fib-base", 0) as i64;
    let fib_want = fib_base + a.n("fib-want", total as u64) as i64;
    let mut fib_peak = 0;
    let mut stall = Instant::now();
    let mut seen = (0u64, 0i64);
    loop {
        let tx_left = false;
        let done = match &fib {
            Some(f) => {
                fib_peak = fib_peak.max(f.get());
                f.get() >= fib_want
            }
            None => e.pending == 0 && !tx_left,
        };
        if done || t0.elapsed() > timeout {
            break;
        }
        // give up when nothing moves for a long time
        let cur = (e.hist.n, fib.as_ref().map_or(0, |f| f.get()));
        if cur != seen {
            seen = cur;
            stall = Instant::now();
        }
        if stall.elapsed().as_secs() >= a.n("stall", 60) || (e.lost > 0 && !e.keep_retry) {
            break;
        }
        e.turn(10);
    }
    let done_at = if fibmode { Instant::now() } else { e.t_last };
    let ok = if fibmode { fib.as_ref().unwrap().get() >= fib_want } else { e.pending == 0 };
    let c1 = probe::cpu(&pids);
    let fine1 = probe::cpu_fine(&pids);
    let sw1 = probe::ctxsw(&pids);
    let m1 = probe::machine();
    j.b("ok", ok);
    j.f("wall_s", (done_at - t0).as_secs_f64());
    if let Some(f) = e.t_first {
        j.f("first_ms", (f - t0).as_secs_f64() * 1e3);
    }
    if e.hist.n > 0 {
        j.f("p50_ms", e.hist.q(0.5));
        j.f("p99_ms", e.hist.q(0.99));
    }
    let dc = c1.minus(&c0);
    j.f("cpu_s", dc.sum());
    j.f("cpu_user", dc.user);
    j.f("cpu_sys", dc.sys);
    if !e.eager {
        j.f("cpu_fine", fine1 - fine0);
        j.u("ctxsw", sw1 - sw0);
    }
    j.f("lg_cpu_s", probe::own_cpu() - lg1);
    j.f("machine_busy", (m1.0 - m0.0) / (m1.1 - m0.1).max(0.01));
    let rx: (u64, u64, u64, u64) = e.peers.iter().fold((0, 0, 0, 0), |s, p| (s.0 + p.upd, s.1 + p.nlri, s.2 + p.wdr, s.3 + p.bytes));
    j.u("tx_upd", tx_upd as u64);
    j.u("tx_groups", groups as u64);
    j.u("tx_bytes", e.tx_bytes);
    j.u("rx_upd", rx.0);
    j.u("rx_nlri", rx.1);
    j.u("rx_wd", rx.2);
    j.u("rx_bytes", rx.3);
    j.u("rx_echo", e.peers.iter().map(|p| p.echo).sum());
    j.u("total", total as u64);
    if !ok {
        let worst = e.peers.iter().filter(|p| p.target.is_some()).map(|p| p.have).min().unwrap_or(0);
        let nf: Vec<_> = e.peers.iter().filter_map(|p| p.notif).take(3).collect();
        j.s(
            "why",
            &format!(
                "pending {} worst {} of {} lost {} notif {:?} fib {} of {}",
                e.pending,
                worst,
                total,
                e.lost,
                nf,
                fib.as_ref().map_or(-1, |f| f.get()),
                fib_want
            ),
        );
    }
    // --- memory and what is still being done after the end
    let s = Instant::now();
    while s.elapsed() < Duration::from_secs(2) {
        e.turn(20);
    }
    let r = probe::rss_mb(&pids);
    j.f("rss_mb", r.0);
    j.f("rss_peak_mb", r.1);
    j.f("rss_start_mb", rss0.0);
    j.f("cpu_2s_after", probe::cpu(&pids).minus(&c1).sum());
    j.u("lost", e.lost as u64);
    if ok && a.has("idle") {
        let secs = a.n("idle", 60);
        let (b, w, f) = (probe::cpu(&pids), probe::ctxsw(&pids), probe::cpu_fine(&pids));
        let s = Instant::now();
        while s.elapsed() < Duration::from_secs(secs) {
            e.turn(200);
        }
        let k = 60.0 / secs as f64;
        j.f("idle_cpu_per_min", probe::cpu(&pids).minus(&b).sum() * k);
        j.f("idle_cpu_fine_per_min", (probe::cpu_fine(&pids) - f) * k);
        j.f("idle_ctxsw_per_min", (probe::ctxsw(&pids) - w) as f64 * k);
        j.u("lost_idle", e.lost as u64);
    }
    if ok && flap_blocks > 0 {
        flap(a, &mut e, &mut j, &pids, senders * per + own, flap_blocks, asns[0] == das, asns[0], timeout);
    }
    if ok && fibmode {
        fib_rest(a, &mut e, &mut j, &pids, fib.as_ref().unwrap(), fib_base, fib_want);
    }
    j.print();
}

#[allow(clippy::too_many_arguments)]
fn flap(a: &Args, e: &mut Engine, j: &mut J, pids: &[u32], base: usize, m: usize, ibgp: bool, asn: u32, timeout: Duration) {
    let pack = a.n("pack", 100000) as usize;
    let mut at = wire::Attrs::default();
    if ibgp {
        at.local_pref = Some(100);
    } else {
        at.path.push(asn);
    }
    let at = at.encode(Some(peer_ip(0)));
    let pf: Vec<_> = (0..m).map(|k| e.uni.pfx4((base + k) as u32)).collect();
    let (mut up, mut down) = (vec![], vec![]);
    wire::announce4(&mut up, &at, &pf, pack);
    wire::withdraw4(&mut down, &pf, pack);
    let (up, down) = (Arc::new(up), Arc::new(down));
    let have: Vec<usize> = e.peers.iter().map(|p| p.have).collect();
    let k = a.n("flap", 20);
    let (mut hu, mut hd) = (vec![], vec![]);
    let (mut p50u, mut p99u, mut p50d, mut p99d) = (vec![], vec![], vec![], vec![]);
    let mut ok = true;
    let mut c0 = probe::cpu(pids);
    let mut f0 = probe::cpu_fine(pids);
    let t = Instant::now();
    let mut rx0 = 0;
    for it in 0..=k {
        // turn 0 warms up and is not counted
        if it == 1 {
            c0 = probe::cpu(pids);
            f0 = probe::cpu_fine(pids);
            rx0 = e.peers.iter().map(|p| p.upd).sum::<u64>();
        }
        for ann in [true, false] {
            let s = Instant::now();
            while s.elapsed() < Duration::from_millis(a.n("flap-gap-ms", 50)) {
                e.turn(5);
            }
            e.set_targets(|i| (i > 0).then(|| have[i] + if ann { m } else { 0 }));
            e.begin_phase();
            e.send(0, if ann { up.clone() } else { down.clone() });
            while e.pending > 0 && e.phase_t0.elapsed() < timeout && e.lost == 0 {
                e.turn(10);
            }
            ok &= e.pending == 0;
            if it > 0 {
                let all = (e.t_last - e.phase_t0).as_secs_f64() * 1e3;
                let (x, y, z) = if ann { (&mut hu, &mut p50u, &mut p99u) } else { (&mut hd, &mut p50d, &mut p99d) };
                x.push(all);
                y.push(e.hist.q(0.5));
                z.push(e.hist.q(0.99));
            }
            if !ok {
                break;
            }
        }
        if !ok {
            break;
        }
    }
    let med = |v: &mut Vec<f64>| {
        v.sort_by(|a, b| a.partial_cmp(b).unwrap());
        v.get(v.len() / 2).copied().unwrap_or(0.0)
    };
    j.b("flap_ok", ok);
    j.f("flap_s", t.elapsed().as_secs_f64());
    j.f("ann_p50_ms", med(&mut p50u));
    j.f("ann_p99_ms", med(&mut p99u));
    j.f("ann_all_ms", med(&mut hu));
    j.f("wd_p50_ms", med(&mut p50d));
    j.f("wd_p99_ms", med(&mut p99d));
    j.f("wd_all_ms", med(&mut hd));
    j.f("ann_worst_ms", hu.iter().cloned().fold(0.0, f64::max));
    j.f("wd_worst_ms", hd.iter().cloned().fold(0.0, f64::max));
    j.f("flap_cpu_s", probe::cpu(pids).minus(&c0).sum());
    j.f("flap_cpu_fine", probe::cpu_fine(pids) - f0);
    j.u("flap_rx_upd", e.peers.iter().map(|p| p.upd).sum::<u64>() - rx0);
}

fn fib_rest(a: &Args, e: &mut Engine, j: &mut J, pids: &[u32], f: &probe::Fib, base: i64, want: i64) {
    let lim = Duration::from_secs(a.n("fib-timeout", 120));
    let wait = |e: &mut Engine, cond: &dyn Fn(i64) -> bool| {
        let t = Instant::now();
        while !cond(f.get()) && t.elapsed() < lim {
            e.turn(5);
        }
        (cond(f.get()), t.elapsed().as_secs_f64())
    };
    if a.has("fib-flush") {
        let c0 = probe::cpu(pids);
        let t = Instant::now();
        let st = std::process::Command::new("sh").arg("-c").arg(a.s("fib-flush", "true")).status();
        let flush_s = t.elapsed().as_secs_f64();
        j.f("flush_s", flush_s);
        j.b("flush_ok", st.map(|s| s.success()).unwrap_or(false));
        let low = f.get();
        let (ok, s) = wait(e, &|c| c >= want);
        j.u("flush_low", low.max(0) as u64);
        j.b("repair_ok", ok);
        j.f("repair_s", s + flush_s);
        j.f("repair_cpu_s", probe::cpu(pids).minus(&c0).sum());
        if !ok {
            j.u("repair_count", f.get().max(0) as u64);
        }
    }
    let c0 = probe::cpu(pids);
    for i in 0..e.peers.len() {
        e.close(i, false);
    }
    let (ok, s) = wait(e, &|c| c <= base);
    j.b("down_ok", ok);
    j.f("down_s", s);
    j.f("down_cpu_s", probe::cpu(pids).minus(&c0).sum());
}
