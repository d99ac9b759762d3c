//! `cargo run -p proto-tests --bin interop`: the matrix of the README, with the versions that are installed here.

use std::process::ExitCode;

use proto_tests::interop::matrix::{Matrix, versions};

fn main() -> ExitCode {
    match Matrix::read() {
        Ok(matrix) => {
            println!("{}\nHere: {}.", matrix.table(), versions());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("interop.toml: {why}");
            ExitCode::FAILURE
        }
    }
}
