//! Reads a configuration and the secrets that it names from disk.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Checked, Config, SecretFile, Surroundings};

/// Names this node where the file is the same for all: in a pod, from the field `spec.nodeName`.
pub const NODE_VARIABLE: &str = "CATBIRD_NODE";

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
    let text = std::fs::read_to_string(path)?;
    Ok(check(&path.display().to_string(), &text, node))
}

/// Checks a text that would be run; `name` is what its findings call it.
pub fn check_text(name: &str, text: &str) -> Checked {
    check(name, text, None)
}

fn check(name: &str, text: &str, node: Option<&str>) -> Checked {
    let hostname = node.map(str::to_owned).or_else(|| std::env::var(NODE_VARIABLE).ok()).filter(|name| !name.is_empty()).or_else(host_name);
    let read = |path: &Path| secret(path).map_err(|error| error.to_string());
    Config::parse(name, text, &Surroundings { hostname, read: &read })
}

fn secret(path: &Path) -> io::Result<SecretFile> {
    let world_readable = std::fs::metadata(path)?.permissions().mode() & 0o004 != 0;
    Ok(SecretFile { text: std::fs::read_to_string(path)?, world_readable })
}

fn host_name() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
}
