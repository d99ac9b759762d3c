//! Reads CPU, memory and kernel table size of the daemon under test from /proc.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Default, Debug)]
pub struct Cpu {
    pub user: f64,
    pub sys: f64,
}
impl Cpu {
    pub fn minus(&self, o: &Cpu) -> Cpu {
        Cpu { user: self.user - o.user, sys: self.sys - o.sys }
    }
    pub fn sum(&self) -> f64 {
        self.user + self.sys
    }
}

pub fn cpu(pids: &[u32]) -> Cpu {
    let mut c = Cpu::default();
    for p in pids {
        if let Ok(s) = std::fs::read_to_string(format!("/proc/{p}/stat"))
            && let Some(r) = s.rfind(')')
        {
            let f: Vec<&str> = s[r + 2..].split(' ').collect();
            c.user += f[11].parse::<f64>().unwrap_or(0.0) / 100.0;
            c.sys += f[12].parse::<f64>().unwrap_or(0.0) / 100.0;
        }
    }
    c
}

/// CPU seconds from schedstat (ns resolution; threads that ended are not seen)
pub fn cpu_fine(pids: &[u32]) -> f64 {
    let mut ns = 0u64;
    for p in pids {
        if let Ok(d) = std::fs::read_dir(format!("/proc/{p}/task")) {
            for t in d.flatten() {
                if let Ok(s) = std::fs::read_to_string(t.path().join("schedstat")) {
                    ns += s.split(' ').next().and_then(|x| x.parse::<u64>().ok()).unwrap_or(0);
                }
            }
        }
    }
    ns as f64 / 1e9
}

pub fn ctxsw(pids: &[u32]) -> u64 {
    let mut n = 0;
    for p in pids {
        if let Ok(d) = std::fs::read_dir(format!("/proc/{p}/task")) {
            for t in d.flatten() {
                if let Ok(s) = std::fs::read_to_string(t.path().join("status")) {
                    for l in s.lines().filter(|l| l.contains("ctxt_switches")) {
                        n += l.split_whitespace().nth(1).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0);
                    }
                }
            }
        }
    }
    n
}

pub fn rss_mb(pids: &[u32]) -> (f64, f64) {
    let (mut now, mut peak) = (0.0, 0.0);
    for p in pids {
        if let Ok(s) = std::fs::read_to_string(format!("/proc/{p}/status")) {
            for l in s.lines() {
                let kb = || l.split_whitespace().nth(1).and_then(|x| x.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0;
                if l.starts_with("VmRSS:") {
                    now += kb();
                }
                if l.starts_with("VmHWM:") {
                    peak += kb();
                }
            }
        }
    }
    (now, peak)
}

pub fn own_cpu() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        (r.ru_utime.tv_sec + r.ru_stime.tv_sec) as f64 + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) as f64 / 1e6
    }
}

/// share of the machine's CPU time used since the last call by anybody: (busy seconds, total)
pub fn machine() -> (f64, f64) {
    let s = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let f: Vec<f64> = s.lines().next().unwrap_or("").split_whitespace().skip(1).map(|x| x.parse().unwrap_or(0.0)).collect();
    if f.len() < 8 {
        return (0.0, 0.0);
    }
    let idle = f[3] + f[4];
    let tot: f64 = f[..8].iter().sum();
    ((tot - idle) / 100.0, tot / 100.0)
}

/// main and local share one trie while the netns has no rules, and both report it: take the largest
fn fib_count(path: &str) -> Option<i64> {
    let s = std::fs::read_to_string(path).ok()?;
    Some(s.lines().filter_map(|l| l.trim().strip_prefix("Prefixes:")).filter_map(|x| x.trim().parse::<i64>().ok()).max().unwrap_or(0))
}

/// Background thread that watches how many v4 prefixes the kernel of a netns holds.
pub struct Fib {
    pub count: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
}
impl Fib {
    pub fn watch(pid: u32) -> Fib {
        let path = format!("/proc/{pid}/net/fib_triestat");
        let count = Arc::new(AtomicI64::new(fib_count(&path).unwrap_or(-1)));
        let stop = Arc::new(AtomicBool::new(false));
        let (c, s) = (count.clone(), stop.clone());
        std::thread::spawn(move || {
            while !s.load(Ordering::Relaxed) {
                let b = Instant::now();
                if let Some(n) = fib_count(&path) {
                    c.store(n, Ordering::Relaxed);
                }
                std::thread::sleep((b.elapsed() * 4).max(Duration::from_millis(5)));
            }
        });
        Fib { count, stop }
    }
    pub fn get(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }
}
impl Drop for Fib {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
