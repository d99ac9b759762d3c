//! Instructions of each step, counted by callgrind (Debian's valgrind): the same on a busy machine as on a quiet one.
//!
//! `cargo run --release --bin counts` prints a table; `-- table apply` counts one of them.

use std::process::{Command, ExitCode};

use rooms::{Shape, Step, Way};

/// Callgrind collects from here to the end of it, and nowhere else.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured(way: &mut Way, step: u8) {
    way.take(Step::ALL[usize::from(step)]);
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = |shape: &Shape, step: &Step| match &args[..] {
        [] => true,
        [a, b, ..] => shape.name() == a && step.name() == b,
        [a] => shape.name() == a,
    };
    if args.last().is_some_and(|last| last == "--here") {
        for (shape, step) in pairs().filter(|(shape, step)| named(shape, step)) {
            let mut way = Way::up_to(shape, step);
            measured(&mut way, step as u8);
        }
        return ExitCode::SUCCESS;
    }
    println!("{:12} {:10} {:>14} {:>10}", "shape", "step", "instructions", "a prefix");
    for (shape, step) in pairs().filter(|(shape, step)| named(shape, step)) {
        let Some(count) = count(shape, step) else {
            eprintln!("valgrind did not count: is it installed?");
            return ExitCode::FAILURE;
        };
        println!("{:12} {:10} {count:>14} {:>10}", shape.name(), step.name(), count / u64::from(shape.prefixes()));
    }
    ExitCode::SUCCESS
}

fn pairs() -> impl Iterator<Item = (Shape, Step)> {
    Shape::ALL.into_iter().flat_map(|shape| Step::ALL.map(|step| (shape, step)))
}

fn count(shape: Shape, step: Step) -> Option<u64> {
    let me = std::env::current_exe().ok()?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", "--toggle-collect=measured"])
        .arg(me)
        .args([shape.name(), step.name(), "--here"])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}
