//! What was received, sent and dropped, by reason: for operators, and so that nothing that a stranger sends is worth a line in the log.

use serde::Serialize;

/// Why a packet was dropped. In the order in which it is looked at (RFC 5880 §6.8.6, RFC 5881 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drop {
    /// It came over a router, or over more of them than allowed (RFC 5881 §5, RFC 5082).
    Ttl,
    /// Another version than 1.
    Version,
    /// Too short, or shorter than it says.
    Length,
    /// Detect Mult is zero.
    Multiplier,
    /// The M bit is set.
    Multipoint,
    /// My Discriminator is zero.
    MyDiscriminator,
    /// Your Discriminator is zero in a state in which it is known.
    YourDiscriminator,
    /// Your Discriminator is of no session.
    UnknownDiscriminator,
    /// There is a session of that number, with somebody else, or on the other port.
    WrongSource,
    /// Your Discriminator is zero, and no session is wanted with the sender.
    UnknownSource,
    /// It is authenticated, and the session is not.
    AuthUnexpected,
    /// The session is authenticated, and it is not.
    AuthMissing,
    /// Another type of authentication, or a section of the wrong length.
    AuthType,
    /// Another key.
    AuthKey,
    /// The digest is wrong.
    AuthDigest,
    /// The sequence number was used before, or leaps.
    AuthSequence,
    /// The session is administratively down here.
    AdminDown,
    /// Rubbish that came faster than it is read.
    Unread,
}

impl Drop {
    /// All of them.
    pub const ALL: [Drop; 18] = [
        Drop::Ttl,
        Drop::Version,
        Drop::Length,
        Drop::Multiplier,
        Drop::Multipoint,
        Drop::MyDiscriminator,
        Drop::YourDiscriminator,
        Drop::UnknownDiscriminator,
        Drop::WrongSource,
        Drop::UnknownSource,
        Drop::AuthUnexpected,
        Drop::AuthMissing,
        Drop::AuthType,
        Drop::AuthKey,
        Drop::AuthDigest,
        Drop::AuthSequence,
        Drop::AdminDown,
        Drop::Unread,
    ];

    /// As in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Drop::Ttl => "ttl",
            Drop::Version => "version",
            Drop::Length => "length",
            Drop::Multiplier => "multiplier",
            Drop::Multipoint => "multipoint",
            Drop::MyDiscriminator => "my_discriminator",
            Drop::YourDiscriminator => "your_discriminator",
            Drop::UnknownDiscriminator => "unknown_discriminator",
            Drop::WrongSource => "wrong_source",
            Drop::UnknownSource => "unknown_source",
            Drop::AuthUnexpected => "auth_unexpected",
            Drop::AuthMissing => "auth_missing",
            Drop::AuthType => "auth_type",
            Drop::AuthKey => "auth_key",
            Drop::AuthDigest => "auth_digest",
            Drop::AuthSequence => "auth_sequence",
            Drop::AdminDown => "admin_down",
            Drop::Unread => "unread",
        }
    }

    /// The explanation behind a name; of one that is not known, the name.
    pub fn explain(name: &str) -> &str {
        match Drop::ALL.into_iter().find(|why| why.name() == name) {
            Some(why) => why.explanation(),
            None => name,
        }
    }

    /// In words, for a person who wonders why a session stays down.
    pub fn explanation(self) -> &'static str {
        match self {
            Drop::Ttl => "came over too many routers (TTL)",
            Drop::Version => "another version than 1",
            Drop::Length => "a length that cannot be",
            Drop::Multiplier => "a multiplier of zero",
            Drop::Multipoint => "the multipoint bit is set",
            Drop::MyDiscriminator => "without a discriminator of the sender",
            Drop::YourDiscriminator => "without our discriminator in a state in which the sender knows it",
            Drop::UnknownDiscriminator => "for a session that does not exist",
            Drop::WrongSource => "for a session with somebody else",
            Drop::UnknownSource => "from an address that no session is wanted with",
            Drop::AuthUnexpected => "authenticated, and no key is configured here",
            Drop::AuthMissing => "not authenticated, and a key is configured here",
            Drop::AuthType => "another type of authentication",
            Drop::AuthKey => "another key number",
            Drop::AuthDigest => "a wrong digest: the keys differ",
            Drop::AuthSequence => "a sequence number that was used before, or leaps",
            Drop::AdminDown => "the session is administratively down here",
            Drop::Unread => "of no session, faster than such are read",
        }
    }
}

/// Since the start; of all sessions together, or of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken in.
    pub received: u64,
    /// Packets handed out.
    pub sent: u64,
    /// By [`Drop`].
    dropped: [u64; Drop::ALL.len()],
}

impl Counters {
    /// One more.
    pub fn drop(&mut self, why: Drop) {
        self.drop_some(why, 1);
    }

    /// So many more.
    pub fn drop_some(&mut self, why: Drop, more: u64) {
        if let Some(count) = self.dropped.get_mut(why as usize) {
            *count = count.saturating_add(more);
        }
    }

    /// How many for this reason.
    pub fn dropped(&self, why: Drop) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or(0)
    }

    /// For any reason.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
