//! `cargo run -p proto-tests --bin lab -- STORY [--keep] [--containers]`: one story from `containerlab/` by hand.
//!
//! In: the story's name. Out: how long each of its situations took; with `--keep` the network stays after the first until Ctrl-C. With
//! `--containers` its nodes are containers of the docker daemon that `DOCKER_HOST` names, and one that lives to the end is restarted and paused.

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use proto_tests::netlab::machine::Home;
use proto_tests::netlab::{Story, signal};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (flags, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    let [name] = names[..] else {
        eprintln!("lab STORY [--keep] [--containers]: a folder of containerlab/, for instance full-mesh");
        return ExitCode::from(2);
    };
    let set = |wanted: &str| flags.iter().any(|flag| *flag == wanted);
    match play(name, set("--keep"), if set("--containers") { Home::Containers } else { Home::Namespaces }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(name: &str, keep: bool, home: Home) -> Result<(), String> {
    if let (Home::Namespaces, Some(obstacle)) = (home, Story::obstacle(name)?) {
        return Err(obstacle);
    }
    let mut story = Story::up_in(name, home)?;
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
    if home == Home::Containers && !keep {
        restart_and_pause(&mut story)?;
    }
    if keep {
        println!("{}\nlogs: {}\nIt stays up until Ctrl-C.", story.doors().join("\n"), story.scratch().display());
        loop {
            thread::park();
        }
    }
    Ok(())
}

/// A node with a daemon is restarted as `containerlab restart` does it, and another time paused: all is again as after the start.
fn restart_and_pause(story: &mut Story) -> Result<(), String> {
    let Some(node) = story.survivor() else { return Ok(()) };
    let first = story.situations().into_iter().next().ok_or("nothing is expected")?;
    let begun = Instant::now();
    story.restart(&node)?;
    println!("{node} restarted in {:.2?}; {first}: {:.2?}", begun.elapsed(), story.reach(&first)?);
    story.pause(&node, true);
    thread::sleep(Duration::from_secs(1));
    story.pause(&node, false);
    println!("{node} paused for a second; {first}: {:.2?}", story.reach(&first)?);
    Ok(())
}
