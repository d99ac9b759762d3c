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
