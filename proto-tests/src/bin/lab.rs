//! `cargo run -p proto-tests --bin lab -- STORY [--keep]`: one story from `containerlab/` by hand.
//!
//! In: the story's name. Out: how long each of its situations took; with `--keep` the network stays until Ctrl-C.

use std::env;
use std::process::ExitCode;
use std::thread;

use proto_tests::netlab::{Story, signal};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (flags, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    let [name] = names[..] else {
        eprintln!("lab STORY [--keep]: a folder of containerlab/, for instance full-mesh");
        return ExitCode::from(2);
    };
    match play(name, flags.iter().any(|flag| *flag == "--keep")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(name: &str, keep: bool) -> Result<(), String> {
    if let Some(obstacle) = Story::obstacle(name)? {
        return Err(obstacle);
    }
    let mut story = Story::up(name)?;
    let scratch = story.scratch().to_path_buf();
    signal::on_end(move || {
        let _ = std::fs::remove_dir_all(scratch);
        std::process::exit(130);
    })
    .map_err(|e| e.to_string())?;
    let situations = story.situations();
    // The rest of the story would change what there is to look at.
    let shown = if keep { &situations[..1] } else { &situations[..] };
    for situation in shown {
        println!("{situation}: {:.2?}", story.reach(situation)?);
    }
    if keep {
        println!("{}\nlogs: {}\nIt stays up until Ctrl-C.", story.doors().join("\n"), story.scratch().display());
        loop {
            thread::park();
        }
    }
    Ok(())
}
