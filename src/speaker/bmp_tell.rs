//! One entry of a station's queue as messages: looked up in the tables as they are now.
//!
//! In: an [`Entry`]. Out: messages, and what is left of a table that is told in slices. Of a session that is over, or that the station was not told
//! of, nothing is said.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::params::Params;
use super::sessions::{Entry as PeerEntry, Sessions};
use crate::bmp::Tables;
use crate::bmp::message::{PeerHeader, Statistic, View, loc_rib_up, peer_down, peer_up, route_monitoring, statistics};
use crate::bmp::queue::{Dump, Entry, LOC_RIB, Of};
use crate::num::{ConnId, Family, FamilySet, HoldTime, Nlri, PathId, PeerId};
use crate::peer::Session;
use crate::rib::update_group::UpdateGroups;
use crate::rib::{Attrs, Rib};
use crate::wire::{Capability, Context, Message, Open, PathAttributes, encode_end_of_rib, encode_reach, encode_unreach};

/// Paths of a table that are told in one go.
const SLICE: usize = 128;

/// A session as the station knows it.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// What carries it.
    pub conn: ConnId,
    header: PeerHeader,
}

/// Makes messages for one station.
pub(super) struct Teller<'a> {
    pub params: &'a Params,
    pub rib: &'a Rib,
    pub sessions: &'a Sessions,
    pub groups: &'a mut UpdateGroups,
    pub tables: Tables,
    pub told: &'a mut BTreeMap<PeerId, Told>,
    /// Now, on the wall.
    pub at: Duration,
    /// The beginning of our time line, on the wall.
    pub wall: Duration,
    pub out: BytesMut,
    pub messages: u64,
}

impl<'a> Teller<'a> {
    /// How much work it was, and what is left of it.
    pub fn tell(&mut self, entry: Entry) -> (usize, Option<Entry>) {
        match entry {
            Entry::Up(LOC_RIB) => self.loc_rib_up(),
            Entry::Up(of) => self.up(of),
            Entry::Down(of, why) => self.down(of, &why),
            Entry::Changed(LOC_RIB, nlri) => self.used(nlri),
            Entry::Changed(of, nlri) => self.changed(of, nlri),
            Entry::Sent(of, octets) => self.sent(of, &octets),
            Entry::Dump(of, dump, family, cursor) => return (SLICE, self.dump(of, dump, family, cursor)),
            Entry::Statistics(of) => self.statistics(of),
        }
        (1, None)
    }

    fn live(&self, of: Of) -> Option<(&'a PeerEntry, &'a Session)> {
        let sessions: &'a Sessions = self.sessions;
        let entry = sessions.get(of.0)?;
        let session: &'a Session = &entry.live.as_ref()?.session;
        (session.conn == of.1).then_some((entry, session))
    }

    /// The header of a session that the station was told of.
    fn header(&self, of: Of, at: Duration) -> Option<PeerHeader> {
        let told = self.told.get(&of.0).filter(|told| told.conn == of.1)?;
        Some(PeerHeader { at, ..told.header })
    }

    fn up(&mut self, of: Of) {
        let Some((entry, session)) = self.live(of) else { return };
        let since = entry.live.as_ref().map_or(Duration::ZERO, |live| Duration::from_nanos(live.since.as_nanos()));
        let header = PeerHeader {
            addr: session.remote.ip(),
            asn: session.remote_as,
            id: session.remote_id,
            two_octet_as: false,
            at: self.wall + since,
        };
        let opens = [&session.our_open, &session.peer_open].map(|open| octets_of(open));
        peer_up(&header, (session.local, session.remote), (&opens[0], &opens[1]), &mut self.out);
        self.messages += 1;
        self.told.insert(of.0, Told { conn: of.1, header });
    }

    fn loc_rib_up(&mut self) {
        let (asn, id) = (self.params.asn, self.params.router_id);
        let header = PeerHeader { addr: Ipv4Addr::UNSPECIFIED.into(), asn, id, two_octet_as: false, at: self.at };
        let mut capabilities: Vec<Capability> = Family::ALL.into_iter().map(Capability::multiprotocol).collect();
        capabilities.extend([Capability::ExtendedMessage, Capability::FourOctetAs(asn)]);
        let open = octets_of(&Open::new(asn, HoldTime::DEFAULT, id, capabilities));
        loc_rib_up(&header, &open, &mut self.out);
        self.messages += 1;
        self.told.insert(LOC_RIB.0, Told { conn: LOC_RIB.1, header });
    }

    fn down(&mut self, of: Of, why: &Bytes) {
        if let Some(header) = self.header(of, self.at) {
            peer_down(&header, why, &mut self.out);
            self.messages += 1;
            self.told.remove(&of.0);
        }
    }

    /// Messages of BGP as messages of a view.
    fn wrap(&mut self, header: &PeerHeader, view: View, pdus: &[u8]) {
        self.messages += route_monitoring(header, view, pdus, &mut self.out);
    }

    fn reach(&mut self, header: &PeerHeader, view: View, attrs: &PathAttributes, nlri: &[Nlri], context: &Context) {
        let mut pdus = BytesMut::new();
        if encode_reach(attrs, nlri, context, &mut pdus) == 0 {
            // It came in fewer octets than it has with long AS numbers.
            encode_reach(attrs, nlri, &Context { max_len: u16::MAX, ..context.clone() }, &mut pdus);
        }
        self.wrap(header, view, &pdus);
    }

    fn unreach(&mut self, header: &PeerHeader, view: View, nlri: Nlri, context: &Context) {
        let mut pdus = BytesMut::new();
        encode_unreach(&[nlri], context, &mut pdus);
        self.wrap(header, view, &pdus);
    }

    /// The wall's clock at so many seconds of our time line.
    fn wall_at(&self, seconds: u32) -> Duration {
        self.wall + Duration::from_secs(u64::from(seconds))
    }

    /// What the peer says of a prefix now.
    fn changed(&mut self, of: Of, nlri: Nlri) {
        let (Some((_, session)), Some(gone)) = (self.live(of), self.header(of, self.at)) else { return };
        let context = as_received(session);
        let found = self.rib.path_of(of.0, &nlri).map(|path| (path.received.clone(), path.attrs.cloned(), path.since));
        let header = found.as_ref().map_or(gone, |(_, _, since)| PeerHeader { at: self.wall_at(*since), ..gone });
        let (received, accepted) = match found {
            Some((received, accepted, _)) => (Some(received), accepted),
            None => (None, None),
        };
        for (view, attrs) in self.views(received, accepted) {
            match attrs {
                Some(attrs) => self.reach(&header, view, attrs.set(), &[nlri], &context),
                None => self.unreach(&gone, view, nlri, &context),
            }
        }
    }

    /// Of what came and what became of it, what the station wants.
    fn views(&self, received: Option<Attrs>, accepted: Option<Attrs>) -> impl Iterator<Item = (View, Option<Attrs>)> + use<> {
        let both = [(self.tables.adj_in_pre, View::InPre, received), (self.tables.adj_in_post, View::InPost, accepted)];
        both.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, view, attrs)| (view, attrs))
    }

    /// What is used for a prefix now.
    fn used(&mut self, nlri: Nlri) {
        let Some(header) = self.header(LOC_RIB, self.at) else { return };
        match self.rib.find(&nlri.net).and_then(|dest| self.rib.best(dest)) {
            Some(best) => self.reach(&header, View::Loc, best.attrs.set(), &[nlri], &loc_rib()),
            None => self.unreach(&header, View::Loc, nlri, &loc_rib()),
        }
    }

    fn sent(&mut self, of: Of, octets: &Bytes) {
        let (Some((_, session)), Some(header)) = (self.live(of), self.header(of, self.at)) else { return };
        let header = PeerHeader { two_octet_as: !session.send.four_octet_as, ..header };
        self.wrap(&header, View::OutPost, octets);
    }

    /// A slice of a table; at its end End-of-RIB (RFC 7854 §5).
    fn dump(&mut self, of: Of, dump: Dump, family: Family, cursor: u64) -> Option<Entry> {
        let header = self.header(of, self.at)?;
        let next = match dump {
            Dump::In => self.dump_in(of, header, family, cursor)?,
            Dump::Out => self.dump_out(of, header, family, cursor)?,
            Dump::Loc => self.dump_loc(header, family, cursor),
        };
        if let Some(next) = next {
            return Some(Entry::Dump(of, dump, family, next));
        }
        let mut end = BytesMut::new();
        encode_end_of_rib(family, &mut end);
        let (pre, post) = (self.tables.adj_in_pre, self.tables.adj_in_post);
        let views = match dump {
            Dump::In => [pre.then_some(View::InPre), post.then_some(View::InPost)],
            Dump::Out => [Some(View::OutPost), None],
            Dump::Loc => [Some(View::Loc), None],
        };
        views.into_iter().flatten().for_each(|view| self.wrap(&header, view, &end));
        None
    }

    fn dump_in(&mut self, of: Of, header: PeerHeader, family: Family, cursor: u64) -> Option<Option<u64>> {
        let (_, session) = self.live(of)?;
        let context = as_received(session);
        let (mut next, mut rows) = (None, Vec::new());
        for (place, path) in self.rib.received(of.0, family, cursor).take(SLICE) {
            next = Some(place);
            rows.push((Nlri { net: path.net, path_id: path.path_id }, path.received.clone(), path.attrs.cloned(), path.since));
        }
        for run in rows.chunk_by(|a, b| (&a.1, &a.2, a.3) == (&b.1, &b.2, b.3)) {
            let Some((_, received, accepted, since)) = run.first().cloned() else { continue };
            let header = PeerHeader { at: self.wall_at(since), ..header };
            let nlri: Vec<Nlri> = run.iter().map(|row| row.0).collect();
            for (view, attrs) in self.views(Some(received), accepted) {
                attrs.into_iter().for_each(|attrs| self.reach(&header, view, attrs.set(), &nlri, &context));
            }
        }
        Some(next.filter(|_| rows.len() == SLICE))
    }

    fn dump_out(&mut self, of: Of, header: PeerHeader, family: Family, cursor: u64) -> Option<Option<u64>> {
        let (_, session) = self.live(of)?;
        let header = PeerHeader { two_octet_as: !session.send.four_octet_as, ..header };
        let from = usize::try_from(cursor).unwrap_or(usize::MAX);
        let (rows, next) = self.groups.advertised(self.rib, of.0, family, from, SLICE);
        for run in rows.chunk_by(|a, b| a.1 == b.1) {
            let Some((_, attrs)) = run.first() else { continue };
            let nlri: Vec<Nlri> = run.iter().map(|row| row.0).collect();
            self.reach(&header, View::OutPost, attrs, &nlri, &session.send);
        }
        Some(next.map(|next| next as u64))
    }

    fn dump_loc(&mut self, header: PeerHeader, family: Family, cursor: u64) -> Option<u64> {
        let from = u32::try_from(cursor).unwrap_or(u32::MAX);
        let dests: Vec<_> = self.rib.dests(family, from).take(SLICE).collect();
        let row = |dest: &crate::rib::DestId| Some((Nlri { net: self.rib.net(*dest)?, path_id: PathId(0) }, self.rib.best(*dest)?.attrs));
        let rows: Vec<(Nlri, Attrs)> = dests.iter().filter_map(row).collect();
        for run in rows.chunk_by(|a, b| a.1 == b.1) {
            let Some((_, attrs)) = run.first() else { continue };
            let nlri: Vec<Nlri> = run.iter().map(|row| row.0).collect();
            self.reach(&header, View::Loc, attrs.set(), &nlri, &loc_rib());
        }
        let last = dests.last().filter(|_| dests.len() == SLICE)?;
        Some(last.index() as u64 + 1)
    }

    fn statistics(&mut self, of: Of) {
        let Some(header) = self.header(of, self.at) else { return };
        if of == LOC_RIB {
            let best = |family| self.rib.table_counts(family).best;
            let all = Family::ALL.map(|family| Statistic::LocRibOf((family.afi(), family.safi()), best(family)));
            let numbers = [&[Statistic::LocRib(Family::ALL.into_iter().map(best).sum())][..], &all].concat();
            statistics(&header, View::Loc, &numbers, &mut self.out);
        } else {
            let Some((entry, session)) = self.live(of) else { return };
            let numbers = self.numbers_of(entry, session);
            statistics(&header, View::InPre, &numbers, &mut self.out);
        }
        self.messages += 1;
    }

    fn numbers_of(&self, entry: &PeerEntry, session: &Session) -> Vec<Statistic> {
        let received = |family| self.rib.counts(entry.id, family).received;
        let announced = |family| u64::from(self.groups.count(entry.id, family));
        let rejected = entry.traffic.updates.announced_rejected;
        let mut numbers = vec![
            Statistic::Rejected(u32::try_from(rejected).unwrap_or(u32::MAX)),
            Statistic::AdjIn(Family::ALL.into_iter().map(received).sum()),
            Statistic::AdjOut(Family::ALL.into_iter().map(announced).sum()),
        ];
        for family in session.families.iter() {
            let codes = (family.afi(), family.safi());
            numbers.extend([Statistic::AdjInOf(codes, received(family)), Statistic::AdjOutOf(codes, announced(family))]);
        }
        numbers
    }
}

fn octets_of(open: &Open) -> Bytes {
    Message::Open(Box::new(open.clone())).to_bytes(&Context::INITIAL)
}

/// As the peer writes, but that AS numbers have four octets.
fn as_received(session: &Session) -> Context {
    Context { four_octet_as: true, ..session.receive.clone() }
}

fn loc_rib() -> Context {
    Context { four_octet_as: true, families: FamilySet::ALL, max_len: u16::MAX, ..Context::INITIAL }
}
