//! Rights: as few as the work needs, given up before there is anything to attack.
//!
//! In: the capabilities that the process was started with. Out: those that it keeps, and in words what a missing one will cost.
//! It leaves to the unit or manifest whether the process starts as root or as a user with just these.
//!
//! CAP_NET_ADMIN writes routes, sets TCP-MD5 keys and large netlink buffers; CAP_NET_BIND_SERVICE listens on port 179; CAP_SYS_NICE gives BFD's
//! thread its real-time priority, and is given up when it has it; CAP_NET_RAW opens the socket of router discovery, for peers by interface, and
//! is given up when it is open. As root without
//! the others, the process still reads root's files, but no longer anybody else's.

use std::fmt;
use std::io;

use crate::daemon::sys::{self, Capabilities};

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
/// Only until the socket of router discovery is open: see [`drop_raw`].
const NET_RAW: u64 = 1 << 13;
/// Only until BFD's thread has its priority: see [`drop_scheduling`].
const SYS_NICE: u64 = 1 << 23;
/// Everything that the daemon ever needs.
const NEEDED: u64 = NET_BIND_SERVICE | NET_ADMIN | NET_RAW | SYS_NICE;

/// What is left after `drop_others`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// CAP_NET_ADMIN: routes, devices, TCP-MD5 keys.
    pub net_admin: bool,
    /// CAP_NET_BIND_SERVICE: port 179.
    pub net_bind_service: bool,
    /// How many others were given up.
    pub dropped: u32,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let names = [(self.net_admin, "net_admin"), (self.net_bind_service, "net_bind_service")];
        for (_, name) in names.iter().filter(|(kept, _)| *kept) {
            write!(f, "{}{name}", if first { "" } else { "," })?;
            first = false;
        }
        f.write_str(if first { "none" } else { "" })
    }
}

/// Gives up every capability but the needed ones, for this thread and those that it starts, and the way back to more (`no_new_privs`).
/// To be called before the first thread is started.
///
/// # Errors
/// The kernel's. Nothing has changed then, or less is left than before.
pub fn drop_others() -> io::Result<Kept> {
    let had = sys::capabilities()?;
    let keep = had.permitted & NEEDED;
    sys::no_new_privileges()?;
    sys::set_capabilities(Capabilities { effective: keep, permitted: keep, inheritable: 0 })?;
    let has = |cap| keep & cap != 0;
    Ok(Kept { net_admin: has(NET_ADMIN), net_bind_service: has(NET_BIND_SERVICE), dropped: (had.permitted & !NEEDED).count_ones() })
}

/// Gives up the right to real-time priority, for this thread and those that it starts: who needed it has it.
pub fn drop_scheduling() {
    give_up(SYS_NICE);
}

/// Gives up the right to raw sockets likewise.
pub fn drop_raw() {
    give_up(NET_RAW);
}

fn give_up(right: u64) {
    let without = |set: u64| set & !right;
    let given_up = sys::capabilities().and_then(|had| {
        let left = Capabilities { effective: without(had.effective), permitted: without(had.permitted), inheritable: 0 };
        sys::set_capabilities(left)
    });
    if let Err(error) = given_up {
        tracing::debug!(%error, right, "a right that is needed no more is kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_them_up_has_only_the_needed_ones_and_cannot_get_more() {
        let (kept, now, again) = std::thread::spawn(|| {
            let kept = drop_others().unwrap();
            let now = sys::capabilities().unwrap();
            let again = sys::set_capabilities(Capabilities { effective: u64::MAX >> 24, permitted: u64::MAX >> 24, inheritable: 0 });
            (kept, now, again)
        })
        .join()
        .unwrap();
        assert_eq!(now.permitted & !NEEDED, 0);
        assert_eq!((now.effective, now.inheritable), (now.permitted, 0));
        assert_eq!(kept.net_admin, now.permitted & NET_ADMIN != 0);
        assert!(again.is_err(), "what is given up stays given up");
    }
}
