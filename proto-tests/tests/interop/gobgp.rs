//! catbird and GoBGP over real sockets.

use proto_tests::interop::{Other, faults, scenario};

#[test]
fn gobgp_establishes_in_both_roles() {
    scenario::establishes_in_both_roles(Other::Gobgp);
}

#[test]
fn gobgp_and_we_dial_at_once() {
    scenario::both_dial_and_one_session_is_left(Other::Gobgp);
}

#[test]
fn gobgp_wants_the_same_key() {
    scenario::keys_must_be_equal(Other::Gobgp);
}

#[test]
fn gobgp_reads_that_our_hold_timer_expired() {
    scenario::silence_ends_the_session_with_hold_timer_expired(Other::Gobgp, "hold timer expired");
}

#[test]
fn gobgp_reads_our_shutdown_and_its_text() {
    scenario::a_shutdown_is_read_by_the_other_side(Other::Gobgp, "administrative shutdown", true);
}

#[test]
fn we_read_gobgps_shutdown() {
    // gobgpd 3.10 takes its operator's words and sends none.
    let order = ["gobgp", "neighbor", "10.77.0.1", "shutdown", "new kernel"];
    scenario::their_shutdown_is_read_by_us(Other::Gobgp, &order, &["Administrative Shutdown"]);
}

#[test]
fn gobgp_of_another_as_is_named() {
    scenario::another_as_is_said_to_be_one(Other::Gobgp);
}

#[test]
fn gobgp_keeps_our_route_while_we_are_away() {
    scenario::routes_outlive_our_kill(Other::Gobgp);
}

#[test]
fn gobgp_refreshes_and_is_refreshed() {
    scenario::refreshes_go_both_ways(Other::Gobgp, &["gobgp", "neighbor", "10.77.0.1", "softresetin"]);
}

#[test]
fn gobgp_keeps_ttl_security() {
    scenario::ttl_security_is_kept_by_both(Other::Gobgp);
}

#[test]
fn gobgp_reads_that_it_told_too_much() {
    scenario::too_many_prefixes_close_the_session(Other::Gobgp, "maximum number of prefixes");
}

#[test]
fn gobgp_is_back_after_the_wire_was_cut() {
    faults::a_wire_that_is_cut_and_mended_brings_the_session_back(Other::Gobgp);
}

#[test]
fn gobgp_comes_out_of_a_listen_range() {
    faults::they_come_out_of_a_listen_range(Other::Gobgp);
}

#[test]
fn gobgp_and_we_dial_at_once_and_whichever_it_keeps_is_the_session() {
    faults::a_collision_that_they_avoid_leaves_one_session(Other::Gobgp);
}

#[test]
fn gobgp_two_hops_away_keeps_ttl_security_and_one_too_far_is_shut_out() {
    faults::ttl_security_counts_the_router(Other::Gobgp);
}

#[test]
fn our_kernel_keeps_gobgps_route_while_it_is_away() {
    scenario::routes_outlive_their_kill(Other::Gobgp);
}

#[test]
fn gobgp_carries_ipv4_between_link_local_addresses() {
    faults::a_link_local_session_carries_ipv4(Other::Gobgp);
}

#[test]
fn we_read_that_we_told_gobgp_too_much() {
    scenario::their_limit_of_prefixes_is_read_by_us(Other::Gobgp);
}
