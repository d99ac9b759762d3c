//! Octets to messages and back: the codec of BGP-4.
//!
//! In: one whole message at a time, cut by [`frame_len`], and the [`Context`] that both sides agreed to. Out: a [`Message`] whose values are legal because
//! they exist, or a [`DecodeError`] that says how bad it is (RFC 7606) and what the peer is to be told (RFC 4271 §6); and messages as octets again.
//!
//! An UPDATE is walked once. NLRI are found by the total attribute length before any attribute is looked at, so that a malformed attribute costs the routes
//! it speaks of and no more. Attributes become one immutable [`PathAttributes`] in canonical octets; a block that repeats costs a comparison.
//!
//! Left to others: sockets and buffers (the shell), what two OPENs have in common (`peer`), interning (`rib::attrs`), what may be announced to whom (`policy`, `rib`).
//!
//! RFC 4271 §4 and §6, 1997, 2545, 2918, 4360, 4456, 4486, 4760, 5492, 6286, 6608, 6793, 7313, 7606, 7607, 7911, 8092, 8538, 8654, 8950, 9003, 9072, 9384, 9687.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::unreachable
    )
)]

use std::fmt;

use bytes::{Bytes, BytesMut};

pub mod attr;
mod capability;
mod context;
mod error;
mod header;
mod nlri;
mod notification;
mod open;
pub(crate) mod read;
mod refresh;
mod update;

pub use attr::{
    Aggregator, AsPath, AttrCode, Community, Editor, ExtendedCommunity, LargeCommunity, NextHop, Origin, PathAttributes, RawAttribute,
    Segment, SegmentKind, UnknownAttribute,
};
pub use capability::{AddPathMode, Capability, GracefulRestart, LongLivedFamily};
pub use context::Context;
pub use error::{AttributeError, DecodeError, Fault, NlriField, Severity};
pub use header::{HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, frame_len};
pub use nlri::{NlriIter, NlriSet};
pub use notification::{CeaseSubcode, FsmSubcode, MAX_SHUTDOWN_TEXT, Notification};
pub use open::Open;
pub use refresh::{RefreshSubtype, RouteRefresh};
pub use update::{Announced, Decoder, Malformed, Unread, Update, encode_end_of_rib, encode_reach, encode_unreach, unread};

/// Octets in hexadecimal digits; what is beyond 4,096 is counted only, as a line of a log must end.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at_checked(usize::from(MAX_LEN)).unwrap_or((self.0, &[]));
        shown.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        if rest.is_empty() { Ok(()) } else { write!(f, "... and {} octets", rest.len()) }
    }
}

/// Messages of one connection in the order of their octets; after `error` it reads no more.
#[derive(Debug, Default)]
pub struct Batch {
    /// As they arrived, with those that `error` is about: in the same [`Context`] a reader makes the same of them.
    pub octets: Bytes,
    /// All of them were decoded under one context.
    pub messages: Vec<Message>,
    /// What stands behind them and cannot be read.
    pub error: Option<DecodeError>,
}

/// Messages that nobody sent.
impl From<Vec<Message>> for Batch {
    fn from(messages: Vec<Message>) -> Batch {
        Batch { messages, ..Batch::default() }
    }
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Begins a session (RFC 4271 §4.2).
    Open(Box<Open>),
    /// Routes announced and withdrawn (RFC 4271 §4.3).
    Update(Update),
    /// Ends a session (RFC 4271 §4.5).
    Notification(Notification),
    /// Says that the sender lives (RFC 4271 §4.4).
    KeepAlive,
    /// Asks for routes again, or frames them (RFC 2918, RFC 7313).
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// The UPDATE, if it is one.
    pub fn as_update(&self) -> Option<&Update> {
        if let Message::Update(update) = self { Some(update) } else { None }
    }

    /// The type octet of the header.
    pub fn kind(&self) -> u8 {
        match self {
            Message::Open(_) => header::OPEN,
            Message::Update(_) => header::UPDATE,
            Message::Notification(_) => header::NOTIFICATION,
            Message::KeepAlive => header::KEEPALIVE,
            Message::RouteRefresh(_) => header::ROUTE_REFRESH,
        }
    }

    /// The name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Open(_) => "OPEN",
            Message::Update(_) => "UPDATE",
            Message::Notification(_) => "NOTIFICATION",
            Message::KeepAlive => "KEEPALIVE",
            Message::RouteRefresh(_) => "ROUTE-REFRESH",
        }
    }

    /// Appends the octets. An UPDATE becomes as many messages as it needs (see [`Update::encode`]), all others exactly one.
    pub fn encode(&self, ctx: &Context, out: &mut BytesMut) {
        match self {
            Message::Open(open) => header::write_message(header::OPEN, out, |out| open.encode_body(out)),
            Message::Update(update) => {
                update.encode(ctx, out);
            }
            Message::Notification(n) => header::write_message(header::NOTIFICATION, out, |out| n.encode_body(out)),
            Message::KeepAlive => header::write_message(header::KEEPALIVE, out, |_| {}),
            Message::RouteRefresh(refresh) => header::write_message(header::ROUTE_REFRESH, out, |out| refresh.encode_body(out)),
        }
    }

    /// The octets alone.
    pub fn to_bytes(&self, ctx: &Context) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(ctx, &mut out);
        out.freeze()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Message::Open(open) => write!(f, " {open}"),
            Message::Update(update) => write!(f, " {update}"),
            Message::Notification(notification) => write!(f, " {notification}"),
            Message::KeepAlive => Ok(()),
            Message::RouteRefresh(refresh) => write!(f, " {refresh}"),
        }
    }
}
