//! RFC 9234: roles in OPENs, and routes that are for customers alone.

use std::time::Duration;

use catbird::num::Role;
use catbird::wire::Capability;
use proto_tests::lab::{Lab, keepalive, open_of, session};

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: &str = "10.9.0.0/26";

/// Two neighbours; `None`: it knows nothing of roles.
fn pair(ours: Option<Role>, theirs: Option<Role>, strict: bool) -> Lab {
    Lab::seeded(3).speaker("a", 64512).speaker("b", 64513).linked_as("a", "b", |me, config| {
        session(config, |s| {
            s.offer.role = if me == "a" { ours } else { theirs };
            s.offer.role_strict = strict && me == "a";
        });
    })
}

#[test]
fn only_roles_that_fit_each_other_make_a_session() {
    for ours in Role::ALL {
        for theirs in Role::ALL {
            let mut lab = pair(Some(ours), Some(theirs), false);
            lab.run(5 * SECOND);
            let fits = theirs == ours.counterpart();
            assert_eq!(lab.established("a", "b"), fits, "{ours} and {theirs}");
            if !fits {
                let why = lab.why_down("a", "b");
                let said = format!("role mismatch: we are {ours}, so the peer is to be {}, and it says {theirs}", ours.counterpart());
                assert!(why.contains(&said) || why.contains("Role Mismatch"), "{why}");
            }
        }
    }
}

#[test]
fn who_says_nothing_is_believed_unless_we_are_strict() {
    let mut lab = pair(Some(Role::Customer), None, false);
    lab.until_established("a", "b");
    let mut lab = pair(Some(Role::Customer), None, true);
    lab.run(30 * SECOND);
    assert!(!lab.established("a", "b"));
    assert!(lab.why_down("a", "b").contains("so the peer is to be provider, and it says nothing"), "{}", lab.why_down("a", "b"));
    assert!(lab.why_down("b", "a").contains("(2/11)"), "{}", lab.why_down("b", "a"));
    let mut lab = pair(None, Some(Role::Customer), false);
    lab.until_established("a", "b");
}

#[test]
fn who_says_two_things_is_not_believed_and_who_says_one_twice_is() {
    for (codes, fits) in [(&[0, 0][..], true), (&[0, 4], false), (&[7], false)] {
        let mut lab = Lab::seeded(5).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, config| {
            session(config, |s| s.offer.role = Some(Role::Customer));
        });
        let id = catbird::num::RouterId::new([192, 0, 2, 9].into()).expect("an identifier");
        let mut open = open_of(catbird::num::Asn(64513), id);
        open.capabilities.extend(codes.iter().map(|code| Capability::Role(*code)));
        lab.script("x").open = open;
        if fits {
            lab.until_established("a", "x");
            lab.raw("x", &keepalive());
        } else {
            assert_eq!(lab.until_told("x"), (2, 11), "{codes:?}");
        }
    }
}

/// `up` announces to `mid`, which announces to `far`. The roles of `mid` towards both, and of `far` towards `mid`.
fn chain(up: Option<Role>, far: Option<Role>, fars: Option<Role>) -> Lab {
    let role = |role: Option<Role>| move |config: &mut catbird::speaker::PeerConfig| session(config, |s| s.offer.role = role);
    let mut lab = Lab::seeded(9).speaker("up", 64511).speaker("mid", 64512).speaker("far", 64513);
    lab = lab.linked_as("up", "mid", |me, config| role(if me == "mid" { up } else { None })(config));
    lab = lab.linked_as("mid", "far", |me, config| role(if me == "mid" { far } else { fars })(config));
    lab.until_established("up", "mid");
    lab.until_established("mid", "far");
    lab.blocks("up", &[BLOCK]);
    lab.until("the route", 10 * SECOND, |lab| lab.best("mid", BLOCK).is_some());
    lab.run(5 * SECOND);
    lab
}

#[test]
fn what_comes_from_above_or_beside_goes_to_customers_alone() {
    use Role::{Customer, Peer, Provider, Rs, RsClient};
    for up in [Customer, Peer, RsClient] {
        for (far, told) in [(Customer, false), (Peer, false), (RsClient, false), (Provider, true), (Rs, true)] {
            let mut lab = chain(Some(up), Some(far), None);
            assert_eq!(lab.best("far", BLOCK).is_some(), told, "we are {up} above and {far} below");
            let story = serde_json::to_string(&lab.explain("mid", BLOCK)).expect("JSON");
            assert_eq!(story.contains(r#""reason":"only_to_customer""#), !told, "{story}");
        }
    }
    for (up, far) in [(Some(Provider), Some(Customer)), (Some(Rs), Some(Peer)), (None, Some(Customer)), (Some(Customer), None)] {
        let mut lab = chain(up, far, None);
        assert!(lab.best("far", BLOCK).is_some(), "{up:?} and {far:?}: what customers say goes everywhere, and without roles all does");
    }
}

#[test]
fn a_leak_is_refused_with_its_reason() {
    use Role::{Customer, Peer, Provider};
    // `mid` marks what its provider said, and leaks it to a provider and to a peer that know of roles.
    for fars in [Provider, Peer] {
        let mut lab = chain(Some(Customer), None, Some(fars));
        assert!(lab.best("far", BLOCK).is_none(), "as {fars}");
        let story = serde_json::to_string(&lab.explain("far", BLOCK)).expect("JSON");
        assert!(story.contains("route leak"), "{story}");
        assert!(!lab.in_kernel("far", BLOCK));
    }
    // To a customer it goes; and what a peer says that it has marked itself is no leak.
    assert!(chain(Some(Customer), None, Some(Customer)).best("far", BLOCK).is_some());
    assert!(chain(None, Some(Peer), Some(Peer)).best("far", BLOCK).is_some());
}
