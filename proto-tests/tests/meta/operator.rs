//! `proto-tests/operator.toml` tells the truth: what an operator was once told wrongly, item by item, with the test that shows that it is right.

use std::collections::BTreeSet;
use std::fs;

use proto_tests::netlab::proc::workspace;
use serde::Deserialize;

use crate::requirements::body;

/// How many items there were.
const ITEMS: u32 = 17;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    item: u32,
    says: String,
    test: String,
}

#[test]
fn every_item_of_the_operator_has_rows_and_each_test_exists() {
    let text = fs::read_to_string(workspace().join("proto-tests/operator.toml")).expect("the operator's ledger");
    let rows = toml::from_str::<Ledger>(&text).expect("the operator's ledger").row;
    let items: BTreeSet<u32> = rows.iter().map(|row| row.item).collect();
    assert_eq!(items, (1..=ITEMS).collect());
    let missing = rows.iter().filter(|row| body(&row.test).is_none());
    let missing: Vec<String> = missing.map(|row| format!("item {} ({}): there is no test {}", row.item, row.says, row.test)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The inputs of `proto-tests/reproductions.toml`: what failed on the first release.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reproductions {
    row: Vec<Reproduction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reproduction {
    number: String,
    says: String,
    test: String,
}

#[test]
fn every_input_that_failed_on_the_first_release_is_a_test() {
    let text = fs::read_to_string(workspace().join("proto-tests/reproductions.toml")).expect("the reproductions");
    let rows = toml::from_str::<Reproductions>(&text).expect("the reproductions").row;
    let numbers: BTreeSet<&str> = rows.iter().map(|row| row.number.as_str()).collect();
    let wanted: BTreeSet<String> = (1..=72).map(|n| format!("R{n}")).chain((1..=12).map(|n| format!("H{n}"))).collect();
    let open: Vec<&String> = wanted.iter().filter(|number| !numbers.contains(number.as_str())).collect();
    assert!(open.is_empty(), "without a test: {open:?}");
    let missing = rows.iter().filter(|row| body(&row.test).is_none());
    let missing: Vec<String> = missing.map(|row| format!("{} ({}): there is no test {}", row.number, row.says, row.test)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
