//! The body of a ROUTE-REFRESH.
#![no_main]
#![allow(dead_code, reason = "the other targets use the rest")]

#[path = "../../src/harmless.rs"]
mod harmless;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmless::route_refresh(data));
