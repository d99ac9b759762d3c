//! Networks on one machine: real kernels' tables, real daemons, no containers and no containerlab installed.
//!
//! For: the stories in `containerlab/`, the demo, and any test that wants a router to meet a kernel.
//! In: a containerlab file and its `expect.toml`, or calls that build a network by hand.
//! Out: namespaces that are joined by veth pairs, with daemons in them; then facts, read from the kernels and the daemons by polling.
//! Leaves to others: what the routers ought to agree on (the story's `expect.toml`, or the test).
//!
//! Nothing outlives the process that made it: a namespace lives in a thread, its daemons under an `init` that ends when our end of a pipe
//! closes, and so even a killed test leaves no daemon, no link and no route behind.
pub mod clock;
pub mod cluster;
pub mod expect;
pub mod image;
pub mod mounts;
pub mod netlink;
pub mod ns;
pub mod ping;
pub mod proc;
pub mod signal;
pub mod story;
pub mod topology;
pub mod user;

pub use clock::{patiently, until};
pub use expect::Expectation;
pub use netlink::{KRoute, Rtnl};
pub use ns::Ns;
pub use story::Story;
