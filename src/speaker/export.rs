//! From update groups to connections: who gets what, and when there is room.
//!
//! In: sessions that come up, refreshes, credit. Out: for each session the key of its group, and frames as the peer's connection takes
//! them. What is in the frames is `rib::update_group`'s matter; the credit keeps a slow peer's backlog a set of prefixes.

use std::net::{IpAddr, Ipv4Addr};

use super::io::{Effect, Effects, Frames};
use super::lifecycle::Lifecycle;
use super::monitoring::Monitoring;
use super::params::{NextHopSetting, Params};
use super::sessions::{Entry, Sessions, is_link_local};
use crate::fib::overlay::{Kind, Mode};
use crate::num::{Family, Instant, PeerId};
use crate::peer::Session;
use crate::policy::{Chain, PeerName};
use crate::rib::Rib;
use crate::rib::nexthop::NexthopTable;
use crate::rib::pack::Load;
use crate::rib::update_group::{AddPathSend, GroupKey, LOOKED, MemberFacts, NextHopMode, NextHopRule, Reflect, UpdateGroups};
use crate::wire::RefreshSubtype;

/// LOCAL_PREF where a route has none.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// Octets that all members get in one `settle`, about.
const PUMPED: usize = 512 * 1024;

/// A member that was asked and got nothing counts like so many octets, and a destination that was looked at for one member like these.
const ASKED: usize = 512;
const FOR_ONE: usize = PUMPED / LOOKED;

/// Octets that one member gets in one round, so that none waits for another's whole table.
const ROUND: usize = 64 * 1024;

/// What export touches.
pub(super) struct Export<'a> {
    pub params: &'a Params,
    pub lifecycle: &'a Lifecycle,
    pub nexthops: &'a NexthopTable,
    pub sessions: &'a mut Sessions,
    pub rib: &'a mut Rib,
    pub groups: &'a mut UpdateGroups,
    pub monitoring: &'a mut Monitoring,
    pub effects: &'a mut Effects,
}

impl Export<'_> {
    /// The key of the group by which this peer is announced the table.
    fn group_key(&self, entry: &Entry, session: &Session) -> GroupKey {
        let config = &entry.config;
        let external = !session.is_internal();
        let chain = config.export.clone().unwrap_or_else(|| Chain::unconfigured(external));
        let peer = chain.depends_on_peer().then(|| PeerName {
            name: config.session.name.as_str().into(),
            addr: session.remote.ip(),
            asn: session.remote_as,
        });
        let reflect = |cluster| Reflect { cluster, client: config.rr_client, between_clients: self.params.client_to_client };
        let reflect = self.params.cluster_id.filter(|_| !external).map(reflect);
        let add_path = if session.send.add_path.is_empty() { AddPathSend::Off } else { config.add_path };
        GroupKey {
            external,
            local_as: session.local_as,
            next_hop: self.next_hop_rule(config.next_hop, session),
            reflect,
            chain,
            send: session.send.clone(),
            families: session.families,
            add_path,
            remove_private: config.remove_private_as.then_some(session.remote_as),
            as_override: config.as_override.then_some(session.remote_as),
            role: session.role,
            long_lived: session.long_lived.is_some(),
            local_pref: DEFAULT_LOCAL_PREF,
            peer,
            graceful_shutdown: self.lifecycle.marks(),
            withhold: self.lifecycle.withholds(),
        }
    }

    /// An established peer begins to hear the table.
    pub fn join(&mut self, id: PeerId) {
        let Some(entry) = self.sessions.get(id) else { return };
        let Some(live) = &entry.live else { return };
        let key = self.group_key(entry, &live.session);
        let member = MemberFacts { id, router_id: live.session.remote_id, addr: live.session.remote.ip() };
        if Family::ALL.into_iter().any(|family| key.tells_paths(family)) {
            self.rib.tell_all_paths(true);
        }
        self.groups.join(member, key, self.rib);
    }

    /// A peer gets no more. With the last one that was announced several paths (RFC 7911) the tables report changes of the best path alone again.
    pub fn leave(&mut self, id: PeerId) {
        self.groups.leave(id);
        if !self.groups.tell_paths() {
            self.rib.tell_all_paths(false);
        }
    }

    /// Our addresses as this peer can reach them (RFC 4271 §5.1.3, RFC 2545 §3): the session's own end where it is of the family, and the
    /// node's address for the other family. On a session between link-local addresses ourselves is the link-local one: a global address of
    /// the node may be nowhere on that link, and BIRD refuses a route whose next hop names such a one beside it.
    fn next_hop_rule(&self, setting: NextHopSetting, session: &Session) -> NextHopRule {
        let (local, addresses) = (session.local.ip().to_canonical(), &self.params.addresses);
        let v4 = match local {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => addresses.v4,
        };
        let (v6, link_local) = match local {
            IpAddr::V6(addr) if is_link_local(addr) => (None, Some(addr)),
            IpAddr::V6(addr) => (Some(addr), None),
            IpAddr::V4(_) => (addresses.v6, None),
        };
        let v6 =
            v6.or_else(|| v4.filter(|_| link_local.is_none() && self.carries_ipv6_over_ipv4(session)).map(|addr| addr.to_ipv6_mapped()));
        let link = || self.nexthops.link_of(session.remote.ip().to_canonical());
        let mode = match setting {
            NextHopSetting::Auto => NextHopMode::Auto,
            NextHopSetting::SelfAddress => NextHopMode::SelfAddress,
            NextHopSetting::Unchanged => NextHopMode::Unchanged,
            // A peer that is some hops away shares no link with us.
            NextHopSetting::ThirdParty => link().map_or(NextHopMode::Auto, NextHopMode::ThirdParty),
        };
        NextHopRule { mode, v4: v4.filter(|a| *a != Ipv4Addr::UNSPECIFIED), v6, link_local }
    }

    /// Our overlay has IPv4 ends alone, and the peer is of our own system: a node of ours names itself by its IPv4 address, mapped, in IPv6
    /// routes too (RFC 4798 §2), for the tunnel carries them.
    fn carries_ipv6_over_ipv4(&self, session: &Session) -> bool {
        let overlay = &self.params.fib.overlay;
        !session.send.external && self.params.addresses.v6.is_none() && overlay.mode != Mode::Never && overlay.kind == Kind::Vxlan
    }

    /// What this peer is announced may have changed with the configuration or a drain; it gets the difference.
    pub fn rekey(&mut self, id: PeerId) {
        let Some(entry) = self.sessions.get(id) else { return };
        let Some(live) = &entry.live else { return };
        let key = self.group_key(entry, &live.session);
        self.groups.rekey(id, key);
    }

    /// What every peer is announced by may have changed: whose key is another moves to another group, and gets what differs.
    pub fn rekey_all(&mut self) {
        for id in self.sessions.ids() {
            self.rekey(id);
        }
    }

    /// The peer wants to hear a family again (RFC 2918), or marks its own telling (RFC 7313).
    pub fn on_refresh(&mut self, id: PeerId, family: Family, subtype: RefreshSubtype) {
        let Some(live) = self.sessions.live(id) else { return };
        let enhanced = live.session.enhanced_refresh;
        match subtype {
            RefreshSubtype::Normal => self.groups.refresh(id, family, enhanced),
            // RFC 7313 §4: before End-of-RIB it is to be ignored; what is stale then is swept by that.
            RefreshSubtype::BoRR if live.session.graceful.is_some() && !live.end_of_rib.contains(family) => {}
            RefreshSubtype::BoRR => self.rib.refresh_begins(id, family),
            RefreshSubtype::EoRR => {
                self.rib.refresh_ends(id, family);
            }
            RefreshSubtype::Other(_) => {}
        }
    }

    /// Gives members that have something to hear what their connections take, up to about [`PUMPED`] octets in all; the others' turn comes with the
    /// next `settle`.
    pub fn pump(&mut self, now: Instant) {
        let mut left = PUMPED;
        while left > 0
            && let Some(id) = self.groups.take_ready()
        {
            let load = self.pump_member(id, now);
            left = left.saturating_sub(load.octets.max(ASKED) + load.looked * FOR_ONE);
        }
    }

    /// Hands frames to one member's connection, as far as its credit goes and not too many made for it alone; tells how much. What is left waits
    /// for `Input::Writable`.
    pub fn pump_member(&mut self, id: PeerId, now: Instant) -> Load {
        let mut sent = Load::default();
        let Some(conn) = self.sessions.live(id).map(|l| l.session.conn) else { return sent };
        let mut frames = Frames::new();
        loop {
            let credit = self.sessions.credit(conn).saturating_sub(sent.octets);
            if credit == 0 || sent.looked >= LOOKED {
                break;
            }
            let asked = credit.min(ROUND);
            let more = self.groups.poll_member(self.rib, id, asked, &mut frames);
            sent += more;
            // It has heard everything, or stands in the queue again.
            if more.octets < asked {
                break;
            }
        }
        let more = self.groups.has_more(id);
        let Some(entry) = self.sessions.get_mut(id) else { return sent };
        if let Some(live) = &mut entry.live {
            live.blocked = more;
        }
        if sent.octets > 0 {
            entry.traffic.count_sent(&sent);
            self.sessions.note_sent(id, conn, sent.octets, now);
            self.monitoring.sent((id, conn), &frames);
            self.effects.push(Effect::Send { conn, frames });
        }
        sent
    }
}
