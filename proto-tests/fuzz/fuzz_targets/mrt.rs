//! MRT files: what the octets make of one, or the octets themselves.
#![no_main]
#![allow(dead_code, reason = "the other targets use the rest")]

#[path = "../../src/harmless.rs"]
mod harmless;
mod show_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| show_file::show(&harmless::mrt_file(data)));
