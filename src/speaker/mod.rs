//! The router: a value that owns every peer and every table, is told what happened and when, and answers with effects.
//!
//! In: `Input`s with the time, from the shell or from a lab. Out: `Effect`s, polled after each round, and the next deadline. Between them:
//! peers' state machines decide about sessions, `import` turns UPDATEs into route changes, the RIB selects, `program` tells the FIB
//! planner and `export` the groups. It leaves sockets, netlink, files and clocks to whoever calls it, so a thousand routers in virtual
//! time run the same code as one on a node.
//!
//! The caller's part: hand in what has arrived (`handle`), call `settle` when the queue is empty or after a bounded number of inputs,
//! perform what `poll` yields, sleep until `next_deadline`, and call `settle` again.
//!
//! # Invariants
//! Every input and output about a connection names it; words about a connection that is not (or no longer) known are dropped.

mod ask;
mod drain;
mod export;
mod import;
mod learn;
mod md5;
mod metrics;
mod order;
mod overlay;
mod params;
mod peers;
mod program;
mod reload;
mod restart;
pub mod show;
mod slots;
mod words;

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::fib::overlay::Wanted;
use crate::fib::{Errno, Fib, FibChange};
use crate::kernel::KernelEvent;
use crate::num::{ConnId, Instant};
use crate::peer::{DialError, Direction, Transport};
use crate::rib::group::{Bounds, ExportGroups};
use crate::rib::nexthop::NexthopTable;
use crate::rib::{BestChange, Rib};
use crate::stats::{Md5Refused, Notice};
use crate::wire::{Context, DecodeError, Message};

pub use learn::{LearnRule, Learning, Shape};
pub use params::{
    Burden, ListenRange, MaxPrefix, MaxPrefixAction, NextHopSetting, NodeAddresses, OnTerm, Params, PeerConfig, RecoveryParams, StopParams,
};
use peers::Peers;
use show::{Answer, Command, Question};

/// Octets that the core has in flight to one connection at most, before it waits for `Input::Writable`. Beyond it, what is to be said
/// stays a set of prefixes.
pub const SEND_CREDIT: usize = 256 * 1024;

/// Prefixes that one `settle` selects at most; the caller comes back while there are more.
const SETTLE_BUDGET: usize = 4096;

/// Something happened outside.
#[derive(Debug)]
pub enum Input {
    /// Messages of one read, in order; after `error` the connection reads no more.
    Received {
        conn: ConnId,
        messages: Vec<Message>,
        error: Option<DecodeError>,
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
    Reload(Box<Params>),
    Ask {
        id: u64,
        question: Question,
    },
    Order {
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
    Overlay(Box<Wanted>),
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

/// A BGP-4 router (RFC 4271).
pub struct Speaker {
    params: Box<Params>,
    started: Instant,
    peers: Peers,
    rib: Rib,
    nexthops: NexthopTable,
    groups: ExportGroups,
    fib: Fib,
    blocks: program::Blocks,
    recovery: restart::Recovery,
    drain: drain::Drain,
    stopping: Option<OnTerm>,
    stopped: bool,
    effects: VecDeque<Effect>,
    /// Repairs of kernel routes that were told of.
    repaired_said: u64,
    /// Scratch of `settle`.
    changes: Vec<BestChange>,
    counters: metrics::Meters,
    tunnels: overlay::Tunnels,
    learner: learn::Learner,
    md5: md5::Md5Watch,
}

impl Speaker {
    /// A router that has just started; its peers dial as soon as `settle` is called.
    pub fn new(params: Params, now: Instant, seed: u64) -> Speaker {
        let mut speaker = Speaker {
            started: now,
            peers: Peers::new(seed),
            rib: Rib::new(params.rules.clone(), seed),
            nexthops: NexthopTable::new(params.nexthops()),
            groups: ExportGroups::new(Bounds::default()),
            fib: Fib::new(params.fib.clone()),
            blocks: program::Blocks::default(),
            recovery: restart::Recovery::new(now, &params.recovery),
            drain: drain::Drain::default(),
            stopping: None,
            stopped: false,
            effects: VecDeque::new(),
            repaired_said: 0,
            changes: Vec::new(),
            counters: metrics::Meters::default(),
            tunnels: overlay::Tunnels::default(),
            learner: learn::Learner::default(),
            md5: md5::Md5Watch::default(),
            params: Box::new(params),
        };
        speaker.start(now);
        speaker
    }

    fn start(&mut self, now: Instant) {
        self.rib.peer_up(self.local_facts());
        self.groups.defer_end_of_rib(true);
        self.set_blocks(BlockSource::Config, &self.params.blocks.clone());
        for config in self.params.peers.clone() {
            self.add_peer(config, now);
        }
        self.tell_tunnels();
    }

    /// Takes in what happened. Cheap; selection and announcements wait for `settle`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.rib.set_now(now);
        match input {
            Input::Received { conn, messages, error } => self.on_received(conn, messages, error, now),
            Input::Connected { conn, local, remote, direction } => self.on_connected(conn, local, remote, direction, now),
            Input::DialFailed { conn, error } => self.on_dial_failed(conn, error, now),
            Input::Closed { conn, error } => self.on_closed(conn, error, now),
            Input::Writable { conn, written } => self.on_writable(conn, written, now),
            Input::FibDone { seq, result } => self.on_fib_done(seq, result, now),
            Input::Kernel(event) => self.on_kernel(&event, now),
            Input::Md5Refused(totals) => self.md5.look(totals, now),
            Input::Blocks { source, blocks } => self.set_blocks(source, &blocks),
            Input::Reload(params) => self.reload(params, now),
            Input::Ask { id, question } => {
                let answer = self.answer(&question, now);
                self.effects.push_back(Effect::Answer { id, answer });
            }
            Input::Order { id, command } => {
                let answer = self.obey(command, now);
                self.effects.push_back(Effect::Answer { id, answer });
            }
            Input::Stop(mode) => self.stop(mode, now),
        }
    }

    /// Runs due timers, selects, announces and plans. `true` means that there is more to do and it wants to be called again at once.
    pub fn settle(&mut self, now: Instant) -> bool {
        self.rib.set_now(now);
        self.watch_unsent(now);
        self.run_timers(now);
        self.use_room();
        self.track_nexthops();
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        let more = self.rib.settle(SETTLE_BUDGET, &mut self.nexthops, &mut changes);
        self.want_tunnels();
        self.program(&changes);
        self.carry_fresh();
        self.run_recovery(now);
        self.groups.advertise(&self.rib, &changes);
        self.changes = changes;
        self.pump(now);
        self.drain_fib(now);
        self.finish_stop();
        more || self.nexthops.has_changed()
    }

    /// The next effect, in the order in which they are to be performed.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When `settle` must be called at the latest. `None`: not before the next input.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = [self.peers.next_deadline(), self.fib.next_deadline(), self.recovery.next_deadline(), self.drain.next_deadline()];
        own.into_iter().flatten().min()
    }

    /// Whether `settle` has something to do although no input came and no deadline passed.
    pub fn wants_settle(&self) -> bool {
        self.rib.is_dirty() || self.groups.has_ready() || self.peers.has_unwatched()
    }

    /// What this router is configured with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Panics where two rooms disagree; the lab calls it after each step.
    pub fn check_invariants(&self) {
        self.rib.check_invariants();
        self.fib.check_invariants();
        self.nexthops.check_invariants();
        self.peers.check_invariants();
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some(id) = self.peers.take_due(now) {
            self.on_peer_deadline(id, now);
        }
        if self.fib.next_deadline().is_some_and(|at| at <= now) {
            self.fib.on_deadline(now);
        }
        self.run_drain(now);
    }

    fn local_facts(&self) -> crate::rib::SourceFacts {
        peers::local_facts(&self.params)
    }
}
