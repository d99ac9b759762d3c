//! What is ordered: programs that start and end, machines that go and come, other configurations.
//!
//! In: an [`Order`]. Out: machines, network and books as they are then.

use std::time::Duration;

use super::cluster::{addresses_of, blocks_of};
use super::plan::Order;
use super::world::{Simulation, What};
use crate::api::{Answer, Command, Question};
use crate::fib::FibKind;
use crate::num::ConnId;
use crate::speaker::{Effect, Input, Params, Speaker};

/// What is ordered.
impl Simulation {
    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::Window(what) => self.begin(&what),
            Order::Start(n) => self.start(n),
            Order::Lose(n) => self.lose(n),
            Order::Return(n) => {
                self.net.on[n] = true;
                self.rewired();
                self.start(n);
            }
            Order::Cut(a, b) => {
                self.net.cut(a, b);
                self.rewired();
            }
            Order::Mend(a, b) => {
                self.net.mend(a, b);
                self.rewired();
            }
            Order::Part(some) => {
                self.net.part(&some);
                self.rewired();
            }
            Order::Stop(n, mode) => self.tell(n, Input::Stop(mode)),
            Order::Kill(n) => self.ended(n),
            Order::Drain(n) => self.drain(n, true),
            Order::Undrain(n) => self.drain(n, false),
            Order::Reload(n, params) => self.reload(n, params),
        }
    }

    pub(super) fn start(&mut self, n: usize) {
        if !self.net.on[n] {
            return;
        }
        if self.nodes[n].speaker.is_some() {
            self.nodes[n].again = true;
            return;
        }
        let seed = self.rng.next_u64();
        let node = &mut self.nodes[n];
        let mut speaker = Speaker::new(node.params.clone(), self.now, seed);
        node.remembered.clone().into_iter().for_each(|known| speaker.recall(known));
        node.dump(&self.shared).into_iter().for_each(|event| speaker.handle(self.now, Input::Kernel(event)));
        node.speaker = Some(Box::new(speaker));
        node.busy_until = self.now;
        if !std::mem::replace(&mut self.started[n], true) {
            let blocks = self.books.blocks_of(n);
            self.books.activate(&blocks, true, &self.net);
        }
        self.wake(n, self.now);
    }

    /// The program is gone: its kernel closes what it had open, and keeps its routes.
    pub(super) fn ended(&mut self, n: usize) {
        let up = self.sessions_of(n);
        self.established = self.established.saturating_sub(up);
        let mut open: Vec<(ConnId, usize, usize)> = self.nodes[n].conns.iter().map(|(conn, open)| (*conn, open.link, open.side)).collect();
        open.sort_unstable();
        let (again, now) = (self.nodes[n].again, self.now);
        self.nodes[n].forget();
        open.into_iter().for_each(|(_, link, side)| self.hang_up(link, side, now, None));
        let left = self.nodes[n].kernel.values().any(|route| matches!(route.kind, FibKind::Unicast(_)));
        self.thin(n, |thin, changes| thin.ended(left, changes));
        if again {
            self.schedule(now + Duration::from_millis(100), What::Order(Box::new(Order::Start(n))));
        }
    }

    pub(super) fn lose(&mut self, n: usize) {
        let up = self.sessions_of(n);
        self.established = self.established.saturating_sub(up);
        self.nodes[n].forget();
        self.nodes[n].kernel.clear();
        self.nodes[n].remembered = None;
        self.net.on[n] = false;
        self.books.forget(n);
        self.rewired();
    }

    pub(super) fn sessions_of(&mut self, n: usize) -> usize {
        let status = self.ask(n, Question::Status);
        if let Some(Answer::Status(status)) = status { status.peers_established } else { 0 }
    }

    pub(super) fn ask(&mut self, n: usize, question: Question) -> Option<Answer> {
        let speaker = self.nodes[n].speaker.as_deref_mut()?;
        speaker.handle(self.now, Input::Query { id: 0, question });
        let mut found = None;
        // Whatever else waits there is lost with the program, or the run.
        while let Some(effect) = speaker.poll() {
            if let Effect::Answer { answer, .. } = effect {
                found = Some(answer);
            }
        }
        found
    }

    pub(super) fn drain(&mut self, n: usize, on: bool) {
        let command = if on { Command::Drain { wait: false, if_shutdown: false } } else { Command::Undrain };
        let blocks = self.books.blocks_of(n);
        self.books.activate(&blocks, !on, &self.net);
        self.tell(n, Input::Command { id: 0, command });
    }

    pub(super) fn reload(&mut self, n: usize, params: Box<Params>) {
        let new: Vec<usize> = blocks_of(&params).filter_map(|net| self.books.find(&net)).collect();
        let gone: Vec<usize> = self.books.blocks_of(n).into_iter().filter(|block| !new.contains(block)).collect();
        self.books.activate(&gone, false, &self.net);
        new.into_iter().for_each(|block| self.books.moved(block, n, &self.net));
        self.nodes[n].params = (*params).clone();
        self.nodes[n].has_keys = params.peers.iter().any(|peer| peer.session.md5.is_some());
        for addr in addresses_of(&params) {
            self.by_addr.entry(addr).or_insert(n);
        }
        self.tell(n, Input::Reload { id: 0, params });
    }
}
