//! From the configuration as meant to the core's own parameters.
//!
//! In: a [`Config`]. Out: [`speaker::Params`]. Nothing is decided here that an operator could have said; equal configurations make equal
//! parameters, so a reload that changes nothing touches nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::model::{AddPath, Bfd, ChainRef, Config, MaxPrefixAction, Password, PeerOptions, Range, RouteSource, Session};
use super::policy::{Matches, Policy, SetNextHop, Sets};
use super::values::ZonedAddr;
use crate::bfd;
use crate::num::{Asn, ClusterId, Family, FamilySet};
use crate::peer::{self, GracefulParams, Offer, PeerKind, Remote, RemoteAs, Secret, Ttl};
use crate::policy::LocalKind;
use crate::policy::{self, AsPathMatch, Chain, Condition, Edit, MedEdit, NextHopEdit, PeerMatch, PrefixRange, PrefixSet};
use crate::rib::update_group::AddPathSend;
use crate::rib::{Multipath, Rules};
use crate::speaker::{self, BlockSource, ListenRange, MaxPrefix, NodeAddresses, PeerConfig, RecoveryParams, StopParams};

/// Percent of a prefix limit at which a peer is spoken of (the metric's alert stands at the same).
const WARN_PERCENT: u8 = 80;

/// The whole router's parameters.
pub fn speaker(config: &Config) -> speaker::Params {
    let mut chains = Chains::new(config);
    let peers = config.sessions.iter().map(|session| Arc::new(peer_config(config, session, &mut chains))).collect();
    let ranges = config.ranges.iter().flat_map(|range| listen_ranges(config, range, &mut chains)).collect();
    let sorted = |nets: &[IpNet]| {
        let mut nets = nets.to_vec();
        nets.sort();
        nets
    };
    speaker::Params {
        name: config.node.name.clone(),
        asn: config.node.asn,
        router_id: config.node.router_id,
        mode: config.cluster.as_ref().map_or("none", |c| super::values::Keyword::keyword(c.mode)).to_owned(),
        cluster_id: cluster_id(config),
        client_to_client: config.node.client_to_client,
        addresses: NodeAddresses { v4: config.node.ipv4, v6: config.node.ipv6 },
        peers,
        ranges,
        blocks: sorted(&config.pods.blocks),
        held_blocks: sorted(&config.pods.held_by_others),
        services: sorted(&config.services),
        leaving: config.leaving.clone(),
        sources: config.pods.file.iter().map(|_| BlockSource::File).collect(),
        rules: rules(config),
        fib: config.fib.clone(),
        redistribute: config.redistribution.clone(),
        stop: StopParams { on_term: config.node.on_term, drain_wait: config.node.drain_wait },
        recovery: RecoveryParams {
            deadline: config.graceful.startup_deadline,
            end_of_rib_wait: config.graceful.end_of_rib_wait,
            forwarding: config.graceful.forwarding,
        },
        limits: config.limits.node.clone(),
        bmp: config.bmp.clone(),
        rpki: config.rpki.clone(),
        provisional: config.provisional,
        origins: config.origins.clone(),
        shell: shell(config),
    }
}

/// The daemon can run it.
///
/// # Errors
/// It says that nodes come from the objects of a cluster, and this program was built without what watches them.
pub fn can_be_run(config: &Config) -> Result<(), String> {
    match &config.kubernetes {
        Some(_) if !cfg!(feature = "kubernetes") => Err("[kubernetes]: this catbird was built without the feature `kubernetes`".to_owned()),
        _ => Ok(()),
    }
}

/// What the shell does by itself, in words; never a secret.
fn shell(config: &Config) -> BTreeMap<String, String> {
    let listen: Vec<String> = config.listen.addresses.iter().map(|addr| SocketAddr::new(*addr, config.listen.port).to_string()).collect();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let all = [
        ("[listen]", listen.join(" ")),
        ("[pods] file", or_none(config.pods.file.as_ref().map(|file| file.display().to_string()))),
        ("[ready] share", config.ready.share.to_string()),
        ("[metrics] listen", or_none(config.metrics.listen.map(|addr| addr.to_string()))),
        ("[looking_glass] listen", or_none(config.looking_glass.map(|addr| addr.to_string()))),
        ("[metrics] per_peer", config.metrics.per_peer.to_string()),
        ("[control] socket", config.control.socket.display().to_string()),
        ("[control] mode", format!("{:o}", config.control.mode)),
        ("[reload] watch", config.watch.to_string()),
        ("[control] bird_sockets", or_none(config.bird_sockets.as_ref().map(|folder| folder.display().to_string()))),
        ("[kubernetes] cni", or_none(config.kubernetes.as_ref().and_then(|k| k.cni.as_ref()).map(|path| path.display().to_string()))),
        ("[log] level", config.log.level.to_string()),
        ("[log] format, at the next start,", config.log.format.to_string()),
    ];
    let lifetimes = config.sessions.iter().filter(|session| session.options.router_lifetime > 0);
    let lifetimes = lifetimes.map(|s| (format!("{}: router_lifetime", s.name), format!("{}s", s.options.router_lifetime)));
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(lifetimes).collect()
}

/// A node with clients of its own reflects, by its router identifier unless the cluster says otherwise (RFC 4456 §7).
fn cluster_id(config: &Config) -> Option<ClusterId> {
    let said = config.cluster.as_ref().and_then(|c| c.cluster_id);
    let clients = config.sessions.iter().any(|s| s.options.rr_client) || config.ranges.iter().any(|r| r.options.rr_client);
    said.or_else(|| clients.then(|| ClusterId(config.node.router_id.addr())))
}

fn rules(config: &Config) -> Rules {
    let b = &config.best_path;
    Rules {
        always_compare_med: b.always_compare_med,
        as_path_relax: b.as_path_relax,
        multipath: Multipath {
            ebgp: b.multipath_external,
            ibgp: b.multipath_internal,
            width: u16::from(b.width),
            stale: config.graceful.stale_in_multipath,
            link_bandwidth: b.link_bandwidth,
        },
        ..Rules::default()
    }
}

/// Chains, each made once, so that peers with the same policy share one and end up in one update group.
struct Chains<'a> {
    policies: HashMap<&'a str, Arc<policy::Policy>>,
    made: HashMap<ChainRef, Chain>,
}

impl<'a> Chains<'a> {
    fn new(config: &'a Config) -> Chains<'a> {
        let made = |(name, policy): (&'a String, &Policy)| (name.as_str(), Arc::new(compile(policy)));
        Chains { policies: config.policies.iter().map(made).collect(), made: HashMap::new() }
    }

    /// `None`: no policy is set (RFC 8212).
    fn chain(&mut self, of: &ChainRef) -> Option<Chain> {
        if *of == ChainRef::Missing {
            return None;
        }
        if let Some(chain) = self.made.get(of) {
            return Some(chain.clone());
        }
        let chain = match of {
            ChainRef::Missing => return None,
            ChainRef::All => Chain::all(),
            ChainRef::None => Chain::none(),
            ChainRef::OwnBlocks => Chain::own_blocks(),
            ChainRef::Policies(names) => {
                Chain::from_policies(names.iter().filter_map(|name| self.policies.get(name.as_str()).cloned()).collect())
            }
        };
        self.made.insert(of.clone(), chain.clone());
        Some(chain)
    }
}

fn peer_config(config: &Config, session: &Session, chains: &mut Chains<'_>) -> PeerConfig {
    let params = peer_params(config, &session.name, session.kind, &session.remote, session.remote_asn, &session.options);
    with_options(Arc::new(params), &session.options, config, chains)
}

/// One for each prefix; its address is replaced by the one that comes.
fn listen_ranges(config: &Config, range: &Range, chains: &mut Chains<'_>) -> Vec<Arc<ListenRange>> {
    let one = |net: &IpNet| {
        let addr = match net {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let remote = ZonedAddr { addr, zone: None };
        let params = peer_params(config, &range.name, range.kind, &remote, range.remote_asn, &range.options);
        let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
        Arc::new(ListenRange { net: *net, limit, template: with_options(Arc::new(params), &range.options, config, chains) })
    };
    range.nets.iter().map(one).collect()
}

fn with_options(session: Arc<peer::Params>, options: &PeerOptions, config: &Config, chains: &mut Chains<'_>) -> PeerConfig {
    let action = match options.max_prefix.action {
        MaxPrefixAction::Close => speaker::MaxPrefixAction::Close { restart: options.max_prefix.restart },
        MaxPrefixAction::Refuse => speaker::MaxPrefixAction::Refuse,
        MaxPrefixAction::Warn => speaker::MaxPrefixAction::Warn,
    };
    let limit = |limit: Option<u32>| limit.map(|limit| MaxPrefix { limit, warn_percent: WARN_PERCENT, action });
    PeerConfig {
        import: chains.chain(&options.import),
        export: chains.chain(&options.export),
        rr_client: options.rr_client,
        next_hop: options.next_hop,
        add_path: match options.add_path_limit {
            0 => AddPathSend::All,
            limit => AddPathSend::Best(limit),
        },
        max_prefix: [limit(options.max_prefix.ipv4), limit(options.max_prefix.ipv6)],
        allow_own_as: options.allow_own_as,
        enforce_first_as: options.enforce_first_as,
        remove_private_as: options.remove_private_as,
        as_override: options.as_override,
        burden: config.limits.peer,
        bfd: options.bfd.as_ref().map(|bfd| Arc::new(bfd_profile(bfd))),
        ..PeerConfig::new(session)
    }
}

fn peer_params(
    config: &Config,
    name: &str,
    kind: PeerKind,
    remote: &ZonedAddr,
    remote_as: RemoteAs,
    options: &PeerOptions,
) -> peer::Params {
    peer::Params {
        description: options.description.clone(),
        remote: Remote { addr: remote.addr, zone: remote.zone.clone() },
        by_interface: remote.zone.is_some() && remote.addr.is_unspecified(),
        port: options.port,
        local_addr: options.source,
        interface: options.interface.clone(),
        passive: options.passive,
        enabled: options.enabled && hindrance(options).is_none(),
        hindrance: hindrance(options),
        hold_time: options.hold_time,
        keepalive: options.keepalive_time,
        connect_retry: options.connect_retry,
        idle_hold: options.idle_hold,
        idle_hold_max: options.idle_hold_max,
        delay_open: options.delay_open,
        open_timeout: options.open_timeout,
        send_hold: options.send_hold,
        user_timeout: options.tcp_user_timeout,
        mss: options.tcp_mss,
        collide_established: options.collide_established,
        families: options.families,
        offer: offer(config, options),
        ttl: match (options.ttl_security, options.multihop) {
            (Some(hops), _) => Ttl::Security(hops),
            (None, Some(ttl)) => Ttl::Multihop(ttl),
            (None, None) => Ttl::Default,
        },
        md5: options.password.as_ref().and_then(secret),
        kind,
        ..peer::Params::new(name, remote.addr, options.local_asn, remote_as, config.node.router_id)
    }
}

fn secret(password: &Password) -> Option<Secret> {
    password.secret.as_ref().ok().map(|secret| Secret::new(secret.as_bytes()))
}

/// What the room of BFD needs to know. Without a key that is asked for the peer is not enabled at all.
fn bfd_profile(bfd: &Bfd) -> bfd::Profile {
    let key = bfd.key.as_ref().map(|key| {
        let secret = key.password.secret.as_deref().unwrap_or_default();
        bfd::Key { auth: key.auth, id: key.id, secret: Secret::new(secret.as_bytes()) }
    });
    bfd::Profile { key, ..bfd.profile.clone() }
}

/// A session whose password is not to be had does not come up without one.
fn hindrance(options: &PeerOptions) -> Option<String> {
    options
        .passwords()
        .find_map(|password| password.secret.as_ref().err().map(|error| format!("no password in {}: {error}", password.place)))
}

fn offer(config: &Config, options: &PeerOptions) -> Offer {
    let g = &config.graceful;
    let graceful = (g.enabled && options.graceful_restart).then(|| GracefulParams {
        restart_time: options.restart_time.unwrap_or(g.restart_time),
        stale_time: g.stale_time,
        ..GracefulParams::default()
    });
    let some = |on: bool| if on { options.families } else { FamilySet::NONE };
    Offer {
        extended_messages: options.extended_messages,
        bfd_strict: options.bfd.as_ref().is_some_and(|bfd| bfd.profile.strict),
        extended_next_hop: some(options.extended_next_hop).and(Family::Ipv4Unicast.into()),
        add_path_send: some(matches!(options.add_path, AddPath::Send | AddPath::Both)),
        add_path_receive: some(matches!(options.add_path, AddPath::Receive | AddPath::Both)),
        graceful_restart: graceful,
        long_lived: options.long_lived,
        role: options.role,
        role_strict: options.role_strict,
        ..Offer::default()
    }
}

/// A policy in the form that judges.
pub(super) fn compile(policy: &Policy) -> policy::Policy {
    let rule = |rule: &super::policy::Rule| policy::Rule {
        name: rule.name.as_deref().map(Arc::from),
        when: conditions(&rule.matches),
        set: edits(&rule.sets),
        then: rule.then,
    };
    policy::Policy { name: policy.name.as_str().into(), rules: policy.rules.iter().map(rule).collect(), otherwise: policy.default }
}

fn conditions(m: &Matches) -> Vec<Condition> {
    let mut when = Vec::new();
    for prefixes in [&m.prefixes, &m.prefix_sets].into_iter().flatten() {
        let ranges = prefixes.iter().filter_map(|p| PrefixRange::range(p.net, Some(p.min), Some(p.max)));
        when.push(Condition::Prefix(Arc::new(PrefixSet::new(ranges))));
    }
    when.extend(m.family.map(Condition::Family));
    if let Some(own) = m.own_blocks {
        let block = Condition::RouteType(vec![LocalKind::Block]);
        when.push(if own { block } else { Condition::Not(Box::new(block)) });
    }
    when.extend(m.own_kinds.clone().map(Condition::RouteType));
    when.extend(m.source.map(|source| match source {
        RouteSource::Local => Condition::Local,
        RouteSource::Internal => Condition::Internal,
        RouteSource::External => Condition::External,
    }));
    when.extend(m.peers.as_ref().map(|peers| Condition::Peer(peers.iter().map(|peer| peer_match(peer)).collect())));
    when.extend(m.communities.clone().map(Condition::Community));
    when.extend(m.as_path_contains.clone().map(|asns| Condition::AsPath(AsPathMatch::Contains(asns))));
    when.extend(m.as_path_first.map(|asn| Condition::AsPath(AsPathMatch::StartsWith(vec![asn]))));
    when.extend(m.as_path_origin.map(|asn| Condition::AsPath(AsPathMatch::OriginatedBy(vec![asn]))));
    when.extend(m.rpki.clone().map(Condition::Rpki));
    when.extend(m.as_path_max_length.map(|max| Condition::AsPath(AsPathMatch::Length(0..=max))));
    when.extend(m.origin.map(Condition::Origin));
    when.extend(m.next_hop_in.clone().map(Condition::NextHop));
    when.extend(m.others.iter().cloned());
    when
}

fn peer_match(text: &str) -> PeerMatch {
    if let Ok(addr) = text.parse() {
        return PeerMatch::Addr(addr);
    }
    match text.strip_prefix("AS").and_then(|number| number.parse().ok()) {
        Some(number) => PeerMatch::Asn(Asn(number)),
        None => PeerMatch::Name(text.into()),
    }
}

fn edits(s: &Sets) -> Vec<Edit> {
    let mut set = Vec::new();
    if s.clear_communities {
        set.push(Edit::ClearCommunities);
    }
    if !s.remove_communities.is_empty() {
        set.push(Edit::RemoveCommunities(s.remove_communities.clone()));
    }
    if !s.add_communities.is_empty() {
        set.push(Edit::AddCommunities(s.add_communities.clone()));
    }
    set.extend(s.local_pref.map(Edit::LocalPref));
    set.extend(s.med.map(|med| Edit::Med(MedEdit::Set(med))));
    set.extend(s.origin.map(Edit::Origin));
    set.extend(s.next_hop.map(|hop| match hop {
        SetNextHop::Own => Edit::NextHop(NextHopEdit::SelfAddress),
        SetNextHop::Addr(addr) => Edit::NextHop(NextHopEdit::Address(addr)),
    }));
    // each goes before what is there, so the last one typed goes first and the path reads as it was typed
    for asn in s.prepend.iter().rev() {
        match set.last_mut() {
            Some(Edit::Prepend { asn: Some(same), count }) if same == asn && *count < u8::MAX => *count = count.saturating_add(1),
            _ => set.push(Edit::Prepend { asn: Some(*asn), count: 1 }),
        }
    }
    set
}

#[cfg(test)]
mod tests;
