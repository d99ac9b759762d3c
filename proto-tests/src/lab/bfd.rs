//! BFD in virtual time: the room's machine beside each router, and datagrams that arrive after a latency, or not at all.

use std::time::Duration;

use catbird::bfd::{Arrival, Bfd, Detail, Path, State};
use catbird::kernel::IfIndex;
use catbird::speaker::Input;

use super::Lab;
use super::net::Happening;

/// What a thread of its own does in a daemon.
impl Lab {
    /// The machine of a node, which has one from the first session on that its router wants.
    pub(super) fn bfd(&mut self, n: usize) -> &mut Bfd {
        let (life, seed) = (self.nodes[n].life, self.seed);
        self.nodes[n].bfd.get_or_insert_with(|| {
            let mut secret = [0; 16];
            secret[..8].copy_from_slice(&seed.to_ne_bytes());
            secret[8..12].copy_from_slice(&life.to_ne_bytes());
            secret[12..].copy_from_slice(&(n as u32).to_ne_bytes());
            Box::new(Bfd::new(secret))
        })
    }

    /// Serves timers, sends, and tells the router what is new.
    pub(super) fn run_bfd(&mut self, n: usize) {
        let now = self.now;
        let Some(bfd) = self.nodes[n].bfd.as_deref_mut() else { return };
        bfd.on_time(now, now);
        let (mut sent, mut news) = (Vec::new(), Vec::new());
        while let Some(transmit) = bfd.poll_transmit(now) {
            sent.push((transmit.to, transmit.path, transmit.octets.as_slice().to_vec()));
        }
        while let Some(status) = bfd.poll_status() {
            news.push(status);
        }
        for (addr, path, octets) in sent {
            let Some(to) = self.nodes.iter().position(|node| addr == node.addr) else { continue };
            let at = self.later();
            self.schedule(at, Happening::Datagram { from: n, to, path, octets });
        }
        news.into_iter().for_each(|status| self.tell(n, Input::Bfd(status)));
    }

    pub(super) fn on_datagram(&mut self, (from, to): (usize, usize), path: Path, octets: &[u8]) {
        let lost = self.is_parted(from, to) || self.silenced.contains(&from) || self.nodes[to].is_off_the_net() || self.nodes[to].stalled;
        let now = self.now;
        let arrival = Arrival { from: self.nodes[from].addr.into(), link: IfIndex(2), ttl: 255, path, at: now };
        let Some(bfd) = self.nodes[to].bfd.as_deref_mut().filter(|_| !lost) else { return };
        // Counted where it is dropped.
        let _dropped = bfd.receive(&arrival, octets, now);
        self.cycle(to);
    }

    /// The datagrams of a node are lost from now on, and nothing else is.
    pub fn silence_bfd(&mut self, name: &str, silent: bool) {
        let n = self.index(name);
        if silent {
            self.silenced.insert(n)
        } else {
            self.silenced.remove(&n)
        };
    }

    /// All BFD sessions of a node.
    pub fn bfd_sessions(&self, name: &str) -> Vec<Detail> {
        let node = &self.nodes[self.index(name)];
        node.bfd.as_ref().map(|bfd| bfd.details(self.now)).unwrap_or_default()
    }

    /// Lets time pass until the BFD sessions of a node are all up.
    pub fn until_bfd_up(&mut self, name: &str) {
        let up = |lab: &mut Lab| {
            let all = lab.bfd_sessions(name);
            !all.is_empty() && all.iter().all(|detail| detail.state == State::Up)
        };
        self.until("BFD", Duration::from_secs(60), up);
    }
}
