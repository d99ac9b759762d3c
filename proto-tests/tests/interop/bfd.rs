//! catbird's BFD beside FRR's bfdd and BIRD's, over real sockets.

use proto_tests::interop::{Other, bfd};

#[test]
fn frr_that_stops_is_noticed_in_no_time() {
    bfd::a_dead_neighbour_is_noticed(Other::Frr);
}

#[test]
fn bird_that_stops_is_noticed_in_no_time() {
    bfd::a_dead_neighbour_is_noticed(Other::Bird);
}

#[test]
fn frr_notices_that_we_stop() {
    bfd::they_notice_that_we_are_dead(Other::Frr);
}

#[test]
fn bird_notices_that_we_stop() {
    bfd::they_notice_that_we_are_dead(Other::Bird);
}

#[test]
fn frr_and_we_may_be_passive() {
    bfd::either_end_may_be_passive(Other::Frr);
}

#[test]
fn bird_and_we_may_be_passive() {
    bfd::either_end_may_be_passive(Other::Bird);
}

#[test]
fn frr_takes_other_times_without_a_flap() {
    bfd::other_times_are_agreed_on_without_a_flap(Other::Frr);
}

#[test]
fn bird_takes_other_times_without_a_flap() {
    bfd::other_times_are_agreed_on_without_a_flap(Other::Bird);
}

#[test]
fn frr_and_our_operators_are_no_failure() {
    bfd::administratively_down_is_no_failure(Other::Frr);
}

#[test]
fn bird_and_our_operators_are_no_failure() {
    bfd::administratively_down_is_no_failure(Other::Bird);
}

#[test]
fn frr_keeps_our_route_when_we_end_in_order() {
    bfd::our_end_is_a_restart_and_no_failure(Other::Frr);
}

#[test]
fn bird_has_the_same_key_or_no_session() {
    bfd::keys_are_kept(Other::Bird);
}

#[test]
fn a_flood_of_bad_packets_leaves_the_session_with_bird_up() {
    bfd::a_flood_of_bad_packets_ends_nothing(Other::Bird);
}
