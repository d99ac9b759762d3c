//! From what was typed to what is meant: defaults, references, duplicates, and the sessions of the whole node.
//!
//! In: [`Raw`] and the [`Environment`]. Out: a [`Config`] if there is no error, and every finding in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::bfd;
use super::blocks;
use super::cluster;
use super::model::{
    AddPath, BestPath, Bfd, ChainRef, Config, Control, Graceful, Limits, Listen, Log, LogFormat, LogLevel, MaxPrefix, MaxPrefixAction,
    Metrics, Node, Password, PasswordPlace, PeerOptions, PerPeer, Pods, Range, Ready, Session, WatchFile,
};
use super::policy::{self, BUILT_IN, Policy};
use super::raw::{AsnOrKind, Listener, Opt, Protocol, Raw, RawFib, RawGroup, RawLimits, RawMember, RawNode, RawPeer, Settings, Table};
use super::report::{At, Diagnostics, Problem, Span};
use super::values::{Interval, Octets, SecretPath, Time, ZonedAddr};
use crate::fib;
use crate::num::{Asn, FamilySet, HoldTime, RouterId};
use crate::peer::{PeerKind, RemoteAs};
use crate::rib;
use crate::speaker::{self, Burden, Forwarding, NextHopSetting, OnTerm};

const OPEN_TIMEOUT: Interval = Interval(Duration::from_secs(240));
const IDLE_HOLD: Interval = Interval(Duration::from_secs(1));
const IDLE_HOLD_MAX: Interval = Interval(Duration::from_secs(30));

/// The value, or the default if it is not set.
pub(super) fn or<T: Clone>(opt: &Opt<T>, default: T) -> T {
    opt.as_ref().map_or(default, |at| at.value.clone())
}

fn port(typed: &Opt<NonZeroU16>) -> u16 {
    typed.as_ref().map_or(179, |port| port.value.get())
}

pub(super) fn value<T: Clone>(opt: &Opt<T>) -> Option<T> {
    opt.as_ref().map(|at| at.value.clone())
}

pub(super) fn list<T: Clone>(opt: &Opt<Vec<At<T>>>) -> Vec<T> {
    opt.iter().flat_map(|list| &list.value).map(|item| item.value.clone()).collect()
}

/// Everything that is needed to judge a section, and where to note what is wrong.
pub(super) struct Validator<'a> {
    /// Collects what is wrong.
    pub diagnostics: &'a Diagnostics,
    /// What the host says of itself: its name, and files.
    pub environment: &'a Environment<'a>,
    /// Those that were usable, by name.
    pub policies: BTreeMap<String, Policy>,
    /// `[bfd.NAME]`, by name.
    pub bfd: BTreeMap<String, Bfd>,
}

/// The configuration that was meant; look into the diagnostics whether it may be used.
pub(super) fn validate(raw: &Raw, environment: &Environment<'_>, diagnostics: &Diagnostics) -> Config {
    let policies = policy::policies(&raw.policies, &raw.prefix_sets, diagnostics);
    let mut validator = Validator { diagnostics, environment, policies, bfd: BTreeMap::new() };
    validator.bfd = bfd::profiles(&raw.bfd, &validator);
    let me = cluster::find_self(raw, &validator);
    let node = validator.node(&raw.node, raw, me);
    let mut sessions = cluster::sessions(raw, me, &node, &validator);
    let groups = validator.groups(&raw.groups);
    for peer in &raw.peers {
        sessions.extend(validator.peer(peer, &groups, &node));
    }
    validator.duplicates(raw, &sessions, &node);
    let names = sessions.iter().map(|s| s.name.as_str()).chain(groups.keys().map(String::as_str)).collect::<BTreeSet<&str>>();
    policy::validate_peers(&raw.policies, &names, diagnostics);
    let ranges = raw.groups.iter().filter_map(|group| validator.range(group, &node)).collect();
    let config = Config {
        listen: validator.listen(raw),
        cluster: cluster::cluster(raw, me),
        kubernetes: validator.kubernetes(raw, &node),
        provisional: false,
        origins: Default::default(),
        pods: Pods { blocks: list(&raw.pods.blocks), held_by_others: Vec::new(), file: value(&raw.pods.file) },
        services: Vec::new(),
        leaving: None,
        best_path: BestPath {
            multipath_external: or(&raw.best_path.multipath_external, true),
            multipath_internal: or(&raw.best_path.multipath_internal, true),
            always_compare_med: or(&raw.best_path.always_compare_med, false),
            as_path_relax: or(&raw.best_path.as_path_relax, false),
            link_bandwidth: or(&raw.best_path.link_bandwidth, true),
            width: raw.fib.ecmp_width.as_ref().map_or(16, |width| width.value.get()),
        },
        fib: fib::Params { overlay: validator.overlay(raw, me, &node), ..fib(&raw.fib) },
        redistribution: validator.redistribution(raw),
        bmp: validator.stations(&raw.bmp),
        rpki: validator.caches(&raw.rpki),
        graceful: validator.graceful(raw),
        limits: limits(&raw.limits, environment.memory_limit),
        ready: validator.ready(raw),
        metrics: Metrics { listen: metrics_listen(raw), per_peer: or(&raw.outside.per_peer, PerPeer::External) },
        looking_glass: validator.looking_glass(raw),
        control: Control {
            socket: or(&raw.outside.socket, PathBuf::from(super::DEFAULT_SOCKET)),
            mode: raw.outside.socket_mode.as_ref().map_or(0o660, |m| m.value.0),
        },
        watch: or(&raw.outside.watch, WatchFile::Links),
        bird_sockets: value(&raw.outside.bird_sockets),
        log: Log { level: or(&raw.outside.log_level, LogLevel::Info), format: or(&raw.outside.log_format, LogFormat::Text) },
        policies: validator.policies,
        node,
        sessions,
        ranges,
    };
    blocks::judge(&raw.pods, &config, diagnostics);
    policy::judge_next_hops(&raw.policies, &config, diagnostics);
    super::rpki::judge_rules(&raw.policies, &config, diagnostics);
    config
}

fn metrics_listen(raw: &Raw) -> Option<SocketAddr> {
    or(&raw.outside.metrics_listen, Listener("127.0.0.1:9179".parse().ok())).0
}

/// The first address of each family.
pub(super) fn by_family(addresses: &[IpAddr]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = addresses.iter().find_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None });
    let v6 = addresses.iter().find_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None });
    (v4, v6)
}

fn fib(raw: &RawFib) -> fib::Params {
    let default = fib::Params::default();
    let table = or(&raw.table, Table(default.table)).0;
    fib::Params {
        enabled: or(&raw.enabled, default.enabled),
        table,
        protocol: or(&raw.protocol, Protocol(default.protocol)).0,
        metric: or(&raw.metric, default.metric),
        block_metric: or(&raw.block_metric, default.block_metric),
        source_v4: value(&raw.source_ipv4),
        source_v6: value(&raw.source_ipv6),
        allow_default: or(&raw.allow_default, default.allow_default),
        pools: list(&raw.pools),
        exclude: list(&raw.exclude),
        conflict: or(&raw.conflict, default.conflict),
        former: raw.adopt.iter().flat_map(|list| &list.value).map(|at| fib::Owner { table, protocol: at.value.0 }).collect(),
        ..default
    }
}

/// Half of what the machine lets us have, unless `memory` is set: the rest is for what the budget does not count.
fn limits(raw: &RawLimits, memory_limit: Option<u64>) -> Limits {
    let (peer, tables) = (Burden::default(), rib::Limits::default());
    let typed = raw.memory.as_ref().map(|at| Some(at.value.0).filter(|octets| *octets > 0));
    Limits {
        peer: Burden {
            paths: raw.peer_paths.as_ref().map_or(peer.paths, |at| at.value.get().into()),
            attribute_octets: or(&raw.peer_memory, Octets(peer.attribute_octets)).0,
        },
        node: speaker::Limits {
            memory: typed.unwrap_or_else(|| memory_limit.map(|limit| limit / 2)),
            tables: rib::Limits {
                paths_of_a_prefix: raw.max_paths_per_prefix.as_ref().map_or(tables.paths_of_a_prefix, |at| at.value.get()),
                refused_paths: raw.keep_refused.as_ref().map_or(tables.refused_paths, |at| at.value.into()),
                refused_octets: or(&raw.keep_refused_memory, Octets(tables.refused_octets)).0,
            },
        },
    }
}

/// A router id for a node that has no IPv4 address: FNV-1a of its name, never zero.
#[expect(clippy::expect_used, reason = "no input reaches it")]
pub(crate) fn hashed_id(name: &str) -> RouterId {
    let hash = name.bytes().fold(0x811C_9DC5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    RouterId::new(Ipv4Addr::from(hash.max(1))).expect("at least 0.0.0.1")
}

impl Validator<'_> {
    fn node(&self, raw: &RawNode, whole: &Raw, me: Option<usize>) -> Node {
        let member = me.and_then(|index| whole.cluster.as_ref()?.nodes.get(index));
        let mut addresses = list(&raw.addresses);
        addresses.extend(member.map(|m| list(&m.addresses)).unwrap_or_default());
        let (ipv4, ipv6) = by_family(&addresses);
        let name = value(&raw.name).or_else(|| member.and_then(|m| value(&m.name))).or_else(|| self.environment.hostname.clone());
        let name = name.unwrap_or_else(|| "catbird".to_owned());
        let asn =
            value(&raw.asn).or_else(|| member.and_then(|m| value(&m.asn))).or_else(|| whole.cluster.as_ref().and_then(|c| value(&c.asn)));
        let router_id = self.router_id(&raw.router_id, ipv4, &name);
        // The list may know the number of a node that is not in it yet.
        let listed_later = me.is_none() && whole.cluster.iter().flat_map(|c| &c.nodes).any(|m| m.asn.is_some());
        if asn.is_none() && !raw.asn_said && whole.kubernetes.is_none() && !listed_later {
            let why = "this router's AS number, for instance 64512";
            self.diagnostics.report(raw.span.clone(), Problem::Missing { key: "asn", section: "[node]".into(), why });
        }
        // what is missing has been noted, and nobody will run with these
        Node {
            name,
            asn: asn.unwrap_or(if whole.kubernetes.is_some() { super::kubernetes::DEFAULT_ASN } else { Asn::TRANS }),
            router_id,
            ipv4,
            ipv6,
            on_term: or(&raw.on_term, OnTerm::Keep),
            client_to_client: or(&raw.client_to_client, true),
            drain_wait: or(&raw.drain_wait, Time(Duration::from_millis(300))).0,
        }
    }

    fn router_id(&self, typed: &Opt<Ipv4Addr>, ipv4: Option<Ipv4Addr>, name: &str) -> RouterId {
        if let Some(id) = typed {
            match RouterId::new(id.value) {
                Some(id) => return id,
                None => {
                    let expected = "a router id: any but 0.0.0.0 (RFC 6286 §2.1)".to_owned();
                    self.diagnostics.report(id.span.clone(), Problem::BadValue { found: id.value.to_string(), expected });
                }
            }
        }
        ipv4.and_then(RouterId::new).unwrap_or_else(|| hashed_id(name))
    }

    fn listen(&self, raw: &Raw) -> Listen {
        let everywhere = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        Listen {
            addresses: raw.listen.addresses.as_ref().map_or(everywhere, |_| list(&raw.listen.addresses)),
            port: port(&raw.listen.port),
        }
    }

    fn graceful(&self, raw: &Raw) -> Graceful {
        let typed = raw.graceful.restart_time.as_ref();
        let restart_time = typed.map_or(Some(120), |time| time.value.whole_seconds().filter(|seconds| *seconds <= 4095));
        if let (Some(time), None) = (typed, restart_time) {
            let expected = "a restart time of at most 4095 whole seconds: the field has twelve bits (RFC 4724 §3)".to_owned();
            self.diagnostics.report(time.span.clone(), Problem::BadValue { found: time.value.to_string(), expected });
        }
        Graceful {
            enabled: or(&raw.graceful.enabled, true),
            restart_time: restart_time.unwrap_or(0),
            stale_time: or(&raw.graceful.stale_time, Time::seconds(120)).0,
            startup_deadline: or(&raw.graceful.startup_deadline, Time::seconds(120)).0,
            end_of_rib_wait: or(&raw.graceful.end_of_rib_wait, Time::seconds(10)).0,
            forwarding: or(&raw.graceful.forwarding, Forwarding::Auto),
            stale_in_multipath: or(&raw.graceful.stale_in_multipath, false),
        }
    }

    fn ready(&self, raw: &Raw) -> Ready {
        let share = or(&raw.outside.ready_share, 0.5);
        if !(0.0..=1.0).contains(&share) {
            let span = raw.outside.ready_share.as_ref().map_or(0..0, |s| s.span.clone());
            self.diagnostics.report(span, Problem::BadValue { found: share.to_string(), expected: "a share from 0.0 to 1.0".into() });
        }
        Ready { share }
    }

    /// Two services cannot have one port.
    fn looking_glass(&self, raw: &Raw) -> Option<SocketAddr> {
        let listen = raw.outside.looking_glass.as_ref()?;
        let address = listen.value.0?;
        let clash = |other: SocketAddr| {
            other.port() == address.port() && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if metrics_listen(raw).is_some_and(clash) {
            let expected = "another address or port than `[metrics] listen`, which has this port there".to_owned();
            self.diagnostics.report(listen.span.clone(), Problem::BadValue { found: address.to_string(), expected });
        }
        Some(address)
    }

    fn groups<'r>(&self, groups: &'r [RawGroup]) -> BTreeMap<String, &'r RawGroup> {
        let mut by_name: BTreeMap<String, &RawGroup> = BTreeMap::new();
        for group in groups {
            let Some(name) = &group.name else { continue };
            if let Some(first) = by_name.insert(name.value.clone(), group) {
                let also = first.name.as_ref().map_or(first.span.clone(), |n| n.span.clone());
                let problem = Problem::Duplicate { kind: "peer group", what: name.value.clone() };
                self.diagnostics.report_with(name.span.clone(), problem, also, "first here");
            }
        }
        by_name
    }

    fn peer(&self, raw: &RawPeer, groups: &BTreeMap<String, &RawGroup>, node: &Node) -> Option<Session> {
        let group = raw.group.as_ref().and_then(|name| self.group_of(name, groups));
        let settings = match group {
            Some(group) => raw.settings.clone().or(&group.settings),
            None => raw.settings.clone(),
        };
        let asn = raw.asn.as_ref().or_else(|| group.and_then(|g| g.asn.as_ref()));
        if asn.is_none() && !raw.asn_said {
            let why = "the neighbour's AS number, or \"external\" or \"internal\"";
            self.diagnostics.report(raw.span.clone(), Problem::Missing { key: "asn", section: "[[peer]]".into(), why });
        }
        let remote_asn = remote_asn(asn.map_or(AsnOrKind::Internal, |asn| asn.value));
        let address = raw.address.as_ref().map(|address| address.value.to_string());
        let label = address.or_else(|| value(&settings.interface)).unwrap_or_else(|| "without address".to_owned());
        let options = self.peer_options(&settings, remote_asn, node, &raw.span, &label);
        let remote = match &raw.address {
            Some(remote) => {
                self.link_local(remote, &settings);
                with_zone(&remote.value, &options)
            }
            None => self.by_interface(&settings)?,
        };
        Some(Session { name: value(&raw.name).unwrap_or(label), kind: kind(remote_asn, &options), remote, remote_asn, options })
    }

    /// Whoever is at the other end of a link; what stands in the way of that is said.
    fn by_interface(&self, settings: &Settings) -> Option<ZonedAddr> {
        let interface = settings.interface.as_ref()?;
        let conflict = |span: &Span, what: &str, help: &str| {
            let problem = Problem::Conflict { what: what.to_owned(), help: help.to_owned() };
            self.diagnostics.report_with(span.clone(), problem, interface.span.clone(), "the peer is whoever is on this link");
        };
        if let Some(source) = settings.source.as_ref().filter(|source| !is_link_local(source.value)) {
            let help = "leave `source` out: the kernel takes the link-local address of the interface";
            conflict(&source.span, "a session on link-local addresses has another `source`", help);
        }
        if let Some(multihop) = settings.multihop.as_ref().filter(|hops| hops.value.get() > 1) {
            conflict(&multihop.span, "`multihop` for a peer on a link", "leave it out, or give the peer its `address`");
        }
        if let Some(hops) = settings.ttl_security.as_ref().filter(|hops| hops.value.get() > 1) {
            conflict(&hops.span, "`ttl_security` of several hops for a peer on a link", "ttl_security = 1");
        }
        Some(ZonedAddr { addr: Ipv6Addr::UNSPECIFIED.into(), zone: Some(interface.value.clone()) })
    }

    fn group_of<'r>(&self, name: &At<String>, groups: &BTreeMap<String, &'r RawGroup>) -> Option<&'r RawGroup> {
        let group = groups.get(&name.value).copied();
        if group.is_none() {
            let known = groups.keys().cloned().collect();
            self.diagnostics.report(name.span.clone(), Problem::Unresolved { kind: "[[peer_group]]", name: name.value.clone(), known });
        }
        group
    }

    fn link_local(&self, remote: &At<ZonedAddr>, settings: &Settings) {
        let IpAddr::V6(addr) = remote.value.addr else { return };
        if addr.is_unicast_link_local() && remote.value.zone.is_none() && settings.interface.is_none() {
            let expected = format!("complete: a link-local address needs its interface (\"{addr}%eth0\")");
            self.diagnostics.report(remote.span.clone(), Problem::BadValue { found: addr.to_string(), expected });
        }
    }

    fn range(&self, raw: &RawGroup, node: &Node) -> Option<Range> {
        let nets = list(&raw.listen);
        let name = value(&raw.name)?;
        raw.listen.as_ref()?;
        let Some(asn) = &raw.asn else {
            if !raw.asn_said {
                let why = "with `listen`, the AS number of the neighbours, or \"external\" or \"internal\"";
                self.diagnostics.report(raw.span.clone(), Problem::Missing { key: "asn", section: "[[peer_group]]".into(), why });
            }
            return None;
        };
        let remote_asn = remote_asn(asn.value);
        let options = self.peer_options(&raw.settings, remote_asn, node, &raw.span, &format!("group {name}"));
        Some(Range {
            kind: kind(remote_asn, &options),
            name,
            nets,
            limit: raw.listen_limit.as_ref().map_or(1000, |limit| limit.value.get()),
            remote_asn,
            options,
        })
    }

    /// The settings of one session, with every default that depends on whom it is with.
    pub fn peer_options(&self, s: &Settings, remote: RemoteAs, node: &Node, span: &Span, peer: &str) -> PeerOptions {
        let local_asn = or(&s.local_asn, node.asn);
        let external = !remote.is_internal(local_asn);
        let default = if external { ChainRef::Missing } else { ChainRef::All };
        self.contradictions(s, external);
        PeerOptions {
            description: value(&s.description),
            port: port(&s.port),
            local_asn,
            password: s.password_file.as_ref().map(|file| self.password(file)),
            ttl_security: value(&s.ttl_security).map(NonZeroU8::get),
            multihop: value(&s.multihop).map(NonZeroU8::get),
            source: value(&s.source),
            interface: value(&s.interface),
            router_lifetime: s.router_lifetime.as_ref().map_or(0, |time| self.router_lifetime(time)),
            passive: or(&s.passive, false),
            enabled: or(&s.enabled, true),
            hold_time: or(&s.hold_time, HoldTime::DEFAULT),
            keepalive_time: s.keepalive_time.as_ref().and_then(|t| self.keepalive(t, s)),
            connect_retry: or(&s.connect_retry, Interval(Duration::from_secs(5))).0,
            delay_open: s.delay_open.as_ref().map(|t| t.value.0).filter(|t| !t.is_zero()),
            open_timeout: or(&s.open_timeout, OPEN_TIMEOUT).0,
            idle_hold: or(&s.idle_hold, IDLE_HOLD).0,
            idle_hold_max: or(&s.idle_hold_max, IDLE_HOLD_MAX).0,
            send_hold: Some(or(&s.send_hold, Time::seconds(480)).0).filter(|t| !t.is_zero()),
            tcp_user_timeout: s.tcp_user_timeout.as_ref().map(|t| t.value.0).filter(|t| !t.is_zero()),
            tcp_mss: s.tcp_mss.as_ref().and_then(|mss| self.mss(mss)),
            collide_established: or(&s.collide_established, false),
            families: or(&s.families, FamilySet::ALL),
            graceful_restart: or(&s.graceful_restart, true),
            long_lived: [self.long_lived(&s.long_lived_ipv4), self.long_lived(&s.long_lived_ipv6)],
            restart_time: None,
            add_path: or(&s.add_path, AddPath::Off),
            add_path_limit: or(&s.add_path_limit, 0),
            extended_messages: or(&s.extended_messages, true),
            extended_next_hop: or(&s.extended_next_hop, true),
            max_prefix: MaxPrefix {
                ipv4: value(&s.max_prefix_ipv4),
                ipv6: value(&s.max_prefix_ipv6),
                action: or(&s.max_prefix_action, MaxPrefixAction::Close),
                restart: value(&s.max_prefix_restart).map(|t| t.0),
            },
            import: self.chain(&s.import, &default, "import", span, peer),
            export: self.chain(&s.export, &default, "export", span, peer),
            rr_client: or(&s.rr_client, false),
            next_hop: or(&s.next_hop, NextHopSetting::Auto),
            allow_own_as: or(&s.allow_own_as, 0),
            enforce_first_as: or(&s.enforce_first_as, true),
            remove_private_as: or(&s.remove_private_as, false),
            as_override: or(&s.as_override, false),
            role: value(&s.role),
            role_strict: or(&s.role_strict, false),
            bfd: s.bfd.as_ref().and_then(|bfd| self.bfd(bfd)),
        }
    }

    /// Settings that cannot both be meant.
    fn contradictions(&self, s: &Settings, external: bool) {
        if let (Some(ttl), Some(multihop)) = (&s.ttl_security, &s.multihop) {
            let what = "`ttl_security` and `multihop` exclude each other".to_owned();
            let help = "ttl_security = N already allows N hops, and refuses packets from further away (RFC 5082)".to_owned();
            self.diagnostics.report_with(ttl.span.clone(), Problem::Conflict { what, help }, multihop.span.clone(), "and this");
        }
        if let Some(client) = s.rr_client.as_ref().filter(|client| client.value && external) {
            let what = "a route reflector's client is an internal peer".to_owned();
            let help = "remove `rr_client`, or give the peer this router's own AS number (RFC 4456)".to_owned();
            self.diagnostics.report(client.span.clone(), Problem::Conflict { what, help });
        }
        if let Some(role) = s.role.as_ref().filter(|_| !external) {
            let what = "`role` on a session inside the AS".to_owned();
            let help = "roles are between two ASes (RFC 9234): leave it out here".to_owned();
            self.diagnostics.report(role.span.clone(), Problem::Conflict { what, help });
        }
        if let Some(strict) = s.role_strict.as_ref().filter(|strict| strict.value && s.role.is_none()) {
            let what = "`role_strict` without a `role`".to_owned();
            let help = "say what this router is to the peer, as with role = \"customer\"".to_owned();
            self.diagnostics.report(strict.span.clone(), Problem::Conflict { what, help });
        }
        let (least, most) = (or(&s.idle_hold, IDLE_HOLD), or(&s.idle_hold_max, IDLE_HOLD_MAX));
        self.ordered(
            ("idle_hold", least.0, &s.idle_hold),
            ("idle_hold_max", most.0, &s.idle_hold_max),
            "the wait grows from the first to the second",
        );
        let (delay, most) = (or(&s.delay_open, Time::seconds(0)), or(&s.open_timeout, OPEN_TIMEOUT));
        let help = "no OPEN would be sent before the connection is given up";
        self.ordered(("delay_open", delay.0, &s.delay_open), ("open_timeout", most.0, &s.open_timeout), help);
    }

    /// The first is not longer than the second.
    fn ordered<S, L>(&self, (short, least, at): (&str, Duration, &Opt<S>), (long, most, above): (&str, Duration, &Opt<L>), help: &str) {
        let spans = [at.as_ref().map(|at| &at.span), above.as_ref().map(|at| &at.span)];
        let mut spans = spans.into_iter().flatten().cloned();
        let Some(span) = spans.next().filter(|_| least > most) else { return };
        let what = format!("`{short}` ({}) is longer than `{long}` ({})", Time(least), Time(most));
        let problem = Problem::Conflict { what, help: help.to_owned() };
        self.diagnostics.report_with(span.clone(), problem, spans.next().unwrap_or(span), "and this");
    }

    /// What Linux takes.
    fn mss(&self, mss: &At<u16>) -> Option<u16> {
        if !(88..=32_767).contains(&mss.value) {
            let expected = "a segment size from 88 to 32767 octets, such as 1400".to_owned();
            self.diagnostics.report(mss.span.clone(), Problem::BadValue { found: mss.value.to_string(), expected });
        }
        Some(mss.value)
    }

    /// AdvDefaultLifetime: zero, or no less than MaxRtrAdvInterval, of which we have ten seconds (RFC 4861 §6.2.1).
    fn router_lifetime(&self, time: &At<Time>) -> u16 {
        let seconds = time.value.0.as_secs();
        let whole = time.value.0.subsec_nanos() == 0;
        if !whole || seconds != 0 && !(10..=9000).contains(&seconds) {
            let expected = "0, or a time from 10 to 9000 whole seconds, such as \"30m\" (RFC 4861 section 6.2.1)".to_owned();
            self.diagnostics.report(time.span.clone(), Problem::BadValue { found: time.value.to_string(), expected });
        }
        u16::try_from(seconds).unwrap_or(0)
    }

    /// The field has 24 bits (RFC 9494 §3.1).
    fn long_lived(&self, time: &Opt<Time>) -> u32 {
        let Some(time) = time else { return 0 };
        let seconds = u32::try_from(time.value.0.as_secs()).ok().filter(|seconds| *seconds < 1 << 24 && time.value.0.subsec_nanos() == 0);
        if seconds.is_none() {
            let expected = "a time of at most 16777215 whole seconds (4660h), such as \"6h\"; 0: not at all (RFC 9494 §3.1)".to_owned();
            self.diagnostics.report(time.span.clone(), Problem::BadValue { found: time.value.to_string(), expected });
        }
        seconds.unwrap_or(0)
    }

    fn keepalive(&self, time: &At<Time>, s: &Settings) -> Option<u16> {
        let seconds = time.value.whole_seconds();
        let hold = or(&s.hold_time, HoldTime::DEFAULT).seconds();
        let most = if hold == 0 { u16::MAX } else { hold.saturating_sub(1) };
        if seconds.is_none_or(|seconds| seconds > most || (seconds == 0 && hold > 0)) {
            let expected = format!("a time of 1 to {most} whole seconds, less than the hold time (a third of it is usual)");
            self.diagnostics.report(time.span.clone(), Problem::BadValue { found: time.value.to_string(), expected });
        }
        seconds
    }

    /// Reads the file that holds the secret. Without one the session stays down, and the others run.
    pub(super) fn password(&self, file: &At<SecretPath>) -> Password {
        let path = &file.value.0;
        let secret = (self.environment.read)(path).and_then(|found| {
            if found.world_readable {
                let what = format!("everybody on this machine can read {}", path.display());
                let help = "take the right to read it from others, as with `chmod o-r`".to_owned();
                self.diagnostics.report(file.span.clone(), Problem::Odd { what, help });
            }
            usable_secret(&found.text)
        });
        if let Err(error) = &secret {
            let problem = Problem::Unreadable { path: path.display().to_string(), error: error.clone() };
            self.diagnostics.report(file.span.clone(), problem);
        }
        Password { place: PasswordPlace::File(path.clone()), secret }
    }

    fn chain(&self, names: &Opt<Vec<At<String>>>, default: &ChainRef, which: &'static str, span: &Span, peer: &str) -> ChainRef {
        let Some(names) = names else {
            if *default == ChainRef::Missing {
                self.diagnostics.report(span.clone(), Problem::NoPolicy { peer: peer.to_owned(), missing: which });
            }
            return default.clone();
        };
        match names.value.as_slice() {
            [] => ChainRef::None,
            [one] if one.value == "all" => ChainRef::All,
            [one] if one.value == "none" => ChainRef::None,
            [one] if one.value == "own-blocks" => ChainRef::OwnBlocks,
            several => ChainRef::Policies(several.iter().filter_map(|name| self.policy_name(name)).collect()),
        }
    }

    fn policy_name(&self, name: &At<String>) -> Option<String> {
        if BUILT_IN.contains(&name.value.as_str()) {
            let what = format!("`{}` stands alone, not in a list with other policies", name.value);
            let help = "make the last policy's `default` say what becomes of the rest".to_owned();
            self.diagnostics.report(name.span.clone(), Problem::Conflict { what, help });
            return None;
        }
        if !self.policies.contains_key(&name.value) {
            let known = BUILT_IN.iter().map(|n| (*n).to_owned()).chain(self.policies.keys().cloned()).collect();
            self.diagnostics.report(name.span.clone(), Problem::Unresolved { kind: "policy", name: name.value.clone(), known });
        }
        Some(name.value.clone())
    }

    /// Two sessions to one address, or of one name; a session with ourselves.
    fn duplicates(&self, raw: &Raw, sessions: &[Session], node: &Node) {
        let mut by_address: BTreeMap<ZonedAddr, Span> = BTreeMap::new();
        let mut by_name: BTreeMap<String, Span> = BTreeMap::new();
        let members = raw.cluster.iter().flat_map(|c| &c.nodes).filter_map(|m| Some((m.name.as_ref()?, m)));
        let members: BTreeMap<&str, (&At<String>, &RawMember)> = members.map(|(name, m)| (name.value.as_str(), (name, m))).collect();
        let from_file = raw.peers.iter().filter(|p| p.address.is_some() || p.settings.interface.is_some()).count();
        let from_cluster = sessions.len().saturating_sub(from_file);
        for session in sessions.iter().take(from_cluster) {
            let Some((name, member)) = members.get(session.name.as_str()) else { continue };
            let mut addresses = member.addresses.iter().flat_map(|list| &list.value);
            let address = addresses.find(|at| at.value == session.remote.addr).map_or(member.span.clone(), |at| at.span.clone());
            by_address.insert(session.remote.clone(), address);
            by_name.insert(session.name.clone(), name.span.clone());
        }
        for peer in &raw.peers {
            let Some(address) = place_of(peer) else { continue };
            let mine = node.ipv4.map(IpAddr::V4) == Some(address.value.addr) || node.ipv6.map(IpAddr::V6) == Some(address.value.addr);
            if mine && port(&peer.settings.port) == port(&raw.listen.port) {
                let what = format!("{} is this node's own address", address.value);
                self.diagnostics
                    .report(address.span.clone(), Problem::Conflict { what, help: "a router does not peer with itself".to_owned() });
            }
            let shown = if address.value.addr.is_unspecified() { value(&peer.settings.interface) } else { None };
            let shown = shown.unwrap_or_else(|| address.value.to_string());
            if let Some(first) = by_address.insert(address.value.clone(), address.span.clone()) {
                let problem = Problem::Duplicate { kind: "peer", what: shown.clone() };
                self.diagnostics.report_with(address.span.clone(), problem, first, "first here");
            }
            let name = peer.name.clone().unwrap_or_else(|| At::new(shown, address.span.clone()));
            if let Some(first) = by_name.insert(name.value.clone(), name.span.clone()).filter(|_| peer.name.is_some()) {
                let problem = Problem::Duplicate { kind: "peer name", what: name.value };
                self.diagnostics.report_with(name.span, problem, first, "first here");
            }
        }
    }
}

/// The key in a file's text, without the end of its line.
///
/// # Errors
/// TCP MD5 takes 1 to 80 octets (RFC 2385).
pub fn usable_secret(text: &str) -> Result<String, String> {
    let secret = text.trim_end_matches(['\n', '\r']);
    match secret.len() {
        1..=80 => Ok(secret.to_owned()),
        octets => Err(format!("{octets} octets where a TCP MD5 password has 1 to 80 (RFC 2385)")),
    }
}

fn remote_asn(raw: AsnOrKind) -> RemoteAs {
    match raw {
        AsnOrKind::Exactly(asn) => RemoteAs::Exactly(asn),
        AsnOrKind::External => RemoteAs::External,
        AsnOrKind::Internal => RemoteAs::Internal,
    }
}

pub(crate) fn kind(remote: RemoteAs, options: &PeerOptions) -> PeerKind {
    if !remote.is_internal(options.local_asn) {
        PeerKind::External
    } else if options.rr_client {
        PeerKind::RrClient
    } else {
        PeerKind::Internal
    }
}

/// Where a peer is: at its address, or whoever is on its interface.
fn place_of(peer: &RawPeer) -> Option<At<ZonedAddr>> {
    let on = |interface: &At<String>| {
        At::new(ZonedAddr { addr: Ipv6Addr::UNSPECIFIED.into(), zone: Some(interface.value.clone()) }, interface.span.clone())
    };
    peer.address.clone().or_else(|| peer.settings.interface.as_ref().map(on))
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// A link-local address takes its zone from `interface` if it does not say one.
fn with_zone(remote: &ZonedAddr, options: &PeerOptions) -> ZonedAddr {
    match &remote.zone {
        None if is_link_local(remote.addr) => ZonedAddr { addr: remote.addr, zone: options.interface.clone() },
        _ => remote.clone(),
    }
}
