//! The version that `catbird --version`, the log and the metrics show: with the commit and its date, where they are known.
//!
//! `CATBIRD_COMMIT` says it where there is no git (a container image); a release build asks git. Other builds do not ask: they would be built
//! anew after every commit.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CATBIRD_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let told = std::env::var("CATBIRD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = told.or_else(|| is_release.then(commit_of_git).flatten());
    let shown = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=CATBIRD_VERSION={shown}");
}

fn commit_of_git() -> Option<String> {
    let head = git(&["rev-parse", "--git-path", "HEAD"])?;
    println!("cargo:rerun-if-changed={head}");
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let date = git(&["log", "-1", "--format=%cs"])?;
    Some(if is_changed { format!("{commit}, {date}, changed") } else { format!("{commit}, {date}") })
}

fn git(words: &[&str]) -> Option<String> {
    let out = Command::new("git").args(words).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}
