//! catbird's peers by interface beside FRR's and BIRD, over real sockets.

use proto_tests::interop::{Other, unnumbered};

#[test]
fn frr_and_we_find_each_other_by_the_interface() {
    unnumbered::a_peer_by_interface_is_found(Other::Frr);
}

#[test]
fn bird_is_found_by_the_interface() {
    unnumbered::a_peer_by_interface_is_found(Other::Bird);
}

#[test]
fn frr_behind_another_cable_is_found_three_times() {
    unnumbered::a_swapped_neighbour_is_found(Other::Frr, 3);
}

#[test]
fn bird_behind_another_cable_is_found_three_times() {
    unnumbered::a_swapped_neighbour_is_found(Other::Bird, 3);
}

#[test]
#[ignore = "twenty cables and two daemons take minutes: `proto-tests/run --big`"]
fn neighbours_behind_another_cable_are_found_twenty_times() {
    unnumbered::a_swapped_neighbour_is_found(Other::Frr, 20);
    unnumbered::a_swapped_neighbour_is_found(Other::Bird, 20);
}

#[test]
fn bird_by_the_interface_wants_the_same_key() {
    unnumbered::a_peer_by_interface_has_its_key(Other::Bird);
}
