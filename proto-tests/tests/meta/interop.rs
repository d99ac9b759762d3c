//! The matrix of daemons and options: every test of `tests/interop` is in it, every cell is a test, and the README shows it.

use std::collections::BTreeSet;
use std::fs;

use proto_tests::interop::matrix::Matrix;
use proto_tests::netlab::proc::workspace;
use regex::Regex;

fn tests() -> BTreeSet<String> {
    let test = Regex::new(r"#\[test\]\n(?:#\[ignore[^\n]*\n)?fn (\w+)\(").unwrap();
    let folder = workspace().join("proto-tests/tests/interop");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let file = if entry.is_dir() { entry.join("mod.rs") } else { entry.clone() };
        let (text, module) = (fs::read_to_string(file).unwrap(), entry.file_stem().unwrap().to_string_lossy().into_owned());
        found.extend(test.captures_iter(&text).map(|names| format!("{module}::{}", &names[1])));
    }
    found
}

#[test]
fn the_matrix_is_what_is_tested() {
    let (matrix, tests) = (Matrix::read().unwrap(), tests());
    assert!(tests.len() > 80, "{tests:?}");
    assert_eq!(matrix.faults(&tests), Vec::<String>::new());
    // It does notice.
    let gone: BTreeSet<String> = tests.iter().skip(1).cloned().chain(["frr::another".to_owned()]).collect();
    assert_eq!(matrix.faults(&gone).len(), 2);
}

#[test]
fn the_readme_shows_the_matrix() {
    let path = workspace().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let table = Matrix::read().unwrap().table();
    let (begin, end) = ("<!-- interop -->\n", "<!-- /interop -->");
    let (before, rest) = readme.split_once(begin).expect("where it begins");
    let (shown, after) = rest.split_once(end).expect("where it ends");
    if std::env::var_os("CATBIRD_MANUAL").is_some_and(|mode| mode == "write") {
        fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(shown, table, "CATBIRD_MANUAL=write cargo test --test meta the_readme_shows_the_matrix");
    }
}
