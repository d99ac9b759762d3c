//! The folders of `containerlab/`, each brought up and driven through all that its `expect.toml` tells. `proto-tests/tests/meta/labs.rs`
//! sees to it that none is forgotten here.

use std::time::Instant;

use proto_tests::netlab::{Story, alone, skip};

fn play(name: &str) {
    if let Some(obstacle) = Story::obstacle(name).unwrap_or_else(|why| panic!("{why}")) {
        return skip(name, &obstacle);
    }
    let _alone = alone();
    let begun = Instant::now();
    let mut story = Story::up(name).unwrap_or_else(|why| panic!("{why}"));
    println!("{name}: up after {:.1?}", begun.elapsed());
    for situation in story.situations() {
        let took = story.reach(&situation).unwrap_or_else(|why| panic!("{name}: {why}"));
        println!("{name}: {situation}: {took:.2?}");
    }
    println!("{name}: {:.1?} in all", begun.elapsed());
}

#[test]
fn a_dead_neighbour_behind_a_switch_is_noticed() {
    play("bfd");
}

#[test]
fn a_client_of_a_node_that_leaves_loses_nothing() {
    play("drain");
}

#[test]
fn frr_and_bird_agree_and_the_runner_sees_it() {
    play("frr-bird");
}

#[test]
fn frr_reflects_to_us_and_we_to_frr() {
    play("frr-reflector");
}

#[test]
fn a_full_mesh_with_a_tor_agrees_drains_and_comes_back() {
    play("full-mesh");
}

#[test]
fn daemons_are_replaced_and_no_packet_is_lost() {
    play("graceful-upgrade");
}

#[test]
fn a_fabric_without_ipv4_carries_ipv4() {
    play("ipv6-only");
}

#[test]
fn a_packet_is_followed_from_outside_to_a_pod() {
    play("journey");
}

#[test]
fn racks_with_an_as_each_and_no_address_on_a_link() {
    play("leaf-spine");
}

#[test]
fn a_node_goes_from_bird_to_catbird() {
    play("migrate-from-bird");
}

#[test]
fn an_alert_rings_and_is_over() {
    play("monitored");
}

#[test]
fn two_reflectors_serve_four_nodes_and_one_of_them_is_enough() {
    play("route-reflector");
}

#[test]
fn a_key_is_changed_and_one_is_wrong() {
    play("secrets");
}

#[test]
fn services_are_announced_where_they_are() {
    play("services");
}

#[test]
fn a_tunnel_leads_where_a_router_stands_between() {
    play("two-subnets");
}

#[test]
fn two_routers_share_the_load_and_one_is_enough() {
    play("two-tors");
}
