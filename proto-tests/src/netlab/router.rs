//! Which daemon routes in a cluster: ours, or one of those that we are compared with.
//!
//! In: a node of a [`Cluster`](super::cluster::Cluster), and who is in it. Out: commands with the files that they read. All are set as an operator
//! who wants no packet lost would set them: graceful restart on, routes left in the kernel by a daemon that ends, hold time 9 s, one second
//! between attempts to connect. Each announces the node's blocks, IPv4 over IPv4 and IPv6 over IPv6 where it is not ours.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ipnet::IpNet;

use super::proc::{frr_program, program};

/// A routing daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    Catbird,
    /// zebra and bgpd.
    Frr,
    /// BIRD 2, with the scan time of a Calico node.
    Bird,
}

/// What a daemon that is not ours must know of a node.
pub struct Place<'a> {
    pub name: &'a str,
    pub addresses: [IpAddr; 2],
    pub blocks: &'a [IpNet],
    /// Of every other node.
    pub others: &'a [[IpAddr; 2]],
}

impl Router {
    pub fn name(self) -> &'static str {
        match self {
            Router::Catbird => "catbird",
            Router::Frr => "FRR",
            Router::Bird => "BIRD 2",
        }
    }

    /// What is not installed.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Router::Catbird => None,
            Router::Frr => ["zebra", "bgpd"].into_iter().find(|name| frr_program(name).is_none()),
            Router::Bird => ["bird"].into_iter().find(|name| program(name).is_none()),
        }
    }

    /// Of its routes in the kernel: number and name of the protocol, and the metric.
    pub fn signs(self) -> (u8, &'static str, u32) {
        match self {
            Router::Catbird => (186, "bgp", 1024),
            Router::Frr => (186, "bgp", 20),
            Router::Bird => (12, "bird", 32),
        }
    }

    /// What runs, first things first; the files lie in `dir`.
    ///
    /// # Errors
    /// The files cannot be written, or the program is not there.
    pub(super) fn commands(self, place: &Place, dir: &Path) -> io::Result<Vec<Command>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{} is not installed", self.name()));
        let file = |kind: &str, text: String| -> io::Result<String> {
            let path = dir.join(format!("{}.{kind}", place.name));
            fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let start = |path: std::path::PathBuf, args: &[&str]| {
            let mut command = Command::new(path);
            command.args(args);
            command
        };
        match self {
            Router::Catbird => Ok(Vec::new()),
            Router::Bird => {
                let (config, control) = (file("bird", bird(place))?, format!("/run/bird/{}.ctl", place.name));
                Ok(vec![start(program("bird").ok_or_else(missing)?, &["-f", "-R", "-c", &config, "-s", &control])])
            }
            Router::Frr => {
                let config = file("frr", frr(place))?;
                let zebra = start(frr_program("zebra").ok_or_else(missing)?, &["-A", "127.0.0.1", "-r", "-K", "60", "--log", "stdout"]);
                let bgpd = start(frr_program("bgpd").ok_or_else(missing)?, &["-A", "127.0.0.1", "-f", &config, "--log", "stdout"]);
                Ok(vec![zebra, bgpd])
            }
        }
    }
}

fn bird(place: &Place) -> String {
    let [v4, _] = place.addresses;
    let mut text = format!(
        "router id {v4};\nlog stderr all;\ngraceful restart wait 30;\nprotocol device {{ scan time 2; }}\n\
         protocol direct {{ ipv4; ipv6; interface \"eth1\"; }}\n"
    );
    for (i, family) in ["ipv4", "ipv6"].into_iter().enumerate() {
        let block = place.blocks.iter().find(|block| block.addr().is_ipv4() == (i == 0));
        let route = block.map(|block| format!("route {block} blackhole;")).unwrap_or_default();
        let _ = writeln!(
            text,
            "protocol static own{i} {{ {family}; {route} }}\n\
             protocol kernel kernel{i} {{ persist; scan time 2; graceful restart on; {family} {{ export where source != RTS_DEVICE; import none; }}; }}"
        );
        for (n, other) in place.others.iter().enumerate() {
            let (us, them) = (place.addresses[i], other[i]);
            let _ = writeln!(
                text,
                "protocol bgp peer{i}x{n} {{ local {us} as 64512; neighbor {them} as 64512; hold time 9; connect delay time 1; connect retry time 1; \
                 error wait time 1, 2; graceful restart on; graceful restart time 120; {family} {{ import all; export where source = RTS_STATIC; next hop self; }}; }}"
            );
        }
    }
    text
}

fn frr(place: &Place) -> String {
    let [v4, _] = place.addresses;
    let mut text = format!(
        "frr defaults datacenter\nrouter bgp 64512\n bgp router-id {v4}\n no bgp default ipv4-unicast\n no bgp network import-check\n \
         bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n"
    );
    for other in place.others.iter().flatten() {
        let _ = writeln!(text, " neighbor {other} remote-as 64512\n neighbor {other} timers 3 9\n neighbor {other} timers connect 1");
    }
    for (i, family) in ["ipv4", "ipv6"].into_iter().enumerate() {
        let _ = writeln!(text, " address-family {family} unicast");
        for block in place.blocks.iter().filter(|block| block.addr().is_ipv4() == (i == 0)) {
            let _ = writeln!(text, "  network {block}");
        }
        for other in place.others {
            let _ = writeln!(text, "  neighbor {} activate", other[i]);
        }
        text.push_str(" exit-address-family\n");
    }
    text
}
