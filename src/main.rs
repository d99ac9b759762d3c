//! From arguments to an exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

use catbird::cli;

fn main() -> ExitCode {
    let said = match cli::args::Args::try_parse() {
        Ok(args) => return cli::main(args),
        Err(said) => said,
    };
    match said.print() {
        // Somebody who reads only the head of a help text has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(1)),
    }
}
