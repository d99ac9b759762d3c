//! `catbird decode` of a file: as text and as JSON, and encoded again.

use catbird::cli::decode::{DecodeArgs, decode};

/// Text and JSON agree on whether the file is sound, and each line of JSON is an object.
pub fn show(file: &[u8]) {
    let args = DecodeArgs { reencode: file.len() & 1 == 0, ..DecodeArgs::default() };
    let mut out = Vec::new();
    let text = decode(file, &mut out, &args, false).is_ok();
    out.clear();
    let json = decode(file, &mut out, &args, true).is_ok();
    assert_eq!(text, json);
    for line in out.split(|o| *o == b'\n').filter(|l| !l.is_empty()) {
        let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        assert!(value.is_object());
    }
}
