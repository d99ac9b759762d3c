//! TCP streams put together, both directions, and the BGP sessions on them.
//!
//! In: segments in the order of the capture, perhaps doubled, reordered or missing. Out: messages, read in the context that the two OPENs lead to.
//! Memory is bounded: what waits for a missing segment, and the number of connections.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

use super::agreed;
use super::hex::next_marker;
use super::packet::Segment;
use super::show::{Origin, Printer};
use crate::wire::{Context, DecodeError, Decoder, MAX_EXTENDED_LEN, Message, Open, frame_len};

/// Octets that may wait for a missing segment before it is given up.
const MAX_WAITING: usize = 1 << 18;
/// Connections that are remembered at a time.
const MAX_CONNECTIONS: usize = 65_536;

/// One direction of one connection.
struct Stream {
    /// The next octet that we want; `None` before the first segment.
    next: Option<u32>,
    waiting: BTreeMap<u32, Vec<u8>>,
    buffer: BytesMut,
    decoder: Decoder,
    open: Option<Box<Open>>,
    /// How messages are read is known: from both OPENs, or because it was guessed and said.
    settled: bool,
    /// The beginning was not seen: the first marker is to be found.
    lost: bool,
}

impl Stream {
    fn new(ctx: &Context) -> Stream {
        let mut decoder = Decoder::new();
        decoder.set_context(ctx.clone());
        Stream { next: None, waiting: BTreeMap::new(), buffer: BytesMut::new(), decoder, open: None, settled: false, lost: true }
    }

    /// Takes what the segment brings. Answers how many octets had to be given up.
    fn take(&mut self, segment: &Segment<'_>) -> u32 {
        let mut seq = segment.seq;
        if segment.syn {
            seq = seq.wrapping_add(1);
            self.next = Some(seq);
            self.lost = false;
        }
        let next = *self.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next);
        if ahead == 0 {
            self.append(segment.payload);
        } else if ahead < 1 << 31 {
            self.waiting.entry(seq).or_insert_with(|| segment.payload.to_vec());
        } else if let Some(fresh) = usize::try_from(next.wrapping_sub(seq)).ok().and_then(|old| segment.payload.get(old..)) {
            self.append(fresh);
        }
        self.catch_up();
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting > MAX_WAITING { self.give_up() } else { 0 }
    }

    fn append(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.next = self.next.map(|n| n.wrapping_add(len));
    }

    /// What was waiting and is now in reach.
    fn catch_up(&mut self) {
        while let Some(next) = self.next {
            let reachable = self.waiting.keys().copied().find(|seq| next.wrapping_sub(*seq) < 1 << 31);
            let Some(octets) = reachable.and_then(|seq| self.waiting.remove(&seq).map(|o| (seq, o))) else { return };
            let old = usize::try_from(next.wrapping_sub(octets.0)).unwrap_or(usize::MAX);
            self.append(octets.1.get(old..).unwrap_or_default());
        }
    }

    /// The missing octets are not coming: go on after them.
    fn give_up(&mut self) -> u32 {
        let Some(next) = self.next else { return 0 };
        let Some(nearest) = self.waiting.keys().copied().min_by_key(|seq| seq.wrapping_sub(next)) else { return 0 };
        self.next = Some(nearest);
        self.buffer.clear();
        self.lost = true;
        self.catch_up();
        nearest.wrapping_sub(next)
    }
}

impl Stream {
    /// Without OPENs the width of AS numbers is guessed. At the first UPDATE that it does not fit the other one is tried; what to tell of that.
    fn guess(&mut self, frame: &Bytes, result: &mut Result<Message, DecodeError>) -> Option<&'static str> {
        if !is_off(result, frame) {
            return None;
        }
        self.settled = true;
        let guessed = self.decoder.context().clone();
        let mut other = Decoder::new();
        other.set_context(Context { four_octet_as: !guessed.four_octet_as, ..guessed.clone() });
        let again = other.decode(frame.clone());
        let fits = !is_off(&again, frame);
        if fits {
            (self.decoder, *result) = (other, again);
        }
        Some(match (fits, guessed.four_octet_as) {
            (true, true) => "no OPENs were seen: AS numbers are read with two octets from here on, four do not fit",
            (true, false) => "no OPENs were seen: AS numbers are read with four octets from here on, two do not fit",
            (false, true) => "no OPENs were seen: that AS numbers have four octets is guessed (--two-octet-as)",
            (false, false) => "no OPENs were seen: that AS numbers have two octets is guessed",
        })
    }
}

/// An UPDATE with anything wrong.
fn is_off(result: &Result<Message, DecodeError>, frame: &Bytes) -> bool {
    match result {
        Ok(Message::Update(update)) => update.errors.is_some(),
        Ok(_) => false,
        Err(_) => frame.get(18) == Some(&2),
    }
}

type Key = (SocketAddr, SocketAddr);

/// All connections of a capture.
pub(super) struct Connections {
    streams: HashMap<Key, Stream>,
    ctx: Context,
}

impl Connections {
    pub(super) fn new(ctx: &Context) -> Connections {
        Connections { streams: HashMap::new(), ctx: ctx.clone() }
    }

    /// Prints every message that this segment completes.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, origin: &Origin, printer: &mut Printer<impl io::Write>) -> io::Result<()> {
        let key = (segment.from, segment.to);
        let speaks = segment.from.port() == 179 || segment.to.port() == 179 || segment.payload.starts_with(&[0xff; 16]);
        if !speaks && !self.streams.contains_key(&key) {
            return Ok(());
        }
        if segment.syn {
            self.streams.remove(&key);
        }
        if self.streams.len() >= MAX_CONNECTIONS {
            self.streams.clear();
        }
        let ctx = &self.ctx;
        let missing = self.streams.entry(key).or_insert_with(|| Stream::new(ctx)).take(segment);
        if missing > 0 {
            printer.note(origin, &format!("{missing} octets are missing from the capture"))?;
        }
        self.messages(key, origin, printer)
    }

    fn messages(&mut self, key: Key, origin: &Origin, printer: &mut Printer<impl io::Write>) -> io::Result<()> {
        while let Some(stream) = self.streams.get_mut(&key) {
            if stream.lost {
                find_beginning(stream);
            }
            // Every length is let through to the decoder, which knows what was agreed.
            let frame = match frame_len(&stream.buffer, MAX_EXTENDED_LEN) {
                Ok(None) => return Ok(()),
                Ok(Some(len)) => stream.buffer.split_to(len).freeze(),
                Err(error) => {
                    let octets = stream.buffer.split_to(next_marker(&stream.buffer)).freeze();
                    stream.lost = true;
                    printer.message(origin, &octets, Err(error), &self.ctx)?;
                    continue;
                }
            };
            let mut result = stream.decoder.decode(frame.clone());
            if !stream.settled
                && let Some(said) = stream.guess(&frame, &mut result)
            {
                printer.note(origin, said)?;
            }
            let ctx = stream.decoder.context().clone();
            let open = if let Ok(Message::Open(open)) = &result { Some(open.clone()) } else { None };
            printer.message(origin, &frame, result, &ctx)?;
            if let Some(open) = open {
                stream.open = Some(open);
                self.negotiate(key);
            }
        }
        Ok(())
    }

    /// Both OPENs are there: from here on both directions are read as agreed.
    fn negotiate(&mut self, (from, to): Key) {
        let open = |streams: &HashMap<Key, Stream>, key| streams.get(&key).and_then(|s: &Stream| s.open.clone());
        let (Some(one), Some(other)) = (open(&self.streams, (from, to)), open(&self.streams, (to, from))) else { return };
        for (key, sender, receiver) in [((from, to), &one, &other), ((to, from), &other, &one)] {
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.decoder.set_context(agreed(sender, receiver));
                stream.settled = true;
            }
        }
    }
}

fn find_beginning(stream: &mut Stream) {
    let at = if stream.buffer.starts_with(&[0xff; 16]) { 0 } else { next_marker(&stream.buffer) };
    stream.lost = at == stream.buffer.len();
    // A marker may have come in half.
    stream.buffer.advance(if stream.lost { at.saturating_sub(18) } else { at });
}
