//! The folders of `containerlab/`, each brought up and driven through all that its `expect.toml` tells. `proto-tests/tests/meta/labs.rs`
//! sees to it that none is forgotten here.

use std::time::Instant;

use proto_tests::netlab::{Story, alone, skip};

fn play(name: &str) {
    try_to_play(name).unwrap_or_else(|why| panic!("{name}: {why}"));
}

/// What was wrong, if something was.
fn try_to_play(name: &str) -> Result<(), String> {
    if let Some(obstacle) = Story::obstacle(name).unwrap_or_else(|why| panic!("{why}")) {
        skip(name, &obstacle);
        return Ok(());
    }
    let _alone = alone();
    let begun = Instant::now();
    let mut story = Story::up(name).unwrap_or_else(|why| panic!("{why}"));
    println!("{name}: up after {:.1?}", begun.elapsed());
    for situation in story.situations() {
        let took = story.reach(&situation)?;
        println!("{name}: {situation}: {took:.2?}");
    }
    println!("{name}: {:.1?} in all", begun.elapsed());
    Ok(())
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

/// In about two starts of a hundred a leaf of FRR 8.4.4 waits for its neighbour's link-local address ("Waiting for Peer IPv6 LLA") and goes on to do so,
/// and refuses the connections of that neighbour. Such a start is given another try; twice in a row it is a failure.
#[test]
fn racks_with_an_as_each_and_no_address_on_a_link() {
    match try_to_play("leaf-spine") {
        Err(why) if why.starts_with("converged: not within") => {
            println!("once more, for: {why}");
            play("leaf-spine");
        }
        outcome => outcome.unwrap_or_else(|why| panic!("leaf-spine: {why}")),
    }
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
