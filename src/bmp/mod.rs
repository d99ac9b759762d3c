//! The BGP Monitoring Protocol (RFC 7854, RFC 8671, RFC 9069): what a station far away is told of our sessions and tables.
//!
//! In: what a message is to say. Out: its octets ([`message`]), and the queue of what a station has yet to hear ([`queue`]). It leaves looking
//! into the tables to the speaker, which feeds one queue for each station, and sockets to whoever carries out [`Order`]s.
//!
//! A station that is slow holds prefixes and not messages: what a queue has is "look at this prefix again", once for each prefix however often
//! it changes, and the message is made when there is room for it, of what holds then (RFC 7854 §5 allows this). Only what we send to peers
//! (Adj-RIB-Out) waits as octets, which it shares with the peers' own connections. A queue that is full all the same ends the connection with its
//! station, and the next one begins with everything from the beginning.

pub mod message;
pub mod queue;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which tables a station is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// What peers announce, as it came (RFC 7854).
    pub adj_in_pre: bool,
    /// The same as import let it in.
    pub adj_in_post: bool,
    /// What peers are announced (RFC 8671), after policy.
    pub adj_out: bool,
    /// What is used (RFC 9069).
    pub loc_rib: bool,
}

impl Tables {
    /// What peers announce is wanted in one form or the other.
    pub fn adj_in(self) -> bool {
        self.adj_in_pre || self.adj_in_post
    }

    /// A table by its word in the configuration.
    pub fn add(&mut self, word: Table) {
        match word {
            Table::AdjInPre => self.adj_in_pre = true,
            Table::AdjInPost => self.adj_in_post = true,
            Table::AdjOut => self.adj_out = true,
            Table::LocRib => self.loc_rib = true,
        }
    }

    /// In words.
    pub fn names(self) -> Vec<&'static str> {
        let all =
            [(self.adj_in_pre, "adj-in-pre"), (self.adj_in_post, "adj-in-post"), (self.adj_out, "adj-out"), (self.loc_rib, "loc-rib")];
        all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect()
    }
}

/// One of [`Tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// As it came.
    AdjInPre,
    /// As import let it in.
    AdjInPost,
    /// As peers are told.
    AdjOut,
    /// As it is used.
    LocRib,
}

/// A station as configured. We connect, it never does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationParams {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is told.
    pub tables: Tables,
    /// How often it is told numbers (RFC 7854 §4.8); `None`: never.
    pub statistics: Option<Duration>,
    /// After a connection that ended or did not come about.
    pub retry: Duration,
    /// It is given up when it takes nothing, or does not answer, for so long.
    pub timeout: Duration,
}

/// The most stations.
pub const MOST_STATIONS: usize = 8;

/// What whoever has the sockets is to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Be connected with these stations, by number, and with no others. A station with another number is another one.
    Stations(Vec<(u32, StationParams)>),
    /// Write this on the connection that has this number.
    Send {
        /// To whom.
        station: u32,
        /// On which of its connections.
        life: u64,
        /// Whole messages.
        octets: Bytes,
    },
    /// End the connection with a word of ours; another one follows as after any end.
    Close {
        /// Whose.
        station: u32,
        /// Which of its connections.
        life: u64,
        /// For the log and the station's row.
        why: &'static str,
    },
}

/// What whoever has the sockets reports.
#[derive(Clone, Debug)]
pub enum Report {
    /// A connection stands.
    Connected {
        /// With whom.
        station: u32,
        /// Its number, higher than those before.
        life: u64,
        /// What the clock on the wall says now, since 1970.
        wall: Duration,
    },
    /// The kernel has taken so many octets.
    Written {
        /// For whom.
        station: u32,
        /// Of which connection.
        life: u64,
        /// Since the last report.
        octets: usize,
    },
    /// A connection ended, or did not come about.
    Closed {
        /// With whom.
        station: u32,
        /// Why.
        error: String,
    },
}
