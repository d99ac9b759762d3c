//! Adj-RIB-Out for one kind of session: may this route be announced there, and with which attributes?
//!
//! In: the best route of a prefix, its [`RouteSource`], and the [`GroupKey`] of those who would hear it. Out: the attributes as they go
//! out, or the reason why they do not ([`Withheld`]). What differs between members of one group is [`SplitHorizon`].
//!
//! It leaves to others: which route is the best (`decide`), the rules of operators (`policy`), packing and octets (`pack`, `wire`), and
//! who has been announced what (`group`). Nothing is remembered here; the same question always has the same answer.
//!
//! RFC 4271 §5.1 (what each attribute must look like towards which peer), §9.1.3 and §9.2 (to whom); RFC 4456 §8 (reflection);
//! RFC 1997 (NO_EXPORT and its kin); RFC 8212; RFC 9234 §5 (ONLY_TO_CUSTOMER).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::decide::{SourceFacts, SourceKind};
use crate::num::{Asn, ClusterId, Family, FamilySet, Nlri, PathId, PeerId, Role, RouterId};
use crate::policy::{Accepted, Chain, LocalKind, NextHopEdit, PeerFacts, PeerName, RuleRef, Source};
use crate::rpki::Validity;
use crate::wire::{Community, Context, Editor, NextHop, PathAttributes, encode_reach};

/// All that decides what a peer is announced, apart from who it is. Peers with equal keys get the same octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The session leaves our AS.
    pub external: bool,
    /// Our AS on this session; it goes to the front of AS_PATH towards external peers.
    pub local_as: Asn,
    /// What NEXT_HOP becomes.
    pub next_hop: NextHopRule,
    /// We reflect, and to these as clients or as non-clients. `None`: iBGP routes are not passed on over iBGP.
    pub reflect: Option<Reflect>,
    /// The export policy.
    pub chain: Chain,
    /// How octets are written: AS width, message size, families, ADD-PATH.
    pub send: Context,
    /// Those that the sessions carry.
    pub families: FamilySet,
    /// How many paths of a prefix are announced.
    pub add_path: AddPathSend,
    /// Private AS numbers but this one, the peer's, are taken out of AS_PATH before ours is put in front (external sessions).
    pub remove_private: Option<Asn>,
    /// This AS, the peer's, is replaced by ours in AS_PATH (external sessions), for sites that share one number.
    pub as_override: Option<Asn>,
    /// What we are to the peers (RFC 9234, external sessions).
    pub role: Option<Role>,
    /// The peers understand LLGR_STALE (RFC 9494).
    pub long_lived: bool,
    /// We are about to go: every route carries GRACEFUL_SHUTDOWN, and inside the AS LOCAL_PREF 0 (RFC 8326 §4.1).
    pub graceful_shutdown: bool,
    /// Nothing is announced; what was is withdrawn.
    pub withhold: bool,
    /// LOCAL_PREF where a route has none (internal sessions).
    pub local_pref: u32,
    /// Set where the chain asks who the peer is; then the peer shares a group with nobody.
    pub peer: Option<PeerName>,
}

/// Our part as a route reflector towards the peers of a group (RFC 4456).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reflect {
    /// Ours, put in front of CLUSTER_LIST (RFC 4456 §8).
    pub cluster: ClusterId,
    /// The members are clients of ours.
    pub client: bool,
    /// From one client to another too. Not where the clients are meshed and tell each other themselves (RFC 4456 §6).
    pub between_clients: bool,
}

/// How many paths of a prefix are sent (RFC 7911).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddPathSend {
    /// The best, without identifier.
    #[default]
    Off,
    /// The best so many.
    Best(u8),
    /// All that may be announced.
    All,
}

/// What stands in NEXT_HOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHopRule {
    /// Whose address it is.
    pub mode: NextHopMode,
    /// Our addresses as this peer can reach them.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
    /// This end of a session between link-local addresses. Told beside `v6` (RFC 2545 §3), or alone where there is no `v6`.
    pub link_local: Option<Ipv6Addr>,
}

/// Whose address stands in NEXT_HOP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NextHopMode {
    /// Ourselves towards external peers; towards internal ones as it was learned (RFC 4271 §5.1.3).
    #[default]
    Auto,
    /// Ours, whatever it was.
    SelfAddress,
    /// As it was learned. Our own routes carry our address all the same.
    Unchanged,
    /// As it was learned where that address is on this link, which we share with the peer ("third party", §5.1.3); else ourselves.
    ThirdParty(IpNet),
}

impl GroupKey {
    /// Are several paths of a prefix announced, each with an identifier?
    pub fn tells_paths(&self, family: Family) -> bool {
        self.add_path != AddPathSend::Off && self.send.add_path.contains(family)
    }

    /// The facts for the chain, with `source` to be filled in.
    fn facts(&self, source: Source) -> PeerFacts {
        PeerFacts { peer: self.peer.clone(), external: self.external, local_as: self.local_as, source, validity: Validity::NotFound }
    }
}

/// Where a route came from, as far as the export asks. Taken over when the route is announced, so it outlives the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteSource {
    /// Who announced it, or [`PeerId::LOCAL`].
    pub peer: PeerId,
    /// What kind of peer, or of own route.
    pub source: Source,
    /// Its BGP Identifier: ORIGINATOR_ID of what we reflect (RFC 4456 §8).
    pub router_id: RouterId,
    /// A client of ours.
    pub client: bool,
}

impl RouteSource {
    /// A path's source is its peer; a path of our own says by its identifier what kind it is.
    pub fn new(facts: &SourceFacts, path_id: PathId) -> RouteSource {
        let source = match facts.kind {
            SourceKind::Local => Source::Local(LocalKind::from_path_id(path_id)),
            SourceKind::Internal => Source::Internal,
            SourceKind::Confederation | SourceKind::External => Source::External,
        };
        RouteSource { peer: facts.id, source, router_id: facts.router_id, client: facts.rr_client }
    }
}

/// Which members of a group must not hear a route although the group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SplitHorizon {
    /// Who announced it.
    pub source: PeerId,
    /// Whose ORIGINATOR_ID it carries (RFC 4456 §8).
    pub originator: Option<RouterId>,
    /// Whose address is the next hop (RFC 4271 §5.1.3).
    pub next_hop: IpAddr,
}

/// A member, as far as [`SplitHorizon`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberFacts {
    /// Its number.
    pub id: PeerId,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its address on the session.
    pub addr: IpAddr,
}

impl SplitHorizon {
    /// For attributes as they go out.
    pub fn new(source: PeerId, out: &PathAttributes) -> SplitHorizon {
        SplitHorizon { source, originator: out.originator_id(), next_hop: out.next_hop().addr() }
    }

    /// Why this member does not hear it, if so.
    pub fn hits(&self, member: &MemberFacts) -> Option<Withheld> {
        if self.source == member.id {
            Some(Withheld::ItsOwn)
        } else if self.originator == Some(member.router_id) {
            Some(Withheld::Originator)
        } else if self.next_hop == member.addr {
            Some(Withheld::NextHopIsPeer)
        } else {
            None
        }
    }
}

/// Why a route is not announced to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// It was learned from this peer.
    ItsOwn,
    /// The peer is where the route began (ORIGINATOR_ID, RFC 4456 §8).
    Originator,
    /// The next hop would be the peer's own address (RFC 4271 §5.1.3).
    NextHopIsPeer,
    /// Learned over iBGP, and neither end is a client of ours (RFC 4271 §9.2, RFC 4456 §6).
    IbgpToIbgp,
    /// Learned from one client of ours, and clients tell each other themselves.
    ClientToClient,
    /// It carries NO_ADVERTISE (RFC 1997).
    NoAdvertise,
    /// It carries NO_EXPORT, and the session leaves the AS (RFC 1997).
    NoExport,
    /// It carries NO_EXPORT_SUBCONFED, and the session is external (RFC 1997).
    NoExportSubconfed,
    /// It carries ONLY_TO_CUSTOMER, and the peer is a provider, a peer or a route server of ours (RFC 9234).
    OnlyToCustomer,
    /// It carries LLGR_STALE, and the peer has not said that it knows what that means (RFC 9494 §4.3).
    LongLivedStale,
    /// The session is external and has no policy (RFC 8212).
    NoPolicy,
    /// This node is draining.
    Draining,
    /// This rule refused it.
    Policy(RuleRef),
    /// We have no address of this family to offer as the next hop.
    NoNextHop,
    /// The session does not carry this family.
    Family,
    /// The attributes fill a message by themselves (RFC 4271 §9.2).
    TooLong,
    /// The attributes leave room for a shorter prefix, but not for this one.
    NoRoom,
}

impl Withheld {
    /// In one word, as it stays from one release to the next.
    pub fn code(&self) -> &'static str {
        match self {
            Withheld::ItsOwn => "its_own",
            Withheld::Originator => "originator",
            Withheld::NextHopIsPeer => "next_hop_is_peer",
            Withheld::IbgpToIbgp => "ibgp_to_ibgp",
            Withheld::ClientToClient => "client_to_client",
            Withheld::NoAdvertise => "no_advertise",
            Withheld::NoExport => "no_export",
            Withheld::NoExportSubconfed => "no_export_subconfed",
            Withheld::OnlyToCustomer => "only_to_customer",
            Withheld::LongLivedStale => "long_lived_stale",
            Withheld::NoPolicy => "no_policy",
            Withheld::Draining => "draining",
            Withheld::Policy(_) => "policy",
            Withheld::NoNextHop => "no_next_hop",
            Withheld::Family => "family",
            Withheld::TooLong => "too_long",
            Withheld::NoRoom => "no_room",
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::ItsOwn => "it was learned from this peer",
            Withheld::Originator => "the route began at this peer (ORIGINATOR_ID)",
            Withheld::NextHopIsPeer => "the next hop is this peer itself",
            Withheld::IbgpToIbgp => "learned over iBGP, and neither end is a client of ours",
            Withheld::ClientToClient => "learned from a client, and `client_to_client` is off: clients tell each other",
            Withheld::NoAdvertise => "it carries NO_ADVERTISE",
            Withheld::NoExport => "it carries NO_EXPORT, and the peer is external",
            Withheld::NoExportSubconfed => "it carries NO_EXPORT_SUBCONFED, and the peer is external",
            Withheld::OnlyToCustomer => "it is for customers alone (ONLY_TO_CUSTOMER, RFC 9234), and the peer is none of ours",
            Withheld::Draining => "this node is draining",
            Withheld::LongLivedStale => "it is long-lived stale (LLGR_STALE, RFC 9494), and the peer does not know of that",
            Withheld::NoPolicy => "an external session needs an export policy and has none (RFC 8212)",
            Withheld::Policy(rule) => return write!(f, "refused by {rule}"),
            Withheld::NoNextHop => "we have no address of this family to offer as the next hop",
            Withheld::Family => "the session does not carry this family",
            Withheld::TooLong => "its attributes do not fit into a message",
            Withheld::NoRoom => "its prefix does not fit into a message beside its attributes",
        })
    }
}

/// What can be decided before any rule is asked: split horizon inside the AS (RFC 4271 §9.2, RFC 4456 §6).
pub fn barred(source: &RouteSource, key: &GroupKey) -> Option<Withheld> {
    if source.source != Source::Internal || key.external {
        return None;
    }
    match key.reflect {
        Some(reflect) if reflect.client && source.client => (!reflect.between_clients).then_some(Withheld::ClientToClient),
        Some(reflect) if reflect.client || source.client => None,
        _ => Some(Withheld::IbgpToIbgp),
    }
}

/// The route as the group of `key` gets it.
///
/// # Errors
/// The reason why it does not.
pub fn export(net: &IpNet, attrs: &PathAttributes, source: &RouteSource, key: &GroupKey) -> Result<PathAttributes, Withheld> {
    let family = Family::of(net);
    if !key.families.contains(family) {
        return Err(Withheld::Family);
    }
    if key.withhold {
        return Err(Withheld::Draining);
    }
    if let Some(why) = barred(source, key) {
        return Err(why);
    }
    well_known(attrs, key)?;
    if key.role.is_some_and(Role::learns_downwards) && attrs.only_to_customer().is_some() {
        return Err(Withheld::OnlyToCustomer);
    }
    let accepted = key
        .chain
        .run(net, attrs, &key.facts(source.source))
        .map_err(|rule| if rule.is_no_policy() { Withheld::NoPolicy } else { Withheld::Policy(rule) })?;
    finish(net, attrs, &accepted, source, key)
}

/// RFC 1997, on the route as it was received: what our own policy adds is for those who hear it.
fn well_known(attrs: &PathAttributes, &GroupKey { external, long_lived, .. }: &GroupKey) -> Result<(), Withheld> {
    for community in attrs.communities() {
        match community {
            Community::NO_ADVERTISE => return Err(Withheld::NoAdvertise),
            Community::NO_EXPORT if external => return Err(Withheld::NoExport),
            Community::NO_EXPORT_SUBCONFED if external => return Err(Withheld::NoExportSubconfed),
            Community::LLGR_STALE if !long_lived => return Err(Withheld::LongLivedStale),
            _ => {}
        }
    }
    Ok(())
}

/// What the session does to every route that policy let pass.
fn finish(
    net: &IpNet,
    attrs: &PathAttributes,
    accepted: &Accepted,
    source: &RouteSource,
    key: &GroupKey,
) -> Result<PathAttributes, Withheld> {
    let passed = accepted.attrs.as_ref().unwrap_or(attrs);
    let next_hop = next_hop(Family::of(net), passed, accepted.next_hop, source, key).ok_or(Withheld::NoNextHop)?;
    let med = passed.med().filter(|_| accepted.med_decided || source.source.is_local());
    let reflected = reflected(source, key);
    let marked = key.role.is_some_and(Role::tells_downwards) && passed.only_to_customer().is_none();
    // What policy says of communities is not said of this one (RFC 9494 §4.3).
    let unmarked = attrs.has_community(Community::LLGR_STALE) && !passed.has_community(Community::LLGR_STALE);
    let restored = unmarked.then(|| passed.edit().add_community(Community::LLGR_STALE).finish());
    let passed = restored.as_ref().unwrap_or(passed);
    let out = if key.graceful_shutdown || marked || (key.external && (key.remove_private.is_some() || key.as_override.is_some())) {
        edited(passed, next_hop, med, reflected, key)
    } else if key.external {
        passed.to_external(next_hop, med, key.local_as)
    } else {
        passed.to_internal(next_hop, key.local_pref, reflected)
    };
    fits(&out, net, &key.send).map(|()| out)
}

/// ORIGINATOR_ID and CLUSTER_LIST of a route that we reflect (RFC 4456 §8).
fn reflected(source: &RouteSource, key: &GroupKey) -> Option<(RouterId, ClusterId)> {
    key.reflect.filter(|_| source.source == Source::Internal).map(|reflect| (source.router_id, reflect.cluster))
}

/// The ORIGINATOR_ID with which a route goes out, whatever policy makes of the rest.
pub(super) fn originator(attrs: &PathAttributes, source: &RouteSource, key: &GroupKey) -> Option<RouterId> {
    let inside = || attrs.originator_id().or_else(|| Some(reflected(source, key)?.0));
    if key.external { None } else { inside() }
}

/// The same where the session wants more than most.
fn edited(
    passed: &PathAttributes,
    next_hop: NextHop,
    med: Option<u32>,
    reflected: Option<(RouterId, ClusterId)>,
    key: &GroupKey,
) -> PathAttributes {
    let mut editor = passed.edit();
    editor.set_next_hop(next_hop).set_partial_on_unknown();
    if key.external {
        to_external(&mut editor, med, key);
    } else {
        to_internal(&mut editor, passed, reflected, key);
    }
    if key.graceful_shutdown {
        editor.add_community(Community::GRACEFUL_SHUTDOWN);
    }
    editor.finish()
}

/// RFC 4271 §9.2: a route whose attributes leave no room for its prefix is not advertised, rather than in part.
fn fits(out: &PathAttributes, net: &IpNet, send: &Context) -> Result<(), Withheld> {
    if fits_every_prefix(out, Family::of(net), send) || has_room(out, *net, send) {
        return Ok(());
    }
    Err(if has_room(out, default_route(Family::of(net), 0), send) { Withheld::NoRoom } else { Withheld::TooLong })
}

/// No prefix of the family is too long to stand beside these attributes, so that what holds for one holds for all.
pub(super) fn fits_every_prefix(out: &PathAttributes, family: Family, send: &Context) -> bool {
    // AS4_PATH and the frame of MP_REACH_NLRI may come on top; far below the limit there is no need to look.
    out.octets().len() < usize::from(send.max_len) / 4 || has_room(out, default_route(family, family.max_len()), send)
}

fn has_room(out: &PathAttributes, net: IpNet, send: &Context) -> bool {
    encode_reach(out, &[Nlri::new(net)], send, &mut BytesMut::new()) > 0
}

/// Zeros, of this length.
fn default_route(family: Family, len: u8) -> IpNet {
    let zero = match family {
        Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    IpNet::new_assert(zero, len)
}

/// RFC 4271 §5.1.2(b) AS_PATH, §5.1.4 MED, §5.1.5 LOCAL_PREF; RFC 4456 §8 and RFC 4360 §6 have the rest stay inside.
fn to_external(editor: &mut Editor, med: Option<u32>, key: &GroupKey) {
    editor.strip_non_transitive().set_med(med);
    if let Some(theirs) = key.remove_private {
        editor.remove_private_as(theirs);
    }
    if let Some(theirs) = key.as_override {
        editor.replace_as(theirs, key.local_as);
    }
    if key.role.is_some_and(Role::tells_downwards) {
        editor.mark_only_to_customer(key.local_as);
    }
    editor.prepend(key.local_as, 1);
}

/// §5.1.5 LOCAL_PREF is always there; RFC 4456 §8 when the route is reflected.
fn to_internal(editor: &mut Editor, passed: &PathAttributes, reflected: Option<(RouterId, ClusterId)>, key: &GroupKey) {
    if key.graceful_shutdown {
        editor.set_local_pref(Some(0));
    } else if passed.local_pref().is_none() {
        editor.set_local_pref(Some(key.local_pref));
    }
    if let Some((originator, cluster)) = reflected {
        if passed.originator_id().is_none() {
            editor.set_originator_id(Some(originator));
        }
        editor.prepend_cluster(cluster);
    }
}

/// RFC 4271 §5.1.3, RFC 2545 §3, RFC 8950 §4. `None` if there is no address that both the family and the session allow.
fn next_hop(family: Family, attrs: &PathAttributes, edit: Option<NextHopEdit>, source: &RouteSource, key: &GroupKey) -> Option<NextHop> {
    let learned = attrs.next_hop();
    let stay = match (edit, key.next_hop.mode) {
        (Some(NextHopEdit::Address(_)), _) => return Some(learned).filter(|n| carries(family, n, key)),
        (Some(NextHopEdit::SelfAddress), _) => false,
        _ if source.source.is_local() => false,
        (Some(NextHopEdit::Unchanged), _) | (None, NextHopMode::Unchanged) => true,
        (None, NextHopMode::SelfAddress) => false,
        (None, NextHopMode::Auto) => !key.external,
        (None, NextHopMode::ThirdParty(link)) => link.contains(&learned.addr()),
    };
    let kept = match learned {
        // Link-local addresses mean nothing beyond the link that they were learned on.
        NextHop::V6 { global, .. } => NextHop::V6 { global, link_local: None },
        v4 => v4,
    };
    if stay && usable(&kept) && carries(family, &kept, key) { Some(kept) } else { ourselves(family, key) }
}

/// On a session between link-local addresses, those are the ones by which the ends reach each other, IPv4 routes included (RFC 8950): any other
/// address of ours may be nowhere on the link.
fn ourselves(family: Family, key: &GroupKey) -> Option<NextHop> {
    let own = &key.next_hop;
    let v4 = own.v4.map(NextHop::V4);
    let v6 = own.v6.or(own.link_local).map(|global| NextHop::V6 { global, link_local: own.link_local });
    let preferred = if own.link_local.is_some() { [v6, v4] } else { [v4, v6] };
    preferred.into_iter().flatten().find(|n| carries(family, n, key))
}

/// Can a route of this family be sent with this next hop?
fn carries(family: Family, next_hop: &NextHop, key: &GroupKey) -> bool {
    match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(_)) | (Family::Ipv6Unicast, NextHop::V6 { .. }) => true,
        (Family::Ipv4Unicast, NextHop::V6 { .. }) => key.send.extended_next_hop.contains(family),
        (Family::Ipv6Unicast, NextHop::V4(_)) => false,
    }
}

fn usable(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(addr) => !addr.is_unspecified(),
        NextHop::V6 { global, .. } => !global.is_unspecified() && !global.is_unicast_link_local(),
    }
}
