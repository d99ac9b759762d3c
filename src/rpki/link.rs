//! One connection with a cache: what is asked, what the answer is, and when the next question is due (RFC 8210 §7, §8).
//!
//! In: octets and the time. Out: octets, a [`Load`] whenever an answer is complete, or [`Lost`], after which the connection is to be closed. Which
//! table a load belongs to is `caches`' affair.
//!
//! A question is open from the moment it is asked until End of Data; there is one at most. What cannot be part of the answer to it ends the
//! connection (RFC 8210 §5.1: also what is of another session), and so does a cache that says nothing for `timeout` while a question is open, or that needs ten times as long for one answer.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::params::CacheParams;
use super::pdu::{self, Ask, Code, Fault, Intervals, NEWEST, OLDEST, Pdu};
use super::vrp::Vrp;
use crate::num::Instant;

/// Two questions are so far apart at least, whatever a cache notifies us of.
const BETWEEN: Duration = Duration::from_secs(1);

/// One answer may take so many times `timeout`.
const WHOLE_ANSWER: u32 = 10;

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// All there is, or what has changed.
    pub whole: bool,
    /// Announced (`true`) and withdrawn, in the order of the answer.
    pub changes: Vec<(Vrp, bool)>,
    /// What it is called from now on.
    pub session: u16,
    /// Likewise.
    pub serial: u32,
    /// As the cache wants them, or as the RFC recommends.
    pub intervals: Intervals,
}

/// The connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// For the operator.
    pub why: String,
    /// What the cache is told before.
    pub complaint: Option<Bytes>,
    /// What is to be done.
    pub then: Then,
}

/// After the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another attempt, after a while.
    Wait,
    /// The same, and what the cache said before is no beginning for what it says then.
    Forget,
    /// The next attempt is in the older version of the protocol, at once (RFC 8210 §7).
    Older,
}

impl Lost {
    /// Without a word to the cache.
    pub fn silently(why: impl Into<String>) -> Lost {
        Lost { why: why.into(), complaint: None, then: Then::Wait }
    }
}

/// Why a PDU ends the connection, before the cache is told.
enum Refusal {
    Fault(Fault, Then),
    Lost(Lost),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(fault, Then::Wait)
    }
}

/// An open question.
struct Open {
    ask: Ask,
    since: Instant,
    /// That of Cache Response.
    session: Option<u16>,
    changes: Vec<(Vrp, bool)>,
}

/// See the module.
pub struct Link {
    version: u8,
    /// The cache has answered in this version.
    agreed: bool,
    buffer: BytesMut,
    out: BytesMut,
    open: Option<Open>,
    /// Session and serial of what was loaded last on this connection.
    loaded: Option<(u16, u32)>,
    /// The cache spoke of this serial while a question was open.
    notified: Option<(u16, u32)>,
    /// When a PDU came last, or a question was asked.
    moved: Instant,
    asked: Instant,
    /// When the next question is due.
    next: Option<Instant>,
    timeout: Duration,
    refresh: Option<Duration>,
    most: usize,
}

impl Link {
    /// A connection that stands: the first question is asked (RFC 8210 §8.1).
    pub fn new(params: &CacheParams, version: u8, ask: Ask, now: Instant) -> Link {
        let mut link = Link {
            version,
            agreed: false,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            open: None,
            loaded: None,
            notified: None,
            moved: now,
            asked: now,
            next: None,
            timeout: params.timeout,
            refresh: params.refresh,
            most: params.max_vrps as usize,
        };
        link.ask(ask, now);
        link
    }

    /// What is to be sent.
    pub fn take_out(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| self.out.split().freeze())
    }

    /// Everything was said on this connection, once at least.
    pub fn is_synchronised(&self) -> bool {
        self.loaded.is_some()
    }

    /// The version, once the cache has answered in it.
    pub fn version(&self) -> Option<u8> {
        self.agreed.then_some(self.version)
    }

    /// Of the question that is open, or of the last answer.
    pub fn spoken(&self) -> u8 {
        self.version
    }

    /// When [`Link::on_time`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.open {
            Some(open) => Some((self.moved + self.timeout).min(open.since + self.timeout * WHOLE_ANSWER)),
            None => self.next,
        }
    }

    fn ask(&mut self, ask: Ask, now: Instant) {
        ask.put(self.version, &mut self.out);
        (self.moved, self.asked, self.next, self.notified) = (now, now, None, None);
        self.open = Some(Open { ask, since: now, session: None, changes: Vec::new() });
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The cache has not answered in time.
    pub fn on_time(&mut self, now: Instant) -> Result<(), Lost> {
        if let Some(open) = &self.open {
            if self.moved + self.timeout <= now {
                return Err(Lost::silently(format!("it has said nothing for {:?} in the midst of an answer", self.timeout)));
            }
            if open.since + self.timeout * WHOLE_ANSWER <= now {
                return Err(Lost::silently(format!("an answer takes it longer than {:?}", self.timeout * WHOLE_ANSWER)));
            }
        } else if let (Some(at), Some((session, serial))) = (self.next, self.loaded)
            && at <= now
        {
            self.ask(Ask::Serial { session, serial }, now);
        }
        Ok(())
    }

    /// Octets have come; [`Link::advance`] says what they mean.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Reads on, up to the end of the next answer. `None`: there is nothing more to read now.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn advance(&mut self, now: Instant) -> Result<Option<Load>, Lost> {
        loop {
            let (version, pdu, length) = match pdu::next(&self.buffer) {
                Ok(None) => return Ok(None),
                Ok(Some(read)) => read,
                Err(fault) => return Err(self.unreadable(fault)),
            };
            let read = self.on_pdu(version, pdu, now).map_err(|refusal| self.refused(refusal, length))?;
            self.buffer.advance(length);
            if read.is_some() {
                return Ok(read);
            }
        }
    }

    /// A PDU whose length is not known ends everything. One of a version that nobody knows may be of any type.
    fn unreadable(&self, fault: Fault) -> Lost {
        let version = self.buffer.first().copied().unwrap_or(NEWEST);
        let fault =
            if version > NEWEST { Fault::new(Code::UNSUPPORTED_VERSION, format!("version {version} of the protocol")) } else { fault };
        let kind = self.buffer.get(1).copied();
        // An Error Report is never answered with one (RFC 8210 §5.11).
        let complaint = (kind != Some(10)).then(|| pdu::complaint(self.version, &fault, &self.buffer));
        Lost { why: format!("{}: {}", fault.code, fault.what), complaint, then: Then::Wait }
    }

    fn refused(&self, refusal: Refusal, length: usize) -> Lost {
        match refusal {
            Refusal::Lost(lost) => lost,
            Refusal::Fault(fault, then) => {
                let about = self.buffer.get(..length).unwrap_or_default();
                let complaint = Some(pdu::complaint(self.version, &fault, about));
                Lost { why: format!("{}: {}", fault.code, fault.what), complaint, then }
            }
        }
    }

    fn on_pdu(&mut self, version: u8, pdu: Pdu, now: Instant) -> Result<Option<Load>, Refusal> {
        if !self.agreed && matches!(pdu, Pdu::SerialNotify { .. }) {
            // RFC 8210 §7: whatever its version.
            return Ok(None);
        }
        self.agree(version, &pdu)?;
        self.moved = now;
        match pdu {
            Pdu::SerialNotify { session, serial } => self.on_notify(session, serial, now)?,
            Pdu::CacheResponse { session } => self.on_response(session)?,
            Pdu::Prefix { announced, vrp } => self.on_prefix(announced, vrp)?,
            Pdu::RouterKey => drop(self.answering()?),
            Pdu::EndOfData { session, serial, intervals } => return self.on_end(session, serial, intervals, now).map(Some),
            Pdu::CacheReset => self.on_reset(now)?,
            Pdu::Error { code, text } => return Err(Refusal::Lost(self.complained(version, code, &text))),
        }
        Ok(None)
    }

    /// RFC 8210 §7.
    fn agree(&mut self, version: u8, pdu: &Pdu) -> Result<(), Refusal> {
        let complains = matches!(pdu, Pdu::Error { .. });
        if version == self.version {
            self.agreed |= !complains;
            return Ok(());
        }
        if complains {
            return Ok(());
        }
        if self.agreed {
            let what = format!("version {version}, and {} was agreed", self.version);
            return Err(Fault::new(Code::UNEXPECTED_VERSION, what).into());
        }
        if version > self.version {
            return Err(Fault::new(Code::UNSUPPORTED_VERSION, format!("version {version}, and {} was asked", self.version)).into());
        }
        // What sessions and serials mean depends on the version: only a question for everything means the same in both.
        if self.open.as_ref().is_some_and(|open| open.ask != Ask::Reset) {
            let why = "it speaks an older version of the protocol".to_owned();
            return Err(Refusal::Lost(Lost { why, complaint: None, then: Then::Older }));
        }
        (self.version, self.agreed) = (version, true);
        Ok(())
    }

    fn on_notify(&mut self, session: u16, serial: u32, now: Instant) -> Result<(), Refusal> {
        if self.open.is_some() {
            self.notified = Some((session, serial));
            return Ok(());
        }
        let Some((known, at)) = self.loaded else { return Ok(()) };
        if session != known {
            let what = "a Serial Notify of another session than its data";
            return Err(Refusal::Fault(Fault::new(Code::CORRUPT, what), Then::Forget));
        }
        if serial != at {
            let soon = now.max(self.asked + BETWEEN);
            self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
        }
        Ok(())
    }

    /// The question whose answer is being said.
    fn answering(&mut self) -> Result<&mut Open, Refusal> {
        let open = self.open.as_mut().filter(|open| open.session.is_some());
        open.ok_or_else(|| Fault::new(Code::CORRUPT, "data that was not asked for").into())
    }

    fn on_response(&mut self, session: u16) -> Result<(), Refusal> {
        let open = self.open.as_mut().filter(|open| open.session.is_none());
        let open = open.ok_or_else(|| Fault::new(Code::CORRUPT, "a Cache Response to nothing that was asked"))?;
        if matches!(open.ask, Ask::Serial { session: known, .. } if known != session) {
            let what = "a Cache Response of another session than was asked";
            return Err(Refusal::Fault(Fault::new(Code::CORRUPT, what), Then::Forget));
        }
        open.session = Some(session);
        Ok(())
    }

    fn on_prefix(&mut self, announced: bool, vrp: Vrp) -> Result<(), Refusal> {
        let most = self.most;
        let open = self.answering()?;
        if !announced && open.ask == Ask::Reset {
            return Err(Fault::new(Code::UNKNOWN, format!("{vrp} is withdrawn where everything is announced")).into());
        }
        if open.changes.len() >= most {
            return Err(Fault::new(Code::INTERNAL, format!("more than the {most} VRPs that `max_vrps` allows")).into());
        }
        open.changes.push((vrp, announced));
        Ok(())
    }

    fn on_end(&mut self, session: u16, serial: u32, intervals: Option<Intervals>, now: Instant) -> Result<Load, Refusal> {
        if self.answering()?.session != Some(session) {
            return Err(Refusal::Fault(Fault::new(Code::CORRUPT, "End of Data of another session than its Cache Response"), Then::Forget));
        }
        let Some(open) = self.open.take() else { return Err(Fault::new(Code::CORRUPT, "an end of nothing").into()) };
        let intervals = intervals.unwrap_or_default();
        self.loaded = Some((session, serial));
        self.next = Some(now + self.refresh.unwrap_or(intervals.refresh));
        if let Some((session, serial)) = self.notified.take() {
            self.on_notify(session, serial, now)?;
        }
        Ok(Load { whole: open.ask == Ask::Reset, changes: open.changes, session, serial, intervals })
    }

    /// RFC 8210 §8.3.
    fn on_reset(&mut self, now: Instant) -> Result<(), Refusal> {
        match &self.open {
            Some(Open { ask: Ask::Serial { .. }, session: None, .. }) => {
                self.ask(Ask::Reset, now);
                Ok(())
            }
            _ => Err(Fault::new(Code::CORRUPT, "a Cache Reset where no Serial Query was open").into()),
        }
    }

    /// Every Error Report ends the connection: of those that need not (No Data Available) the next attempt may find data.
    fn complained(&self, version: u8, code: Code, text: &str) -> Lost {
        let older = !self.agreed && self.version > OLDEST && (code == Code::UNSUPPORTED_VERSION || version < self.version);
        let why = match (code, text) {
            (Code::NO_DATA, _) => "it has no data yet (No Data Available)".to_owned(),
            (code, "") => format!("it complains: {code}"),
            (code, text) => format!("it complains: {code}: {text}"),
        };
        let then = match code {
            _ if older => Then::Older,
            // What it says of our question is that it does not know what we ask for.
            Code::INVALID_REQUEST | Code::CORRUPT => Then::Forget,
            _ => Then::Wait,
        };
        Lost { why, complaint: None, then }
    }
}
