//! A cluster in virtual time: the routers themselves, hundreds or thousands of them in one process, with what breaks and when.
//!
//! In: machines with the parameters of their routers ([`Cluster`]), what happens to them ([`Script`]), latencies, costs and a seed. Out: a [`Report`]:
//! sessions, messages and octets, when each node's routes were right, and for how long packets had no route or a wrong one. Nothing here
//! reads a clock or a file, starts a thread or sleeps: who runs it hands in texts and looks at its progress.
//!
//! # What is run
//! Each machine has a [`Speaker`](crate::speaker::Speaker), the very code that runs on a node, with its state machines, timers, update groups and encoder; the
//! octets that it sends are cut and decoded by the very [`Driver`](crate::driver::Driver) of the daemon. In one cycle a machine takes in what has arrived, up to
//! about a millisecond's work, settles, and sends: as the daemon's core does.
//!
//! **Thin nodes.** A node whose announcements cannot depend on what it learned (it reflects nothing, all its sessions are of its own AS, and it
//! accepts everything) may be run *thin*: its sessions and what it announces are the router's as ever, and what it is sent is
//! decoded (octets that an update group shares, once for all of its members); but the routes go into a set of bits for each session instead of its tables. In the place of a session's routes the
//! router holds one, the session's marker, and what becomes of that one (kept as stale, swept, purged) becomes of the bits. So a thin node sends
//! octet for octet, nanosecond for nanosecond what it would send if it were run whole, and has the same routes at the end: a test compares. Nodes are run whole as
//! long as their tables are small; beyond, reflectors, routers of racks and a sample of nodes, and the report says how many.
//!
//! # What is modelled
//! TCP: octets arrive in order after a latency, through a window; where nothing gets through, they are sent again after 0.2, 0.6, 1.4 s and so on;
//! a machine without a program refuses, one that is gone is silent. The kernel: takes every route after a moment, and keeps routes while the
//! program is gone. The processor: a cost for each message, prefix and write ([`Costs`]). The network under it: who reaches whom, by machines, cuts, sides
//! of a partition and routers of racks. BFD, tunnels, BMP and RPKI are not run.
//!
//! # What is counted
//! For each node and each block of another node: has the kernel a route, and does a packet arrive by it, over the kernels of all machines on its
//! way? A block whose node can be reached and that has no route is a black hole; a route on which packets do not arrive (its node is gone, they
//! go round in a circle) is a wrong one. Both are summed over time, in prefixes times seconds.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | machines, by a few numbers or from configurations |
//! | `script` | the file of events |
//! | `plan` | events as orders to single machines |
//! | `world` | time: what happens next |
//! | `machine`, `cycle` | a router with its kernel, and what it does in one cycle |
//! | `net`, `links` | who reaches whom; connections |
//! | `orders` | what happens to machines |
//! | `thin`, `pieces` | the routes of a thin node as sets of bits; octets that many are sent, decoded once |
//! | `books` | which packets arrive |
//! | `outcome`, `report` | the answers |
//! | `size` | what it needs, before it starts |

mod books;
mod cluster;
mod cycle;
mod links;
mod machine;
mod net;
mod orders;
mod outcome;
mod pieces;
mod plan;
mod report;
mod script;
mod size;
mod thin;
mod world;

pub use cluster::{Cluster, Machine, Role, Shape, Unfit};
pub use plan::Unplanned;
pub use report::{Convergence, Point, Report, RoleRow, Window};
pub use script::{Event, Kind, Script};
pub use size::Estimate;
pub use world::{Costs, Options, Progress, Simulation};

#[cfg(test)]
mod tests;
