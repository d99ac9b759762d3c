//! Networks on one machine: real kernels' tables, real daemons, no containers and no containerlab installed.
//!
//! For: the stories in `containerlab/`, the demo, and any test that wants a router to meet a kernel.
//! In: a containerlab file and its `expect.toml`, or calls that build a network by hand.
//! Out: namespaces that are joined by veth pairs, with daemons in them; then facts, read from the kernels and the daemons by polling.
//! Leaves to others: what the routers ought to agree on (the story's `expect.toml`, or the test).
//!
//! Nothing outlives the process that made it: a namespace lives in a thread, its daemons under an `init` that ends when our end of a pipe
//! closes, and so even a killed test leaves no daemon, no link and no route behind.
pub mod capture;
pub mod clock;
pub mod cluster;
pub mod containers;
pub mod echo;
pub mod expect;
pub mod image;
pub mod machine;
pub mod monitor;
pub mod mounts;
pub mod neighbours;
pub mod netlink;
pub mod ns;
pub mod ping;
pub mod proc;
pub mod router;
pub mod signal;
pub mod sites;
pub mod story;
pub mod topology;
pub mod user;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

pub use clock::{patiently, until};
pub use expect::Expectation;
pub use netlink::{KRoute, Rtnl};
pub use ns::Ns;
pub use story::Story;

/// Says loudly that a test does nothing here, and why; `proto-tests/run` counts these.
pub fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED {what}: {why}");
    if let Some(path) = std::env::var_os("CATBIRD_SKIPS") {
        let list = File::options().create(true).append(true).open(path);
        let _ = list.and_then(|mut file| writeln!(file, "SKIPPED {what}: {why}"));
    }
}

/// True if namespaces may be made here; else the test is skipped.
pub fn may_run(what: &str) -> bool {
    let root = user::is_root();
    if !root {
        skip(what, "network namespaces in a test need root");
    }
    root
}

/// While this lives no other test that measures time runs on this machine.
///
/// # Panics
/// When the lock file cannot be had.
pub fn alone() -> File {
    let path = std::env::temp_dir().join("catbird-lab.lock");
    let file = File::options().create(true).append(true).open(&path).expect("the lock file in the temporary folder can be opened");
    // SAFETY: a lock on a descriptor that lives as long as the guard; it goes with it.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "a lock is to be had");
    file
}
