//! Other people's daemons: what each is called, what it is started with, and how a [`Setup`] reads in its own configuration.
//!
//! In: which daemon, and how the session is to be. Out: commands, with the files that they read. Starting them is the arena's.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Arena, Other, Setup, THEIR_ROUTE, THEM, US};
use crate::netlab::proc::{frr_program, program};

impl Other {
    /// What is not installed.
    pub(super) fn missing(self) -> Option<&'static str> {
        match self {
            Other::Bird => ["bird", "birdc"].into_iter().find(|p| program(p).is_none()),
            Other::Frr => ["zebra", "bgpd", "bfdd"].into_iter().find(|p| frr_program(p).is_none()),
            Other::Gobgp => ["gobgpd", "gobgp"].into_iter().find(|p| program(p).is_none()),
            Other::OpenBgpd => ["bgpd", "bgpctl"].into_iter().find(|p| program(p).is_none()),
        }
    }

    pub(super) fn commands(self, setup: &Setup, arena: &Arena) -> Vec<Command> {
        let start = |path: PathBuf, args: &[&str]| {
            let mut command = Command::new(path);
            command.args(args);
            command
        };
        let known = |name: &str| program(name).expect("looked for before");
        match self {
            Other::Bird => {
                let config = arena.file("bird.conf", &bird_config(setup));
                // Without it a BIRD that comes back says that it has not kept its routes, and ours to it are rightly taken away.
                let recovers: &[&str] = if setup.graceful { &["-R"] } else { &[] };
                let config = config.to_string_lossy();
                let args = [&["-f", "-c", &*config], recovers].concat();
                vec![start(known("bird"), &args)]
            }
            Other::Frr => {
                let config = arena.file("frr.conf", &frr_config(setup)).to_string_lossy().into_owned();
                let frr = |name: &str| frr_program(name).expect("looked for before");
                let modules: &[&str] = if setup.rpki { &["-M", "rpki"] } else { &[] };
                let bgpd = [&["-A", "127.0.0.1", "-f", &config, "--log", "stdout", "--log-level", "debugging"], modules].concat();
                let zebra = start(frr("zebra"), &["-A", "127.0.0.1", "-r", "-K", "60", "--log", "stdout"]);
                let bfdd = setup.bfd.as_ref().map(|wish| {
                    let config = arena.file("bfdd.conf", &wish.bfdd()).to_string_lossy().into_owned();
                    start(frr("bfdd"), &["-A", "127.0.0.1", "-f", &config, "--log", "stdout", "--log-level", "debugging"])
                });
                std::iter::once(zebra).chain(bfdd).chain([start(frr("bgpd"), &bgpd)]).collect()
            }
            Other::Gobgp => {
                let config = arena.file("gobgp.toml", &gobgp_config(setup));
                vec![start(known("gobgpd"), &["-l", "debug", "-f", &config.to_string_lossy()])]
            }
            Other::OpenBgpd => {
                use std::os::unix::fs::PermissionsExt as _;
                let config = arena.file("bgpd.conf", &openbgpd_config(setup));
                fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("bgpd reads no file that others may read");
                vec![start(known("bgpd"), &["-d", "-v", "-f", &config.to_string_lossy()])]
            }
        }
    }
}

fn bird_config(setup: &Setup) -> String {
    let on = |what: bool, text: &str| if what { text.to_owned() } else { String::new() };
    let key = setup.their_key.map(|k| format!("password \"{k}\";")).unwrap_or_default();
    let ends = if setup.link_local {
        let local = if setup.by_interface { "" } else { "fe80::2" };
        format!("local {local} as {}; neighbor fe80::1%eth0 as 65001;", setup.their_as)
    } else {
        format!("local {THEM} as {}; neighbor {US} as 65001;", setup.their_as)
    };
    let roles = setup.roles.map(super::roles::Roles::birds).unwrap_or_default();
    let hops = setup.routed.map(|n| format!("multihop {n};")).unwrap_or_default();
    let mut bfd = setup.bfd.as_ref().map(|wish| wish.birds()).unwrap_or_default();
    if setup.by_interface {
        bfd += "protocol radv { interface \"eth0\" { min ra interval 3; max ra interval 4; default lifetime 0; }; }\n";
    }
    if setup.rpki {
        bfd += &super::rpki::birds();
    }
    let hops = hops + &roles + setup.bfd.as_ref().map_or("", |_| "bfd on;");
    format!(
        "router id {THEM};\nlog stderr all;\ndebug protocols all;\nprotocol device {{ scan time 1; }}\n{bfd}\
         protocol static own {{ ipv4; route {THEIR_ROUTE} blackhole; route 10.88.1.0/24 blackhole; }}\n\
         protocol kernel {{ {} ipv4 {{ export where source = RTS_BGP; }}; }}\n\
         protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}\n{}\
         protocol bgp catbird {{ {ends} hold time {}; {hops} {} {} {} {}\n\
         connect delay time 1; connect retry time 1; error wait time 1, 2; startup hold time 30;\n\
         ipv4 {{ import all; export where source = RTS_STATIC; {} }}; {} }}\n",
        on(setup.graceful, "persist;"),
        on(setup.graceful, "graceful restart wait 30;\n"),
        setup.hold,
        on(setup.they_are_passive, "passive on;"),
        key,
        on(setup.gtsm_theirs, "ttl security on;"),
        match (setup.graceful, setup.long_lived) {
            (false, _) => String::new(),
            (true, false) => "graceful restart on; graceful restart time 60;".to_owned(),
            (true, true) => format!(
                "graceful restart on; graceful restart time {}; long lived graceful restart on; long lived stale time {};",
                super::llgr::RESTART,
                super::llgr::LONG
            ),
        },
        on(setup.link_local, "extended next hop on;")
            + &setup.their_max_prefix.map(|n| format!("import limit {n} action disable;")).unwrap_or_default(),
        on(setup.unnumbered.is_some(), "ipv6 { import all; export none; };"),
    )
}

fn frr_config(setup: &Setup) -> String {
    let us = if setup.link_local { "eth0".to_owned() } else { US.to_string() };
    let interface = if setup.link_local { "interface " } else { "" };
    let our_as = if setup.by_interface { "external" } else { "65001" };
    let mut text = format!(
        "frr defaults traditional\nlog stdout\ndebug bgp neighbor-events\nrouter bgp {}\n bgp router-id {THEM}\n no bgp ebgp-requires-policy\n no bgp network import-check\n\
         {} neighbor {us} {interface}remote-as {our_as}\n neighbor {us} timers 3 {}\n neighbor {us} timers connect 1\n",
        setup.their_as,
        match (setup.graceful, setup.long_lived) {
            (false, _) => String::new(),
            (true, false) => " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n".to_owned(),
            (true, true) => format!(
                " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time {}\n \
                 bgp long-lived-graceful-restart stale-time {}\n",
                super::llgr::RESTART,
                super::llgr::LONG
            ),
        },
        setup.hold
    );
    if setup.bfd.is_some() {
        let _ = writeln!(text, " neighbor {us} bfd\n neighbor {us} bfd profile fast");
    }
    if setup.bfd.is_some() && setup.graceful {
        // Else it takes any end of BFD for a failure, also while it helps with a restart.
        let _ = writeln!(text, " neighbor {us} bfd check-control-plane-failure");
    }
    if setup.routed.is_some() && setup.bfd.is_some() {
        let _ = writeln!(text, " neighbor {us} ebgp-multihop 255");
    }
    if let Some(roles) = setup.roles {
        let _ = writeln!(text, " neighbor {us} {}", roles.frrs());
    }
    if setup.they_are_passive {
        let _ = writeln!(text, " neighbor {us} passive");
    }
    if let Some(key) = setup.their_key {
        let _ = writeln!(text, " neighbor {us} password {key}");
    }
    if setup.gtsm_theirs {
        let _ = writeln!(text, " neighbor {us} ttl-security hops {}", setup.routed.unwrap_or(1));
    }
    if setup.routed.is_some() {
        let _ = writeln!(text, " neighbor {us} update-source {THEM}");
    }
    if setup.bandwidths.is_some() {
        text += " neighbor 10.77.0.4 remote-as 65001\n neighbor 10.77.0.4 update-source 10.77.0.3\n neighbor 10.77.0.4 timers connect 1\n";
    }
    text += &format!(" address-family ipv4 unicast\n  network {THEIR_ROUTE}\n  network 10.88.1.0/24\n");
    if setup.bandwidths.is_some() {
        let _ = writeln!(text, "  neighbor {us} route-map first out\n  neighbor 10.77.0.4 route-map second out");
    }
    if let Some(limit) = setup.their_max_prefix {
        let _ = writeln!(text, "  neighbor {us} maximum-prefix {limit}");
    }
    text += " exit-address-family\n";
    if setup.unnumbered.is_some() {
        let _ = write!(text, " address-family ipv6 unicast\n  neighbor {us} activate\n exit-address-family\n");
    }
    if setup.rpki {
        text += "exit\n";
        text += &super::rpki::frrs();
    }
    for (name, bandwidth) in ["first", "second"].into_iter().zip(setup.bandwidths.into_iter().flatten()) {
        let _ = write!(text, "exit\nroute-map {name} permit 10\n set extcommunity bandwidth {bandwidth}\n");
    }
    text
}

fn gobgp_config(setup: &Setup) -> String {
    let mut text = format!("[global.config]\nas = {}\nrouter-id = \"{THEM}\"\n[[neighbors]]\n", setup.their_as);
    let us = if setup.link_local { "fe80::1%eth0".to_owned() } else { US.to_string() };
    let _ = writeln!(text, "[neighbors.config]\nneighbor-address = \"{us}\"\npeer-as = 65001");
    if let Some(key) = setup.their_key {
        let _ = writeln!(text, "auth-password = \"{key}\"");
    }
    let _ = writeln!(
        text,
        "[neighbors.timers.config]\nconnect-retry = 1\nhold-time = {}\nkeepalive-interval = 3\nidle-hold-time-after-reset = 1\n\
         [neighbors.transport.config]\npassive-mode = {}",
        setup.hold, setup.they_are_passive
    );
    if setup.link_local {
        text.push_str("local-address = \"fe80::2%eth0\"\n");
    }
    if setup.gtsm_theirs {
        let _ = writeln!(text, "[neighbors.ttl-security.config]\nenabled = true\nttl-min = {}", 256 - u16::from(setup.routed.unwrap_or(1)));
    }
    if setup.graceful {
        text.push_str("[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\n");
    }
    text.push_str("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n");
    if setup.graceful {
        text.push_str("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n");
    }
    if let Some(limit) = setup.their_max_prefix {
        let _ = writeln!(text, "[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = {limit}");
    }
    text
}

fn openbgpd_config(setup: &Setup) -> String {
    let us = if setup.link_local { "fe80::1%eth0".to_owned() } else { US.to_string() };
    let mut text = format!(
        "AS {}\nrouter-id {THEM}\nfib-update no\nholdtime {}\nconnect-retry 5\nnetwork {THEIR_ROUTE}\nnetwork 10.88.1.0/24\n\
         neighbor {us} {{\n remote-as 65001\n descr \"us\"\n announce IPv6 none\n",
        setup.their_as, setup.hold
    );
    if setup.they_are_passive {
        text.push_str(" passive\n");
    }
    if let Some(key) = setup.their_key {
        let _ = writeln!(text, " tcp md5sig password {key}");
    }
    if setup.gtsm_theirs {
        text.push_str(" ttl-security yes\n");
    } else if setup.routed.is_some() {
        text.push_str(" multihop 255\n");
    }
    if setup.graceful {
        text.push_str(" announce restart yes\n");
    }
    if let Some(limit) = setup.their_max_prefix {
        let _ = writeln!(text, " max-prefix {limit}");
    }
    if setup.link_local {
        text.push_str(" local-address fe80::2%eth0\n");
    }
    text + "}\nallow to any\nallow from any\n"
}
