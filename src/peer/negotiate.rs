//! OPEN against OPEN: what we offer, whether the peer's is acceptable (RFC 4271 §6.2), and what both agree on.
//!
//! In: the parameters, and the two OPENs as they were sent. Out: our `Open`, or a `Session`, or why there is none.
//!
//! Capabilities follow RFC 5492; families RFC 4760 §8 (an OPEN without that capability means IPv4 unicast); AS numbers RFC 6793 and
//! RFC 7607; identifiers RFC 6286; ADD-PATH RFC 7911 §4; next hops RFC 8950 §4; messages RFC 8654 §4; graceful restart RFC 4724 §3;
//! roles RFC 9234 §4; what is long-lived RFC 9494.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::event::OpenRejected;
use super::fsm::Link;
use super::params::Params;
use super::session::{Graceful, LongLived, Session};
use crate::num::{Asn, Family, FamilySet, HoldTime, Role};
use crate::wire::{AddPathMode, Capability, Context, GracefulRestart, LongLivedFamily, MAX_EXTENDED_LEN, MAX_LEN, Notification, Open};

/// What our restart has to say in an OPEN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restart {
    /// The R bit.
    pub restarting: bool,
    /// The families with the forwarding bit.
    pub forwarding: FamilySet,
}

/// Capabilities that the peer has rejected, left out of the next OPEN (RFC 5492 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum SuppressedCapabilities {
    /// Everything is offered.
    #[default]
    Nothing,
    /// By code and value.
    These(Vec<(u8, Bytes)>),
    /// No optional parameter at all.
    Everything,
}

impl SuppressedCapabilities {
    fn omits(&self, capability: &Capability) -> bool {
        match self {
            SuppressedCapabilities::Nothing => false,
            SuppressedCapabilities::These(list) => is_in(capability, list),
            SuppressedCapabilities::Everything => true,
        }
    }

    /// What a rejection of `ours` means for the next attempt; `None` when leaving out more would be of no use. Unsupported Capability
    /// lists capabilities: one that we offered is one that the peer does not take, one that we did not is one that it misses.
    pub fn after(&self, rejection: &Notification, ours: &Open) -> Option<SuppressedCapabilities> {
        let everything = (!ours.capabilities.is_empty()).then_some(SuppressedCapabilities::Everything);
        match (rejection.code, rejection.subcode) {
            (2, 4) => everything,
            (2, 7) if rejection.data.is_empty() => everything,
            (2, 7) => {
                let mut list = listed(&rejection.data);
                list.retain(|item| ours.capabilities.iter().any(|c| is_in(c, std::slice::from_ref(item))));
                if list.is_empty() {
                    return None;
                }
                if let SuppressedCapabilities::These(before) = self {
                    list.extend(before.iter().cloned());
                }
                Some(SuppressedCapabilities::These(list))
            }
            _ => None,
        }
    }
}

/// A listed capability without a value stands for its code.
fn is_in(capability: &Capability, list: &[(u8, Bytes)]) -> bool {
    let mut octets = BytesMut::new();
    capability.encode(&mut octets);
    let value = octets.get(2..).unwrap_or_default();
    list.iter().any(|(code, v)| *code == capability.code() && (v.is_empty() || *v == value))
}

impl std::fmt::Display for SuppressedCapabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SuppressedCapabilities::Nothing => f.write_str("nothing"),
            SuppressedCapabilities::These(list) => {
                f.write_str("capability")?;
                list.iter().try_for_each(|(code, _)| write!(f, " {code}"))
            }
            SuppressedCapabilities::Everything => f.write_str("any capability"),
        }
    }
}

/// A list of capabilities (RFC 5492 §5), as far as it can be read.
fn listed(data: &Bytes) -> Vec<(u8, Bytes)> {
    let mut list = Vec::new();
    let mut rest: &[u8] = data;
    while let [code, len, after @ ..] = rest {
        let Some((value, next)) = after.split_at_checked(usize::from(*len)) else { break };
        list.push((*code, data.slice_ref(value)));
        rest = next;
    }
    list
}

/// The OPEN that we send.
pub(super) fn our_open(params: &Params, suppressed: &SuppressedCapabilities, restart: Restart) -> Open {
    let offer = &params.offer;
    let mut all: Vec<Capability> = params.families.iter().map(Capability::multiprotocol).collect();
    if offer.route_refresh {
        all.push(Capability::RouteRefresh);
    }
    if !offer.extended_next_hop.is_empty() {
        let list = offer.extended_next_hop.iter().filter(|f| *f == Family::Ipv4Unicast);
        all.push(Capability::ExtendedNextHop(list.map(|f| (f.afi(), u16::from(f.safi()), 2)).collect()));
    }
    if offer.extended_messages {
        all.push(Capability::ExtendedMessage);
    }
    if let Some(graceful) = offer.graceful_restart {
        all.push(Capability::GracefulRestart(GracefulRestart {
            restarting: restart.restarting,
            notification: graceful.notification,
            time: graceful.restart_time.min(4095),
            families: params.families.iter().map(|f| (f.afi(), f.safi(), restart.forwarding.contains(f))).collect(),
        }));
    }
    all.extend(our_long_lived(params, restart));
    all.push(Capability::FourOctetAs(params.local_as));
    let paths: Vec<_> = params.families.iter().filter_map(|f| Some((f.afi(), f.safi(), path_mode(params, f)?))).collect();
    if !paths.is_empty() {
        all.push(Capability::AddPath(paths));
    }
    if offer.enhanced_refresh {
        all.push(Capability::EnhancedRouteRefresh);
    }
    if offer.bfd_strict {
        all.push(Capability::BfdStrict);
    }
    all.extend(role(params).map(|role| Capability::Role(role.code())));
    if let Some(host) = &offer.hostname {
        all.push(Capability::Hostname { host: host.clone(), domain: String::new() });
    }
    all.retain(|c| !suppressed.omits(c));
    Open::new(params.local_as, params.hold_time, params.router_id, all)
}

fn path_mode(params: &Params, family: Family) -> Option<AddPathMode> {
    match (params.offer.add_path_send.contains(family), params.offer.add_path_receive.contains(family)) {
        (true, true) => Some(AddPathMode::Both),
        (true, false) => Some(AddPathMode::Send),
        (false, true) => Some(AddPathMode::Receive),
        (false, false) => None,
    }
}

/// Both OPENs into a session.
///
/// # Errors
/// Why the peer's OPEN is not acceptable; [`rejection`] says it to the peer.
pub(super) fn agree(params: &Params, ours: &Open, theirs: Arc<Open>, link: &Link) -> Result<Session, OpenRejected> {
    check_as(params, &theirs)?;
    let internal = theirs.asn == params.local_as;
    if internal && theirs.router_id == params.router_id {
        return Err(OpenRejected::BadId { id: theirs.router_id });
    }
    if !internal {
        check_role(params, &theirs)?;
    }
    let families = families_of(ours).and(families_of(&theirs));
    if families.is_empty() {
        return Err(OpenRejected::NoCommonFamily { offered: families_of(&theirs) });
    }
    let hold_time = ours.hold_time.min(theirs.hold_time);
    let both = |test: fn(&Capability) -> bool| has(ours, test) && has(&theirs, test);
    let context = Context {
        four_octet_as: both(|c| matches!(c, Capability::FourOctetAs(_))),
        families,
        add_path: FamilySet::NONE,
        extended_next_hop: next_hops_of(ours).and(next_hops_of(&theirs)).and(families),
        refresh_subtypes: has(&theirs, |c| *c == Capability::EnhancedRouteRefresh),
        // RFC 8654 §4 lets a speaker send long messages to whoever offers. What we send stays within RFC 4271 if only the peer does.
        max_len: if both(|c| *c == Capability::ExtendedMessage) { MAX_EXTENDED_LEN } else { MAX_LEN },
        external: !internal,
        confederation: false,
    };
    let (we_send, we_receive) = paths_of(ours);
    let (they_send, they_receive) = paths_of(&theirs);
    let refreshes = |open: &Open| has(open, |c| *c == Capability::RouteRefresh);
    Ok(Session {
        conn: link.conn,
        direction: link.direction,
        local: link.local,
        remote: link.remote,
        local_as: params.local_as,
        remote_as: theirs.asn,
        local_id: params.router_id,
        remote_id: theirs.router_id,
        hold_time,
        keepalive: keepalive(params, hold_time),
        receive: Context {
            add_path: we_receive.and(they_send).and(families),
            // Who offers must be able to receive them, whether or not the peer would take any itself.
            max_len: if has(ours, |c| *c == Capability::ExtendedMessage) { MAX_EXTENDED_LEN } else { MAX_LEN },
            ..context.clone()
        },
        send: Context {
            add_path: we_send.and(they_receive).and(families),
            refresh_subtypes: has(ours, |c| *c == Capability::EnhancedRouteRefresh),
            ..context
        },
        families,
        refresh: refreshes(&theirs),
        enhanced_refresh: both(|c| *c == Capability::EnhancedRouteRefresh),
        graceful: graceful(ours, &theirs, families),
        long_lived: long_lived(params, ours, &theirs, families),
        role: params.offer.role.filter(|_| !internal),
        peer_hostname: hostname(&theirs),
        peer_open: theirs,
        our_open: Arc::new(ours.clone()),
    })
}

/// What the peer is told of its OPEN.
pub(super) fn rejection(why: &OpenRejected, params: &Params) -> Notification {
    match why {
        OpenRejected::BadPeerAs { .. } | OpenRejected::BadAsNumber { .. } => Notification::bad_peer_as(),
        OpenRejected::BadId { .. } => Notification::bad_identifier(),
        OpenRejected::NoCommonFamily { .. } => {
            let needed: Vec<_> = params.families.iter().map(Capability::multiprotocol).collect();
            Notification::unsupported_capability(&needed)
        }
        OpenRejected::RoleMismatch { .. } => Notification::role_mismatch(),
    }
}

/// The two octets and the capability must not contradict each other, AS_TRANS is nobody's number (RFC 6793 §9), and the rest is
/// configuration.
fn check_as(params: &Params, theirs: &Open) -> Result<(), OpenRejected> {
    let plausible = if theirs.has_four_octet_as() {
        theirs.asn != Asn::TRANS && (theirs.my_as == theirs.asn.as_two_octets() || Asn(u32::from(theirs.my_as)) == Asn::TRANS)
    } else {
        theirs.asn != Asn::TRANS
    };
    if !plausible || theirs.asn == Asn(0) {
        return Err(OpenRejected::BadAsNumber { field: theirs.my_as, capability: theirs.asn });
    }
    if params.remote_as.accepts(theirs.asn, params.local_as) {
        Ok(())
    } else {
        Err(OpenRejected::BadPeerAs { got: theirs.asn, want: params.remote_as })
    }
}

/// Ours, of a session that leaves our AS.
fn role(params: &Params) -> Option<Role> {
    params.offer.role.filter(|_| !params.remote_as.is_internal(params.local_as))
}

/// RFC 9234 §4.2: who says nothing is believed, unless `role_strict` wants to hear it; who says several things is not.
fn check_role(params: &Params, theirs: &Open) -> Result<(), OpenRejected> {
    let Some(ours) = params.offer.role else { return Ok(()) };
    let mut said: Vec<u8> =
        theirs.capabilities.iter().filter_map(|c| if let Capability::Role(code) = c { Some(*code) } else { None }).collect();
    said.sort_unstable();
    said.dedup();
    match said.as_slice() {
        [] if !params.offer.role_strict => Ok(()),
        [one] if *one == ours.counterpart().code() => Ok(()),
        _ => Err(OpenRejected::RoleMismatch { ours, theirs: said }),
    }
}

/// A third of the hold time, or what is configured if that is less; never more often than once a second (RFC 4271 §4.4).
fn keepalive(params: &Params, hold_time: HoldTime) -> Option<Duration> {
    let third = hold_time.duration()? / 3;
    let configured = params.keepalive.filter(|s| *s != 0).map_or(third, |s| Duration::from_secs(u64::from(s)));
    Some(third.min(configured).max(Duration::from_secs(1)))
}

fn has(open: &Open, test: impl Fn(&Capability) -> bool) -> bool {
    open.capabilities.iter().any(test)
}

fn families_of(open: &Open) -> FamilySet {
    if !has(open, |c| matches!(c, Capability::Multiprotocol { .. })) {
        return Family::Ipv4Unicast.into();
    }
    let of = |c: &Capability| if let Capability::Multiprotocol { afi, safi } = c { Family::from_codes(*afi, *safi) } else { None };
    open.capabilities.iter().filter_map(of).collect()
}

/// Families that may have an IPv6 next hop.
fn next_hops_of(open: &Open) -> FamilySet {
    let lists = open.capabilities.iter().filter_map(|c| if let Capability::ExtendedNextHop(list) = c { Some(list) } else { None });
    let v6 = lists.flatten().filter(|(_, _, next_hop)| *next_hop == 2);
    v6.filter_map(|(afi, safi, _)| Family::from_codes(*afi, u8::try_from(*safi).ok()?)).collect()
}

/// Families for which the sender of this OPEN sends, and receives, several paths.
fn paths_of(open: &Open) -> (FamilySet, FamilySet) {
    let (mut send, mut receive) = (FamilySet::NONE, FamilySet::NONE);
    let lists = open.capabilities.iter().filter_map(|c| if let Capability::AddPath(list) = c { Some(list) } else { None });
    for (afi, safi, mode) in lists.flatten() {
        let Some(family) = Family::from_codes(*afi, *safi) else { continue };
        if mode.sends() {
            send.insert(family);
        }
        if mode.receives() {
            receive.insert(family);
        }
    }
    (send, receive)
}

/// The last instance counts (RFC 4724 §3).
fn restart_of(open: &Open) -> Option<&GracefulRestart> {
    open.capabilities.iter().rev().find_map(|c| if let Capability::GracefulRestart(g) = c { Some(g) } else { None })
}

fn graceful(ours: &Open, theirs: &Open, families: FamilySet) -> Option<Graceful> {
    let (we, they) = (restart_of(ours)?, restart_of(theirs)?);
    let listed = |only_forwarding: bool| -> FamilySet {
        let list = they.families.iter().filter(|(_, _, forwarding)| *forwarding || !only_forwarding);
        list.filter_map(|(afi, safi, _)| Family::from_codes(*afi, *safi)).collect::<FamilySet>().and(families)
    };
    Some(Graceful {
        restarting: they.restarting,
        notification: we.notification && they.notification,
        restart_time: Duration::from_secs(u64::from(they.time)),
        families: listed(false),
        forwarding: listed(true),
    })
}

/// RFC 9494 §3.1, §4.1: never without graceful restart.
fn our_long_lived(params: &Params, restart: Restart) -> Option<Capability> {
    let of = |family: Family| LongLivedFamily {
        afi: family.afi(),
        safi: family.safi(),
        forwarding: restart.forwarding.contains(family),
        stale_time: params.offer.long_lived(family),
    };
    let families: Vec<_> = params.families.iter().map(of).filter(|family| family.stale_time > 0).collect();
    (params.offer.graceful_restart.is_some() && !families.is_empty()).then_some(Capability::LongLivedGracefulRestart(families))
}

/// What the peer offers along with graceful restart (RFC 9494 §4.5); its times hold as far as ours allow.
fn long_lived(params: &Params, ours: &Open, theirs: &Open, families: FamilySet) -> Option<LongLived> {
    let list =
        theirs.capabilities.iter().rev().find_map(|c| if let Capability::LongLivedGracefulRestart(l) = c { Some(l) } else { None })?;
    restart_of(theirs)?;
    let mut agreed = LongLived::default();
    for entry in list {
        let Some(family) = Family::from_codes(entry.afi, entry.safi).filter(|family| families.contains(*family)) else { continue };
        let most = if restart_of(ours).is_some() { params.offer.long_lived(family) } else { 0 };
        if let Some(time) = agreed.stale_time.get_mut(family.index()) {
            *time = Duration::from_secs(u64::from(entry.stale_time.min(most)));
        }
        if entry.forwarding {
            agreed.forwarding.insert(family);
        }
    }
    Some(agreed)
}

fn hostname(open: &Open) -> Option<String> {
    open.capabilities.iter().find_map(|c| match c {
        Capability::Hostname { host, domain } if domain.is_empty() => Some(host.clone()),
        Capability::Hostname { host, domain } => Some(format!("{host}.{domain}")),
        _ => None,
    })
}
