//! The CNI configuration of a node whose pods are catbird's to connect (`[kubernetes] cni`): the standard plugins `ptp`, `host-local` and `portmap`.
//!
//! In: the configuration in force, whose blocks are the node's podCIDRs. Out: a file that container runtimes read, written whole and put in its place,
//! when it is not there or says something else. One that is somebody else's is never touched; `status` says so, and also where another one comes first
//! in the folder, for runtimes take the first by name. Without blocks nothing is written, and what was written stays: pods live by it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::files::Reader;
use super::kubernetes::Objects;
use crate::config::Config;
use crate::daemon::counters::DaemonMetrics;
use crate::fib::overlay::{Kind, Mode};

/// In warnings.
const TOPIC: &str = "cni";

/// By which a file is known to be ours.
const NAME: &str = "catbird";

/// Looks after the file.
#[derive(Default)]
pub struct Keeper {
    reader: Reader,
    written: bool,
}

impl Keeper {
    /// Writes what is to be written, and says what is in the way.
    pub async fn look(&mut self, config: &Config, objects: &Objects, counters: &DaemonMetrics) {
        let Some(path) = config.kubernetes.as_ref().and_then(|kubernetes| kubernetes.cni.clone()) else { return };
        if config.provisional || config.pods.blocks.is_empty() {
            return;
        }
        let text = conflist(&config.pods.blocks, mtu(config));
        let shown = path.display().to_string();
        let warning = match self.reader.run(move || keep(&path, &text)).await {
            Ok(Kept { written, warning }) => {
                if written {
                    tracing::info!(file = shown, "the CNI configuration is written");
                }
                self.written = warning.is_none();
                warning
            }
            Err(error) => Some(format!("the CNI configuration {shown} cannot be written: {error}")),
        };
        if self.written {
            objects.network_is_there();
        }
        counters.warn(TOPIC, warning.into_iter().collect());
    }
}

/// What pods' packets have room for where they may go through a tunnel; `None`: what the kernel gives a link.
fn mtu(config: &Config) -> Option<u32> {
    let overlay = &config.fib.overlay;
    let wrapping = match overlay.kind {
        Kind::Ipip => 20,
        Kind::Vxlan if config.node.ipv4.is_some() => 50,
        Kind::Vxlan => 70,
    };
    (overlay.mode != Mode::Never).then(|| overlay.mtu.unwrap_or(1500 - wrapping))
}

/// As CNI 1.0.0 has it. Pods have a route to everywhere, and nothing is masqueraded here: between nodes pods keep their addresses.
fn conflist(blocks: &[IpNet], mtu: Option<u32>) -> String {
    let ranges: Vec<Value> = blocks.iter().map(|block| json!([{"subnet": block}])).collect();
    let anywhere = |v6: bool| blocks.iter().any(|block| block.addr().is_ipv6() == v6).then_some(if v6 { "::/0" } else { "0.0.0.0/0" });
    let routes: Vec<Value> = [false, true].into_iter().filter_map(anywhere).map(|dst| json!({"dst": dst})).collect();
    let mut ptp = json!({"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}});
    if let Some(mtu) = mtu {
        ptp["mtu"] = mtu.into();
    }
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true});
    format!("{:#}\n", json!({"cniVersion": "1.0.0", "name": NAME, "plugins": [ptp, portmap]}))
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    written: bool,
    warning: Option<String>,
}

fn keep(path: &Path, text: &str) -> io::Result<Kept> {
    let now = match fs::read_to_string(path) {
        Ok(now) => Some(now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let is_ours = |now: &str| serde_json::from_str::<Value>(now).is_ok_and(|value| value["name"] == NAME);
    if now.as_deref().is_some_and(|now| !is_ours(now)) {
        let warning = Some(format!("the CNI configuration {} is somebody else's and is left alone", path.display()));
        return Ok(Kept { written: false, warning });
    }
    let written = now.as_deref() != Some(text);
    if written {
        replace(path, text)?;
    }
    let warning = earlier(path)?.map(|first| format!("{first} comes before {}: container runtimes take that one", path.display()));
    Ok(Kept { written, warning })
}

/// Another configuration that a runtime would find first.
fn earlier(path: &Path) -> io::Result<Option<String>> {
    let (Some(folder), Some(own)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let is_read =
        |name: &&std::ffi::OsString| Path::new(name).extension().is_some_and(|ext| ["conf", "conflist", "json"].iter().any(|e| ext == *e));
    let first = names.iter().filter(is_read).min().filter(|first| first.as_os_str() < own);
    Ok(first.map(|name| name.to_string_lossy().into_owned()))
}

/// Under a name that no runtime reads, and then in its place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn the_ranges_are_the_node_s_and_the_routes_of_their_families() {
        let both: Value = serde_json::from_str(&conflist(&blocks(&["10.244.1.0/24", "fd01:1::/64"]), Some(1450))).expect("JSON");
        let ptp = &both["plugins"][0];
        assert_eq!(
            (&both["cniVersion"], &ptp["type"], &ptp["mtu"], &ptp["ipMasq"]),
            (&json!("1.0.0"), &json!("ptp"), &json!(1450), &json!(false))
        );
        assert_eq!(ptp["ipam"]["ranges"], json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd01:1::/64"}]]));
        assert_eq!(ptp["ipam"]["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
        let one: Value = serde_json::from_str(&conflist(&blocks(&["10.244.1.0/24"]), None)).expect("JSON");
        assert_eq!(one["plugins"][0]["ipam"]["routes"], json!([{"dst": "0.0.0.0/0"}]));
        assert!(one["plugins"][0].get("mtu").is_none());
        assert_eq!(one["plugins"][1]["capabilities"], json!({"portMappings": true}));
    }

    #[test]
    fn what_is_somebody_else_s_is_left_alone_and_what_comes_first_is_named() {
        let folder = std::env::temp_dir().join(format!("catbird-cni-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        let path = folder.join("10-catbird.conflist");
        let [first, second] = [&["10.244.1.0/24"], &["10.244.2.0/24"]].map(|texts| conflist(&blocks(texts), None));
        let all_is_well = |written| Kept { written, warning: None };
        assert_eq!(keep(&path, &first).expect("written"), all_is_well(true));
        assert_eq!(keep(&path, &first).expect("looked at"), all_is_well(false));
        assert_eq!(keep(&path, &second).expect("written"), all_is_well(true));
        assert_eq!(fs::read_to_string(&path).expect("there"), second);
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing is left beside it");
        fs::write(folder.join("05-flannel.conflist"), "{}").expect("another");
        fs::write(folder.join("00-notes.txt"), "").expect("none at all");
        let said = keep(&path, &second).expect("looked at").warning.unwrap_or_default();
        assert!(said.contains("05-flannel.conflist comes before"), "{said}");
        for foreign in ["{\"name\": \"k8s-pod-network\"}", "not JSON"] {
            fs::write(&path, foreign).expect("ours");
            let said = keep(&path, &second).expect("looked at").warning.unwrap_or_default();
            assert!(said.contains("somebody else's"), "{said}");
            assert_eq!(fs::read_to_string(&path).expect("there"), foreign);
        }
        fs::remove_dir_all(&folder).expect("ours");
    }
}
