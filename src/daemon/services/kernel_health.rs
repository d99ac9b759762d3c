//! What of this machine keeps packets from going, whatever routes stand: missing rights, forwarding switched off, neighbour tables that are full.
//!
//! In: `/proc/sys` and `/proc/net` of our network namespace, the configuration, this node's blocks. Out: warnings, and obstacles that make the
//! node unready, each with its owner and the cure. Routes that are refused or occupied are the planner's to tell, tunnel devices the keeper's.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::api::{Answer, BlockRow, Question};
use crate::num::Family;

use super::api::RouterApi;
use super::handle::DaemonHandle;

/// Between two looks: a handful of small files.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Percent of a neighbour table from which on it is spoken of.
const NEARLY_FULL: u64 = 90;

/// Looks until the daemon ends. `net_admin`: the process has CAP_NET_ADMIN.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve(handle: DaemonHandle, net_admin: bool) -> io::Result<()> {
    while let Some(Answer::Blocks(blocks)) = handle.query(Question::Blocks).await {
        let writes = handle.config().fib.enabled;
        let proc = Path::new("/proc");
        let counters = handle.counters();
        counters.obstruct("rights", without_rights(writes && !net_admin));
        counters.obstruct("forwarding", if writes { not_forwarding(proc, &blocks) } else { Vec::new() });
        counters.warn("neighbours", Family::ALL.into_iter().filter_map(|family| nearly_full(proc, family)).collect());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn without_rights(missing: bool) -> Vec<String> {
    let text = "the daemon has no CAP_NET_ADMIN, so the kernel takes no route of it: give it to the process (AmbientCapabilities in the unit, \
                capabilities.add in the manifest), or set [fib] enabled = false";
    missing.then(|| text.to_owned()).into_iter().collect()
}

/// A node with pods whose kernel passes on nothing.
fn not_forwarding(proc: &Path, blocks: &[BlockRow]) -> Vec<String> {
    let off = |family: &Family| {
        let (file, key) = match family {
            Family::Ipv4Unicast => ("sys/net/ipv4/conf/all/forwarding", "net.ipv4.ip_forward"),
            Family::Ipv6Unicast => ("sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
        };
        let block = blocks.iter().find(|block| Family::of(&block.net) == *family)?;
        let value = std::fs::read_to_string(proc.join(file)).ok()?;
        let text = || {
            format!(
                "the kernel forwards no packets of {family}, so nobody reaches the pods of {}: `sysctl -w {key}=1` (a sysctl of this host: \
                 kubelet, sysctl.d or the CNI plugin set it)",
                block.net
            )
        };
        (value.trim() == "0").then(text)
    };
    Family::ALL.iter().filter_map(off).collect()
}

/// Of a table that is full the kernel drops packets to neighbours that it does not know yet. Only the first namespace tells the bound.
fn nearly_full(proc: &Path, family: Family) -> Option<String> {
    let (stat, sysctl) = match family {
        Family::Ipv4Unicast => ("net/stat/arp_cache", "ipv4"),
        Family::Ipv6Unicast => ("net/stat/ndisc_cache", "ipv6"),
    };
    let most: u64 = std::fs::read_to_string(proc.join(format!("sys/net/{sysctl}/neigh/default/gc_thresh3"))).ok()?.trim().parse().ok()?;
    let text = std::fs::read_to_string(proc.join(stat)).ok()?;
    let entries = u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()?;
    (entries * 100 >= most * NEARLY_FULL && most > 0).then(|| {
        format!(
            "the kernel's neighbour table of {family} holds {entries} entries and has room for {most}: when it is full, packets to nodes and \
             pods are dropped; raise the sysctl net.{sysctl}.neigh.default.gc_thresh3 (and gc_thresh2, gc_thresh1) of this host"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree like /proc.
    fn tree(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("catbird-proc-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = dir.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn forwarding_matters_to_families_that_have_pods() {
        let off = [("sys/net/ipv4/conf/all/forwarding", "0\n"), ("sys/net/ipv6/conf/all/forwarding", "0\n")];
        let dir = tree("forwarding", &off);
        let block = |net: &str| BlockRow { net: net.parse().unwrap(), source: "config".into(), announced: true, from: None };
        assert_eq!(not_forwarding(&dir, &[]), Vec::<String>::new(), "a mere host");
        let said = not_forwarding(&dir, &[block("10.244.1.0/26")]);
        assert!(matches!(said.as_slice(), [one] if one.contains("pods of 10.244.1.0/26: `sysctl -w net.ipv4.ip_forward=1`")), "{said:?}");
        assert_eq!(not_forwarding(&dir, &[block("10.244.1.0/26"), block("fd00::/122")]).len(), 2);
        std::fs::write(dir.join(off[0].0), "1\n").unwrap();
        assert_eq!(not_forwarding(&dir, &[block("10.244.1.0/26")]), Vec::<String>::new());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_neighbour_table_is_spoken_of_before_it_is_full() {
        let stat = |entries: u64| format!("entries  allocs\n{entries:08x}  00000001\n{entries:08x}  00000002\n");
        let said = |entries: u64| {
            let dir = tree("neighbours", &[("net/stat/arp_cache", &stat(entries)), ("sys/net/ipv4/neigh/default/gc_thresh3", "1024\n")]);
            let said = nearly_full(&dir, Family::Ipv4Unicast);
            assert_eq!(nearly_full(&dir, Family::Ipv6Unicast), None, "not to be known here");
            std::fs::remove_dir_all(dir).unwrap();
            said
        };
        assert_eq!(said(921), None);
        assert!(said(922).is_some_and(|text| text.contains("holds 922 entries and has room for 1024")));
    }
}
