//! The two doors of the router: what it is told, and what it asks for.
//!
//! In: nothing; this is data. Out: [`Input`], which the shell or a lab hands to `Speaker::handle`, and [`Effect`], which `Speaker::poll` yields.
//! Everything about a connection names it, so that a late word about one that is gone is recognised and dropped.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::params::Params;
use crate::api::{Answer, Command, Question};
use crate::fib::overlay::DesiredDevices;
use crate::fib::{Errno, FibChange};
use crate::kernel::KernelEvent;
use crate::num::ConnId;
use crate::peer::{DialError, Direction, Transport};
use crate::stats::{Md5Refused, Notice};
use crate::wire::{Batch, Context};

/// Something happened outside.
#[derive(Debug)]
pub enum Input {
    /// What one read brought.
    Received {
        conn: ConnId,
        batch: Batch,
    },
    /// A dialled connection is there, or somebody connected to us.
    Connected {
        conn: ConnId,
        local: SocketAddr,
        remote: SocketAddr,
        direction: Direction,
    },
    DialFailed {
        conn: ConnId,
        error: DialError,
    },
    /// The connection is gone, in order (`None`) or not.
    Closed {
        conn: ConnId,
        error: Option<String>,
    },
    /// The kernel took so many octets of what we sent on this connection.
    Writable {
        conn: ConnId,
        written: usize,
    },
    FibDone {
        seq: u64,
        result: Result<(), Errno>,
    },
    Kernel(KernelEvent),
    /// What the kernel has dropped so far for its TCP-MD5 signature.
    Md5Refused(Md5Refused),
    /// The node's blocks of one source, whole; what that source said before is replaced.
    Blocks {
        source: BlockSource,
        blocks: Vec<IpNet>,
    },
    /// Take over these parameters. `Effect::Answer` says what that changed.
    Reload {
        id: u64,
        params: Box<Params>,
    },
    /// What would it change? Answered alike, and nothing is taken over.
    Plan {
        id: u64,
        params: Box<Params>,
    },
    Query {
        id: u64,
        question: Question,
    },
    Command {
        id: u64,
        command: Command,
    },
    Stop(StopMode),
}

/// Something is to be done outside.
#[derive(Debug)]
pub enum Effect {
    Dial {
        conn: ConnId,
        transport: Transport,
    },
    /// The reader, which paused after the OPEN, goes on and decodes this way.
    Context {
        conn: ConnId,
        context: Context,
    },
    Send {
        conn: ConnId,
        frames: Frames,
    },
    /// Write what is queued, then close. The core has forgotten the connection.
    Close {
        conn: ConnId,
    },
    Fib {
        seq: u64,
        change: FibChange,
    },
    /// The tunnel devices that there should be, whole. What stands of them comes back as `KernelEvent::Tunnel`.
    Overlay(Box<DesiredDevices>),
    /// Links, addresses and routes of the kernel are to be told again from the beginning.
    ReadKernel,
    Answer {
        id: u64,
        answer: Answer,
    },
    Notice(Notice),
    /// All that `Input::Stop` asked for is done.
    Stopped,
}

/// Octets for one connection, to be written in this order.
pub type Frames = SmallVec<[Bytes; 4]>;

/// Who named a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockSource {
    Config,
    File,
    Command,
    /// The configuration, of a block that another program holds in the kernel.
    Held,
    Kernel,
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// As `stop.on_term` has it.
    Configured,
    Keep,
    Withdraw,
}

/// Effects in the order in which they are to be performed.
#[derive(Debug, Default)]
pub(super) struct Effects(VecDeque<Effect>);

impl Effects {
    pub fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    pub fn notice(&mut self, notice: Notice) {
        self.push(Effect::Notice(notice));
    }

    pub fn answer(&mut self, id: u64, answer: Answer) {
        self.push(Effect::Answer { id, answer });
    }

    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }
}
