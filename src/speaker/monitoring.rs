//! Monitoring stations: what each is told, and what it has yet to hear (RFC 7854).
//!
//! In: what happened to sessions and prefixes. Out: entries in the queue of each station that is connected, and what can be said of them. What is told of
//! an entry is `bmp_tell`'s, when it is their turn `bmp`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::bmp_tell::Told;
use super::io::{Effect, Effects, Frames};
use crate::api::BmpRow;
use crate::bmp::message::termination;
use crate::bmp::queue::{Dump, Entry, LOC_RIB, Of, Queue};
use crate::bmp::{Order, StationParams};
use crate::num::{FamilySet, Instant, Nlri, PathId, PeerId};
use crate::rib::BestChange;

/// Octets that are on their way to one station at most.
pub(super) const WINDOW: usize = 256 << 10;

/// All stations, and what they have yet to hear.
#[derive(Default)]
pub(super) struct Monitoring {
    pub stations: Vec<Station>,
    pub numbered: u32,
}

/// One station.
pub(super) struct Station {
    pub number: u32,
    pub params: StationParams,
    pub link: Option<Link>,
    pub queue: Queue,
    /// Sessions that it was told of and that it was not told the end of.
    pub told: BTreeMap<PeerId, Told>,
    pub counts: Counts,
    pub last_error: Option<String>,
    /// Said in the log already.
    pub complained: bool,
}

/// Since the station was configured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub connections: u64,
    pub messages: u64,
    pub octets: u64,
    pub over_full: u64,
}

/// A connection that stands.
pub(super) struct Link {
    pub life: u64,
    pub since: Instant,
    /// The wall's clock at the beginning of our time line.
    pub wall: Duration,
    pub outstanding: usize,
    pub statistics_at: Option<Instant>,
}

impl Station {
    /// Not connected yet.
    pub fn new(number: u32, params: StationParams) -> Station {
        Station {
            number,
            params,
            link: None,
            queue: Queue::default(),
            told: BTreeMap::new(),
            counts: Counts::default(),
            last_error: None,
            complained: false,
        }
    }

    /// Behind what waits for it.
    pub fn push(&mut self, entry: Entry) {
        if self.link.is_some() {
            self.queue.push(entry);
        }
    }

    /// A session stands, and the tables that belong to it are told.
    pub fn session(&mut self, of: Of, families: FamilySet) {
        self.push(Entry::Up(of));
        let tables = self.params.tables;
        for family in families.iter() {
            let dumps = [(tables.adj_in(), Dump::In), (tables.adj_out, Dump::Out)];
            dumps.into_iter().filter(|(wanted, _)| *wanted).for_each(|(_, dump)| self.push(Entry::Dump(of, dump, family, 0)));
        }
    }

    /// What was told and what waits is forgotten.
    pub fn disconnect(&mut self) {
        self.link = None;
        self.queue = Queue::default();
        self.told.clear();
    }

    /// Octets of whole messages.
    pub fn send(&mut self, octets: Bytes, effects: &mut Effects) {
        let Some(link) = self.link.as_mut().filter(|_| !octets.is_empty()) else { return };
        link.outstanding += octets.len();
        self.counts.octets += octets.len() as u64;
        effects.push(Effect::Bmp(Order::Send { station: self.number, life: link.life, octets }));
    }

    fn is_hungry(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.outstanding < WINDOW) && !self.queue.is_empty()
    }

    fn row(&self, now: Instant) -> BmpRow {
        let state = match &self.link {
            None if self.counts.connections == 0 && self.last_error.is_none() => "connecting",
            None => "disconnected",
            Some(link) if link.outstanding >= WINDOW => "slow",
            Some(_) if self.queue.is_dumping() => "telling tables",
            Some(_) => "following",
        };
        BmpRow {
            station: self.params.address.to_string(),
            tables: self.params.tables.names().into_iter().map(str::to_owned).collect(),
            state: state.to_owned(),
            since_seconds: self.link.as_ref().map(|link| (now - link.since).as_secs_f64()),
            waiting: self.queue.len() as u64,
            connections: self.counts.connections,
            messages: self.counts.messages,
            bytes: self.counts.octets,
            overruns: self.counts.over_full,
            last_error: self.last_error.clone(),
        }
    }
}

/// What happens is noted for everybody who is connected.
impl Monitoring {
    /// Nobody is there to hear anything.
    pub fn is_idle(&self) -> bool {
        self.stations.iter().all(|station| station.link.is_none())
    }

    /// What peers announce is to be noted down.
    pub fn wants_adj_in(&self) -> bool {
        self.stations.iter().any(|station| station.link.is_some() && station.params.tables.adj_in())
    }

    /// A member of an update group was sent this.
    pub fn sent(&mut self, of: Of, frames: &Frames) {
        for station in self.stations.iter_mut().filter(|s| s.link.is_some() && s.params.tables.adj_out) {
            frames.iter().for_each(|frame| station.push(Entry::Sent(of, frame.clone())));
        }
    }

    /// These are used otherwise.
    pub fn used(&mut self, changes: &[BestChange]) {
        for station in self.stations.iter_mut().filter(|s| s.link.is_some() && s.params.tables.loc_rib) {
            let changed = changes.iter().filter(|change| change.old != change.new);
            changed.for_each(|change| station.push(Entry::Changed(LOC_RIB, Nlri { net: change.net, path_id: PathId(0) })));
        }
    }

    /// Somebody can be told something.
    pub fn has_work(&self) -> bool {
        self.stations.iter().any(Station::is_hungry)
    }

    /// When numbers are due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.stations.iter().filter_map(|station| station.link.as_ref()?.statistics_at).min()
    }

    /// For `catbird bmp`.
    pub fn rows(&self, now: Instant) -> Vec<BmpRow> {
        self.stations.iter().map(|station| station.row(now)).collect()
    }

    /// For `catbird status`: who should be told and is not.
    pub fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let away = self.stations.iter().filter(|station| station.link.is_none());
        away.filter_map(|station| {
            let why = station.last_error.as_ref()?;
            Some(format!("BMP station {} is not connected: {why}", station.params.address))
        })
    }

    /// The end is near, or the station is no longer wanted.
    pub fn say_goodbye(&mut self, keep: impl Fn(&StationParams) -> bool, effects: &mut Effects) {
        for station in self.stations.iter_mut().filter(|station| !keep(&station.params)) {
            let mut out = BytesMut::new();
            termination(0, "no longer monitored", &mut out);
            station.send(out.freeze(), effects);
            station.disconnect();
        }
    }
}
