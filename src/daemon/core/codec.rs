//! Octets of one connection into messages: a `tokio_util` decoder around `wire`.
//!
//! In: what the socket gave, in pieces of any size. Out: whole messages, or the one error that ends the stream.
//! It leaves the meaning of octets to `wire::Decoder`, and sockets to `conn`.
//!
//! A length is believed only after `wire::frame_len` has seen marker, length and type (RFC 4271 §6.1), so a stranger's header reserves nothing.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::wire::{self, Context, DecodeError, Message, frame_len};

/// Frames and decodes the receive direction of one connection.
#[derive(Default)]
pub struct Codec {
    decoder: wire::Decoder,
}

/// Why a stream of messages ended: the peer's octets, or the socket.
#[derive(Debug)]
pub enum Ended {
    Malformed(DecodeError),
    Socket(std::io::Error),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Socket(error)
    }
}

/// What stopped [`Codec::decode_batch`].
#[derive(Debug)]
pub enum Stop {
    /// The octets at hand are used up, but for the beginning of a message.
    Drained,
    /// An OPEN is the last message of the batch; the octets behind it wait for their context.
    Open,
    Ended(Ended),
}

impl Codec {
    /// From here on messages are read as the OPENs agreed.
    pub fn set_context(&mut self, context: Context) {
        self.decoder.set_context(context);
    }

    /// Moves messages from `src` to `batch`.
    ///
    /// What stands behind an OPEN stays in `src`: its meaning (AS width, ADD-PATH) depends on the OPEN.
    pub fn decode_batch(&mut self, src: &mut BytesMut, batch: &mut Vec<Message>) -> Stop {
        loop {
            match self.decode(src) {
                Ok(Some(message)) => {
                    let open = matches!(message, Message::Open(_));
                    batch.push(message);
                    if open {
                        return Stop::Open;
                    }
                }
                Ok(None) => return Stop::Drained,
                Err(ended) => return Stop::Ended(ended),
            }
        }
    }
}

impl Decoder for Codec {
    type Item = Message;
    type Error = Ended;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Message>, Ended> {
        let max_len = self.decoder.context().max_len;
        match frame_len(src, max_len).map_err(Ended::Malformed)? {
            Some(len) if len <= src.len() => {
                let frame = src.split_to(len).freeze();
                self.decoder.decode(frame).map(Some).map_err(Ended::Malformed)
            }
            Some(_) | None => Ok(None),
        }
    }
}
