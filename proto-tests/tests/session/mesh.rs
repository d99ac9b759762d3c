//! Whole networks in virtual time: faults in random order, and in the end every table is as it should be.

use std::time::Duration;

use catbird::num::ClusterId;
use catbird::num::Rng;
use proto_tests::lab::Lab;

const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn block(n: usize) -> String {
    format!("10.9.{n}.0/26")
}

fn mesh(seed: u64, asn: impl Fn(usize) -> u32) -> Lab {
    let mut lab = Lab::seeded(seed).audit_every(7);
    for (n, name) in NODES.into_iter().enumerate() {
        lab = lab.speaker(name, asn(n));
    }
    for (n, a) in NODES.into_iter().enumerate() {
        for b in NODES.into_iter().skip(n + 1) {
            lab = lab.linked(a, b);
        }
    }
    for (n, name) in NODES.into_iter().enumerate() {
        lab.blocks(name, &[&block(n)]);
    }
    lab
}

fn assert_whole(lab: &mut Lab, what: &str) {
    lab.until_all_established();
    lab.run(Duration::from_secs(200));
    lab.until_all_established();
    for (me, name) in NODES.into_iter().enumerate() {
        for other in 0..NODES.len() {
            let best = lab.best(name, &block(other));
            assert!(best.is_some(), "{what}: {name} lacks {}", block(other));
            assert!(lab.in_kernel(name, &block(other)), "{what}: {name}'s kernel lacks {}", block(other));
            assert!(me == other || !best.is_some_and(|b| b.stale), "{what}: stale in {name}");
        }
        assert_eq!(lab.prefixes(name), NODES.len(), "{what}: {name} knows more than there is");
    }
}

/// One fault of many.
fn disturb(lab: &mut Lab, rng: &mut Rng, down: &mut Vec<&'static str>) {
    let pick = |rng: &mut Rng| NODES[(rng.next_u64() % 5) as usize];
    let (a, b) = (pick(rng), pick(rng));
    match rng.next_u64() % 8 {
        0 | 1 if a != b => lab.reset(a, b),
        2 if a != b => lab.freeze(a, b),
        3 if a != b => lab.part(a, b),
        4 if a != b => lab.heal(a, b),
        5 if !down.contains(&a) && down.len() < 3 => {
            lab.kill(a);
            down.push(a);
        }
        6 if !down.contains(&a) && down.len() < 3 => {
            lab.unplug(a);
            down.push(a);
        }
        7 if !down.is_empty() => revive(lab, down),
        _ => {}
    }
}

fn revive(lab: &mut Lab, down: &mut Vec<&'static str>) {
    if let Some(name) = down.pop() {
        lab.start(name);
        let n = NODES.iter().position(|x| *x == name).unwrap();
        lab.blocks(name, &[&block(n)]);
    }
}

fn ordeal(seed: u64, asn: impl Fn(usize) -> u32) -> Lab {
    let mut lab = mesh(seed, asn);
    let mut rng = Rng::new(seed ^ 0xfa17);
    let mut down = Vec::new();
    lab.run(Duration::from_secs(5));
    for _ in 0..40 {
        disturb(&mut lab, &mut rng, &mut down);
        lab.run(Duration::from_millis(rng.next_u64() % 8000));
    }
    while !down.is_empty() {
        revive(&mut lab, &mut down);
    }
    for (n, a) in NODES.into_iter().enumerate() {
        NODES.into_iter().skip(n + 1).for_each(|b| lab.heal(a, b));
    }
    lab.run(Duration::from_secs(300));
    lab
}

#[test]
fn a_full_mesh_survives_an_ordeal_of_random_faults() {
    for seed in 0..12 {
        let mut lab = ordeal(seed, |_| 64512);
        assert_whole(&mut lab, &format!("seed {seed}"));
    }
}

#[test]
fn external_meshes_survive_it_too() {
    for seed in 100..106 {
        let mut lab = ordeal(seed, |n| 64512 + n as u32);
        assert_whole(&mut lab, &format!("seed {seed}"));
    }
}

#[test]
fn two_runs_of_one_seed_are_equal_octet_for_octet() {
    let run = |seed| ordeal(seed, |_| 64512).journal().to_vec();
    let (first, second) = (run(7), run(7));
    assert!(first.len() > 10_000, "something was said: {} octets", first.len());
    assert!(first == second, "the same seed must tell the same story");
    assert!(first != run(8), "and another seed another");
}

#[test]
fn bounces_in_lock_step_leave_no_route_behind_and_lose_none() {
    for seed in 0..10 {
        let mut lab = mesh(seed, |_| 64512);
        lab.until_all_established();
        for _ in 0..20 {
            for (n, a) in NODES.into_iter().enumerate() {
                NODES.into_iter().skip(n + 1).for_each(|b| lab.reset(a, b));
            }
            lab.run(Duration::from_millis(100 + 137 * (seed % 13)));
        }
        assert_whole(&mut lab, &format!("seed {seed}"));
    }
}

#[test]
fn a_partition_heals_and_both_halves_agree_again() {
    let mut lab = mesh(3, |_| 64512);
    lab.until_all_established();
    for a in ["a", "b"] {
        ["c", "d", "e"].into_iter().for_each(|b| lab.part(a, b));
    }
    lab.run(Duration::from_secs(400));
    assert!(lab.best("a", &block(1)).is_some(), "its own half");
    assert!(lab.best("a", &block(3)).is_none() && lab.best("d", &block(0)).is_none(), "the other half is gone");
    for a in ["a", "b"] {
        ["c", "d", "e"].into_iter().for_each(|b| lab.heal(a, b));
    }
    assert_whole(&mut lab, "healed");
}

/// A thousand routers in one process. Twenty of them have blocks, so that an unoptimised build is done in a minute.
#[test]
fn a_thousand_clients_of_two_reflectors_learn_everything() {
    let (n, with_blocks) = (1000, 20);
    let names: Vec<String> = (0..n).map(|i| format!("n{i}")).collect();
    let mut lab = Lab::seeded(7).audit_every(5000).speaker("rr1", 64512).speaker("rr2", 64512);
    for rr in ["rr1", "rr2"] {
        lab = lab.configured(rr, |p| {
            p.cluster_id = Some(ClusterId([10, 0, 0, 1].into()));
            p.fib.enabled = false;
        });
    }
    for name in &names {
        lab = lab.speaker(name, 64512);
        for rr in ["rr1", "rr2"] {
            lab = lab.linked_as(rr, name, |me, c| c.rr_client = me == rr);
        }
    }
    for (i, name) in names.iter().enumerate().skip(n - with_blocks) {
        lab.blocks(name, &[&format!("10.{}.{}.0/26", 64 + i / 256, i % 256)]);
    }
    lab.run(Duration::from_secs(40));
    for name in ["n0", "n499", "n999", "rr1"] {
        assert_eq!(lab.prefixes(name), with_blocks, "{name}");
    }
    assert_eq!(lab.paths("n0", "10.67.231.0/26").len(), 2, "one path from each reflector");
    lab.kill("rr1");
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.prefixes("n0"), with_blocks, "the other reflector carries on");
    lab.start("rr1");
    lab.run(Duration::from_secs(60));
    assert_eq!(lab.paths("n0", "10.67.231.0/26").iter().filter(|p| !p.stale).count(), 2);
    assert!(lab.in_kernel("n5", "10.67.231.0/26"));
}
