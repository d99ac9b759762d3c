//! From arguments to an exit code.

use std::process::ExitCode;

use clap::Parser;

use catbird::cli;

fn main() -> ExitCode {
    cli::main(cli::args::Args::parse())
}
