//! The writer: changes into the kernel, many a send, each answered.
//!
//! Written by hand, because `rtnetlink` awaits each answer: that comes to 20-47 k routes a second where batches come to 88-184 k (in a
//! build without optimisation on a busy machine, 6 k and 43 k). `routes_in_batches_and_by_the_crate` below measures both.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::sync::mpsc::Sender;

use super::message::{self, NLMSG_ERROR};
use super::settings::Counters;
use crate::fib::{Errno, FibChange, Owner};

/// Changes in one send: a thousand cost the kernel a tenth less than 256, and take it some 5 ms.
const BATCH: usize = 1024;
/// Octets in one send, well below the socket's send buffer.
const BATCH_OCTETS: usize = 64 << 10;
/// Room for the errors of a whole batch.
const RECEIVE_BUFFER: usize = 2 << 20;

/// Answers to changes, by their numbers.
pub type Done = Vec<(u64, Result<(), Errno>)>;

/// The thread's end of netlink: a socket that writes, and what it needs for it.
pub struct Writer {
    socket: Socket,
    port: u32,
    owner: Owner,
    seq: u32,
    counters: Arc<Counters>,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Writer {
    /// # Errors
    /// The kernel's, for want of a socket or of its buffer.
    pub fn open(owner: Owner, counters: Arc<Counters>) -> io::Result<Writer> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors without our own message behind them: smaller, and we know what we asked.
        socket.set_cap_ack(true)?;
        crate::daemon::sys::set_receive_buffer(&socket, RECEIVE_BUFFER)?;
        Ok(Writer { socket, port, owner, seq: 0, counters, out: Vec::new(), answer: Vec::with_capacity(64 << 10) })
    }

    /// By which the kernel knows what we did.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Until the other end of `orders` is gone.
    pub fn run(mut self, orders: &Receiver<Vec<(u64, FibChange)>>, answers: &Sender<Done>) {
        while let Ok(changes) = orders.recv() {
            let mut rest = &changes[..];
            while !rest.is_empty() {
                let (done, taken) = self.batch(rest);
                rest = &rest[taken..];
                if answers.blocking_send(done).is_err() {
                    return;
                }
            }
        }
    }

    /// Writes as many of the first changes as fit in one send; their answers, and how many they were.
    fn batch(&mut self, changes: &[(u64, FibChange)]) -> (Done, usize) {
        self.out.clear();
        let first = self.seq.wrapping_add(1);
        let mut taken = 0;
        let mut last_at = 0;
        for (_, change) in changes.iter().take(BATCH) {
            last_at = self.out.len();
            self.seq = self.seq.wrapping_add(1);
            message::put_change(&mut self.out, change, self.owner, self.seq, false);
            taken += 1;
            if self.out.len() > BATCH_OCTETS {
                break;
            }
        }
        self.ask_ack(last_at);
        let mut done: Done = changes[..taken].iter().map(|(n, _)| (*n, Ok(()))).collect();
        Counters::add(&self.counters.sends, 1);
        let failure = match self.socket.send(&self.out, 0) {
            Ok(_) => self.collect(first, &mut done).err(),
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            // Some may have been carried out. Whoever tries again finds out: every change may be made twice.
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
            done.iter_mut().filter(|(_, r)| r.is_ok()).for_each(|(_, r)| *r = Err(errno));
        }
        (done, taken)
    }

    /// Marks the last message of the batch: its answer tells that all were seen.
    fn ask_ack(&mut self, last_at: usize) {
        if let Some(flags) = self.out.get_mut(last_at + 6..).and_then(|o| o.first_chunk_mut::<2>()) {
            *flags = (u16::from_ne_bytes(*flags) | message::NLM_F_ACK).to_ne_bytes();
        }
    }

    fn collect(&mut self, first: u32, done: &mut Done) -> io::Result<()> {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            for answer in message::messages(&self.answer).filter(|m| m.kind == NLMSG_ERROR) {
                let i = answer.seq.wrapping_sub(first) as usize;
                if let Some((_, result)) = done.get_mut(i) {
                    *result = match message::errno(&answer) {
                        0 => Ok(()),
                        errno => Err(Errno(errno)),
                    };
                }
                if answer.seq == self.seq {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use ipnet::{IpNet, Ipv4Net};
    use netlink_packet_core::{NetlinkBuffer, NetlinkMessage};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::route::{RouteProtocol, RouteType};
    use rtnetlink::RouteMessageBuilder;

    use super::*;
    use crate::fib::{FibKind, FibRoute};

    const ROUTES: u32 = 50_000;

    fn net(i: u32) -> Ipv4Net {
        Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + (i << 6)), 26).unwrap()
    }

    fn route(i: u32) -> FibRoute {
        FibRoute { net: IpNet::V4(net(i)), metric: 1024, kind: FibKind::Blackhole, source: None, former: None }
    }

    fn one_by_one() -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let begun = Instant::now();
            for i in 0..ROUTES {
                let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net(i).network(), 26).kind(RouteType::BlackHole);
                let message = message.protocol(RouteProtocol::Other(187)).priority(7).build();
                handle.route().add(message).execute().await.unwrap();
            }
            begun.elapsed()
        })
    }

    fn in_batches() -> Duration {
        let mut writer = Writer::open(Owner { table: 254, protocol: 186 }, Arc::default()).unwrap();
        let changes: Vec<(u64, FibChange)> = (0..ROUTES).map(|i| (u64::from(i), FibChange::Add(route(i)))).collect();
        let begun = Instant::now();
        let mut rest = &changes[..];
        while !rest.is_empty() {
            let (done, taken) = writer.batch(rest);
            assert!(done.iter().all(|(_, answer)| answer.is_ok()), "{done:?}");
            rest = &rest[taken..];
        }
        begun.elapsed()
    }

    /// What the module documentation says of both; in a namespace of its own: `unshare -n`.
    #[test]
    #[ignore = "a measurement, which writes 100,000 routes into the kernel"]
    fn routes_in_batches_and_by_the_crate() {
        let (crate_, ours) = (one_by_one(), in_batches());
        let rate = |took: Duration| f64::from(ROUTES) / took.as_secs_f64() / 1000.0;
        println!("written: {:.0} k routes/s by rtnetlink, each awaited; {:.0} k in batches", rate(crate_), rate(ours));
        let mut octets = Vec::new();
        (0..ROUTES)
            .for_each(|i| message::put_change(&mut octets, &FibChange::Add(route(i)), Owner { table: 254, protocol: 186 }, i, false));
        let begun = Instant::now();
        let read = message::messages(&octets).filter(|m| message::read(m).is_some()).count();
        let ours = begun.elapsed();
        let begun = Instant::now();
        let mut rest = &octets[..];
        let mut parsed = 0;
        while let Ok(buffer) = NetlinkBuffer::new_checked(rest) {
            let len = buffer.length() as usize;
            parsed += usize::from(NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len]).is_ok());
            rest = &rest[len.next_multiple_of(4)..];
        }
        let crate_ = begun.elapsed();
        assert_eq!((read, parsed), (ROUTES as usize, ROUTES as usize));
        let each = |took: Duration| took.as_nanos() / u128::from(ROUTES);
        println!("read: {} ns a route by netlink-packet-route, {} ns here", each(crate_), each(ours));
    }
}
