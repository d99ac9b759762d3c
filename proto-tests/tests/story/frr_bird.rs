//! containerlab/frr-bird: the lab measured by two routers that are not ours.

use proto_tests::netlab::{Story, alone, skip};

#[test]
fn frr_and_bird_agree_and_the_runner_sees_it() {
    if let Some(obstacle) = Story::obstacle("frr-bird").unwrap() {
        return skip("frr-bird", &obstacle);
    }
    let _alone = alone();
    let mut story = Story::up("frr-bird").unwrap();
    for (situation, took) in story.play().unwrap_or_else(|why| panic!("{why}")) {
        println!("{situation}: {took:.2?}");
    }
    let up = story.established("tor").unwrap();
    assert!(up.is_empty(), "BIRD is dead, yet FRR has sessions: {up:?}");
}
