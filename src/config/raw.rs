//! The configuration as it was typed: every setting optional, every value with its place in the file.
//!
//! In: the sections of the file. Out: plain structures for [`super::validate`]. Defaults, references between sections and everything that
//! needs a second look are left to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use ipnet::IpNet;

use super::bfd::{BfdRef, RawBfd};
use super::bmp::RawStation;
use super::model::{AddPath, Flavour, LogFormat, LogLevel, MaxPrefixAction, Mode, PerPeer, WatchFile};
use super::overlay::RawOverlay;
use super::policy::{RawPolicy, RawPrefixSet};
use super::reader::{Section, Value, integer, text};
use super::redistribute::RawRedistribute;
use super::report::{At, Diagnostics, Problem, Span};
use super::rpki::RawCache;
use super::values::{Interval, Keyword, Octets, SecretPath, Time, ZonedAddr};
use crate::fib::{Conflict, Metric};
use crate::num::{Asn, ClusterId, FamilySet, HoldTime, Role};
use crate::speaker::{Forwarding, NextHopSetting, OnTerm};

/// A setting that may be absent.
pub type Opt<T> = Option<At<T>>;
/// A list that may be absent.
pub type List<T> = Option<At<Vec<At<T>>>>;

/// Declares a structure of optional settings, how it is read, and how one stands in for another.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name { $($(#[$fdoc])* pub $field: Opt<$ty>),* }
        impl $name {
            /// Asks the section for each setting.
            pub fn read(section: &mut Section<'_>) -> $name {
                $name { $($field: section.take(stringify!($field))),* }
            }
            /// What is not set here is as in `base`.
            #[must_use]
            pub fn or(self, base: &$name) -> $name {
                $name { $($field: self.$field.or_else(|| base.$field.clone())),* }
            }
        }
    };
}

settings! {
    /// The settings of a session, of `[[peer]]`, `[[peer_group]]` and `[cluster]` alike.
    Settings {
        description: String,
        port: NonZeroU16,
        local_asn: Asn,
        password_file: SecretPath,
        ttl_security: NonZeroU8,
        multihop: NonZeroU8,
        source: IpAddr,
        interface: String,
        router_lifetime: Time,
        passive: bool,
        enabled: bool,
        hold_time: HoldTime,
        keepalive_time: Time,
        connect_retry: Interval,
        delay_open: Time,
        open_timeout: Interval,
        idle_hold: Interval,
        idle_hold_max: Interval,
        send_hold: Time,
        tcp_user_timeout: Time,
        tcp_mss: u16,
        collide_established: bool,
        families: FamilySet,
        graceful_restart: bool,
        long_lived_ipv4: Time,
        long_lived_ipv6: Time,
        add_path: AddPath,
        add_path_limit: u8,
        extended_messages: bool,
        extended_next_hop: bool,
        max_prefix_ipv4: u32,
        max_prefix_ipv6: u32,
        max_prefix_action: MaxPrefixAction,
        max_prefix_restart: Interval,
        import: Vec<At<String>>,
        export: Vec<At<String>>,
        rr_client: bool,
        next_hop: NextHopSetting,
        allow_own_as: u8,
        enforce_first_as: bool,
        remove_private_as: bool,
        as_override: bool,
        role: Role,
        role_strict: bool,
        bfd: BfdRef,
    }
}

/// An AS number, or any of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsnOrKind {
    /// This one.
    Exactly(Asn),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

impl Keyword for AsnOrKind {
    const KEYWORDS: &'static [(&'static str, AsnOrKind)] = &[("external", AsnOrKind::External), ("internal", AsnOrKind::Internal)];
}

impl Value for AsnOrKind {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<AsnOrKind> {
        match value.as_str() {
            Some(word) if word.chars().any(|c| c.is_ascii_alphabetic()) && !word.starts_with("AS") => {
                super::values::read_keyword(value, span, diagnostics)
            }
            _ => Asn::read(value, span, diagnostics).map(AsnOrKind::Exactly),
        }
    }
}

/// A kernel table: a number, or `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub u32);

impl Value for Table {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Table> {
        const EXPECTED: &str = "a table number from 1 to 4294967295, or \"main\"";
        match value.as_str() {
            Some("main") => return Some(Table(254)),
            Some(word) => {
                let accepted = vec!["main".to_owned(), "a number from 1 to 4294967295".to_owned()];
                diagnostics.report(span.clone(), Problem::UnknownKeyword { found: word.to_owned(), accepted });
                return None;
            }
            None => {}
        }
        match integer(value, span, diagnostics, EXPECTED).map(u32::try_from) {
            Some(Ok(number)) if number > 0 => Some(Table(number)),
            Some(_) => {
                diagnostics.report(span.clone(), Problem::BadValue { found: "this number".into(), expected: EXPECTED.into() });
                None
            }
            None => None,
        }
    }
}

impl Value for WatchFile {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<WatchFile> {
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) => Some(WatchFile::Always),
            (Some(false), _) => Some(WatchFile::Never),
            (_, Some("links")) => Some(WatchFile::Links),
            (_, word) => {
                let accepted = ["true", "false", "\"links\""].map(str::to_owned).to_vec();
                let found = word.unwrap_or("this value").to_owned();
                diagnostics.report(span.clone(), Problem::UnknownKeyword { found, accepted });
                None
            }
        }
    }
}

/// A kernel route protocol: a number, or a name of `rt_protos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl Keyword for Protocol {
    const KEYWORDS: &'static [(&'static str, Protocol)] = &[
        ("bgp", Protocol(186)),
        ("bird", Protocol(12)),
        ("zebra", Protocol(11)),
        ("kernel", Protocol(2)),
        ("boot", Protocol(3)),
        ("static", Protocol(4)),
        ("dhcp", Protocol(16)),
    ];
}

impl Value for Protocol {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Protocol> {
        if value.is_str() {
            super::values::read_keyword(value, span, diagnostics)
        } else {
            u8::read(value, span, diagnostics).map(Protocol)
        }
    }
}

impl Value for Metric {
    /// A number, or made from LOCAL_PREF as Calico's BIRD does.
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Metric> {
        match value.as_str() {
            Some("from-local-pref") => Some(Metric::FromLocalPref),
            Some(other) => {
                let accepted = vec!["from-local-pref".to_owned(), "an integer".to_owned()];
                diagnostics.report(span.clone(), Problem::UnknownKeyword { found: other.to_owned(), accepted });
                None
            }
            None => u32::read(value, span, diagnostics).map(Metric::Fixed),
        }
    }
}

/// File permissions in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Value for FileMode {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<FileMode> {
        const EXPECTED: &str = "file permissions in octal, such as \"0660\"";
        let found = text(value, span, diagnostics, EXPECTED)?;
        let mode = u32::from_str_radix(found, 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            diagnostics.report(span.clone(), Problem::BadValue { found: found.to_owned(), expected: EXPECTED.to_owned() });
        }
        mode.map(FileMode)
    }
}

/// An address to serve on, or `""` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(pub Option<SocketAddr>);

impl Value for Listener {
    fn read(value: &toml::de::DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Listener> {
        if value.as_str() == Some("") {
            return Some(Listener(None));
        }
        SocketAddr::read(value, span, diagnostics).map(|addr| Listener(Some(addr)))
    }
}

/// `[node]`: who this router is.
#[derive(Clone, Debug, Default)]
pub struct RawNode {
    pub span: Span,
    pub name: Opt<String>,
    pub asn: Opt<Asn>,
    /// Something stands there, legal or not.
    pub asn_said: bool,
    pub router_id: Opt<Ipv4Addr>,
    pub addresses: List<IpAddr>,
    pub on_term: Opt<OnTerm>,
    pub drain_wait: Opt<Time>,
    pub client_to_client: Opt<bool>,
}

/// `[listen]`
#[derive(Clone, Debug, Default)]
pub struct RawListen {
    pub addresses: List<IpAddr>,
    pub port: Opt<NonZeroU16>,
}

/// `[cluster]`
#[derive(Clone, Debug, Default)]
pub struct RawCluster {
    pub span: Span,
    pub mode: Opt<Mode>,
    pub asn: Opt<Asn>,
    pub nodes: Vec<RawMember>,
    pub settings: Settings,
}

/// `[[cluster.nodes]]`
#[derive(Clone, Debug)]
pub struct RawMember {
    pub span: Span,
    pub name: Opt<String>,
    pub addresses: List<IpAddr>,
    pub asn: Opt<Asn>,
    pub port: Opt<NonZeroU16>,
    pub cluster_id: Opt<ClusterId>,
}

/// `[kubernetes]`
#[derive(Clone, Debug, Default)]
pub struct RawKubernetes {
    pub span: Span,
    pub flavour: Opt<Flavour>,
    pub reflectors: Opt<String>,
    pub namespace: Opt<String>,
    pub kubeconfig: Opt<PathBuf>,
    pub state_file: Opt<PathBuf>,
    pub cluster_ips: List<IpNet>,
    pub external_ips: List<IpNet>,
    pub load_balancer_ips: List<IpNet>,
    pub aggregate_services: Opt<bool>,
    pub cni: Opt<PathBuf>,
    pub drain_on_cordon: Opt<bool>,
    pub drain_taints: List<String>,
    pub drain_deadline: Opt<Time>,
}

/// `[pods]`
#[derive(Clone, Debug, Default)]
pub struct RawPods {
    pub blocks: List<IpNet>,
    pub file: Opt<PathBuf>,
}

/// `[[peer]]`
#[derive(Clone, Debug)]
pub struct RawPeer {
    pub span: Span,
    /// Something stands there, legal or not.
    pub asn_said: bool,
    pub name: Opt<String>,
    pub address: Opt<ZonedAddr>,
    pub asn: Opt<AsnOrKind>,
    pub group: Opt<String>,
    pub settings: Settings,
}

/// `[[peer_group]]`
#[derive(Clone, Debug)]
pub struct RawGroup {
    pub span: Span,
    /// Something stands there, legal or not.
    pub asn_said: bool,
    pub name: Opt<String>,
    pub asn: Opt<AsnOrKind>,
    pub listen: List<IpNet>,
    pub listen_limit: Opt<NonZeroU32>,
    pub settings: Settings,
}

/// `[best_path]`
#[derive(Clone, Debug, Default)]
pub struct RawBestPath {
    pub multipath_external: Opt<bool>,
    pub multipath_internal: Opt<bool>,
    pub always_compare_med: Opt<bool>,
    pub as_path_relax: Opt<bool>,
    pub link_bandwidth: Opt<bool>,
}

/// `[fib]`
#[derive(Clone, Debug, Default)]
pub struct RawFib {
    pub enabled: Opt<bool>,
    pub table: Opt<Table>,
    pub protocol: Opt<Protocol>,
    pub adopt: List<Protocol>,
    pub metric: Opt<Metric>,
    pub block_metric: Opt<u32>,
    pub conflict: Opt<Conflict>,
    pub ecmp_width: Opt<NonZeroU8>,
    pub source_ipv4: Opt<Ipv4Addr>,
    pub source_ipv6: Opt<std::net::Ipv6Addr>,
    pub allow_default: Opt<bool>,
    pub pools: List<IpNet>,
    pub exclude: List<IpNet>,
    pub ignore_interfaces: List<String>,
    /// Of `[[fib.learn]]`, as it was called.
    pub redistribute: Vec<RawRedistribute>,
    pub overlay: RawOverlay,
}

/// `[graceful_restart]`
#[derive(Clone, Debug, Default)]
pub struct RawGraceful {
    pub enabled: Opt<bool>,
    pub restart_time: Opt<Time>,
    pub stale_time: Opt<Time>,
    pub startup_deadline: Opt<Time>,
    pub end_of_rib_wait: Opt<Time>,
    pub forwarding: Opt<Forwarding>,
    pub stale_in_multipath: Opt<bool>,
}

/// `[limits]`
#[derive(Clone, Debug, Default)]
pub struct RawLimits {
    pub memory: Opt<Octets>,
    pub peer_paths: Opt<NonZeroU32>,
    pub peer_memory: Opt<Octets>,
    pub max_paths_per_prefix: Opt<NonZeroU32>,
    pub keep_refused: Opt<u32>,
    pub keep_refused_memory: Opt<Octets>,
}

/// `[ready]`, `[metrics]`, `[looking_glass]`, `[control]`, `[log]`, `[reload]`
#[derive(Clone, Debug, Default)]
pub struct RawOutside {
    pub ready_share: Opt<f64>,
    pub metrics_listen: Opt<Listener>,
    pub per_peer: Opt<PerPeer>,
    pub looking_glass: Opt<Listener>,
    pub socket: Opt<PathBuf>,
    pub socket_mode: Opt<FileMode>,
    pub watch: Opt<WatchFile>,
    pub bird_sockets: Opt<PathBuf>,
    pub log_level: Opt<LogLevel>,
    pub log_format: Opt<LogFormat>,
}

/// The whole file.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub node: RawNode,
    pub listen: RawListen,
    pub cluster: Option<RawCluster>,
    pub kubernetes: Option<RawKubernetes>,
    pub pods: RawPods,
    pub groups: Vec<RawGroup>,
    pub peers: Vec<RawPeer>,
    pub policies: Vec<RawPolicy>,
    pub prefix_sets: Vec<RawPrefixSet>,
    pub bfd: Vec<RawBfd>,
    pub bmp: Vec<RawStation>,
    pub rpki: Vec<RawCache>,
    pub best_path: RawBestPath,
    pub fib: RawFib,
    pub redistribute: Vec<RawRedistribute>,
    pub graceful: RawGraceful,
    pub limits: RawLimits,
    pub outside: RawOutside,
}

impl Raw {
    /// Walks the file from its root.
    pub fn read(mut root: Section<'_>, has_cluster: bool, has_kubernetes: bool) -> Raw {
        let raw = Raw {
            node: node(root.table("node")),
            listen: listen(root.table("listen")),
            cluster: cluster(root.table("cluster"), has_cluster),
            kubernetes: kubernetes(root.table("kubernetes"), has_kubernetes),
            pods: pods(root.table("pods")),
            groups: root.tables("peer_group").into_iter().map(group).collect(),
            peers: root.tables("peer").into_iter().map(peer).collect(),
            policies: root.named_tables("policy").into_iter().map(|(name, s)| RawPolicy::read(name, s)).collect(),
            prefix_sets: root.named_tables("prefix_set").into_iter().map(|(name, s)| RawPrefixSet::read(name, s)).collect(),
            bfd: root.named_tables("bfd").into_iter().map(|(name, s)| RawBfd::read(name, s)).collect(),
            bmp: root.tables("bmp").into_iter().map(super::bmp::read).collect(),
            rpki: root.tables("rpki").into_iter().map(super::rpki::read).collect(),
            best_path: best_path(root.table("best_path")),
            fib: fib(root.table("fib")),
            redistribute: root.tables("redistribute").into_iter().map(super::redistribute::read).collect(),
            graceful: graceful(root.table("graceful_restart")),
            limits: limits(root.table("limits")),
            outside: outside(&mut root),
        };
        root.finish();
        raw
    }
}

fn node(mut section: Section<'_>) -> RawNode {
    let raw = RawNode {
        span: section.span(),
        name: section.take("name"),
        asn: section.take("asn"),
        asn_said: section.has("asn"),
        router_id: section.take("router_id"),
        addresses: section.take("addresses"),
        on_term: section.take("on_term"),
        drain_wait: section.take("drain_wait"),
        client_to_client: section.take("client_to_client"),
    };
    section.finish();
    raw
}

fn listen(mut section: Section<'_>) -> RawListen {
    let raw = RawListen { addresses: section.take("addresses"), port: section.take("port") };
    section.finish();
    raw
}

fn cluster(mut section: Section<'_>, there: bool) -> Option<RawCluster> {
    let raw = RawCluster {
        span: section.span(),
        mode: section.take("mode"),
        asn: section.take("asn"),
        nodes: section.tables("nodes").into_iter().map(member).collect(),
        settings: Settings::read(&mut section),
    };
    section.finish();
    there.then_some(raw)
}

fn member(mut section: Section<'_>) -> RawMember {
    let raw = RawMember {
        span: section.span(),
        name: section.need("name", "each node of the list has a name"),
        addresses: section.need_some("addresses", "the addresses that the other nodes reach it by"),
        asn: section.take("asn"),
        port: section.take("port"),
        cluster_id: section.take("cluster_id"),
    };
    section.finish();
    raw
}

fn kubernetes(mut section: Section<'_>, there: bool) -> Option<RawKubernetes> {
    let raw = RawKubernetes {
        span: section.span(),
        flavour: section.take("flavour"),
        reflectors: section.take("reflectors"),
        namespace: section.take("namespace"),
        kubeconfig: section.take("kubeconfig"),
        state_file: section.take("state_file"),
        cluster_ips: section.take("cluster_ips"),
        external_ips: section.take("external_ips"),
        load_balancer_ips: section.take("load_balancer_ips"),
        aggregate_services: section.take("aggregate_services"),
        cni: section.take("cni"),
        drain_on_cordon: section.take("drain_on_cordon"),
        drain_taints: section.take("drain_taints"),
        drain_deadline: section.take("drain_deadline"),
    };
    section.finish();
    there.then_some(raw)
}

fn pods(mut section: Section<'_>) -> RawPods {
    let raw = RawPods { blocks: section.take("blocks"), file: section.take("file") };
    section.finish();
    raw
}

fn peer(mut section: Section<'_>) -> RawPeer {
    let raw = RawPeer {
        span: section.span(),
        asn_said: section.has("asn"),
        name: section.take("name"),
        // Or whoever is on the interface.
        address: if section.has("interface") {
            section.take("address")
        } else {
            section.need("address", "the neighbour's address, or its `interface`")
        },
        asn: section.take("asn"),
        group: section.take("group"),
        settings: Settings::read(&mut section),
    };
    section.finish();
    raw
}

fn group(mut section: Section<'_>) -> RawGroup {
    let raw = RawGroup {
        span: section.span(),
        asn_said: section.has("asn"),
        name: section.need("name", "peers refer to their group by it"),
        asn: section.take("asn"),
        listen: section.take("listen"),
        listen_limit: section.take("listen_limit"),
        settings: Settings::read(&mut section),
    };
    section.finish();
    raw
}

fn best_path(mut section: Section<'_>) -> RawBestPath {
    let raw = RawBestPath {
        multipath_external: section.take("multipath_external"),
        multipath_internal: section.take("multipath_internal"),
        always_compare_med: section.take("always_compare_med"),
        as_path_relax: section.take("as_path_relax"),
        link_bandwidth: section.take("link_bandwidth"),
    };
    section.finish();
    raw
}

fn fib(mut section: Section<'_>) -> RawFib {
    let raw = RawFib {
        enabled: section.take("enabled"),
        table: section.take("table"),
        protocol: section.take("protocol"),
        adopt: section.take("adopt"),
        metric: section.take("metric"),
        block_metric: section.take("block_metric"),
        conflict: section.take("conflict"),
        ecmp_width: section.take("ecmp_width"),
        source_ipv4: section.take("source_ipv4"),
        source_ipv6: section.take("source_ipv6"),
        allow_default: section.take("allow_default"),
        pools: section.take("pools"),
        exclude: section.take("exclude"),
        ignore_interfaces: section.take("ignore_interfaces"),
        redistribute: section.former_tables("learn", "[[redistribute]]").into_iter().map(super::redistribute::read).collect(),
        overlay: super::overlay::read(section.table("overlay")),
    };
    section.finish();
    raw
}

fn limits(mut section: Section<'_>) -> RawLimits {
    let raw = RawLimits {
        memory: section.take("memory"),
        peer_paths: section.take("peer_paths"),
        peer_memory: section.take("peer_memory"),
        max_paths_per_prefix: section.take("max_paths_per_prefix"),
        keep_refused: section.take("keep_refused"),
        keep_refused_memory: section.take("keep_refused_memory"),
    };
    section.finish();
    raw
}

fn graceful(mut section: Section<'_>) -> RawGraceful {
    let raw = RawGraceful {
        enabled: section.take("enabled"),
        restart_time: section.take("restart_time"),
        stale_time: section.take("stale_time"),
        startup_deadline: section.take("startup_deadline"),
        end_of_rib_wait: section.take("end_of_rib_wait"),
        forwarding: section.take("forwarding"),
        stale_in_multipath: section.take("stale_in_multipath"),
    };
    section.finish();
    raw
}

fn outside(root: &mut Section<'_>) -> RawOutside {
    let (mut ready, mut metrics, mut glass) = (root.table("ready"), root.table("metrics"), root.table("looking_glass"));
    let (mut control, mut log, mut reload) = (root.table("control"), root.table("log"), root.table("reload"));
    let raw = RawOutside {
        ready_share: ready.take("share"),
        metrics_listen: metrics.take("listen"),
        per_peer: metrics.take("per_peer"),
        looking_glass: glass.take("listen"),
        socket: control.take("socket"),
        socket_mode: control.take("mode"),
        watch: reload.take("watch"),
        bird_sockets: control.take("bird_sockets"),
        log_level: log.take("level"),
        log_format: log.take("format"),
    };
    for section in [ready, metrics, glass, control, log, reload] {
        section.finish();
    }
    raw
}
