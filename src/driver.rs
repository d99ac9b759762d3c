//! The half of a connection that knows no socket: octets go in as they arrive, whole messages come out.
//!
//! In: what was read, in pieces of any size, and the [`Context`] that the OPENs agreed on. Out: [`Batch`]es of messages, each up to what ends
//! it: an OPEN, an error, the end of the octets at hand. It leaves the meaning of octets to [`crate::wire::Decoder`], and reading, waiting and
//! closing to whoever drives it: a task of the daemon, the Lab, a replay.
//!
//! What stands behind an OPEN is not decoded before its context is there: its meaning (AS width, ADD-PATH) depends on it. A length is
//! believed only after [`frame_len`] has seen marker, length and type (RFC 4271 §6.1), so a stranger's header reserves nothing.

use bytes::BytesMut;

use crate::wire::{Context, DecodeError, Decoder, Message, frame_len};

/// Messages in the order of their octets; after `error` the connection reads no more.
#[derive(Debug)]
pub struct Batch {
    pub messages: Vec<Message>,
    pub error: Option<DecodeError>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Reading,
    /// An OPEN was the last message of a batch.
    AwaitingContext,
    /// The error is delivered.
    Ended,
}

/// Frames and decodes the receive direction of one connection.
#[derive(Default)]
pub struct Driver {
    decoder: Decoder,
    octets: BytesMut,
    phase: Phase,
}

impl Driver {
    /// Octets have arrived.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// The next batch; `None` while no message is whole, while the context of an OPEN is awaited, and after an error.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch { messages: Vec::new(), error: None };
        while self.phase == Phase::Reading {
            match self.next_message() {
                Ok(Some(message)) => {
                    if matches!(message, Message::Open(_)) {
                        self.phase = Phase::AwaitingContext;
                    }
                    batch.messages.push(message);
                }
                Ok(None) => break,
                Err(error) => {
                    self.phase = Phase::Ended;
                    batch.error = Some(error);
                }
            }
        }
        (!batch.messages.is_empty() || batch.error.is_some()).then_some(batch)
    }

    fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        match frame_len(&self.octets, self.decoder.context().max_len)? {
            Some(len) if len <= self.octets.len() => self.decoder.decode(self.octets.split_to(len).freeze()).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// From here on messages are read as the OPENs agreed.
    pub fn set_context(&mut self, context: Context) {
        self.decoder.set_context(context);
        if self.phase == Phase::AwaitingContext {
            self.phase = Phase::Reading;
        }
    }

    /// An OPEN was delivered, and [`Driver::set_context`] is to be called before there is more.
    pub fn awaits_context(&self) -> bool {
        self.phase == Phase::AwaitingContext
    }

    /// Octets that are no whole message yet.
    pub fn unfinished(&self) -> usize {
        self.octets.len()
    }

    /// The rest of a message, if any, moves to a buffer of its own size; the large one goes with the messages that were cut from it.
    pub fn compact(&mut self) {
        self.octets = BytesMut::from(&self.octets[..]);
    }
}

/// What a message costs the one who takes it in, in prefixes: one for itself, and one for each that it names.
pub fn weight(message: &Message) -> usize {
    message.as_update().map_or(1, |update| 1 + update.withdrawn.len() + update.announced.len())
}
