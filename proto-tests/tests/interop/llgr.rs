//! Long-lived graceful restart (RFC 9494) beside FRR and BIRD, over real sockets.

use proto_tests::interop::{Other, llgr};

#[test]
fn frr_and_we_keep_routes_for_long() {
    llgr::routes_live_long(Other::Frr);
}

#[test]
fn bird_and_we_keep_routes_for_long() {
    llgr::routes_live_long(Other::Bird);
}
