//! RFC 6811: routes are judged by what VRPs say of their origins, and judged again when that changes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use catbird::api::{Answer, Question};
use catbird::num::Asn;
use catbird::policy::{Chain, Condition, Policy, Rule, Step};
use catbird::rpki::{CacheParams, Covers, Report, Source, Table, Update, Validity, Vrp};
use catbird::speaker::Input;
use proto_tests::lab::{Lab, net, raw_update, update};

const SECOND: Duration = Duration::from_secs(1);

fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
    Vrp { net: net(text), asn: Asn(asn), max_len }
}

fn cache() -> CacheParams {
    CacheParams {
        address: ([192, 0, 2, 8], 323).into(),
        preference: 1,
        refresh: None,
        retry: None,
        expire: None,
        timeout: SECOND,
        max_vrps: 1000,
    }
}

/// `x` announces to `a`, which lets nothing invalid in and announces the rest to `c`.
fn lab() -> Lab {
    let rule = Rule { when: vec![Condition::Rpki(vec![Validity::Invalid])], then: Step::Reject, ..Rule::default() };
    let chain = Chain::from_policies(vec![Arc::new(Policy { name: "origins".into(), rules: vec![rule], otherwise: Step::Accept })]);
    let lab = Lab::seeded(4).speaker("a", 64512).configured("a", |params| params.rpki = vec![cache()]).scripted("x", 64513);
    let lab = lab.speaker("c", 64514).linked_as("a", "x", move |_, config| config.import = Some(chain.clone()));
    let mut lab = lab.linked("a", "c");
    lab.until_established("a", "x");
    lab.until_established("a", "c");
    lab
}

/// Other VRPs than before.
fn learn(lab: &mut Lab, before: &Table, vrps: &[Vrp]) -> Arc<Table> {
    let table = Arc::new(Table::new(vrps.to_vec()));
    let source = Source { address: cache().address, session: 1, serial: 1, at: lab.now(), expires: lab.now() + 3600 * SECOND };
    let update = Update { table: table.clone(), changed: Arc::new(before.difference(&table)) };
    let report = Report { source: Some(source), update: Some(update), ..Report::default() };
    lab.give_input("a", Input::Rpki(Box::new(report)));
    lab.run(5 * SECOND);
    table
}

fn state(lab: &mut Lab, prefix: &str) -> (bool, String) {
    let paths = lab.paths("a", prefix);
    let path = paths.first().unwrap_or_else(|| panic!("{prefix} is not known at all"));
    (path.refused.is_none(), path.rpki.clone().unwrap_or_default())
}

fn is(accepted: bool, state: &str) -> (bool, String) {
    (accepted, state.to_owned())
}

#[test]
fn routes_are_judged_again_when_vrps_change_and_no_others_are_touched() {
    let mut lab = lab();
    lab.raw("x", &update([10, 255, 0, 2], &[64513, 65010], &["10.1.0.0/24", "10.2.0.0/24"]));
    lab.run(5 * SECOND);
    let status = serde_json::to_string(&lab.ask("a", Question::Status)).expect("JSON");
    assert!(status.contains("every route is not-found"), "{status}");
    assert_eq!(state(&mut lab, "10.1.0.0/24"), is(true, "not-found"), "before a cache has spoken");
    let sent = |lab: &mut Lab| {
        let detail = lab.peer("c", "a");
        (detail.updates.announced_received, detail.updates.withdrawn_received)
    };
    let (announced, withdrawn) = sent(&mut lab);
    let table = learn(&mut lab, &Table::default(), &[vrp("10.1.0.0/16", 24, 65099), vrp("10.2.0.0/16", 24, 65010)]);
    assert_eq!((state(&mut lab, "10.1.0.0/24"), state(&mut lab, "10.2.0.0/24")), (is(false, "invalid"), is(true, "valid")));
    assert_eq!(sent(&mut lab), (announced, withdrawn + 1), "valid or not-found is the same to this policy, and told to nobody");
    assert!(lab.best("c", "10.1.0.0/24").is_none() && lab.best("c", "10.2.0.0/24").is_some());
    let story = lab.explain("a", "10.1.0.0/24").expect("a story");
    assert!(story.paths[0].verdict().contains("refused by policy origins, rule 1"), "{}", story.paths[0].verdict());
    // What comes now is judged by what holds now.
    lab.raw("x", &update([10, 255, 0, 2], &[64513, 65099], &["10.1.7.0/24"]));
    lab.raw("x", &update([10, 255, 0, 2], &[64513, 65099], &["10.2.7.0/24"]));
    lab.run(5 * SECOND);
    assert_eq!((state(&mut lab, "10.1.7.0/24"), state(&mut lab, "10.2.7.0/24")), (is(true, "valid"), is(false, "invalid")));
    let (announced, withdrawn) = sent(&mut lab);
    learn(&mut lab, &table, &[vrp("10.2.0.0/16", 24, 65010)]);
    assert_eq!(state(&mut lab, "10.1.0.0/24"), is(true, "not-found"));
    assert_eq!(sent(&mut lab), (announced + 1, withdrawn));
    assert!(lab.established("a", "x") && lab.established("a", "c"));
    let detail = lab.peer("a", "x");
    assert_eq!(detail.row.flaps, 0);
}

#[test]
fn a_path_that_ends_in_a_set_is_invalid_where_anything_covers_it() {
    let mut lab = lab();
    learn(&mut lab, &Table::default(), &[vrp("10.1.0.0/16", 24, 65010)]);
    let mut attrs = BytesMut::new();
    attrs.put_slice(&[0x40, 1, 1, 0, 0x40, 2, 12, 2, 1]);
    attrs.put_u32(64513);
    attrs.put_slice(&[1, 1]);
    attrs.put_u32(65010);
    attrs.put_slice(&[0x40, 3, 4, 10, 255, 0, 2]);
    lab.raw("x", &raw_update(&[], &attrs, &["10.1.0.0/24", "10.3.0.0/24"]));
    lab.run(5 * SECOND);
    assert_eq!((state(&mut lab, "10.1.0.0/24"), state(&mut lab, "10.3.0.0/24")), (is(false, "invalid"), is(true, "not-found")));
}

/// A table of thousands of routes is walked over in steps, with changes that come meanwhile.
#[test]
fn changes_that_come_faster_than_they_are_judged_are_all_judged() {
    let mut lab = lab();
    let nets: Vec<String> = (0..6000_u32).map(|n| format!("10.{}.{}.0/24", 16 + n / 256, n % 256)).collect();
    for some in nets.chunks(500) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        lab.raw("x", &update([10, 255, 0, 2], &[64513, 65010], &some));
    }
    lab.run(10 * SECOND);
    let mut table = Arc::new(Table::default());
    for n in 1..=20_u32 {
        let vrps: Vec<Vrp> = (0..n).map(|n| vrp(&format!("10.{}.0.0/16", 16 + n), 24, 65099)).collect();
        let new = Arc::new(Table::new(vrps));
        let update = Update { table: new.clone(), changed: Arc::new(table.difference(&new)) };
        lab.give_input("a", Input::Rpki(Box::new(Report { update: Some(update), ..Report::default() })));
        table = new;
    }
    lab.run(20 * SECOND);
    for net in &nets {
        let refused = net.split('.').nth(1).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 36);
        assert_eq!(lab.best("a", net).is_none(), refused, "{net}");
    }
    assert!(!Covers::all().is_empty());
}

#[test]
fn answers_name_the_vrps_that_cover_a_prefix() {
    let mut lab = lab();
    learn(&mut lab, &Table::default(), &[vrp("10.1.0.0/16", 24, 65010), vrp("10.0.0.0/8", 8, 65011)]);
    let Answer::Rpki(report) = lab.ask("a", Question::Rpki { net: Some(net("10.1.2.0/24")), asn: Some(Asn(65010)) }) else {
        panic!("a report")
    };
    let verdict = report.verdict.expect("a verdict");
    let covering: Vec<(String, Option<bool>)> = verdict.covering.iter().map(|vrp| (vrp.net.to_string(), vrp.matches)).collect();
    assert_eq!(verdict.state.as_deref(), Some("valid"));
    assert_eq!(covering, [("10.1.0.0/16".to_owned(), Some(true)), ("10.0.0.0/8".to_owned(), Some(false))]);
    assert_eq!((report.vrps_ipv4, report.vrps_ipv6, report.updates), (2, 0, 1));
}
