//! Peers that do not answer, and segments that the kernel drops for their TCP-MD5 signature: a hint that one is the cause of the other.
//!
//! In: the kernel's counts, as often as the shell looks. Out: words behind the reason why a peer is not up. The kernel counts for all peers
//! together (RFC 2385 §4.0 has it drop without a word), so the hint goes to each peer that it can concern: one without an answer, with a
//! password if a signature was wrong or missing, and without one if there was a signature.

use std::time::Duration;

use crate::num::Instant;
use crate::peer::Peer;
use crate::stats::Md5Refused;

/// What is older has nothing to say about now: peers that do not answer are dialled more often than that.
const RECENT: Duration = Duration::from_secs(60);

/// Segments of one kind.
#[derive(Clone, Copy, Debug)]
struct Seen {
    segments: u64,
    last: Instant,
}

/// What the kernel dropped lately.
#[derive(Debug, Default)]
pub struct Md5Watch {
    totals: Option<Md5Refused>,
    wrong: Option<Seen>,
    missing: Option<Seen>,
    unexpected: Option<Seen>,
}

impl Md5Watch {
    /// The first counts are what was before us.
    pub fn look(&mut self, totals: Md5Refused, now: Instant) {
        if let Some(before) = self.totals.replace(totals) {
            note(&mut self.wrong, totals.wrong.saturating_sub(before.wrong), now);
            note(&mut self.missing, totals.missing.saturating_sub(before.missing), now);
            note(&mut self.unexpected, totals.unexpected.saturating_sub(before.unexpected), now);
        }
    }

    /// To be said after why there is no session.
    pub fn hint(&self, peer: &Peer, now: Instant) -> Option<String> {
        if !peer.is_unanswered() {
            return None;
        }
        let kinds = if peer.params().md5.is_some() {
            [(self.wrong, "signed with another key"), (self.missing, "without a signature")]
        } else {
            [(self.unexpected, "with a TCP-MD5 signature, and no password is configured here"), (None, "")]
        };
        let recent = |seen: &Seen| now.since(seen.last) < RECENT;
        let said = kinds.into_iter().filter_map(|(seen, what)| Some((seen.filter(recent)?, what)));
        let said: Vec<String> = said
            .map(|(seen, what)| format!("{} TCP segments {what} (the last {} s ago)", seen.segments, now.since(seen.last).as_secs()))
            .collect();
        (!said.is_empty()).then(|| format!("the kernel dropped, of all peers together, {}", said.join(" and ")))
    }
}

fn note(seen: &mut Option<Seen>, more: u64, now: Instant) {
    if more > 0 {
        let before = seen.filter(|s| now.since(s.last) < RECENT).map_or(0, |s| s.segments);
        *seen = Some(Seen { segments: before.saturating_add(more), last: now });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::num::{Asn, PeerId, RouterId};
    use crate::peer::{ConnIds, DialError, Event, Params, RemoteAs, Secret};

    fn peer(key: Option<&[u8]>, error: DialError) -> Peer {
        let id = RouterId::new([192, 0, 2, 1].into()).unwrap();
        let mut params = Params::new("b", [192, 0, 2, 2].into(), Asn(64512), RemoteAs::External, id);
        params.md5 = key.map(Secret::new);
        let (mut peer, mut conns) = (Peer::new(PeerId(1), Arc::new(params), 7), ConnIds::default());
        peer.handle(Instant::ZERO, Event::Start, &mut conns);
        peer.handle(Instant::ZERO, Event::DialFailed { conn: crate::num::ConnId(1), error }, &mut conns);
        peer
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn refused(wrong: u64, missing: u64, unexpected: u64) -> Md5Refused {
        Md5Refused { missing, unexpected, wrong }
    }

    #[test]
    fn what_was_dropped_lately_is_said_of_those_whom_it_can_concern() {
        let (keyed, plain) = (peer(Some(b"k"), DialError::TimedOut), peer(None, DialError::TimedOut));
        let mut watch = Md5Watch::default();
        watch.look(refused(100, 100, 100), at(1));
        assert_eq!(watch.hint(&keyed, at(2)), None, "that was before our time");
        watch.look(refused(103, 100, 100), at(3));
        watch.look(refused(104, 100, 100), at(5));
        let hint = watch.hint(&keyed, at(9)).unwrap();
        assert!(hint.ends_with("4 TCP segments signed with another key (the last 4 s ago)"), "{hint}");
        assert_eq!(watch.hint(&plain, at(9)), None, "it signs nothing");
        assert_eq!(watch.hint(&peer(Some(b"k"), DialError::Refused), at(9)), None, "somebody answered");
        assert_eq!(watch.hint(&keyed, at(66)), None, "that was a minute ago");
        watch.look(refused(104, 101, 102), at(70));
        let hint = watch.hint(&keyed, at(70)).unwrap();
        assert!(hint.contains("1 TCP segments without a signature") && !hint.contains("another key"), "{hint}");
        let hint = watch.hint(&plain, at(70)).unwrap();
        assert!(hint.contains("2 TCP segments with a TCP-MD5 signature, and no password is configured here"), "{hint}");
    }
}
