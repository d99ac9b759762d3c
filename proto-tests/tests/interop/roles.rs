//! Roles (RFC 9234) beside FRR and BIRD, over real sockets.

use proto_tests::interop::{Other, roles};

#[test]
fn frr_and_we_agree_on_roles() {
    roles::roles_that_fit_are_agreed_on(Other::Frr);
}

#[test]
fn bird_and_we_agree_on_roles() {
    roles::roles_that_fit_are_agreed_on(Other::Bird);
}

#[test]
fn frr_and_we_are_not_both_customers() {
    roles::roles_that_do_not_fit_are_no_session(Other::Frr);
}

#[test]
fn bird_and_we_are_not_both_customers() {
    roles::roles_that_do_not_fit_are_no_session(Other::Bird);
}
