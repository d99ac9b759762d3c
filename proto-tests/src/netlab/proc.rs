//! The programs of the lab: where our daemon is built, which of the others are installed.
//!
//! In: names. Out: paths. Building is cargo's work; it is asked once a test program and is quick when there is nothing to do. `proto-tests/run`
//! has built the daemon before any test begins and says so by `CATBIRD_BIN`; then cargo is not asked at all.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace that this was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("proto-tests lies in the workspace")
}

/// The path of a fresh `catbird`, built in the profile that we were built in; or the one that `CATBIRD_BIN` names.
///
/// # Errors
/// What cargo said, or that the named one is not there.
pub fn catbird() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| env::var_os("CATBIRD_BIN").map_or_else(build, |path| named(Path::new(&path)))).clone()
}

/// The daemons of the lab run in other folders than the test.
fn named(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().ok().filter(|path| path.is_file()).ok_or_else(|| format!("CATBIRD_BIN: no program {}", path.display()))
}

fn build() -> Result<PathBuf, String> {
    // target/debug/demo, target/debug/deps/story_full_mesh-0123: the profile's folder is the one that holds `deps`.
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    let profile_dir = exe.ancestors().skip(1).find(|dir| dir.join("deps").is_dir()).ok_or("not started from cargo's target folder")?;
    let target_dir = profile_dir.parent().ok_or("no target folder")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--bin", "catbird", "--target-dir"]).arg(target_dir).current_dir(workspace());
    // The folder of the profiles `dev` and `test` is `debug`; every other has its own name.
    if let Some(profile) = profile_dir.file_name().filter(|name| *name != "debug") {
        cargo.arg("--profile").arg(profile);
    }
    let done = cargo.status().map_err(|e| format!("cargo: {e}"))?;
    let binary = profile_dir.join("catbird");
    match (done.success(), binary.is_file()) {
        (true, true) => Ok(binary),
        (true, false) => Err(format!("cargo built no {}", binary.display())),
        (false, _) => Err("cargo could not build the daemon".into()),
    }
}

/// The first of these that is a file: programs lie in other folders than `PATH` for an ordinary user.
pub fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// One of FRR's daemons; they have a folder of their own, for OpenBGPD has a `bgpd` too.
pub fn frr_program(name: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/lib/frr").join(name)).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_daemon_is_taken_only_if_it_is_there() {
        let exe = env::current_exe().expect("we run");
        let folder = exe.parent().expect("a folder");
        assert_eq!(named(&exe), Ok(exe.canonicalize().expect("it is there")));
        assert!(named(&folder.join("no-such-program")).is_err_and(|why| why.contains("no-such-program")));
        assert!(named(folder).is_err(), "a folder is no program");
    }
}
