//! What a machine does in one cycle: takes in, settles, carries out.
//!
//! In: what waits for its program, up to about a millisecond's work. Out: octets, kernel routes, and how long its processor was busy.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::books::Way;
use super::machine::Arrival;
use super::pieces::Piece;
use super::thin::{self, Changes, Thin};
use super::world::{Simulation, What};
use crate::fib::{FibChange, FibKind};
use crate::num::{ConnId, Instant};
use crate::speaker::{Effect, Input, Speaker};
use crate::stats::Notice;
use crate::wire::{Batch, Context, Message};

/// A cycle takes in no more than is worth so much of the processor's time; the daemon's does the same.
const CYCLE: Duration = Duration::from_millis(1);

/// From a change of the kernel's table to its answer.
const KERNEL: Duration = Duration::from_micros(50);

/// From the wish for tunnels until they stand.
const TUNNELS: Duration = Duration::from_millis(100);

/// How often the octets of one cycle lead to more of them at most.
const ROUNDS: usize = 64;

/// A machine's cycle.
impl Simulation {
    /// Something for a program; it wakes up.
    pub(super) fn tell(&mut self, n: usize, input: Input) {
        if self.nodes[n].speaker.is_some() {
            self.nodes[n].inbox.push_back(Arrival::Input(input));
            self.wake(n, self.now);
        }
    }

    pub(super) fn wake(&mut self, n: usize, at: Instant) {
        let at = at.max(self.nodes[n].busy_until);
        if self.nodes[n].due.is_none_or(|due| at < due) {
            self.nodes[n].due = Some(at);
            self.schedule(at, What::Cycle { node: n });
        }
    }

    pub(super) fn cycle(&mut self, n: usize) {
        if self.nodes[n].speaker.is_none() {
            return;
        }
        if self.now < self.nodes[n].busy_until {
            return self.wake(n, self.now);
        }
        let is_due = self.nodes[n].timer.take_if(|at| *at <= self.now).is_some();
        let (mut spent, mut asked) = (Duration::ZERO, is_due || self.nodes[n].inbox.is_empty());
        while spent < CYCLE
            && let Some(arrival) = self.nodes[n].inbox.pop_front()
        {
            match arrival {
                Arrival::Input(input) => {
                    self.hand_in(n, input);
                    asked = true;
                }
                Arrival::Octets { conn, frames } => {
                    // A wake-up for a timer, or for the kernel's answer, costs next to nothing.
                    spent += if spent.is_zero() { self.options.costs.cycle } else { Duration::ZERO };
                    let (cost, told) = self.read(n, conn, frames);
                    spent += cost;
                    asked |= told;
                }
            }
        }
        if asked {
            spent = self.settle(n, spent);
        }
        let node = &mut self.nodes[n];
        node.busy += spent;
        node.busy_until = self.now + spent;
        if asked {
            self.arm(n);
            return;
        }
        let at = if self.nodes[n].inbox.is_empty() { self.nodes[n].timer } else { Some(self.now) };
        at.into_iter().for_each(|at| self.wake(n, at));
    }

    /// The program chooses, announces and plans, and what it wants is done. What it has cost so far.
    fn settle(&mut self, n: usize, mut spent: Duration) -> Duration {
        let now = self.now;
        self.catch_up(n);
        for _ in 0..ROUNDS {
            let Some(speaker) = self.nodes[n].speaker.as_deref_mut() else { return spent };
            while speaker.settle(now) {}
            spent += self.perform_all(n, now + spent);
            let taken = std::mem::take(&mut self.nodes[n].taken);
            if taken.is_empty() {
                break;
            }
            for (conn, written) in taken {
                self.hand_in(n, Input::Writable { conn, written });
            }
        }
        spent
    }

    fn hand_in(&mut self, n: usize, input: Input) {
        self.catch_up(n);
        if let Some(speaker) = self.nodes[n].speaker.as_deref_mut() {
            speaker.handle(self.now, input);
        }
    }

    /// A thin node's program hears now of UPDATEs that came since it heard of anything: as of when they came.
    fn catch_up(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.heard.is_empty() {
            return;
        }
        node.heard.sort_by_key(|(_, at)| *at);
        let Some(speaker) = node.speaker.as_deref_mut() else { return node.heard.clear() };
        for (conn, at) in node.heard.drain(..) {
            speaker.handle(at, Input::Received { conn, batch: Batch::from(vec![thin::heartbeat()]) });
        }
    }

    pub(super) fn arm(&mut self, n: usize) {
        let Some(speaker) = self.nodes[n].speaker.as_deref() else { return };
        let now = !self.nodes[n].taken.is_empty() || speaker.wants_settle();
        let at = if now { Some(self.now) } else { speaker.next_deadline().map(|at| at.max(self.now)) };
        self.nodes[n].timer = at;
        let at = if self.nodes[n].inbox.is_empty() { at } else { Some(self.now) };
        at.into_iter().for_each(|at| self.wake(n, at));
    }

    /// Octets for a program. What that costs its processor, and whether the program is told anything.
    fn read(&mut self, n: usize, conn: ConnId, frames: Vec<Bytes>) -> (Duration, bool) {
        let Some(open) = self.nodes[n].conns.get(&conn) else { return (Duration::ZERO, false) };
        let (link, side, remote) = (open.link, open.side, open.remote);
        self.give_room(link, side, frames.iter().map(Bytes::len).sum());
        let (mut spent, mut told) = (Duration::ZERO, frames.is_empty());
        for frame in frames {
            let Some(open) = self.nodes[n].conns.get_mut(&conn) else { break };
            let context = open.context.as_ref().filter(|_| !self.whole[n] && open.driver.unfinished().is_none());
            if let Some(piece) = context.and_then(|context| self.pieces.get(&frame, context, &self.books)) {
                let (cost, asked) = self.take_piece(n, (conn, remote), &piece);
                spent += cost;
                told |= asked;
            } else {
                open.driver.push(&frame);
                told = true;
                spent += self.decode(n, (conn, remote));
            }
        }
        (if told { spent + self.decode(n, (conn, remote)) } else { spent }, told)
    }

    /// The window opens by what was read.
    fn give_room(&mut self, link: usize, side: usize, octets: usize) {
        let Some(way) = self.links[link].as_mut().map(|link| &mut link.ways[1 - side]) else { return };
        way.unread = way.unread.saturating_sub(octets);
        if !way.outbox.is_empty() {
            self.flush(link, 1 - side, self.now);
            let sender = self.links[link].as_ref().map(|link| link.ends[1 - side]);
            sender.filter(|end| self.is_alive(*end)).into_iter().for_each(|end| self.wake(end.node, self.now));
        }
    }

    fn decode(&mut self, n: usize, (conn, remote): (ConnId, IpAddr)) -> Duration {
        let mut spent = Duration::ZERO;
        while let Some(batch) = self.nodes[n].conns.get_mut(&conn).and_then(|conn| conn.driver.next_batch()) {
            spent += self.take_in(n, (conn, remote), batch);
        }
        spent
    }

    /// Octets that other thin nodes have been sent, too, and that hold routes alone.
    fn take_piece(&mut self, n: usize, (conn, remote): (ConnId, IpAddr), piece: &Piece) -> (Duration, bool) {
        let received = &mut self.nodes[n].received;
        received.octets += piece.octets();
        received.messages += u64::from(piece.messages);
        received.updates += u64::from(piece.messages);
        let mut changes = Changes::new();
        let (thin, _, origin) = self.books.split(n);
        let marker = thin.and_then(|thin| thin.take(remote, piece, |block| origin[block as usize] as usize != n, &mut changes));
        self.books.thin_changed(n, &changes, &self.net);
        let told = marker.is_some();
        if let Some(marker) = marker {
            self.hand_in(n, Input::Received { conn, batch: Batch::from(vec![marker]) });
        }
        let now = self.now;
        match self.nodes[n].heard.iter_mut().find(|(known, _)| *known == conn) {
            Some((_, at)) => *at = now,
            None => self.nodes[n].heard.push((conn, now)),
        }
        (self.cost(piece.messages, piece.prefixes), told)
    }

    fn cost(&self, messages: u32, prefixes: u32) -> Duration {
        self.options.costs.message * messages + self.options.costs.prefix * prefixes
    }

    fn take_in(&mut self, n: usize, (conn, remote): (ConnId, IpAddr), batch: Batch) -> Duration {
        let received = &mut self.nodes[n].received;
        received.octets += batch.octets.len() as u64;
        received.messages += batch.messages.len() as u64;
        let (mut count, mut prefixes) = (0, 0);
        for update in batch.messages.iter().filter_map(Message::as_update) {
            count += 1;
            prefixes += thin::prefixes_of(update);
        }
        received.updates += count;
        let spent = self.cost(batch.messages.len() as u32, prefixes);
        let batch = if self.whole[n] { batch } else { self.divert(n, remote, batch) };
        self.hand_in(n, Input::Received { conn, batch });
        spent
    }

    fn divert(&mut self, n: usize, remote: IpAddr, batch: Batch) -> Batch {
        let mut changes = Changes::new();
        let (thin, index, origin) = self.books.split(n);
        let Some(thin) = thin else { return batch };
        let find = |nlri: &crate::num::Nlri| {
            let block = *index.get(&nlri.net)? as usize;
            Some(block).filter(|block| origin[*block] as usize != n)
        };
        let messages = thin.divert(remote, batch.messages, find, &mut changes);
        self.books.thin_changed(n, &changes, &self.net);
        Batch { messages, ..batch }
    }

    pub(super) fn thin(&mut self, n: usize, change: impl FnOnce(&mut Thin, &mut Changes)) {
        let mut changes = Changes::new();
        if let Some(thin) = self.books.thin_mut(n) {
            change(thin, &mut changes);
            self.books.thin_changed(n, &changes, &self.net);
        }
    }

    /// Carries out all effects. What that costs the processor.
    pub(super) fn perform_all(&mut self, n: usize, at: Instant) -> Duration {
        let mut spent = Duration::ZERO;
        let mut changes = Vec::new();
        while let Some(effect) = self.nodes[n].speaker.as_deref_mut().and_then(Speaker::poll) {
            match effect {
                Effect::Fib { seq, change } => changes.push((seq, change)),
                Effect::Send { conn, frames } => {
                    spent += self.options.costs.write;
                    self.send(n, conn, frames, at + spent);
                }
                other => self.perform(n, other, at + spent),
            }
        }
        if !changes.is_empty() {
            let life = self.nodes[n].life;
            self.schedule(at + KERNEL, What::Fib { node: n, life, changes });
        }
        spent
    }

    pub(super) fn perform(&mut self, n: usize, effect: Effect, at: Instant) {
        match effect {
            Effect::Dial { conn, transport } => self.dial(n, conn, &transport, at),
            Effect::Context { conn, context } => self.on_context(n, conn, context),
            Effect::Close { conn } => self.close(n, conn, at),
            Effect::Overlay(wanted) => {
                let to = wanted.devices.into_iter().flat_map(|device| device.nodes.into_iter().chain([device.local])).collect();
                let life = self.nodes[n].life;
                self.schedule(at + TUNNELS, What::Tunnels { node: n, life, to });
            }
            Effect::Remember(known) => self.nodes[n].remembered = Some(*known),
            Effect::Notice(notice) => self.on_notice(n, &notice),
            Effect::Stopped => self.ended(n),
            // What is not run, and what the world of this program has no use for.
            Effect::Send { .. } | Effect::Fib { .. } | Effect::Answer { .. } | Effect::ReadKernel => {}
            Effect::Bfd { .. } | Effect::EndBfd | Effect::Bmp(_) | Effect::Rpki(_) | Effect::Neighbour { .. } => {}
        }
    }

    pub(super) fn on_context(&mut self, n: usize, conn: ConnId, context: Context) {
        if let Some(open) = self.nodes[n].conns.get_mut(&conn) {
            open.context = Some(context.clone());
            open.driver.set_context(context);
            self.nodes[n].inbox.push_front(Arrival::Octets { conn, frames: Vec::new() });
        }
    }

    pub(super) fn on_notice(&mut self, n: usize, notice: &Notice) {
        match notice {
            Notice::PeerUp { .. } => self.established += 1,
            Notice::PeerDown { address, keeps_routes, .. } => {
                self.established = self.established.saturating_sub(1);
                let other = self.by_addr.get(address).copied().unwrap_or(n);
                self.lost.insert((n.min(other), n.max(other)));
                if !self.nodes[n].leaves {
                    self.thin(n, |thin, changes| thin.down(*address, *keeps_routes, changes));
                }
            }
            Notice::Stopping { keep_routes } => self.nodes[n].leaves = *keep_routes,
            Notice::Recovered { .. } => self.thin(n, Thin::purged),
            _ => {}
        }
    }

    pub(super) fn on_kernel(&mut self, n: usize, life: u32, changes: Vec<(u64, FibChange)>) {
        if !self.net.on[n] {
            return;
        }
        let alive = self.nodes[n].life == life;
        for (seq, change) in changes {
            let (net, gone) = (change.route().net, matches!(change, FibChange::Remove(_)));
            if self.whole[n] {
                if let Some(block) = self.books.find(&net) {
                    let way = if gone { Way::None } else { self.way(&change.route().kind) };
                    self.books.set(n, block, way, &self.net);
                }
            } else if gone {
                self.thin(n, |thin, changes| thin.removed(&net, changes));
            }
            self.nodes[n].install(change);
            if alive {
                self.tell(n, Input::FibDone { seq, result: Ok(()) });
            }
        }
    }

    pub(super) fn way(&mut self, kind: &FibKind) -> Way {
        let FibKind::Unicast(hops) = kind else { return Way::None };
        let by_addr = &self.by_addr;
        let known: Option<Vec<u32>> = hops.iter().map(|hop| by_addr.get(&hop.gateway?).map(|n| *n as u32)).collect();
        known.map_or(Way::Away, |to| self.books.way_of(to))
    }
}
