//! RFC 9234 with somebody else's daemon: roles that fit, roles that do not, and the mark on routes.
//!
//! In: which daemon. Out: findings, as panics.

use std::time::Duration;

use catbird::num::Role;

use super::{Arena, OUR_ROUTE, Other, Setup, THEIR_ROUTE};

/// What both say that they are.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    pub ours: Role,
    pub theirs: Role,
}

impl Roles {
    pub(super) fn ours(self) -> String {
        format!("role = \"{}\"\nrole_strict = true\n", self.ours)
    }

    pub(super) fn frrs(self) -> String {
        let name = if self.theirs == Role::Rs { "rs-server" } else { self.theirs.as_str() };
        format!("local-role {name} strict-mode")
    }

    pub(super) fn birds(self) -> String {
        let name = match self.theirs {
            Role::Rs => "rs_server",
            Role::RsClient => "rs_client",
            other => other.as_str(),
        };
        format!("local role {name}; require roles on;")
    }
}

/// Both insist on hearing the other's role, each of the five is taken, and routes that go down or sideways are marked for customers alone.
pub fn roles_that_fit_are_agreed_on(other: Other) {
    for ours in Role::ALL {
        let roles = Roles { ours, theirs: ours.counterpart() };
        let Some(arena) = Arena::new("roles", other, Setup { roles: Some(roles), ..Setup::default() }) else { return };
        arena.until_up();
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
        let said = arena.our_detail()["capabilities"]["negotiated"].to_string();
        assert!(said.contains(&format!("role {ours}, the peer is {}", ours.counterpart())), "{said}");
        arena.until("they know our route", |a| a.they_know(OUR_ROUTE));
        let theirs = match other {
            Other::Frr => arena.ask_them(&["vtysh", "-c", &format!("show bgp ipv4 unicast {OUR_ROUTE}")]),
            _ => arena.ask_them(&["birdc", "show", "route", "all", "for", OUR_ROUTE]),
        };
        // Who knows roles marks what comes without a mark, too: the same AS stands there, whoever made it.
        let marked = theirs.to_lowercase().contains("otc");
        assert_eq!(marked, ours.tells_downwards(), "we are {ours}: {theirs}");
        assert!(!marked || theirs.lines().any(|line| line.to_lowercase().contains("otc") && line.contains("65001")), "{theirs}");
    }
}

/// Two customers of each other are none: both say why, and there is no session.
pub fn roles_that_do_not_fit_are_no_session(other: Other) {
    let roles = Roles { ours: Role::Customer, theirs: Role::Customer };
    let Some(arena) = Arena::new("roles", other, Setup { roles: Some(roles), ..Setup::default() }) else { return };
    arena.until("the reason", |a| {
        let view = a.our_view();
        view.contains("role mismatch: we are customer, so the peer is to be provider, and it says customer")
            || view.contains("Role Mismatch")
    });
    std::thread::sleep(Duration::from_secs(5));
    assert!(!arena.is_up());
}
