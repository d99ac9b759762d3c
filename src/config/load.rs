//! Reads a configuration and the secrets that it names from disk.

use std::io;
use std::path::Path;

use super::{Checked, Config, Surroundings};

/// Reads and checks a file. `to_run`: a secret that cannot be read is an error, not merely a warning.
///
/// # Errors
/// The file itself cannot be read, or is not text.
pub fn load(path: &Path, to_run: bool) -> io::Result<Checked> {
    let text = std::fs::read_to_string(path)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let read = |secret: &Path| std::fs::read_to_string(secret).map_err(|error| error.to_string());
    Ok(Config::parse(&path.display().to_string(), &text, &Surroundings { hostname, read: &read, secrets_needed: to_run }))
}
