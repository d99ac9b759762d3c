//! What the kernels and daemons of two nodes said when a datagram between them was lost.
//!
//! In: the cluster, running. Out: for a loss that nothing excuses, the lines of both nodes around that moment (routes, links, addresses and
//! neighbours as `ip monitor` tells them, and the daemon's log), so that its cause can be found without doing it again; and how many packets
//! the machine itself has dropped for want of room or time, which no daemon can help.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::pings::Loss;
use crate::netlab::cluster::Cluster;
use crate::netlab::mounts::Scratch;

/// Lines so long before and after a loss are told.
const AROUND: Duration = Duration::from_millis(400);
/// So many of each file.
const MOST: usize = 12;
const DAY: f64 = 86_400.0;

/// Follows every node.
#[derive(Debug)]
pub struct Witness {
    scratch: Scratch,
    monitors: Vec<Child>,
    /// Of each node.
    logs: Vec<PathBuf>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        for monitor in &mut self.monitors {
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
    }
}

impl Witness {
    /// # Errors
    /// `ip monitor` cannot be started.
    pub fn start(cluster: &Cluster) -> io::Result<Self> {
        let scratch = Scratch::new("witness")?;
        let mut monitors = Vec::new();
        for (index, member) in cluster.members.iter().enumerate() {
            let mut command = Command::new("ip");
            command.args(["-ts", "monitor", "route", "link", "address", "neigh"]).env("TZ", "UTC");
            command.stdin(Stdio::null()).stdout(File::create(said_by(&scratch, index))?).stderr(Stdio::null());
            monitors.push(member.ns.spawn(command)?);
        }
        let logs = cluster.members.iter().map(|member| member.log().to_path_buf()).collect();
        Ok(Self { scratch, monitors, logs })
    }

    /// What both nodes said around the moment of a loss.
    pub fn around(&self, loss: &Loss) -> Vec<String> {
        let at = SystemTime::now() - loss.at.elapsed();
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() % DAY;
        let mut lines = vec![format!("the first was sent at {}", clock(second))];
        for node in [loss.from, loss.to] {
            for (file, who) in [(said_by(&self.scratch, node), "kernel"), (self.logs[node].clone(), "daemon")] {
                lines.extend(near(&file, second).into_iter().map(|line| format!("member {node}, {who}: {line}")));
            }
        }
        lines
    }
}

fn said_by(scratch: &Scratch, index: usize) -> PathBuf {
    scratch.path().join(format!("monitor-{index}"))
}

fn near(file: &Path, second: f64) -> Vec<String> {
    let Ok(octets) = fs::read(file) else { return Vec::new() };
    let text = String::from_utf8_lossy(&octets);
    let is_near = |line: &&str| {
        let apart = time_of(line).map(|at| (at - second).abs());
        apart.is_some_and(|apart| apart.min(DAY - apart) < AROUND.as_secs_f64())
    };
    let all: Vec<&str> = text.lines().filter(is_near).collect();
    let more = all.len().saturating_sub(MOST);
    let rest = (more > 0).then(|| format!("and {more} more lines"));
    all.into_iter().take(MOST).map(str::to_owned).chain(rest).collect()
}

/// The second of the day of a line with a time like `2026-11-30T08:54:51.123456`.
fn time_of(line: &str) -> Option<f64> {
    let (date, time) = line.split_once('T')?;
    if !date.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = time.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(time.len());
    let mut parts = time[..end].split(':').map(|part| part.parse::<f64>());
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
}

fn clock(second: f64) -> String {
    let (hours, minutes) = ((second / 3600.0) as u32, (second / 60.0) as u32 % 60);
    format!("{hours:02}:{minutes:02}:{:06.3}", second % 60.0)
}

/// Packets that the machine has dropped since it started: those that came faster than a core could take them (`softnet_stat`), and those for
/// which the sockets of these pods had no room.
pub fn dropped(cluster: &Cluster) -> u64 {
    let softnet = fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let backlog: u64 = softnet.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()).sum();
    let pods = cluster.members.iter().filter_map(|member| member.pods.first());
    backlog + pods.map(|pod| pod.ns.run(without_room)).sum::<u64>()
}

fn without_room() -> u64 {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let (v4, v6) = (read("snmp"), read("snmp6"));
    let mut udp = v4.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (udp.next().unwrap_or_default(), udp.next().unwrap_or_default());
    let of_v4 = names.split(' ').zip(values.split(' ')).filter(|(name, _)| is_drop(name)).filter_map(|(_, n)| n.parse::<u64>().ok());
    let row = |line: &str| line.split_once(char::is_whitespace).map(|(name, n)| (name.to_owned(), n.trim().parse::<u64>().unwrap_or(0)));
    let of_v6 = v6.lines().filter_map(row).filter(|(name, _)| name.strip_prefix("Udp6").is_some_and(is_drop)).map(|(_, n)| n);
    of_v4.sum::<u64>() + of_v6.sum::<u64>()
}

fn is_drop(name: &str) -> bool {
    matches!(name, "RcvbufErrors" | "SndbufErrors" | "MemErrors")
}

/// The time of day.
pub fn now() -> String {
    clock(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() % DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_kinds_of_lines_are_read() {
        let second = 8.0 * 3600.0 + 54.0 * 60.0 + 51.25;
        for line in ["[2026-11-30T08:54:51.250000] 10.1.0.0/24 via 10.0.0.1 dev eth0", "2026-11-30T08:54:51.250Z  INFO route gone"] {
            assert!(time_of(line).is_some_and(|at| (at - second).abs() < 1e-6), "{line}: {:?}", time_of(line));
        }
        assert_eq!(time_of("Timestamp: none here"), None);
        assert_eq!(clock(second), "08:54:51.250");
    }
}
