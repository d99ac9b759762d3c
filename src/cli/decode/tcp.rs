//! TCP streams put together, both directions, and the BGP sessions on them.
//!
//! In: segments in the order of the capture, perhaps doubled, reordered or missing. Out: messages, read in the context that the two OPENs lead to.
//! Memory is bounded: what waits for a missing segment, and the number of connections.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};

use super::hex::next_marker;
use super::packet::Segment;
use super::show::{Origin, Printer};
use crate::num::{Family, FamilySet};
use crate::wire::{AddPathMode, Capability, Context, Decoder, MAX_EXTENDED_LEN, Message, Open, frame_len};

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
    /// The beginning was not seen: the first marker is to be found.
    lost: bool,
}

impl Stream {
    fn new(ctx: &Context) -> Stream {
        let mut decoder = Decoder::new();
        decoder.set_context(ctx.clone());
        Stream { next: None, waiting: BTreeMap::new(), buffer: BytesMut::new(), decoder, open: None, lost: true }
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
            let result = stream.decoder.decode(frame.clone());
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

/// How messages of `sender` to `receiver` are read.
fn agreed(sender: &Open, receiver: &Open) -> Context {
    let add_path = Family::ALL
        .into_iter()
        .filter(|f| mode(sender, *f).is_some_and(AddPathMode::sends) && mode(receiver, *f).is_some_and(AddPathMode::receives));
    let long = receiver.capabilities.contains(&Capability::ExtendedMessage);
    Context {
        four_octet_as: sender.has_four_octet_as() && receiver.has_four_octet_as(),
        families: FamilySet::ALL,
        add_path: add_path.collect(),
        extended_next_hop: FamilySet::ALL,
        max_len: if long { MAX_EXTENDED_LEN } else { crate::wire::MAX_LEN },
        external: sender.asn != receiver.asn,
        confederation: true,
    }
}

fn mode(open: &Open, family: Family) -> Option<AddPathMode> {
    let entries = open.capabilities.iter().filter_map(|c| if let Capability::AddPath(entries) = c { Some(entries) } else { None });
    entries.flatten().find(|(afi, safi, _)| Family::from_codes(*afi, *safi) == Some(family)).map(|(.., mode)| *mode)
}
