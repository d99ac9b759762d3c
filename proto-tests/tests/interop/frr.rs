//! catbird and FRR over real sockets.

use proto_tests::interop::{Other, faults, scenario};

#[test]
fn frr_establishes_in_both_roles() {
    scenario::establishes_in_both_roles(Other::Frr);
}

#[test]
fn frr_and_we_dial_at_once() {
    scenario::both_dial_and_one_session_is_left(Other::Frr);
}

#[test]
fn frr_wants_the_same_key() {
    scenario::keys_must_be_equal(Other::Frr);
}

#[test]
fn frr_keeps_ttl_security() {
    scenario::ttl_security_is_kept_by_both(Other::Frr);
}

#[test]
fn frr_reads_that_our_hold_timer_expired() {
    scenario::silence_ends_the_session_with_hold_timer_expired(Other::Frr, "Hold Timer Expired");
}

#[test]
fn frr_reads_our_shutdown_and_its_text() {
    scenario::a_shutdown_is_read_by_the_other_side(Other::Frr, "Administrative Shutdown", true);
}

#[test]
fn we_read_frrs_shutdown_and_its_text() {
    let order = ["vtysh", "-c", "configure terminal", "-c", "router bgp 65002", "-c", "neighbor 10.77.0.1 shutdown message new kernel"];
    scenario::their_shutdown_is_read_by_us(Other::Frr, &order, &["Administrative Shutdown", "new kernel"]);
}

#[test]
fn frr_of_another_as_is_named() {
    scenario::another_as_is_said_to_be_one(Other::Frr);
}

#[test]
fn frr_reads_that_it_told_too_much() {
    scenario::too_many_prefixes_close_the_session(Other::Frr, "Maximum Number of Prefixes Reached");
}

#[test]
fn frr_keeps_our_route_while_we_are_away() {
    scenario::routes_outlive_our_kill(Other::Frr);
}

#[test]
fn frr_refreshes_and_is_refreshed() {
    scenario::refreshes_go_both_ways(Other::Frr, &["vtysh", "-c", "clear bgp ipv4 unicast 10.77.0.1 soft in"]);
}

#[test]
fn frr_two_hops_away_keeps_ttl_security_and_one_too_far_is_shut_out() {
    faults::ttl_security_counts_the_router(Other::Frr);
}

#[test]
fn frr_and_we_collide_and_the_higher_identifier_wins() {
    faults::a_collision_is_won_by_the_higher_identifier(Other::Frr);
}

#[test]
fn frr_is_back_after_the_wire_was_cut() {
    faults::a_wire_that_is_cut_and_mended_brings_the_session_back(Other::Frr);
}

#[test]
fn frr_comes_out_of_a_listen_range() {
    faults::they_come_out_of_a_listen_range(Other::Frr);
}

#[test]
fn our_kernel_keeps_frrs_route_while_it_is_away() {
    scenario::routes_outlive_their_kill(Other::Frr);
}

#[test]
fn frr_carries_ipv4_between_link_local_addresses() {
    faults::a_link_local_session_carries_ipv4(Other::Frr);
}

#[test]
fn we_read_that_we_told_frr_too_much() {
    scenario::their_limit_of_prefixes_is_read_by_us(Other::Frr);
}

#[test]
fn frr_reaches_a_node_without_addresses_on_the_link_by_its_link_local_one() {
    faults::a_node_without_addresses_on_the_link_is_reached_by_its_link_local_one(Other::Frr);
}

#[test]
fn frrs_link_bandwidth_becomes_weights_in_our_kernel() {
    faults::link_bandwidth_becomes_weights(Other::Frr);
}
