//! What came of it: the windows of a run, and its report.
//!
//! In: sums and books. Out: a [`Report`].

use super::cluster::Role;
use super::machine::Node;
use super::report::{Convergence, Report, RoleRow};
use super::world::{BEGIN, Simulation, window};
use crate::api::{Answer, MemoryRow, Question};

/// What came of it.
impl Simulation {
    /// From now on it is counted for something else.
    pub(super) fn begin(&mut self, what: &str) {
        self.close_window();
        self.windows.push(window(what, self.now.since(BEGIN).as_secs_f64()));
        self.books.begin(self.now);
        self.books.recount(&self.net);
        self.before = self.total;
        self.lost.clear();
    }

    pub(super) fn close_window(&mut self) {
        self.books.advance(self.now);
        let Some(window) = self.windows.last_mut() else { return };
        window.seconds = self.now.since(BEGIN).as_secs_f64() - window.at_seconds;
        window.sessions_lost = self.lost.len();
        window.messages = self.total.messages - self.before.messages;
        window.updates = self.total.updates - self.before.updates;
        window.octets = self.total.octets - self.before.octets;
        (window.black_hole_prefix_seconds, window.wrong_route_prefix_seconds) = self.books.sums();
        (window.nodes_touched, window.blocks_touched) = self.books.touched();
        (window.no_route_at_end, window.wrong_at_end) = self.books.now();
        window.convergence = Convergence::of(&self.books.last_changes());
        window.curve = self.books.curve();
    }

    /// All that is known now, and the end of the simulation.
    pub fn finish(mut self) -> Report {
        self.close_window();
        let roles = [Role::Node, Role::Reflector, Role::Tor].into_iter().filter_map(|role| self.role(role)).collect();
        let ends: usize = self.nodes.iter().map(|node| node.params.peers.len()).sum();
        Report {
            seed: self.options.seed,
            complete: self.complete,
            seconds: self.now.since(BEGIN).as_secs_f64(),
            machines: self.nodes.len(),
            whole: self.whole.iter().filter(|whole| **whole).count(),
            blocks: self.books.len(),
            sessions: ends / 2,
            established: self.established / 2,
            roles,
            windows: std::mem::take(&mut self.windows),
            digest: format!("{:016x}", self.digest),
            notes: std::mem::take(&mut self.notes),
        }
    }

    pub(super) fn role(&mut self, role: Role) -> Option<RoleRow> {
        let of: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].role == role).collect();
        let count = of.len();
        let mean = |what: &dyn Fn(&Node) -> u64| of.iter().map(|n| what(&self.nodes[*n])).sum::<u64>() as f64 / count.max(1) as f64;
        let row = RoleRow {
            role,
            machines: count,
            sessions: 0.0,
            messages_sent: mean(&|node| node.sent.messages),
            messages_received: mean(&|node| node.received.messages),
            updates_sent: mean(&|node| node.sent.updates),
            updates_received: mean(&|node| node.received.updates),
            octets_sent: mean(&|node| node.sent.octets),
            octets_received: mean(&|node| node.received.octets),
            memory_bytes: None,
            busy_seconds: of.iter().map(|n| self.nodes[*n].busy.as_secs_f64()).fold(0.0, f64::max),
        };
        let sessions: usize = of.iter().map(|n| self.sessions_of(*n)).sum();
        let whole: Vec<usize> = of.iter().copied().filter(|n| self.whole[*n]).collect();
        let memory = whole.into_iter().filter_map(|n| self.memory_of(n)).max();
        (count > 0).then(|| RoleRow { sessions: sessions as f64 / count as f64, memory_bytes: memory, ..row })
    }

    pub(super) fn memory_of(&mut self, n: usize) -> Option<u64> {
        let Some(Answer::Status(status)) = self.ask(n, Question::Status) else { return None };
        let MemoryRow { routes_bytes, attributes_bytes, export_bytes, .. } = status.memory;
        Some(routes_bytes + attributes_bytes + export_bytes)
    }

    /// The blocks to which each machine has a route, for tests that compare.
    #[cfg(test)]
    pub(super) fn tables(&self) -> Vec<Vec<bool>> {
        (0..self.nodes.len()).map(|n| self.books.has(n)).collect()
    }
}
