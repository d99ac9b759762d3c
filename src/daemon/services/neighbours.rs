//! The kernel's neighbour tables (ARP and ND): how many entries there are, and how many it takes.
//!
//! In: `/proc`. Out: numbers for `metrics`, and for `doctor`. When a table is full, connections to hosts on a link fail with EHOSTUNREACH or
//! ENOBUFS, and nothing else says why. The table is one for all network namespaces, and so is its bound.

use std::fs;

/// One family's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// ipv4 or ipv6.
    pub family: &'static str,
    pub entries: u64,
    /// `net.FAMILY.neigh.default.gc_thresh3`; beyond it nobody new is found.
    pub limit: Option<u64>,
}

/// As of now; a family that the kernel does not have is left out.
pub fn read() -> Vec<Table> {
    let table = |(family, stat): (&'static str, &str)| {
        let text = fs::read_to_string(format!("/proc/net/stat/{stat}")).ok()?;
        let limit = fs::read_to_string(format!("/proc/sys/net/{family}/neigh/default/gc_thresh3")).ok();
        Some(Table { family, entries: entries(&text)?, limit: limit.and_then(|text| text.trim().parse().ok()) })
    };
    [("ipv4", "arp_cache"), ("ipv6", "ndisc_cache")].into_iter().filter_map(table).collect()
}

/// A line of names, then one a processor; the first column says the same on each, in hexadecimal digits.
fn entries(text: &str) -> Option<u64> {
    let first = text.lines().nth(1)?.split_whitespace().next()?;
    u64::from_str_radix(first, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_from_the_first_column() {
        assert_eq!(entries("entries  allocs\n00000400  0000001a\n00000400  00000003\n"), Some(1024));
        assert_eq!(entries(""), None);
    }
}
