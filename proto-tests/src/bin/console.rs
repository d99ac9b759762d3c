//! `console DOCUMENT LAB PROGRAM`: plays a document's blocks on machines that are somebody else's.
//!
//! In: a document, the word of its laboratory, and a program that runs a command on a machine: `PROGRAM NAME COMMAND`, with standard input passed on.
//! Out: how many steps; or the first that printed something else than is shown, and 1.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use proto_tests::console::play;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [document, lab, program] = &words[..] else {
        eprintln!("console DOCUMENT LAB PROGRAM");
        return ExitCode::from(2);
    };
    let write = |machine: &str, path: &str, text: &str| on(program, machine, &format!("cat > {path}"), text).map(drop);
    let run = |machine: &str, line: &str| {
        println!("{machine}# {line}");
        on(program, machine, line, "")
    };
    match play(Path::new(document), lab, write, run) {
        Ok(steps) => {
            println!("{document}: {steps} steps");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What it printed.
fn on(program: &str, machine: &str, line: &str, input: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args([machine, line]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
    let mut pipe = child.stdin.take().ok_or("no pipe")?;
    pipe.write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    drop(pipe);
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
