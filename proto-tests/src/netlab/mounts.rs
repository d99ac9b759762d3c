//! A node's own view of the file system: bound files, and a `/run` of its own.
//!
//! In: paths, on the thread of a node. Out: mounts that nobody else sees.
//! A folder that the machine does not have (`/etc/catbird`) appears by laying a tmpfs over its nearest ancestor, with links to what was there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// An empty `/run` with a folder for each daemon.
///
/// # Errors
/// What the kernel answered.
pub fn fresh_run() -> io::Result<()> {
    tmpfs(Path::new("/run"))?;
    for dir in ["frr", "bird", "catbird", "lock"] {
        let path = Path::new("/run").join(dir);
        fs::create_dir(&path)?;
        if let Some((uid, gid)) = owner(dir) {
            // In a user namespace there is only one user; daemons then stay root.
            let _ = chown(&path, Some(uid), Some(gid));
        }
    }
    Ok(())
}

/// Makes `source` appear at `target`.
///
/// # Errors
/// What the kernel answered.
pub fn bind(source: &Path, target: &Path, scratch: &Path) -> io::Result<()> {
    if !target.exists() {
        let parent = target.parent().unwrap_or(Path::new("/"));
        // A folder is never made on the machine itself.
        if !parent.exists() || source.is_dir() || fs::File::create(target).is_err() {
            shadow(nearest(parent), scratch)?;
        }
        fs::create_dir_all(parent)?;
        if source.is_dir() { fs::create_dir_all(target)? } else { drop(fs::File::create(target)?) }
    }
    mount(Some(source), target, None, libc::MS_BIND | libc::MS_REC)
}

/// Copies a file to where a daemon of this name may read it and can do no harm.
///
/// # Errors
/// What the file system said.
pub fn private_copy(source: &Path, copy: &Path, daemon: &str) -> io::Result<()> {
    fs::copy(source, copy)?;
    fs::set_permissions(copy, fs::Permissions::from_mode(0o644))?;
    match owner(daemon) {
        Some((uid, gid)) if super::user::is_root() => chown(copy, Some(uid), Some(gid)),
        _ => Ok(()),
    }
}

fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

/// Lays a tmpfs over `dir` that shows what was in it by links.
fn shadow(dir: &Path, scratch: &Path) -> io::Result<()> {
    let name = dir.to_string_lossy().replace('/', "_");
    let below = scratch.join(format!("below{name}"));
    if below.exists() {
        return Ok(());
    }
    fs::create_dir_all(&below)?;
    mount(Some(dir), &below, None, libc::MS_BIND | libc::MS_REC)?;
    tmpfs(dir)?;
    for entry in fs::read_dir(&below)? {
        let entry = entry?;
        let to = if entry.file_type()?.is_symlink() { fs::read_link(entry.path())? } else { entry.path() };
        symlink(to, dir.join(entry.file_name()))?;
    }
    Ok(())
}

fn tmpfs(on: &Path) -> io::Result<()> {
    mount(None, on, Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV)?;
    fs::set_permissions(on, fs::Permissions::from_mode(0o755))
}

fn mount(source: Option<&Path>, target: &Path, kind: Option<&str>, flags: libc::c_ulong) -> io::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let source_text = path(source.unwrap_or(Path::new("none")))?;
    let target_text = path(target)?;
    let kind_text = CString::new(kind.unwrap_or("none"))?;
    // SAFETY: C strings that outlive the call.
    let done = unsafe { libc::mount(source_text.as_ptr(), target_text.as_ptr(), kind_text.as_ptr(), flags, std::ptr::null()) };
    if done < 0 {
        let e = io::Error::last_os_error();
        return Err(io::Error::new(e.kind(), format!("mount on {}: {e}", target.display())));
    }
    Ok(())
}

/// User and group numbers of a user of this machine.
fn owner(user: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A folder that goes away with its owner.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// # Errors
    /// When no folder can be made in the system's temporary one.
    pub fn new(label: &str) -> io::Result<Self> {
        let template = std::env::temp_dir().join(format!("catbird-{label}-XXXXXX"));
        let template = CString::new(template.as_os_str().as_bytes())?;
        let raw = template.into_raw();
        // SAFETY: `raw` is a writable C string, given back to Rust right after.
        let (made, path) = unsafe { (!libc::mkdtemp(raw).is_null(), CString::from_raw(raw)) };
        if !made {
            return Err(io::Error::last_os_error());
        }
        let dir = PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        Ok(Self(dir))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
