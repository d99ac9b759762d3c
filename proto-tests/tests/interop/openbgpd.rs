//! catbird and OpenBGPD over real sockets. (Its Linux edition writes no kernel routes and knows no TCP-MD5.)

use proto_tests::interop::{Other, faults, scenario};

#[test]
fn openbgpd_establishes_in_both_roles() {
    scenario::establishes_in_both_roles(Other::OpenBgpd);
}

#[test]
fn openbgpd_and_we_dial_at_once() {
    scenario::both_dial_and_one_session_is_left(Other::OpenBgpd);
}

#[test]
fn openbgpd_keeps_ttl_security() {
    scenario::ttl_security_is_kept_by_both(Other::OpenBgpd);
}

#[test]
fn openbgpd_reads_that_our_hold_timer_expired() {
    scenario::silence_ends_the_session_with_hold_timer_expired(Other::OpenBgpd, "HoldTimer expired");
}

#[test]
fn openbgpd_reads_our_shutdown_and_its_text() {
    scenario::a_shutdown_is_read_by_the_other_side(Other::OpenBgpd, "administratively down", true);
}

#[test]
fn we_read_openbgpds_shutdown_and_its_text() {
    let order = ["bgpctl", "neighbor", "10.77.0.1", "down", "new kernel"];
    scenario::their_shutdown_is_read_by_us(Other::OpenBgpd, &order, &["Administrative Shutdown", "new kernel"]);
}

#[test]
fn openbgpd_of_another_as_is_named() {
    scenario::another_as_is_said_to_be_one(Other::OpenBgpd);
}

#[test]
fn openbgpd_refreshes_and_is_refreshed() {
    scenario::refreshes_go_both_ways(Other::OpenBgpd, &["bgpctl", "neighbor", "10.77.0.1", "refresh"]);
}

#[test]
fn openbgpd_keeps_our_route_while_we_are_away() {
    scenario::routes_outlive_our_kill(Other::OpenBgpd);
}

#[test]
fn openbgpd_is_back_after_the_wire_was_cut() {
    faults::a_wire_that_is_cut_and_mended_brings_the_session_back(Other::OpenBgpd);
}

#[test]
fn openbgpd_comes_out_of_a_listen_range() {
    faults::they_come_out_of_a_listen_range(Other::OpenBgpd);
}

#[test]
fn openbgpd_and_we_dial_at_once_and_whichever_it_keeps_is_the_session() {
    faults::a_collision_that_they_avoid_leaves_one_session(Other::OpenBgpd);
}

#[test]
fn openbgpd_two_hops_away_is_taken_and_one_too_far_is_shut_out() {
    faults::ttl_security_counts_the_router(Other::OpenBgpd);
}

#[test]
fn openbgpd_with_ttl_security_of_its_own_is_for_neighbours_on_the_wire() {
    faults::ttl_security_of_one_hop_shuts_us_out_over_a_router(Other::OpenBgpd);
}

#[test]
fn openbgpds_route_goes_with_it_for_it_offers_no_restart() {
    scenario::routes_go_with_their_kill(Other::OpenBgpd);
}

#[test]
fn openbgpd_between_link_local_addresses_calls_its_loopback_the_next_hop_and_is_refused() {
    faults::a_loopback_as_next_hop_between_link_local_addresses_is_refused(Other::OpenBgpd);
}

#[test]
fn we_read_that_we_told_openbgpd_too_much() {
    scenario::their_limit_of_prefixes_is_read_by_us(Other::OpenBgpd);
}

#[test]
fn openbgpd_reads_that_it_told_too_much() {
    scenario::too_many_prefixes_close_the_session(Other::OpenBgpd, "max-prefix exceeded");
}
