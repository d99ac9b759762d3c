//! The two doors of the router: what comes in, and what it asks for.
//!
//! In: nothing; this is data. Out: [`Input`], which the shell or a lab hands to `Speaker::handle`, and [`Effect`], which `Speaker::poll` yields.
//! Everything about a connection names it, so that a late event of one that is gone is recognised and dropped.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::params::{BlockSource, Params};
use super::remembered::Remembered;
use crate::api::{Answer, Command, Question};
use crate::fib::overlay::DesiredDevices;
use crate::fib::{Errno, FibChange};
use crate::kernel::KernelEvent;
use crate::ndp::Sign;
use crate::num::{ConnId, PeerId};
use crate::peer::{DialError, Direction, Transport};
use crate::stats::{Md5Refused, Notice};
use crate::wire::{Batch, Context};
use crate::{bfd, bmp, rpki};

/// Something happened outside.
#[derive(Debug)]
pub enum Input {
    /// What one read brought.
    Received {
        /// Where they were read.
        conn: ConnId,
        /// One message at least, unless there is an error.
        batch: Batch,
    },
    /// A dialled connection is there, or somebody connected to us.
    Connected {
        /// Its number from here on: that of the dial, or from `ConnId::FIRST_ACCEPTED` on.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// Who opened it.
        direction: Direction,
    },
    /// An attempt that `Effect::Dial` asked for came to nothing.
    DialFailed {
        /// Of the attempt.
        conn: ConnId,
        /// How it ended.
        error: DialError,
    },
    /// The connection is gone, in order (`None`) or not.
    Closed {
        /// Which.
        conn: ConnId,
        /// The system's.
        error: Option<String>,
    },
    /// The kernel took so many octets of what we sent on this connection.
    Writable {
        /// Which.
        conn: ConnId,
        /// Octets, counted since the last time.
        written: usize,
    },
    /// The kernel answered a change.
    FibDone {
        /// That of `Effect::Fib`.
        seq: u64,
        /// `Err`: the kernel refused, or nobody knows what became of it; making the same change again does no harm.
        result: Result<(), Errno>,
    },
    /// A link, an address or a route of the kernel, or a mark of a dump.
    Kernel(KernelEvent),
    /// What the kernel has dropped so far for its TCP-MD5 signature.
    Md5Refused(Md5Refused),
    /// A BFD session stands otherwise than before.
    Bfd(bfd::Status),
    /// How the connection with a monitoring station stands.
    Bmp(bmp::Report),
    /// Other VRPs, or an RPKI cache that stands otherwise.
    Rpki(Box<rpki::Report>),
    /// Somebody was noticed on the link of a peer that is configured by its interface.
    Neighbour {
        /// The link's name.
        interface: String,
        /// Whose address it is.
        addr: Ipv6Addr,
        /// How it was noticed.
        sign: Sign,
    },
    /// The node's blocks of one source, whole; what that source said before is replaced.
    Blocks {
        /// Who names them.
        source: BlockSource,
        /// All of them, without host bits.
        blocks: Vec<IpNet>,
    },
    /// Take over these parameters. `Effect::Answer` says what that changed.
    Reload {
        /// Of the answer.
        id: u64,
        /// Whole.
        params: Box<Params>,
    },
    /// What would it change? Answered alike, and nothing is taken over.
    Plan {
        /// Of the answer.
        id: u64,
        /// Whole.
        params: Box<Params>,
    },
    /// An operator's question; `Effect::Answer` follows at once.
    Query {
        /// Of the answer.
        id: u64,
        /// What is asked.
        question: Question,
    },
    /// An operator's command; `Effect::Answer` follows at once, but for a drain that is waited for.
    Command {
        /// Of the answer.
        id: u64,
        /// What is to be done.
        command: Command,
    },
    /// End; `Effect::Stopped` follows when that is done.
    Stop(StopMode),
}

/// Something is to be done outside.
#[derive(Debug)]
pub enum Effect {
    /// Connect; `Input::Connected` or `Input::DialFailed` is to follow with this number.
    Dial {
        /// For the connection.
        conn: ConnId,
        /// Whither and how.
        transport: Transport,
    },
    /// The reader, which paused after the OPEN, goes on and decodes this way.
    Context {
        /// Which.
        conn: ConnId,
        /// What was negotiated.
        context: Context,
    },
    /// Write these after what was written before; `Input::Writable` is to say when the kernel has taken them.
    Send {
        /// Which.
        conn: ConnId,
        /// Whole messages.
        frames: Frames,
    },
    /// Write what is queued, then close. The core has forgotten the connection.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Change the kernel's table; `Input::FibDone` is to follow with this number.
    Fib {
        /// Counts up by one.
        seq: u64,
        /// What is to be changed.
        change: FibChange,
    },
    /// A BFD session is wanted, or wanted otherwise; `None`: no longer. How it stands comes back as `Input::Bfd`.
    Bfd {
        /// Whose.
        peer: PeerId,
        /// As it is to be.
        session: Option<Arc<bfd::SessionParams>>,
    },
    /// Of monitoring stations. How their connections stand comes back as `Input::Bmp`.
    Bmp(bmp::Order),
    /// There should be connections with these RPKI caches and no others. What they say comes back as `Input::Rpki`.
    Rpki(Vec<rpki::CacheParams>),
    /// A peer that is configured by its interface has this neighbour now: its key, if it has one, is to be that of this address.
    Neighbour {
        /// The link's name.
        interface: String,
        /// Link-local.
        addr: Ipv6Addr,
    },
    /// No BFD session is wanted any more: neighbours are to be told so before connections close.
    EndBfd,
    /// The tunnel devices that there should be, whole. What stands of them comes back as `KernelEvent::Tunnel`.
    Overlay(Box<DesiredDevices>),
    /// Write this down: the next start is to know it (`Speaker::recall`).
    Remember(Box<Remembered>),
    /// Links, addresses and routes of the kernel are to be reported again from the beginning.
    ReadKernel,
    /// To a query, a command, a plan or a reload.
    Answer {
        /// That of the input.
        id: u64,
        /// Of the kind that belongs to it.
        answer: Answer,
    },
    /// Something worth a line in the log.
    Notice(Notice),
    /// All that `Input::Stop` asked for is done.
    Stopped,
}

/// Octets for one connection, to be written in this order.
pub type Frames = SmallVec<[Bytes; 4]>;

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// As `stop.on_term` has it.
    Configured,
    /// Kernel routes stay, whatever is configured.
    Keep,
    /// Everything is withdrawn, whatever is configured.
    Withdraw,
}

/// Effects in the order in which they are to be performed.
#[derive(Debug, Default)]
pub(super) struct Effects(VecDeque<Effect>);

impl Effects {
    /// Behind the others.
    pub fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    /// As [`Effects::push`], of a notice.
    pub fn notice(&mut self, notice: Notice) {
        self.push(Effect::Notice(notice));
    }

    /// As [`Effects::push`], of an answer.
    pub fn answer(&mut self, id: u64, answer: Answer) {
        self.push(Effect::Answer { id, answer });
    }

    /// The next to be performed.
    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }
}
