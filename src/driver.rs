//! The half of a connection that knows no socket: octets go in as they arrive, whole messages come out.
//!
//! In: what was read, in pieces of any size, and the [`Context`] that the OPENs agreed on. Out: [`Batch`]es of messages, each up to what ends
//! it: an OPEN, an error, some thousand octets, the end of those at hand. It leaves the meaning of octets to [`crate::wire::Decoder`], and reading, waiting and
//! closing to whoever drives it: a task of the daemon, the Lab, a replay.
//!
//! What stands behind an OPEN is not decoded before its context is there: its meaning (AS width, ADD-PATH) depends on it. A length is
//! believed only after [`frame_len`] has seen marker, length and type (RFC 4271 §6.1), so a stranger's header reserves nothing.

use bytes::{Bytes, BytesMut};

use crate::wire::{Batch, Context, DecodeError, Decoder, Message, frame_len};

/// With so many octets a batch ends, so that whoever reads and whoever takes it in have their turns.
const BATCH: usize = 16 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Octets become messages as they come.
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
    /// What batches are being cut from; then `octets` is empty.
    whole: Bytes,
    phase: Phase,
    /// The OPENs have agreed.
    agreed: bool,
}

impl Driver {
    /// Octets have arrived.
    pub fn push(&mut self, octets: &[u8]) {
        if !self.whole.is_empty() {
            self.octets = BytesMut::from(std::mem::take(&mut self.whole));
        }
        self.octets.extend_from_slice(octets);
    }

    /// The next batch; `None` while no message is whole, while the context of an OPEN is awaited, and after an error.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if self.whole.is_empty() {
            self.whole = std::mem::take(&mut self.octets).freeze();
        }
        let mut batch = Batch::default();
        let mut read = 0;
        while self.phase == Phase::Reading && read < BATCH {
            match self.next_message(&mut read) {
                Ok(Some(message)) => {
                    if matches!(message, Message::Open(_)) {
                        self.phase = Phase::AwaitingContext;
                    }
                    batch.messages.push(message);
                }
                Ok(None) => break,
                Err(error) => {
                    (self.phase, read) = (Phase::Ended, self.whole.len());
                    batch.error = Some(error);
                }
            }
        }
        batch.octets = self.whole.split_to(read);
        if read == 0 {
            // The beginning of a message moves to a buffer of its own size; the large one goes with the messages that were cut from it.
            self.octets = BytesMut::from(&self.whole[..]);
            self.whole = Bytes::new();
        }
        (read > 0).then_some(batch)
    }

    fn next_message(&mut self, read: &mut usize) -> Result<Option<Message>, DecodeError> {
        let rest = self.whole.get(*read..).unwrap_or_default();
        let Some(len) = frame_len(rest, self.decoder.context().max_len)? else { return Ok(None) };
        *read += len;
        self.decoder.decode(self.whole.slice(*read - len..*read)).map(Some)
    }

    /// From here on messages are read as the OPENs agreed.
    pub fn set_context(&mut self, context: Context) {
        self.decoder.set_context(context);
        self.agreed = true;
        if self.phase == Phase::AwaitingContext {
            self.phase = Phase::Reading;
        }
    }

    /// The UPDATE that ended a session, whole, for the log (RFC 7606 §6). `None` before the OPENs agreed: strangers do not fill the log.
    pub fn refused(&self) -> Option<&Bytes> {
        Some(self.decoder.refused()).filter(|message| self.agreed && !message.is_empty())
    }

    /// An OPEN was delivered, and [`Driver::set_context`] is to be called before there is more.
    pub fn awaits_context(&self) -> bool {
        self.phase == Phase::AwaitingContext
    }

    /// Octets of a message whose rest has yet to come, if there are any.
    pub fn unfinished(&self) -> Option<usize> {
        Some(self.octets.len() + self.whole.len()).filter(|octets| *octets > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: &[u8] = &[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];

    fn open() -> Vec<u8> {
        [&KEEPALIVE[..16], &[0, 29, 1, 4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, 0]].concat()
    }

    #[test]
    fn messages_come_out_whole_whatever_the_pieces_were() {
        let mut driver = Driver::default();
        let octets = KEEPALIVE.repeat(3);
        let mut messages = 0;
        for piece in octets.chunks(7) {
            driver.push(piece);
            messages += driver.next_batch().map_or(0, |batch| batch.messages.len());
        }
        assert_eq!((messages, driver.unfinished()), (3, None));
        driver.push(&KEEPALIVE[..5]);
        assert!(driver.next_batch().is_none());
        assert_eq!(driver.unfinished(), Some(5));
    }

    #[test]
    fn what_follows_an_open_waits_for_its_context() {
        let mut driver = Driver::default();
        driver.push(&[&open()[..], KEEPALIVE].concat());
        assert!(matches!(driver.next_batch().expect("an OPEN").messages[..], [Message::Open(_)]));
        assert!(driver.awaits_context() && driver.next_batch().is_none());
        driver.set_context(Context::INITIAL);
        assert!(matches!(driver.next_batch().expect("more").messages[..], [Message::KeepAlive]));
    }

    #[test]
    fn nothing_is_read_behind_an_error() {
        let mut driver = Driver::default();
        let mut bad = KEEPALIVE.to_vec();
        bad[3] = 0;
        driver.push(&[KEEPALIVE, &bad, KEEPALIVE].concat());
        let batch = driver.next_batch().expect("what stands before it");
        assert!(matches!(batch.messages[..], [Message::KeepAlive]) && batch.error.is_some());
        driver.set_context(Context::INITIAL);
        driver.push(KEEPALIVE);
        assert!(driver.next_batch().is_none());
    }

    #[test]
    fn the_update_that_ends_a_session_is_kept_for_the_log_and_a_strangers_is_not() {
        let bad = [&KEEPALIVE[..16], &[0, 27, 2, 0, 0, 0, 4, 0x40, 1, 32, 0]].concat();
        let ended = |mut driver: Driver| {
            driver.push(&bad);
            assert!(driver.next_batch().is_some_and(|batch| batch.error.is_some()));
            driver.refused().cloned()
        };
        assert_eq!(ended(Driver::default()), None);
        let mut driver = Driver::default();
        driver.push(&open());
        assert!(driver.next_batch().is_some());
        driver.set_context(Context::INITIAL);
        assert_eq!(ended(driver), Some(bad.clone().into()));
    }
}
