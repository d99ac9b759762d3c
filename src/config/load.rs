//! Reads a configuration and the secrets that it names from disk.
//!
//! Only regular files of a reasonable size are read: a FIFO, a device or a folder in their place is an error and not a wait.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{Checked, Config, Environment, SecretFile};

/// Names this node where the file is the same for all: in a pod, from the field `spec.nodeName`.
pub const NODE_VARIABLE: &str = "CATBIRD_NODE";

/// Octets of the longest configuration; 100,000 nodes fit.
pub const CONFIG_OCTETS: u64 = 64 << 20;

/// Octets of the longest password file: a key of 80 and ends of line.
pub const PASSWORD_OCTETS: u64 = 4096;

/// Reads and checks a file, as the node that [`NODE_VARIABLE`] or else the host name says.
///
/// # Errors
/// The file itself cannot be read, or is not text.
pub fn load(path: &Path) -> io::Result<Checked> {
    load_as(path, None)
}

/// The same, as the node of this name.
///
/// # Errors
/// As [`load`].
pub fn load_as(path: &Path, node: Option<&str>) -> io::Result<Checked> {
    let text = read_text(path, CONFIG_OCTETS)?;
    Ok(check(&path.display().to_string(), &text, node))
}

/// The same, of what is read from a stream.
///
/// # Errors
/// It cannot be read, is not text, or is too long.
pub fn read_as(from: impl Read, name: &str, node: Option<&str>) -> io::Result<Checked> {
    let mut text = String::new();
    let read = from.take(CONFIG_OCTETS.saturating_add(1)).read_to_string(&mut text)? as u64;
    if read > CONFIG_OCTETS {
        return Err(io::Error::other(format!("more than {CONFIG_OCTETS} octets")));
    }
    Ok(check(name, &text, node))
}

/// Checks a text as the daemon would run it; `name` is what its findings call it.
pub fn check_text(name: &str, text: &str) -> Checked {
    check(name, text, None)
}

/// The same, as the node of this name.
pub fn check_text_as(name: &str, text: &str, node: Option<&str>) -> Checked {
    check(name, text, node)
}

fn check(name: &str, text: &str, node: Option<&str>) -> Checked {
    let hostname = node.map(str::to_owned).or_else(|| std::env::var(NODE_VARIABLE).ok()).filter(|name| !name.is_empty()).or_else(host_name);
    let read = |path: &Path| secret(path).map_err(|error| error.to_string());
    Config::parse(name, text, &Environment { hostname, read: &read, memory_limit: memory_limit() })
}

fn secret(path: &Path) -> io::Result<SecretFile> {
    let world_readable = std::fs::metadata(path)?.permissions().mode() & 0o004 != 0;
    Ok(SecretFile { text: read_text(path, PASSWORD_OCTETS)?, world_readable })
}

/// That of our cgroup: version 2, or the file that version 1 has.
fn memory_limit() -> Option<u64> {
    let read = |path: String| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().filter_map(|line| line.strip_prefix("0::")).map(|path| format!("/sys/fs/cgroup{path}/memory.max"));
    let usual = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(str::to_owned);
    own.chain(usual).find_map(read).filter(|limit| *limit < 1 << 62)
}

fn host_name() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
}

/// The text of a regular file of at most `limit` octets. Neither waits for a writer of a FIFO nor makes a terminal our own.
///
/// # Errors
/// It is not there, not readable, not a regular file, too long, or not UTF-8; in words an operator can act on.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(|e| whose(path, e))?;
    let meta = file.metadata()?;
    if !meta.file_type().is_file() {
        return Err(io::Error::other(format!("{} where a regular file belongs", kind_name(meta.file_type()))));
    }
    let mut text = String::new();
    // What grows while it is read is too long as well.
    let read = file.take(limit.saturating_add(1)).read_to_string(&mut text)? as u64;
    if meta.len().max(read) > limit {
        return Err(io::Error::other(format!("more than {limit} octets; is it the right file?")));
    }
    Ok(text)
}

/// Why a file may not be read: whose it is, for even root's daemon gives up the right to read what is others'.
fn whose(path: &Path, error: io::Error) -> io::Error {
    let meta = match std::fs::metadata(path) {
        Ok(meta) if error.kind() == io::ErrorKind::PermissionDenied => meta,
        _ => return error,
    };
    let (owner, mode, we) = (meta.uid(), meta.permissions().mode() & 0o7777, rustix::process::geteuid().as_raw());
    let text = format!(
        "{error}: it belongs to user {owner} and has mode {mode:04o}, and catbird is user {we} and reads nothing by root's privileges; \
         `chown` or `chmod` it"
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

fn kind_name(kind: std::fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}
