//! What this machine gives, looked at for what will hurt: settings of the kernel that make sessions fail or packets vanish, and of which
//! nothing else would say a word.
//!
//! In: `/proc` of the network namespace that we are in. Out: findings, each with its cure. Nothing is changed. It is asked by `catbird doctor`
//! and once at the start of the daemon.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::services::neighbours;

/// How much it hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Fine,
    Hint,
    Bad,
}

/// What was found in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    pub text: String,
    /// What to do; empty if nothing.
    pub cure: String,
}

impl Finding {
    pub fn new(severity: Severity, subject: &str, text: String, cure: &str) -> Finding {
        Finding { severity, subject: subject.to_owned(), text, cure: cure.to_owned() }
    }
}

/// Where the kernel shows its settings.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// `/proc/sys`
    pub sys: &'a Path,
    pub neighbours: &'a [neighbours::Table],
    pub now: SystemTime,
}

/// This machine, as it is now.
pub fn look() -> Vec<Finding> {
    examine(&Machine { sys: Path::new("/proc/sys"), neighbours: &neighbours::read(), now: SystemTime::now() })
}

/// All that can be told from settings; what cannot be read is left out.
pub fn examine(machine: &Machine<'_>) -> Vec<Finding> {
    let all = [neighbour_tables(machine), forwarding(machine), rp_filter(machine), buffers(machine), quirks(machine), clock(machine)];
    all.into_iter().flatten().collect()
}

impl Machine<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        fs::read_to_string(self.sys.join(key)).ok()?.trim().parse().ok()
    }
}

/// Beyond this share of its bound a table is as good as full: entries that are in use are not given up.
const NEARLY_FULL: f64 = 0.8;

fn neighbour_tables(machine: &Machine<'_>) -> Vec<Finding> {
    let judge = |table: &neighbours::Table| {
        let limit = table.limit?;
        let full = table.entries as f64 > limit as f64 * NEARLY_FULL;
        let text = format!("{} of {limit} entries", table.entries);
        let cure = format!(
            "raise net.{0}.neigh.default.gc_thresh3 (and gc_thresh2, gc_thresh1): beyond it peers and pods on links are not found",
            table.family
        );
        let (severity, cure) = if full { (Severity::Bad, cure.as_str()) } else { (Severity::Fine, "") };
        Some(Finding::new(severity, &format!("neighbour table, {}", table.family), text, cure))
    };
    machine.neighbours.iter().filter_map(judge).collect()
}

fn forwarding(machine: &Machine<'_>) -> Vec<Finding> {
    let judge = |(key, name): (&str, &str)| {
        let on = machine.number(key)? != 0;
        let (severity, text) =
            if on { (Severity::Fine, "on") } else { (Severity::Bad, "off: this machine carries no packet for its pods") };
        let cure = if on { String::new() } else { format!("sysctl -w {name}=1") };
        Some(Finding::new(severity, name, text.to_owned(), &cure))
    };
    let both = [("net/ipv4/ip_forward", "net.ipv4.ip_forward"), ("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding")];
    both.into_iter().filter_map(judge).collect()
}

/// The kernel takes the greater of `all` and the link's own; 1 is strict.
fn rp_filter(machine: &Machine<'_>) -> Vec<Finding> {
    let conf = machine.sys.join("net/ipv4/conf");
    let all = machine.number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
    let links = fs::read_dir(conf).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let strict = |link: &String| machine.number(&format!("net/ipv4/conf/{link}/rp_filter")).is_some_and(|own| own.max(all) == 1);
    let mut strict: Vec<String> = links.filter(|link| !matches!(link.as_str(), "all" | "default" | "lo")).filter(strict).collect();
    strict.sort();
    if strict.is_empty() {
        return vec![Finding::new(Severity::Fine, "rp_filter", "nowhere strict".to_owned(), "")];
    }
    let more = strict.len().saturating_sub(8);
    strict.truncate(8);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "strict on {}{rest}: a packet that comes by another way than its answer would take is dropped (several equal ways, tunnels)",
        strict.join(", ")
    );
    vec![Finding::new(Severity::Hint, "rp_filter", text, "sysctl -w net.ipv4.conf.all.rp_filter=2")]
}

/// Each TCP-MD5 key takes a bit over 100 octets of the option memory of its socket; the netlink filter fits into what is the default.
fn buffers(machine: &Machine<'_>) -> Vec<Finding> {
    const OPTMEM: u64 = 20_480;
    const RMEM: u64 = 212_992;
    let low = |key: &str, name: &str, least: u64, what: &str| {
        let value = machine.number(key)?;
        let fine = value >= least;
        let text = if fine { value.to_string() } else { format!("{value}: {what}") };
        let cure = if fine { String::new() } else { format!("sysctl -w {name}={least}, or more") };
        Some(Finding::new(if fine { Severity::Fine } else { Severity::Bad }, name, text, &cure))
    };
    let optmem = low("net/core/optmem_max", "net.core.optmem_max", OPTMEM, "few TCP-MD5 keys, and no filter on netlink");
    let rmem = low("net/core/rmem_max", "net.core.rmem_max", RMEM, "what the kernel says of routes is lost without CAP_NET_ADMIN");
    optmem.into_iter().chain(rmem).collect()
}

fn quirks(machine: &Machine<'_>) -> Vec<Finding> {
    let silent = machine.number("net/ipv6/route/skip_notify_on_dev_down") == Some(1);
    let text = "1: IPv6 routes that go with their link are noticed only when all routes are read again";
    let finding = || {
        Finding::new(
            Severity::Hint,
            "net.ipv6.route.skip_notify_on_dev_down",
            text.to_owned(),
            "sysctl -w net.ipv6.route.skip_notify_on_dev_down=0",
        )
    };
    silent.then(finding).into_iter().collect()
}

/// Times in the log and in the metrics are the wall clock's. Before this was written it cannot be right.
fn clock(machine: &Machine<'_>) -> Vec<Finding> {
    const WRITTEN: Duration = Duration::from_secs(1_760_000_000);
    let now = machine.now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = crate::num::utc(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    let time = time.split('.').next().unwrap_or_default().to_owned();
    vec![match now > WRITTEN {
        true => Finding::new(Severity::Fine, "clock", format!("{time} UTC"), ""),
        false => {
            let text = format!("{time} UTC: not set; times in the log and the metrics are wrong (timers of BGP do not use it)");
            Finding::new(Severity::Hint, "clock", text, "start an NTP client")
        }
    }]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder in the place of `/proc/sys` that goes when the test ends.
    struct Sys(PathBuf);

    impl Sys {
        fn new(name: &str, settings: &[(&str, &str)]) -> Sys {
            let root = std::env::temp_dir().join(format!("catbird-doctor-{name}-{}", std::process::id()));
            for (key, value) in settings {
                let file = root.join(key);
                fs::create_dir_all(file.parent().expect("in a folder")).and_then(|()| fs::write(&file, value)).expect("our own folder");
            }
            Sys(root)
        }

        fn examine(&self, entries: u64, now: SystemTime) -> Vec<Finding> {
            let table = neighbours::Table { family: "ipv4", entries, limit: Some(1024) };
            examine(&Machine { sys: &self.0, neighbours: &[table], now })
        }
    }

    impl Drop for Sys {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("our own folder");
        }
    }

    fn bad(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter(|f| f.severity > Severity::Fine).map(|f| f.subject.as_str()).collect()
    }

    #[test]
    fn a_good_machine_has_nothing_that_hurts() {
        let sys =
            Sys::new("good", &[("net/ipv4/ip_forward", "1\n"), ("net/core/optmem_max", "131072\n"), ("net/core/rmem_max", "212992\n")]);
        let findings = sys.examine(100, SystemTime::now());
        assert_eq!(bad(&findings), [""; 0], "{findings:?}");
        assert!(findings.len() >= 5, "{findings:?}");
    }

    #[test]
    fn each_thing_that_will_hurt_is_found_with_its_cure() {
        let sys = Sys::new(
            "bad",
            &[
                ("net/ipv4/ip_forward", "0\n"),
                ("net/ipv6/conf/all/forwarding", "0\n"),
                ("net/ipv4/conf/all/rp_filter", "0\n"),
                ("net/ipv4/conf/eth0/rp_filter", "1\n"),
                ("net/ipv4/conf/eth1/rp_filter", "2\n"),
                ("net/core/optmem_max", "4096\n"),
                ("net/core/rmem_max", "4096\n"),
                ("net/ipv6/route/skip_notify_on_dev_down", "1\n"),
            ],
        );
        let findings = sys.examine(1000, UNIX_EPOCH);
        let subjects = [
            "neighbour table, ipv4",
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding",
            "rp_filter",
            "net.core.optmem_max",
            "net.core.rmem_max",
            "net.ipv6.route.skip_notify_on_dev_down",
            "clock",
        ];
        assert_eq!(bad(&findings), subjects);
        assert!(findings.iter().all(|f| !f.cure.is_empty()), "{findings:?}");
        let rp = findings.iter().find(|f| f.subject == "rp_filter").expect("found");
        assert!(rp.text.contains("eth0") && !rp.text.contains("eth1"), "{}", rp.text);
    }
}
