//! RFC 4271 §9, told by routers that run: what is chosen, what is believed, and what is said again.

use std::sync::Arc;
use std::time::Duration;

use catbird::api::Command;
use catbird::policy::{Chain, Condition, Edit, MedEdit, Policy, PrefixRange, PrefixSet, Rule, Step};
use catbird::speaker::{MaxPrefix, MaxPrefixAction, PeerConfig};
use catbird::wire::{Message, RefreshSubtype, RouteRefresh, Update};
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, net};

const SECOND: Duration = Duration::from_secs(1);

/// `dut` with an external neighbour that speaks and a peer that listens.
fn between(listener: u32, change: impl Fn(&mut PeerConfig)) -> Lab {
    let lab = Lab::seeded(12).speaker("dut", 64512).scripted("left", 65001).scripted("right", listener);
    let mut lab = lab.linked_as("dut", "left", |_, config| change(config)).linked("dut", "right");
    lab.until_established("dut", "left");
    lab.until_established("dut", "right");
    lab.run(SECOND);
    lab.heard("right");
    lab
}

fn say(lab: &mut Lab, prefix: &str, next_hop: &str) {
    lab.raw("left", &upd().reach(prefix).next_hop(next_hop).as_path(&[65001]).octets());
    lab.run(SECOND);
}

/// The UPDATEs that the listener was sent since it was asked last.
fn updates(lab: &mut Lab) -> Vec<Update> {
    lab.run(SECOND);
    lab.heard("right").into_iter().filter_map(|m| if let Message::Update(update) = m { Some(update) } else { None }).collect()
}

/// The prefixes announced in them.
fn announced(updates: &[Update]) -> Vec<String> {
    let sets = updates.iter().flat_map(|u| u.announced.iter());
    let mut nets: Vec<String> = sets.flat_map(|a| a.nlri.iter()).map(|n| n.net.to_string()).collect();
    nets.sort();
    nets
}

#[test]
fn overlapping_routes_stand_side_by_side_and_none_is_taken_apart() {
    let mut lab = between(65002, |_| {});
    // ATOMIC_AGGREGATE: type 6, well-known discretionary, empty.
    lab.raw("left", &upd().reach("10.0.0.0/8").next_hop("10.255.0.2").as_path(&[65001]).attr(6, 0x40, &[]).octets());
    say(&mut lab, "10.1.0.0/16", "10.255.0.2");
    for prefix in ["10.0.0.0/8", "10.1.0.0/16"] {
        assert!(lab.best("dut", prefix).is_some() && lab.in_kernel("dut", prefix), "{prefix}");
    }
    assert_eq!(lab.prefixes("dut"), 2, "nothing else was made of them");
    let told = updates(&mut lab);
    assert_eq!(announced(&told), ["10.0.0.0/8", "10.1.0.0/16"]);
    let atomic = |u: &&Update| u.announced.iter().filter_map(|a| a.attrs.as_ref()).any(|a| a.atomic_aggregate());
    assert_eq!(told.iter().filter(atomic).count(), 1, "and only on the route that came with it");
    lab.raw("left", &upd().withdraw("10.1.0.0/16").octets());
    lab.run(SECOND);
    assert!(lab.in_kernel("dut", "10.0.0.0/8") && !lab.in_kernel("dut", "10.1.0.0/16"), "what is left carries its part");
}

#[test]
fn the_preference_that_policy_gives_an_external_route_is_its_local_pref_inside() {
    let rule = Rule { when: vec![], set: vec![Edit::LocalPref(250)], then: Step::Accept, name: None };
    let policy = Arc::new(Policy { name: "dear".into(), rules: vec![rule], otherwise: Step::Reject });
    let mut lab = between(64512, |config| config.import = Some(Chain::from_policies(vec![policy.clone()])));
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    let told = updates(&mut lab);
    let preferences: Vec<_> = told.iter().flat_map(|u| &u.announced).filter_map(|a| a.attrs.as_ref()?.local_pref()).collect();
    assert_eq!(preferences, [250]);
    assert_eq!(lab.best("dut", "10.1.0.0/26").and_then(|row| row.local_pref), Some(250));
}

#[test]
fn a_med_that_policy_removes_or_changes_is_compared_as_it_then_is() {
    // Two routers of one neighbouring AS: the farther exit (MED 20) wins once policy has seen to its MED.
    for (edit, shown) in
        [(MedEdit::Remove, None), (MedEdit::Set(5), Some(5)), (MedEdit::Subtract(15), Some(5)), (MedEdit::Add(1), Some(21))]
    {
        let rule = Rule { when: vec![], set: vec![Edit::Med(edit)], then: Step::Accept, name: None };
        let policy = Arc::new(Policy { name: "exits".into(), rules: vec![rule], otherwise: Step::Reject });
        let lab = Lab::seeded(13).speaker("dut", 64512).scripted("near", 65001).scripted("far", 65001).linked("dut", "near");
        let mut lab = lab.linked_as("dut", "far", |_, config| config.import = Some(Chain::from_policies(vec![policy.clone()])));
        lab.until_established("dut", "near");
        lab.until_established("dut", "far");
        for (peer, next_hop, med) in [("near", "10.255.0.2", 10), ("far", "10.255.0.3", 20)] {
            lab.raw(peer, &upd().reach("10.1.0.0/26").next_hop(next_hop).as_path(&[65001]).med(med).octets());
        }
        lab.run(SECOND);
        let far = lab.paths("dut", "10.1.0.0/26").into_iter().find(|row| row.peer == "far").expect("its path");
        assert_eq!(far.med, shown, "{edit:?}");
        let best = lab.best("dut", "10.1.0.0/26").expect("one of them").peer;
        assert_eq!(best, if shown.unwrap_or(0) < 10 { "far" } else { "near" }, "{edit:?}");
    }
}

#[test]
fn a_route_with_our_own_address_as_next_hop_is_ignored_and_the_session_stays() {
    let mut lab = between(65002, |_| {});
    say(&mut lab, "10.1.0.0/26", "10.255.0.1");
    say(&mut lab, "10.2.0.0/26", "10.255.0.2");
    assert!(lab.best("dut", "10.1.0.0/26").is_none() && lab.best("dut", "10.2.0.0/26").is_some());
    assert!(lab.paths("dut", "10.1.0.0/26")[0].refused.is_some(), "and it is shown why");
    assert_eq!(announced(&updates(&mut lab)), ["10.2.0.0/26"]);
    assert!(lab.established("dut", "left") && lab.told("left").is_none());
}

#[test]
fn the_same_route_is_not_told_twice() {
    let mut lab = between(65002, |_| {});
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    assert_eq!(announced(&updates(&mut lab)), ["10.1.0.0/26"]);
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    assert_eq!(updates(&mut lab), [], "said again as it was");
    // A neighbour's MED is not passed on, nor is its next hop: what goes out is what went out.
    lab.raw("left", &upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(&[65001]).med(77).octets());
    assert_eq!(updates(&mut lab), [], "another MED makes no other UPDATE");
    assert_eq!(lab.best("dut", "10.1.0.0/26").and_then(|row| row.med), Some(77), "though it was taken in");
}

/// An import policy that refuses these prefixes.
fn all_but(prefixes: &[&str]) -> Option<Chain> {
    let set = PrefixSet::new(prefixes.iter().map(|prefix| PrefixRange::exact(net(prefix))));
    let rule = Rule { when: vec![Condition::Prefix(Arc::new(set))], then: Step::Reject, ..Rule::default() };
    Some(Chain::from_policies(vec![Arc::new(Policy { name: "all-but".into(), rules: vec![rule], otherwise: Step::Accept })]))
}

/// Received, accepted and rejected IPv4 paths of the neighbour that speaks, and how many announcements were rejected.
fn counts(lab: &mut Lab) -> (u64, u64, u64, u64) {
    let left = lab.peer("dut", "left");
    let row = &left.row.families[0];
    (row.received, row.accepted, row.rejected, left.updates.announced_rejected)
}

#[test]
fn what_is_no_unicast_prefix_is_kept_as_refused_and_told_to_nobody() {
    let routes = ["0.0.0.0/0", "10.1.0.0/26", "240.1.0.0/16"];
    let never = ["224.1.0.0/16", "127.5.0.0/16", "0.0.0.0/32", "255.255.255.255/32"];
    // One verdict for all, or one for each prefix.
    for import in [None, all_but(&["10.7.0.0/16"])] {
        let mut lab = between(65002, |config| config.import = import.clone().or(config.import.take()));
        let all = || never.iter().chain(&routes).fold(upd().next_hop("10.255.0.2").as_path(&[65001]), |u, prefix| u.reach(prefix)).octets();
        lab.raw("left", &all());
        assert_eq!(announced(&updates(&mut lab)), routes);
        assert!(lab.in_kernel("dut", "10.1.0.0/26") && lab.in_kernel("dut", "240.1.0.0/16"), "routes beside them hold");
        assert_eq!(counts(&mut lab), (7, 3, 4, 4));
        lab.order("dut", Command::RefreshIn { peer: "left".into() });
        lab.run(SECOND);
        for prefix in never {
            let explanation = lab.explain("dut", prefix).expect("it is in the Adj-RIB-In");
            assert_eq!(explanation.paths[0].verdict(), "refused: not a unicast prefix", "{prefix}");
            assert!(lab.best("dut", prefix).is_none() && !lab.in_kernel("dut", prefix), "{prefix}");
        }
        let said = |lab: &Lab| lab.notices("dut").into_iter().filter(|n| n.contains("no unicast route leads to")).collect::<Vec<_>>();
        let first = said(&lab);
        assert!(first.len() == 1 && never.iter().all(|prefix| first[0].contains(prefix)) && !first[0].contains("10.1."), "{first:?}");
        (0..100).for_each(|_| lab.raw("left", &all()));
        lab.run(SECOND);
        assert!(lab.established("dut", "left") && (2..30).contains(&said(&lab).len()), "said some more times, not each time");
    }
}

/// The neighbour's configuration with room for so many IPv4 prefixes; the rest is refused.
fn room_for(limit: u32, config: &mut PeerConfig) {
    config.max_prefix = [Some(MaxPrefix { limit, warn_percent: 100, action: MaxPrefixAction::Refuse }), None];
}

/// Changes the neighbour's configuration while it runs.
fn reload(lab: &mut Lab, change: impl Fn(&mut PeerConfig)) {
    lab.reload("dut", |params| change(Arc::make_mut(&mut params.peers[0])));
    lab.run(SECOND);
}

const FIVE: [&str; 5] = ["10.1.0.0/26", "10.1.1.0/26", "10.1.2.0/26", "10.1.3.0/26", "10.1.4.0/26"];

/// An UPDATE of the neighbour for some of [`FIVE`].
fn five(lab: &mut Lab, which: std::ops::Range<usize>) {
    lab.raw("left", &FIVE[which].iter().fold(upd().next_hop("10.255.0.2").as_path(&[65001]), |u, prefix| u.reach(prefix)).octets());
    lab.run(SECOND);
}

/// `+` for each of [`FIVE`] that is used, `-` for one that is beyond the limit, `p` for one that policy refused, a blank where there is none.
fn used(lab: &mut Lab) -> String {
    let letter = |prefix| {
        let verdict = lab.explain("dut", prefix).and_then(|explanation| Some(explanation.paths.first()?.verdict()));
        match verdict.as_deref() {
            Some(best) if best.starts_with("best") => '+',
            Some("refused: beyond the prefix limit") => '-',
            Some(policy) if policy.starts_with("refused by policy") => 'p',
            Some(other) => panic!("{prefix}: {other}"),
            None => ' ',
        }
    };
    FIVE.map(letter).iter().collect()
}

#[test]
fn who_was_refused_for_want_of_room_is_taken_when_there_is_room_again() {
    let mut lab = between(65002, |config| room_for(2, config));
    five(&mut lab, 0..5);
    assert_eq!((used(&mut lab).as_str(), announced(&updates(&mut lab))), ("++---", FIVE[..2].iter().map(|p| p.to_string()).collect()));
    // One goes, the next in line takes its place and is told; that another goes which was not used makes no room.
    lab.raw("left", &upd().withdraw(FIVE[0]).octets());
    assert_eq!(announced(&updates(&mut lab)), [FIVE[2]]);
    lab.raw("left", &upd().withdraw(FIVE[3]).octets());
    assert_eq!((announced(&updates(&mut lab)), used(&mut lab).as_str()), (vec![], " ++ -"));
    assert!(lab.in_kernel("dut", FIVE[2]) && !lab.in_kernel("dut", FIVE[4]));
    // Who comes first has the room: what the same UPDATE announces is heard after what it withdraws.
    five(&mut lab, 0..1);
    assert_eq!(used(&mut lab), "-++ -");
    lab.raw("left", &upd().withdraw(FIVE[1]).withdraw(FIVE[2]).octets());
    lab.run(SECOND);
    assert_eq!(used(&mut lab), "+   +");
    assert_eq!(counts(&mut lab).1, 2);
}

#[test]
fn room_comes_and_goes_with_policy_and_limit_too() {
    let mut lab = between(65002, |config| room_for(2, config));
    five(&mut lab, 0..5);
    lab.order("dut", Command::RefreshIn { peer: "left".into() });
    lab.run(SECOND);
    assert_eq!(used(&mut lab), "++---", "judged again, the limit holds");
    reload(&mut lab, |config| room_for(3, config));
    assert_eq!(used(&mut lab), "+++--", "there is more room");
    reload(&mut lab, |config| config.import = all_but(&[FIVE[1], FIVE[3]]));
    assert_eq!(used(&mut lab), "+p+p+", "what policy refuses takes no room");
    reload(&mut lab, |config| config.import = Some(Chain::all()));
    assert_eq!(used(&mut lab), "+-+-+", "who is in stays");
    reload(&mut lab, |config| config.max_prefix = [None, None]);
    assert_eq!(used(&mut lab), "+++++");
}

#[test]
fn what_is_taken_because_there_is_room_is_as_old_as_before() {
    let mut lab = between(65002, |config| room_for(2, config));
    let mark = |lab: &mut Lab, subtype| {
        lab.say("left", &Message::RouteRefresh(RouteRefresh::new(catbird::num::Family::Ipv4Unicast, subtype)));
        lab.run(SECOND);
    };
    five(&mut lab, 0..4);
    mark(&mut lab, RefreshSubtype::BoRR);
    five(&mut lab, 1..2);
    lab.raw("left", &upd().withdraw(FIVE[0]).octets());
    lab.run(SECOND);
    assert_eq!(used(&mut lab), " ++- ");
    mark(&mut lab, RefreshSubtype::EoRR);
    assert_eq!(used(&mut lab), " +   ", "the neighbour did not say the others again");
}

/// Of very many refused routes some are kept; the rest is asked for when policy changes its mind (RFC 2918), and not before.
#[test]
fn refused_routes_that_were_not_kept_are_asked_for_when_policy_changes() {
    let mut lab = between(65002, |config| config.import = Some(Chain::none()));
    let all = |lab: &mut Lab| {
        for first in (0..21_000u32).step_by(700) {
            let nets = (first..first + 700).map(|n| format!("100.{}.{}.{}/28", n >> 12, (n >> 4) & 255, (n & 15) << 4));
            lab.raw("left", &nets.fold(upd().next_hop("10.255.0.2").as_path(&[65001]), |u, net| u.reach(&net)).octets());
        }
        lab.run(SECOND);
    };
    let asked = |lab: &mut Lab| {
        let heard = lab.heard("left");
        heard.iter().filter(|m| matches!(m, Message::RouteRefresh(r) if r.subtype == RefreshSubtype::Normal)).count()
    };
    all(&mut lab);
    assert_eq!(counts(&mut lab).0, 20_000, "so many are kept");
    assert_eq!(asked(&mut lab), 0);
    reload(&mut lab, |config| config.import = Some(Chain::all()));
    lab.run(SECOND);
    assert_eq!(asked(&mut lab), 1, "for what was not kept");
    all(&mut lab);
    assert_eq!((counts(&mut lab).1, asked(&mut lab)), (21_000, 0));
}

#[test]
fn routes_that_need_each_other_or_themselves_carry_nothing_and_are_told_to_nobody() {
    let mut lab = between(65002, |_| {});
    say(&mut lab, "10.8.0.0/16", "10.9.0.1");
    say(&mut lab, "10.9.0.0/16", "10.8.0.1");
    say(&mut lab, "203.0.113.0/24", "203.0.113.7");
    for prefix in ["10.8.0.0/16", "10.9.0.0/16", "203.0.113.0/24"] {
        assert!(lab.best("dut", prefix).is_none() && !lab.in_kernel("dut", prefix), "{prefix}");
        assert_eq!(lab.paths("dut", prefix).len(), 1, "{prefix} stays in the Adj-RIB-In");
        let explanation = lab.explain("dut", prefix).expect("it is known");
        assert!(explanation.paths[0].verdict().starts_with("ineligible"), "{prefix}: {}", explanation.paths[0].verdict());
    }
    assert_eq!(announced(&updates(&mut lab)), [] as [&str; 0]);
    // With a way out of the circle all of it holds.
    say(&mut lab, "10.9.0.0/16", "10.255.0.2");
    assert_eq!(announced(&updates(&mut lab)), ["10.8.0.0/16", "10.9.0.0/16"]);
    assert!(lab.in_kernel("dut", "10.8.0.0/16"), "through 10.9.0.0/16");
}
