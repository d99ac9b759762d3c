//! What BMP stations are told of sessions and tables (RFC 7854, RFC 8671, RFC 9069).
//!
//! In: sessions that come and go, what tables note down as they change, what peers were sent, and how stations' connections stand. Out: messages for
//! stations, as far as each has credit. Octets and queues are the room `bmp`'s, sockets those of whoever carries out [`Order`]s.
//!
//! Nothing waits for a station. What one takes slowly waits in its queue as prefixes, looked up when it is their turn; a table is told in slices
//! between them. A queue that is over full ends the connection, and the next one begins with everything.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::bmp_tell::Teller;
use super::io::Effect;
use super::monitoring::{Link, Station, WINDOW};
use super::router::Speaker;
use crate::bmp::message::{Down as Why, initiation, termination};
use crate::bmp::queue::{Dump, Entry, LOC_RIB, Of, Queue};
use crate::bmp::{Order, Report};
use crate::num::{Family, FamilySet, Instant, PeerId};
use crate::peer::{Down, DownReason};
use crate::stats::Notice;
use crate::wire::{Context, Message};

/// Prefixes that are looked up for one station in one go.
const BUDGET: usize = 512;

/// Why we end a connection.
const OVER_FULL: &str = "it is too slow: more waits for it than is kept, so it begins anew";

/// Stations come and go.
impl Speaker {
    /// Asks for connections with the stations that are configured now; those that are as before keep theirs.
    pub(super) fn sync_stations(&mut self) {
        let wanted = self.params.bmp.clone();
        let same = self.monitoring.stations.iter().map(|station| &station.params).eq(&wanted);
        if same {
            return;
        }
        self.monitoring.say_goodbye(|params| wanted.contains(params), &mut self.effects);
        let mut before = std::mem::take(&mut self.monitoring.stations);
        for params in wanted {
            let known = before.iter().position(|station| station.params == params).map(|at| before.swap_remove(at));
            let station = known.unwrap_or_else(|| {
                self.monitoring.numbered += 1;
                Station::new(self.monitoring.numbered, params)
            });
            self.monitoring.stations.push(station);
        }
        let stations = self.monitoring.stations.iter().map(|station| (station.number, station.params.clone())).collect();
        self.effects.push(Effect::Bmp(Order::Stations(stations)));
        self.rib.keep_journal(self.monitoring.wants_adj_in());
    }

    /// The end of the process: stations are told that it is one in order.
    pub(super) fn end_stations(&mut self) {
        if !self.monitoring.stations.is_empty() {
            self.monitoring.say_goodbye(|_| false, &mut self.effects);
            self.monitoring.stations.clear();
            self.effects.push(Effect::Bmp(Order::Stations(Vec::new())));
        }
    }

    /// How the connection with a station stands.
    pub(super) fn on_station(&mut self, report: Report, now: Instant) {
        match report {
            Report::Connected { station, life, wall } => self.on_station_up(station, life, wall, now),
            Report::Written { station, life, octets } => {
                let links = self.monitoring.stations.iter_mut().filter(|s| s.number == station).filter_map(|s| s.link.as_mut());
                links.filter(|link| link.life == life).for_each(|link| link.outstanding = link.outstanding.saturating_sub(octets));
            }
            Report::Closed { station, error } => self.on_station_down(station, error),
        }
        self.rib.keep_journal(self.monitoring.wants_adj_in());
    }

    fn on_station_up(&mut self, number: u32, life: u64, wall: Duration, now: Instant) {
        let live = self.sessions.iter().filter_map(|e| Some(((e.id, e.live.as_ref()?.session.conn), e.live.as_ref()?.session.families)));
        let live: Vec<(Of, FamilySet)> = live.collect();
        let Some(station) = self.monitoring.stations.iter_mut().find(|s| s.number == number) else { return };
        station.disconnect();
        let statistics_at = station.params.statistics.map(|every| now + every);
        let wall = wall.saturating_sub(Duration::from_nanos(now.as_nanos()));
        station.link = Some(Link { life, since: now, wall, outstanding: 0, statistics_at });
        station.counts.connections += 1;
        station.complained = false;
        self.effects.notice(Notice::BmpStation { station: station.params.address.to_string(), error: None });
        let mut hello = BytesMut::new();
        initiation(&format!("catbird {}", env!("CARGO_PKG_VERSION")), &self.params.name, &mut hello);
        station.counts.messages += 1;
        station.send(hello.freeze(), &mut self.effects);
        if station.params.tables.loc_rib {
            station.push(Entry::Up(LOC_RIB));
            Family::ALL.into_iter().for_each(|family| station.push(Entry::Dump(LOC_RIB, Dump::Loc, family, 0)));
        }
        live.into_iter().for_each(|(of, families)| station.session(of, families));
    }

    fn on_station_down(&mut self, number: u32, error: String) {
        let Some(station) = self.monitoring.stations.iter_mut().find(|s| s.number == number) else { return };
        // That nobody listens there is said once, until somebody does.
        if station.link.is_some() || !station.complained {
            let notice = Notice::BmpStation { station: station.params.address.to_string(), error: Some(error.clone()) };
            self.effects.notice(notice);
        }
        station.complained = true;
        station.last_error = Some(error);
        station.disconnect();
    }

    /// A session stands.
    pub(super) fn monitor_session(&mut self, id: PeerId) {
        let Some(session) = self.sessions.live(id).map(|live| live.session.clone()) else { return };
        self.monitoring.stations.iter_mut().for_each(|station| station.session((id, session.conn), session.families));
    }

    /// A session is over.
    pub(super) fn monitor_end(&mut self, id: PeerId, down: &Down) {
        if self.monitoring.is_idle() {
            return;
        }
        let pdu = down.notification.as_ref().map(|n| Message::Notification(n.clone()).to_bytes(&Context::INITIAL));
        let why = match (&pdu, &down.reason) {
            (Some(pdu), DownReason::Received(_)) => Why::RemoteNotification(pdu),
            (Some(pdu), _) => Why::LocalNotification(pdu),
            (None, DownReason::Closed { .. }) => Why::Remote,
            // ManualStop (RFC 4271 §8.1.2).
            (None, DownReason::Stopped { .. }) => Why::Local(2),
            (None, _) => Why::Local(0),
        };
        let why = Bytes::from(why.octets());
        let of = (id, down.session.conn);
        self.monitoring.stations.iter_mut().for_each(|station| station.push(Entry::Down(of, why.clone())));
    }

    /// Hands each station what it has credit for.
    pub(super) fn feed_stations(&mut self, now: Instant) {
        if self.monitoring.stations.is_empty() {
            return;
        }
        self.note_journal();
        let mut stations = std::mem::take(&mut self.monitoring.stations);
        for station in &mut stations {
            self.feed(station, now);
        }
        self.monitoring.stations = stations;
    }

    /// What the tables have noted down goes to those who want it.
    fn note_journal(&mut self) {
        for (peer, nlri) in self.rib.take_journal() {
            let Some(conn) = self.sessions.live(peer).map(|live| live.session.conn) else { continue };
            for station in self.monitoring.stations.iter_mut().filter(|station| station.params.tables.adj_in()) {
                station.push(Entry::Changed((peer, conn), nlri));
            }
        }
    }

    fn feed(&mut self, station: &mut Station, now: Instant) {
        if station.queue.is_over_full() {
            return self.end_over_full(station);
        }
        let Some(link) = &mut station.link else { return };
        if link.statistics_at.is_some_and(|at| at <= now) {
            link.statistics_at = station.params.statistics.map(|every| now + every);
            let due: Vec<Entry> = station.told.iter().map(|(peer, told)| Entry::Statistics((*peer, told.conn))).collect();
            due.into_iter().for_each(|entry| station.queue.push(entry));
        }
        let (room, wall) = (WINDOW.saturating_sub(link.outstanding), link.wall);
        let mut teller = Teller {
            params: &self.params,
            rib: &self.rib,
            sessions: &self.sessions,
            groups: &mut self.groups,
            tables: station.params.tables,
            told: &mut station.told,
            at: wall + Duration::from_nanos(now.as_nanos()),
            wall,
            out: BytesMut::new(),
            messages: 0,
        };
        let mut left = BUDGET;
        while left > 0 && teller.out.len() < room {
            let Some(entry) = station.queue.pop() else { break };
            let (weight, more) = teller.tell(entry);
            left = left.saturating_sub(weight);
            more.into_iter().for_each(|entry| station.queue.push(entry));
        }
        let (out, messages) = (teller.out.freeze(), teller.messages);
        station.counts.messages += messages;
        station.send(out, &mut self.effects);
    }

    /// There is more than is kept for anybody.
    fn end_over_full(&mut self, station: &mut Station) {
        let Some(life) = station.link.as_ref().map(|link| link.life) else { return };
        station.counts.over_full += 1;
        station.queue = Queue::default();
        let mut out = BytesMut::new();
        termination(2, OVER_FULL, &mut out);
        station.send(out.freeze(), &mut self.effects);
        self.effects.push(Effect::Bmp(Order::Close { station: station.number, life, why: OVER_FULL }));
        station.disconnect();
        self.effects.notice(Notice::BmpStation { station: station.params.address.to_string(), error: Some(OVER_FULL.to_owned()) });
        (station.last_error, station.complained) = (Some(OVER_FULL.to_owned()), true);
    }
}
