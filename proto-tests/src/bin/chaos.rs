//! `proto-tests/run --chaos`: random faults to a cluster in namespaces, under datagrams that are accounted for.
//!
//! In: how long, which seed, how many nodes. Out: a line for each round, each finding, and at the end how often each fault was done and
//! how long it took to become quiet after it; exit 0 if no packet was lost without an excuse and every kernel came right.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto_tests::chaos::{Order, faults, run, text};
use proto_tests::netlab::cluster::Mode;
use proto_tests::netlab::{proc, user};

const USAGE: &str = "\
proto-tests/run --chaos [--seed N] [--minutes M] [--nodes N] [--mode full-mesh|route-reflector] [--only TEXT]

  --seed N      the faults follow from it (the time of day)
  --minutes M   how long (3)
  --nodes N     nodes with a pod each, 3 to 30 (8)
  --mode M      full-mesh (the default) or route-reflector, with two more nodes that reflect
  --only TEXT   faults whose name has this in it
  --table [R [TEXT]]  no chaos: twenty faults (or those with this text in their names) one by one to catbird, FRR and
                \"BIRD 2\", or to one of them, as a table
  --list        the faults, and no more";

fn main() -> ExitCode {
    let order = match order(env::args().skip(1)) {
        Ok(Some(order)) => order,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("chaos: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match play(order) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("chaos: {why}");
            ExitCode::FAILURE
        }
    }
}

fn order(mut args: impl Iterator<Item = String>) -> Result<Option<Order>, String> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_secs());
    let mut order = Order { seed, nodes: 8, mode: Mode::FullMesh, time: Duration::from_secs(180), only: "" };
    while let Some(arg) = args.next() {
        let mut number = |name: &str| args.next().and_then(|text| text.parse::<u64>().ok()).ok_or(format!("{name} wants a number"));
        match arg.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            "--list" => {
                faults::all()
                    .for_each(|fault| println!("{:<62} {:?}\n    {}", fault.name, fault.loses, text(&fault.deed).replace('\n', " ")));
                return Ok(None);
            }
            "--table" => return table(args.next().as_deref(), args.next().as_deref().unwrap_or_default()).map(|()| None),
            "--seed" => order.seed = number("--seed")?,
            "--minutes" => order.time = Duration::from_secs(60 * number("--minutes")?),
            "--nodes" => {
                let nodes = number("--nodes")?;
                order.nodes = usize::try_from(nodes).ok().filter(|n| (3..=30).contains(n)).ok_or("--nodes wants 3 to 30")?;
            }
            "--mode" => {
                order.mode = match args.next().as_deref() {
                    Some("full-mesh") => Mode::FullMesh,
                    Some("route-reflector") => Mode::RouteReflector,
                    _ => return Err("--mode wants full-mesh or route-reflector".into()),
                }
            }
            "--only" => order.only = Box::leak(args.next().ok_or("--only wants a text")?.into_boxed_str()),
            other => return Err(format!("{other}?")),
        }
    }
    if !faults::all().any(|fault| fault.name.contains(order.only)) {
        return Err(format!("no fault has {:?} in its name: --list shows them", order.only));
    }
    Ok(Some(order))
}

fn table(only: Option<&str>, fault: &str) -> Result<(), String> {
    let binary = proc::catbird()?;
    user::acquire()?;
    proto_tests::chaos::table::print(only, fault, &binary, &mut |line| println!("{line}"))
}

/// How many findings there are.
fn play(order: Order) -> Result<usize, String> {
    let binary = proc::catbird()?;
    user::acquire()?;
    println!("seed {}, {} nodes, {:?}, {} s", order.seed, order.nodes, order.mode, order.time.as_secs());
    let report = run(order, &binary, &mut |line| println!("{line}"))?;
    println!("\n{:<62} done  longest time to quiet", "fault");
    report.done.iter().for_each(|(name, (count, longest))| println!("{name:<62} {count:>4}  {:.2} s", longest.as_secs_f64()));
    report.faults.iter().for_each(|finding| println!("FOUND {finding}"));
    println!("seed {}: {}", order.seed, report.summary());
    Ok(report.faults.len())
}
