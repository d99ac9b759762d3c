//! The kernel's routes, kept true: what we want there against what stands there, always computed, never remembered as a list of commands.
//!
//! In: the route wanted for each prefix (`Fib::want`), what the kernel says (`Fib::on_kernel`), and how it answered each change
//! (`Fib::on_done`). Out: numbered changes (`Fib::poll`), the time of the next retry, counts and rows for the operator.
//! Which route is best and how its next hop is reached is decided before, in `rib`; sockets and octets are the shell's.
//!
//! Who owns which route, and how that is known, is told at `Fib`.
//!
//! Several ways are one route with several next hops (RTA_MULTIPATH). When one of four goes, the kernel moves its flows and 14 % of the
//! others' to another way (`proto-tests/benches/ecmp.sh`, Linux 6.18); a nexthop object with a resilient group moves none of the others'.
//! We write no such objects yet: their numbers are one space for all programs of a machine, so what a former life left has to be told from
//! others', before the first route is taken over, and each family needs groups of its own.

mod kernel_events;
pub mod overlay;
mod params;
mod plan;
mod queue;
mod show;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kernel::{Hops, KernelRoute, RouteKind, in_order};

pub use params::{Conflict, DEFAULT_METRIC, Metric, Params, Refused};
pub use plan::Fib;
pub use show::{Counts, FibEvent, Row, State, Totals};

/// A route as we want it, or as it stands, in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FibRoute {
    /// The destination.
    pub net: IpNet,
    /// RTA_PRIORITY, part of the kernel's key. IPv6 knows no 0 and makes it 1024.
    pub metric: u32,
    /// What becomes of a packet.
    pub kind: FibKind,
    /// RTA_PREFSRC: the address that packets of this machine carry when they leave by this route.
    pub source: Option<IpAddr>,
    /// Under whose name it stands in the kernel, if not under ours (`Params::former`).
    pub former: Option<Owner>,
}

/// Whose a route in the kernel is, as far as the kernel knows: its table and its RTA protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// 254 is `main`.
    pub table: u32,
    /// As in `rt_protos`: 186 is bgp, 12 bird.
    pub protocol: u8,
}

impl Owner {
    /// Whose a route of the kernel is.
    pub fn of(route: &KernelRoute) -> Owner {
        Owner { table: route.table, protocol: route.protocol }
    }
}

/// What our routes do with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FibKind {
    /// Our own block: what no pod of it answers stops here and does not go in circles.
    Blackhole,
    /// A learned route: sends it on.
    Unicast(Hops),
}

/// One change of the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibChange {
    /// Nothing stands under this key as far as we know. If the kernel knows better it answers EEXIST and stays as it is.
    Add(FibRoute),
    /// Put this in the place of what stands under its key, in one step, or add it.
    Replace(FibRoute),
    /// As installed.
    Remove(FibRoute),
}

impl FibChange {
    /// The route that it is about.
    pub fn route(&self) -> &FibRoute {
        match self {
            FibChange::Add(r) | FibChange::Replace(r) | FibChange::Remove(r) => r,
        }
    }
}

/// The kernel's error number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errno(pub i32);

impl Errno {
    /// No rights: CAP_NET_ADMIN is missing.
    pub const EPERM: Errno = Errno(1);
    /// The table does not exist.
    pub const ENOENT: Errno = Errno(2);
    /// There is no such route.
    pub const ESRCH: Errno = Errno(3);
    /// No memory.
    pub const ENOMEM: Errno = Errno(12);
    /// A route stands under this key.
    pub const EEXIST: Errno = Errno(17);
    /// The interface is gone.
    pub const ENODEV: Errno = Errno(19);
    /// Something in it is not valid now, such as a source address that is gone.
    pub const EINVAL: Errno = Errno(22);
    /// The writer is gone.
    pub const EPIPE: Errno = Errno(32);
    /// The interface is down.
    pub const ENETDOWN: Errno = Errno(100);
    /// The gateway is on no link.
    pub const ENETUNREACH: Errno = Errno(101);
    /// No room; try again.
    pub const ENOBUFS: Errno = Errno(105);
    /// The gateway cannot be reached.
    pub const EHOSTUNREACH: Errno = Errno(113);

    /// In words, for those that route changes meet.
    pub fn text(self) -> &'static str {
        match self {
            Errno::EPERM => "operation not permitted",
            Errno::ENOENT => "no such table",
            Errno::ESRCH => "no such route",
            Errno::ENOMEM => "out of memory",
            Errno::EEXIST => "another route stands there",
            Errno::ENODEV => "no such interface",
            Errno::EINVAL => "the kernel calls it invalid",
            Errno::EPIPE => "nobody writes routes any more",
            Errno::ENETDOWN => "the interface is down",
            Errno::ENETUNREACH => "the gateway is not on a link",
            Errno::ENOBUFS => "no buffer space",
            Errno::EHOSTUNREACH => "the gateway is unreachable",
            _ => "error",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (errno {})", self.text(), self.0)
    }
}

impl FibRoute {
    /// As the kernel will show it: hops sorted and each once, IPv6 never with metric 0.
    pub fn normal(mut self) -> FibRoute {
        if self.metric == 0 && matches!(self.net, IpNet::V6(_)) {
            self.metric = 1024;
        }
        if let FibKind::Unicast(hops) = &mut self.kind {
            hops.sort_unstable();
            hops.dedup_by_key(|hop| hop.way());
            in_order(hops);
        }
        self.net = self.net.trunc();
        self
    }

    /// `None` for a shape that we never write (unreachable, prohibit, local).
    pub fn from_kernel(route: &KernelRoute) -> Option<FibRoute> {
        let kind = match &route.kind {
            RouteKind::Unicast(hops) => FibKind::Unicast(hops.clone()),
            RouteKind::Blackhole => FibKind::Blackhole,
            RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Local => return None,
        };
        Some(FibRoute { net: route.net, metric: route.metric, kind, source: route.source, former: None }.normal())
    }
}
