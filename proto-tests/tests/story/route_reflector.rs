//! containerlab/route-reflector: two reflectors, four nodes, a real FRR above them.

use proto_tests::netlab::{Story, alone, skip};

#[test]
fn two_reflectors_serve_four_nodes_and_one_of_them_is_enough() {
    if let Some(obstacle) = Story::obstacle("route-reflector").unwrap() {
        return skip("route-reflector", &obstacle);
    }
    let _alone = alone();
    let mut story = Story::up("route-reflector").unwrap_or_else(|why| panic!("{why}"));
    for (situation, took) in story.play().unwrap_or_else(|why| panic!("{why}")) {
        println!("route-reflector: {situation}: {took:.2?}");
    }
    let up = story.established("node1").unwrap();
    assert_eq!(up, ["10.12.22.12".parse::<std::net::IpAddr>().unwrap()], "rr1 is dead and rr2 lives");
}
