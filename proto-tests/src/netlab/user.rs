//! Who we are: root, an ordinary user who may have a user namespace, or one who may not.
//!
//! In: nothing. Out: the right to make namespaces, or a sentence that tells the user what stands in the way.

use std::fs;
use std::io;
use std::sync::OnceLock;

/// How we came to the right to make namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    Root,
    /// Root in a user namespace of our own.
    OwnUserNamespace,
}

/// Are we root, and not just in a user namespace of our own?
pub fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let whole = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
        // SAFETY: geteuid has no preconditions.
        unsafe { libc::geteuid() == 0 && fs::read_to_string("/proc/self/uid_map").is_ok_and(whole) }
    })
}

/// Becomes root in a user namespace unless we are root. To be called before the first thread is started.
///
/// # Errors
/// A sentence for the user: what is forbidden here and what to do instead.
pub fn acquire() -> Result<Rights, String> {
    if is_root() {
        return probe().map(|()| Rights::Root).map_err(|e| {
            format!("root may not make namespaces here ({e}); in a container, run it with --privileged or --cap-add SYS_ADMIN,NET_ADMIN")
        });
    }
    enter_user_namespace()
        .and_then(|()| probe())
        .map(|()| Rights::OwnUserNamespace)
        .map_err(|e| format!("this system forbids user namespaces to ordinary users ({e}){}", obstacle()))
}

fn enter_user_namespace() -> io::Result<()> {
    // SAFETY: no preconditions.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: changes only this process, which has one thread (the kernel answers EINVAL otherwise).
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Tries it out, for a mapped user namespace can still be without rights (AppArmor on Ubuntu).
fn probe() -> io::Result<()> {
    super::Ns::node("probe").map(drop)
}

fn obstacle() -> &'static str {
    let forbids = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if forbids("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        ": sysctl kernel.apparmor_restrict_unprivileged_userns is 1"
    } else if forbids("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        ": sysctl kernel.unprivileged_userns_clone is 0"
    } else if forbids("/proc/sys/user/max_user_namespaces", "0") {
        ": sysctl user.max_user_namespaces is 0"
    } else {
        ""
    }
}
