//! Small clusters, run.

use std::time::Duration;

use super::*;
use crate::config::model::Mode;

fn shape(nodes: usize, reflectors: usize, tors: usize) -> Cluster {
    let mode = if reflectors > 0 { Mode::RouteReflector } else { Mode::FullMesh };
    Shape { nodes, mode, reflectors, blocks: 3, tors }.build().expect("a cluster")
}

fn events(text: &str) -> Script {
    Script::parse("events.toml", text).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn simulation(cluster: Cluster, script: &Script, whole: Option<usize>) -> Simulation {
    let options = Options { whole, seed: 7, ..Options::default() };
    Simulation::new(cluster, script, &Default::default(), options).unwrap_or_else(|why| panic!("{why}"))
}

fn run(cluster: Cluster, script: &Script) -> Report {
    let mut simulation = simulation(cluster, script, None);
    while simulation.advance(10_000) {}
    simulation.finish()
}

#[test]
fn a_mesh_and_reflectors_come_up_whole_and_the_same_seed_gives_the_same_octets() {
    for (nodes, reflectors, sessions) in [(12, 0, 66), (12, 2, 25)] {
        let report = run(shape(nodes, reflectors, 0), &Script::quiet(Duration::from_secs(60)));
        assert_eq!((report.sessions, report.established), (sessions, sessions), "{report:#?}");
        let start = &report.windows[0];
        assert_eq!((start.no_route_at_end, start.wrong_at_end, start.blocks_touched), (0, 0, 36), "{start:#?}");
        assert!(start.black_hole_prefix_seconds > 0.0 && start.wrong_route_prefix_seconds == 0.0);
        assert_eq!(start.convergence.expect("it converged").nodes, 12);
        let again = run(shape(nodes, reflectors, 0), &Script::quiet(Duration::from_secs(60)));
        assert_eq!(again.digest, report.digest);
    }
}

/// What is run thin sends the same octets at the same nanoseconds, and has the same routes, through everything that can happen.
#[test]
fn thin_nodes_say_and_have_what_whole_ones_do() {
    const EVENTS: &str = r#"
        event = [
          { kind = "node-lost", node = "node-3", lasts = "100s" },
          { kind = "reflector-lost", count = 1, lasts = "150s" },
          { kind = "rolling-restart", batch = 3, pause = "5s" },
          { kind = "rolling-restart", batch = 3, pause = "5s", graceful = false },
          { kind = "crash", count = 2, takes = "200s" },
          { kind = "drain", node = "node-2", lasts = "60s" },
          { kind = "partition", percent = 40, lasts = "200s" },
          { kind = "mass-start", takes = "5s" },
        ]"#;
    for (nodes, reflectors) in [(9, 2), (6, 0)] {
        let text = if reflectors == 0 {
            EVENTS.replace("{ kind = \"reflector-lost\", count = 1, lasts = \"150s\" },", "")
        } else {
            EVENTS.to_owned()
        };
        let script = events(&text);
        let [mut whole, mut thin] = [usize::MAX, 0].map(|whole| simulation(shape(nodes, reflectors, 0), &script, Some(whole)));
        let mut compared = 0;
        while whole.advance(200) {
            let until = whole.progress().seconds;
            while thin.progress().seconds < until && thin.advance(1) {}
            compared += 1;
        }
        while thin.advance(1000) {}
        assert!(compared > 20, "{compared}");
        let differ = whole.log.iter().zip(&thin.log).position(|(w, t)| w != t);
        assert_eq!(differ.map(|at| (&whole.log[at.saturating_sub(3)..at + 2], &thin.log[at.saturating_sub(3)..at + 2])), None);
        let (a, b) = (whole.tables(), thin.tables());
        for n in 0..nodes {
            assert_eq!(a[n], b[n], "the routes of node {n}");
        }
        let (whole, thin) = (whole.finish(), thin.finish());
        assert_eq!((whole.whole, thin.whole), (nodes + reflectors, reflectors));
        for (w, t) in whole.windows.iter().zip(&thin.windows) {
            assert_eq!((&w.what, w.messages, w.octets, w.sessions_lost), (&t.what, t.messages, t.octets, t.sessions_lost));
            assert_eq!((w.no_route_at_end, w.wrong_at_end), (t.no_route_at_end, t.wrong_at_end), "{}", w.what);
            let near = |a: f64, b: f64| (a - b).abs() <= 0.02 * a.max(b) + 0.5;
            assert!(
                near(w.black_hole_prefix_seconds, t.black_hole_prefix_seconds),
                "{}: {} {}",
                w.what,
                w.black_hole_prefix_seconds,
                t.black_hole_prefix_seconds
            );
            assert!(
                near(w.wrong_route_prefix_seconds, t.wrong_route_prefix_seconds),
                "{}: {} {}",
                w.what,
                w.wrong_route_prefix_seconds,
                t.wrong_route_prefix_seconds
            );
        }
        assert_eq!(whole.digest, thin.digest, "of octets, times and senders");
    }
}

#[test]
fn what_breaks_is_counted_where_it_hurts() {
    let script = events(
        r#"
        event = [
          { kind = "node-lost", node = "node-1" },
          { kind = "rolling-restart", nodes = ["node-2", "node-3"] },
          { kind = "rolling-restart", nodes = ["node-2", "node-3"], graceful = false },
          { kind = "link-cut", nodes = ["node-2", "node-3"], lasts = "200s" },
        ]"#,
    );
    let report = run(shape(8, 2, 0), &script);
    let [_, lost, graceful, withdrawing, cut] = &report.windows[..] else { panic!("{report:#?}") };
    // Seven others send packets to three blocks of a dead node until their reflectors' hold timers have ended, and its restart time (RFC 8538).
    assert_eq!((lost.nodes_touched, lost.blocks_touched, lost.wrong_at_end), (7, 3, 0), "{lost:#?}");
    let seconds = lost.wrong_route_prefix_seconds / 21.0;
    assert!((150.0..=211.0).contains(&seconds), "{seconds}");
    assert_eq!((graceful.black_hole_prefix_seconds, graceful.wrong_route_prefix_seconds), (0.0, 0.0), "{graceful:#?}");
    assert_eq!(graceful.sessions_lost, 4);
    assert!(withdrawing.black_hole_prefix_seconds > 10.0, "{withdrawing:#?}");
    // The reflectors reach both: nobody withdraws what the two cannot use.
    assert_eq!(cut.nodes_touched, 2);
    assert!((cut.wrong_route_prefix_seconds - 1200.0).abs() < 1.0, "{cut:#?}");
}

#[test]
fn a_rack_without_its_router_is_cut_off() {
    let report = run(shape(8, 2, 2), &events("event = [{ kind = \"tor-lost\", node = \"tor-1\", lasts = \"20s\" }]"));
    let [start, lost] = &report.windows[..] else { panic!("{report:#?}") };
    assert_eq!((start.no_route_at_end, report.established), (0, 17 + 8 + 2), "{report:#?}");
    assert_eq!(lost.nodes_touched, 8);
    assert_eq!((lost.no_route_at_end, lost.wrong_at_end), (0, 0), "{lost:#?}");
}

#[test]
fn a_script_that_does_not_fit_says_where_and_what_would() {
    let wrong = Script::parse("events.toml", "[[event]]\nkind = \"node-lsot\"\n").expect_err("a typo").render(false);
    assert!(wrong.contains("events.toml:2:8") && wrong.contains("did you mean `node-lost`?"), "{wrong}");
    let wrong = Script::parse("events.toml", "[[event]]\nkind = \"drain\"\npercent = 5\n").expect_err("no percent").render(false);
    assert!(wrong.contains("`percent` means nothing for \"drain\""), "{wrong}");
    let script = events("[[event]]\nkind = \"drain\"\nnode = \"node-99\"\n");
    let cluster = shape(4, 1, 0);
    let why = Simulation::new(cluster, &script, &Default::default(), Options::default()).err().expect("no such node").to_string();
    assert!(why.contains("events.toml:3:8") && why.contains("node-99") && why.contains("node-1"), "{why}");
    let odd = Shape { nodes: 4, mode: Mode::RouteReflector, reflectors: 0, blocks: 1, tors: 0 }.build().expect_err("no reflector");
    assert!(odd.to_string().contains("--reflectors 1"), "{odd}");
}

#[test]
fn blocks_lie_where_no_machine_is() {
    let mut cluster = shape(3, 0, 0);
    cluster.machines[1].params.addresses.v4 = Some([10, 0, 0, 7].into());
    let cluster = cluster.with_blocks(2);
    let blocks: Vec<String> = cluster.machines.iter().map(|machine| machine.params.blocks[0].to_string()).collect();
    assert_eq!(blocks, ["10.128.0.0/26", "10.128.0.128/26", "10.128.1.0/26"]);
}
