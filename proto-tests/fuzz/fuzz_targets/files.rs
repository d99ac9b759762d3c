//! `catbird decode`: captures, MRT and hexadecimal digits, as text, as JSON, and encoded again. What it is is seen from the first octets.
#![no_main]

use catbird::cli::decode::{DecodeArgs, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let args = DecodeArgs { reencode: data.len() & 1 == 0, ..DecodeArgs::default() };
    let mut out = Vec::new();
    let text = decode(data, &mut out, &args, false).is_ok();
    out.clear();
    let json = decode(data, &mut out, &args, true).is_ok();
    assert_eq!(text, json);
    for line in out.split(|o| *o == b'\n').filter(|l| !l.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).expect("one object a line");
    }
});
