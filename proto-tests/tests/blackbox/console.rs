//! The console blocks of the documents that want no daemon (`<!-- console: alone -->`): each is typed in a folder that holds what it names.
//!
//! The folder has `proto-tests/data/documents/` in it and a link to `proto-tests`; a daemon's blocks are run by stories (`story::manual`,
//! `story::questions`, `story::path`) and on machines (`proto-tests/machines`).

use std::fs;
use std::path::Path;
use std::process::Command;

use proto_tests::console::{documents, play};
use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::{catbird, workspace};

fn folder() -> Scratch {
    let scratch = Scratch::new("console").expect("a temporary folder");
    let data = workspace().join("proto-tests/data/documents");
    for entry in fs::read_dir(data).expect("the documents' data") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, scratch.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    std::os::unix::fs::symlink(workspace().join("proto-tests"), scratch.path().join("proto-tests")).expect("a link");
    scratch
}

fn typed(folder: &Path, line: &str) -> Result<String, String> {
    let binary = catbird()?;
    let path = format!("{}:/usr/bin:/bin", binary.parent().ok_or("it lies in a folder")?.display());
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(folder).env("PATH", path).env("CATBIRD_NODE", "node-a");
    let out = command.output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn what_is_typed_without_a_daemon_prints_what_is_shown() {
    let mut count = 0;
    for document in documents() {
        let scratch = folder();
        let write = |_: &str, path: &str, text: &str| fs::write(scratch.path().join(path), text).map_err(|e| e.to_string());
        count += play(&document, "alone", write, |_, line| typed(scratch.path(), line)).unwrap_or_else(|why| panic!("{why}"));
    }
    assert!(count >= 8, "{count} steps");
}
