//! What the parts of netlink share: how they were set up, and what they count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::fib::{Owner, Params};

/// How the shell speaks with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Under which table and protocol we write.
    pub owner: Owner,
    /// Under which names routes may stand that are ours besides.
    pub former: Vec<Owner>,
    /// Tables to watch besides our own: `main`, whose routes carry next hops.
    pub watch: Vec<u32>,
    /// Octets for what the kernel says while we are busy. 32 MiB hold some 40,000 route messages.
    pub receive_buffer: usize,
    /// At least so long between two dumps without cause, and a hundred times as long as the last one took.
    pub audit: Duration,
    /// Most changes that are on their way at one time.
    pub window: usize,
}

impl Settings {
    pub fn new(params: &Params) -> Settings {
        Settings {
            owner: params.owner(),
            former: params.former.clone(),
            watch: vec![254],
            receive_buffer: 32 << 20,
            audit: Duration::from_secs(60),
            window: params.window,
        }
    }

    pub(super) fn tables(&self) -> Vec<u32> {
        let all = self.owners().map(|owner| owner.table).chain(self.watch.iter().copied());
        let mut tables: Vec<u32> = Vec::new();
        all.for_each(|table| {
            if !tables.contains(&table) {
                tables.push(table)
            }
        });
        tables
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = Owner> {
        std::iter::once(self.owner).chain(self.former.iter().copied())
    }
}

/// What netlink went through, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// The kernel could not keep what it had to say, or was about to wait for us with others' routes: dumped.
    pub overruns: AtomicU64,
    /// Readings of everything.
    pub dumps: AtomicU64,
    /// Of the kernel, of all kinds.
    pub messages: AtomicU64,
    /// Sends of the writer; each carries many changes.
    pub sends: AtomicU64,
    /// Nodes that tunnels carry packets to, now.
    pub tunnels: AtomicU64,
    /// What was put right on tunnel devices because somebody had changed it.
    pub tunnel_repairs: AtomicU64,
    /// What the kernel refused to do to them.
    pub tunnel_failures: AtomicU64,
    /// What is wrong with tunnel devices, by name, in words.
    pub tunnel_trouble: Mutex<BTreeMap<String, String>>,
}

impl Counters {
    /// No order is kept with other counters.
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Tunnel devices that are not as they should be, each in a sentence.
    pub fn tunnel_troubles(&self) -> Vec<String> {
        let trouble = self.tunnel_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let say = |(device, why): (&String, &String)| {
            format!("the tunnel device {device} does not stand as it should, so nodes behind it are not reached: {why}")
        };
        trouble.iter().map(say).collect()
    }

    /// What is wrong with a tunnel device from now on; `None`: nothing.
    pub(super) fn set_tunnel_trouble(&self, device: &str, wrong: Option<String>) {
        let mut trouble = self.tunnel_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.remove(device);
        trouble.extend(wrong.map(|why| (device.to_owned(), why)));
    }
}
