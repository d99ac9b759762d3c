//! Octets from anybody: whatever they are, there is an answer, and it can be shown, written as JSON and encoded.
//!
//! In: any octets; where a choice is needed, the first one makes it. Out: a panic where a law is broken. The fuzz targets call these, and
//! `tests/wire/fuzz_corpus.rs` replays what they found worth keeping. For files the targets need `catbird::cli`; here is what makes files of octets.

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

/// The body of an OPEN.
pub fn open(body: &[u8]) {
    small(1, body);
}

/// The body of a NOTIFICATION.
pub fn notification(body: &[u8]) {
    small(3, body);
}

/// The body of a ROUTE-REFRESH.
pub fn route_refresh(body: &[u8]) {
    small(5, body);
}

/// What is understood can be shown and said again in the very same words; what is not is told to the peer.
fn small(kind: u8, body: &[u8]) {
    let Some(frame) = framed(kind, body) else { return };
    let mut decoder = Decoder::new();
    decoder.set_context(Context { max_len: 65535, refresh_subtypes: true, ..Context::INITIAL });
    match decoder.decode(frame) {
        Ok(message) => {
            assert!(!message.to_string().is_empty());
            let said = message.to_bytes(&Context::INITIAL);
            let again = decoder.decode(said.clone()).expect("our own message");
            assert_eq!(again.to_bytes(&Context::INITIAL), said);
        }
        Err(error) => told(&error),
    }
}

fn told(error: &catbird::wire::DecodeError) {
    assert_eq!(error.severity(), Severity::Reset);
    assert!(!format!("{error} {}", Notification::from(error)).is_empty());
}

/// UPDATE under every context, which the first octet chooses.
pub fn update(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let bit = |n: u8| choice & (1 << n) != 0;
    let ctx = Context {
        four_octet_as: bit(0),
        families: if bit(1) { FamilySet::IPV4 } else { FamilySet::ALL },
        add_path: if bit(2) { FamilySet::ALL } else { FamilySet::NONE },
        extended_next_hop: if bit(3) { FamilySet::ALL } else { FamilySet::NONE },
        refresh_subtypes: bit(6),
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
                assert!(serde_json::to_string(attrs).is_ok());
                assert_eq!(attrs.edit().finish(), *attrs);
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
        Err(error) => told(&error),
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

/// Pieces of octets: a head of two, then as many as the second says, times sixteen when the first's lowest bit is set.
fn pieces(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let [head, len, after @ ..] = rest else { return None };
        let len = usize::from(*len) * if head & 1 == 1 { 16 } else { 1 };
        let (piece, after) = after.split_at(len.min(after.len()));
        rest = after;
        Some((*head, piece))
    })
}

/// An MRT file: each piece is the body of a record whose type its head chooses. An even first octet: the rest as it is.
pub fn mrt_file(data: &[u8]) -> Vec<u8> {
    const RECORDS: [(u16, u16); 16] = [
        (13, 1),
        (13, 2),
        (13, 4),
        (13, 8),
        (13, 10),
        (16, 0),
        (16, 1),
        (16, 4),
        (16, 5),
        (16, 6),
        (16, 7),
        (16, 8),
        (16, 9),
        (17, 4),
        (17, 11),
        (12, 1),
    ];
    let Some((choice, data)) = data.split_first() else { return Vec::new() };
    if choice & 1 == 0 {
        return data.to_vec();
    }
    let mut file = Vec::new();
    for (head, body) in pieces(data) {
        let (kind, subtype) = RECORDS[usize::from(head >> 4)];
        file.put_u32(1_600_000_000);
        file.put_u16(kind);
        file.put_u16(subtype);
        file.put_u32(body.len() as u32);
        file.put_slice(body);
    }
    file
}

/// A capture of one connection on port 179: each piece is a segment whose direction, order and flags its head chooses. An even first octet: the rest as it is.
pub fn pcap_file(data: &[u8]) -> Vec<u8> {
    let Some((choice, data)) = data.split_first() else { return Vec::new() };
    if choice & 1 == 0 {
        return data.to_vec();
    }
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    let mut sent = [100u32, 200];
    for (head, payload) in pieces(data) {
        let side = usize::from(head >> 1 & 1);
        let late = if head & 4 == 0 { 0 } else { u32::from(head >> 4) * 8 };
        let sequence = sent[side].wrapping_sub(late);
        sent[side] = sequence.wrapping_add(payload.len() as u32);
        let frame = tcp_frame(side == 0, sequence, head, payload);
        for word in [1, 0, frame.len() as u32, frame.len() as u32] {
            file.put_u32_le(word);
        }
        file.put_slice(&frame);
    }
    file
}

/// Ethernet, IPv4, TCP. Nobody looks at checksums.
fn tcp_frame(forth: bool, sequence: u32, head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.put_u16(0x0800);
    frame.put_slice(&[0x45, 0]);
    frame.put_u16((payload.len() + 40) as u16);
    frame.put_slice(&[0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1 + u8::from(!forth), 10, 0, 0, 1 + u8::from(forth)]);
    for port in if forth { [40_000, 179] } else { [179, 40_000] } {
        frame.put_u16(port);
    }
    frame.put_u32(sequence);
    frame.put_u32(0);
    // Mostly data; at times SYN, FIN or RST.
    let flags = match head & 0xf8 {
        0xf8 => 0x02,
        0xf0 => 0x11,
        0xe8 => 0x04,
        _ => 0x10,
    };
    frame.put_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.put_slice(payload);
    frame
}
