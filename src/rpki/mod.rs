//! RPKI: which AS may originate which prefix, as caches say, and what that means for a route.
//!
//! In: octets of caches (RTR: RFC 8210 version 1, RFC 6810 version 0), the time, and which caches there should be. Out: octets for caches, and
//! [`Report`]s: a [`Table`] whenever another one holds, with the prefixes that may be judged otherwise by it, and how each cache stands. It leaves
//! sockets to whoever performs [`Action`]s, and what a rule makes of a [`Validity`] to `policy`.
//!
//! Each cache has a [`link`] while it is connected: one machine that reads, asks and keeps time. [`Caches`] has all of them: which is connected,
//! whose data is used, and until when. A table is never changed but replaced, so whoever judges routes by it sees all of an update or nothing.
//!
//! RFC 6811 §2: a route is *valid* if one VRP covers and matches it, *invalid* if some cover it and none matches, *not-found* if none covers it, and
//! so while no cache has been synchronised, or none for too long.

pub mod caches;
pub mod link;
mod params;
pub mod pdu;
mod report;
mod table;
mod vrp;

pub use caches::{Action, Caches};
pub use params::{CacheParams, MOST_CACHES};
pub use report::{CacheState, News, Report, Source, Update};
pub use table::{Covers, Table};
pub use vrp::{Validity, Vrp};

#[cfg(test)]
mod tests;
