//! The kernel's neighbour tables, which all namespaces of a machine share: how full they are.
//!
//! In: what `/proc` says. Out: words for who wonders why packets do not arrive. Entries that are permanent are not counted against the
//! limit by the kernel, and so a laboratory's nodes know each other permanently ([`super::cluster`]); what is left are pods.

use std::fs;

/// Entries of one family, and how many there may be, if this namespace can tell (the first one can).
fn fill(stat: &str, thresholds: &str) -> Option<(u64, u64)> {
    let counted = fs::read_to_string(format!("/proc/net/stat/{stat}")).ok()?;
    let entries = counted.lines().nth(1)?.split_whitespace().next()?;
    let limit = fs::read_to_string(format!("{thresholds}/gc_thresh3")).ok()?;
    Some((u64::from_str_radix(entries, 16).ok()?, limit.trim().parse().ok()?))
}

/// Says so if less than an eighth of a table is left: then new neighbours may not be found, whoever they are.
pub fn crowded() -> Option<String> {
    let tables = [("arp_cache", "ipv4"), ("ndisc_cache", "ipv6")];
    let full = tables.iter().filter_map(|(stat, family)| {
        let (entries, limit) = fill(stat, &format!("/proc/sys/net/{family}/neigh/default"))?;
        is_crowded(entries, limit).then(|| {
            format!(
                "the machine's neighbour table is nearly full: {entries} entries in all namespaces, and no more than {limit} that are not \
                 permanent may be; sysctl net.{family}.neigh.default.gc_thresh3={} makes room",
                limit.saturating_mul(4)
            )
        })
    });
    let full: Vec<String> = full.collect();
    (!full.is_empty()).then(|| full.join("; "))
}

fn is_crowded(entries: u64, limit: u64) -> bool {
    entries >= limit - limit / 8
}

#[test]
fn a_table_is_crowded_when_an_eighth_is_left() {
    assert!(!is_crowded(895, 1024) && is_crowded(896, 1024) && is_crowded(5000, 1024));
    // Where `/proc` tells, the words are there; where it does not, nothing is claimed.
    assert_eq!(fill("no_such_cache", "/proc/sys/net/ipv4/neigh/default"), None);
}
