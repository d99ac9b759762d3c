//! Octets from anybody: whatever they are, there is an answer, and it can be shown, written as JSON and encoded.
//!
//! In: any octets; the first one chooses. Out: a panic where a law is broken. The fuzz targets call these, and `tests/fuzz_corpus.rs` replays what they found
//! worth keeping.

use bytes::{BufMut, Bytes, BytesMut};
use catbird::num::FamilySet;
use catbird::wire::{Context, Decoder, Message, Notification, Severity, frame_len};

fn framed(kind: u8, body: &[u8]) -> Option<Bytes> {
    let len = u16::try_from(body.len() + 19).ok()?;
    let mut frame = BytesMut::new();
    frame.put_slice(&[0xff; 16]);
    frame.put_u16(len);
    frame.put_u8(kind);
    frame.put_slice(body);
    Some(frame.freeze())
}

/// OPEN, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH.
pub fn message(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let kind = [1, 3, 4, 5][usize::from(choice & 3)];
    let Some(frame) = framed(kind, body) else { return };
    match Decoder::new().decode(frame) {
        Ok(message) => {
            assert!(!message.to_string().is_empty());
            assert!(Decoder::new().decode(message.to_bytes(&Context::INITIAL)).is_ok());
        }
        Err(error) => {
            assert_eq!(error.severity(), Severity::Reset);
            assert!(!format!("{error} {}", Notification::from(&error)).is_empty());
        }
    }
}

/// UPDATE under every context.
pub fn update(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let bit = |n: u8| choice & (1 << n) != 0;
    let ctx = Context {
        four_octet_as: bit(0),
        families: if bit(1) { FamilySet::IPV4 } else { FamilySet::ALL },
        add_path: if bit(2) { FamilySet::ALL } else { FamilySet::NONE },
        extended_next_hop: if bit(3) { FamilySet::ALL } else { FamilySet::NONE },
        max_len: 65535,
        external: bit(4),
        confederation: bit(5),
    };
    let Some(frame) = framed(2, body) else { return };
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    let first = decoder.decode(frame.clone());
    assert_eq!(decoder.decode(frame), first, "with the memory of the first time");
    match first {
        Ok(Message::Update(update)) => {
            let _shown = update.to_string();
            for error in update.errors.iter().flat_map(|e| e.iter()) {
                assert!(error.severity() < Severity::Reset);
                assert!(!format!("{error} {}", Notification::from(error)).is_empty());
            }
            for attrs in update.announced.iter().filter_map(|a| a.attrs.as_ref()) {
                assert!(serde_json::to_string(&**attrs).is_ok());
                assert_eq!(attrs.edit().finish(), **attrs);
            }
            let mut out = BytesMut::new();
            update.encode(&ctx, &mut out);
            let mut out = out.freeze();
            while !out.is_empty() {
                let len = frame_len(&out, 65535).expect("our header").expect("our length");
                decoder.decode(out.split_to(len)).expect("our message");
            }
        }
        Ok(other) => panic!("{other}"),
        Err(error) => {
            assert_eq!(error.severity(), Severity::Reset);
            assert!(!format!("{error} {}", Notification::from(&error)).is_empty());
        }
    }
}

/// A stream, framed and decoded as the shell does it.
pub fn framing(data: &[u8]) {
    let mut stream = Bytes::copy_from_slice(data);
    let mut decoder = Decoder::new();
    decoder.set_context(Context { four_octet_as: true, families: FamilySet::ALL, ..Context::INITIAL });
    while let Ok(Some(len)) = frame_len(&stream, 4096) {
        assert!((19..=4096).contains(&len) && len <= stream.len());
        if decoder.decode(stream.split_to(len)).is_err() {
            return;
        }
    }
}
