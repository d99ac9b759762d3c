//! `proto-tests/calico.toml` tells the truth: what a drop-in for Calico's confd and BIRD must do, point by point.

use std::fs;

use proto_tests::netlab::proc::workspace;
use serde::Deserialize;

use crate::requirements::body;

/// How many points there are.
const POINTS: u32 = 82;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    point: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    number: u32,
    says: String,
    test: Option<String>,
    reason: Option<String>,
}

fn ledger() -> Ledger {
    let text = fs::read_to_string(workspace().join("proto-tests/calico.toml")).expect("the ledger of Calico");
    toml::from_str(&text).expect("the ledger of Calico")
}

#[test]
fn every_point_of_calico_has_a_row_with_a_test_that_exists_or_a_reason() {
    let points = ledger().point;
    assert_eq!(points.iter().map(|point| point.number).collect::<Vec<_>>(), (1..=POINTS).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for point in points {
        let said = format!("point {} ({})", point.number, point.says);
        match (&point.test, &point.reason) {
            (Some(test), None) if body(test).is_some() => {}
            (Some(test), None) => wrong.push(format!("{said}: there is no test {test}")),
            (None, Some(reason)) if reason.len() > 20 => {}
            _ => wrong.push(format!("{said}: either a test or a reason")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_count_of_calico_s_points_stands_in_the_documentation() {
    let points = ledger().point;
    let shown = points.iter().filter(|point| point.test.is_some()).count();
    let sentence = format!("{shown} of {POINTS} points have a test, {} a reason why not", points.len() - shown);
    let page = fs::read_to_string(workspace().join("docs/calico.md")).expect("docs/calico.md");
    assert!(page.contains(&sentence), "docs/calico.md does not say: {sentence}");
}
