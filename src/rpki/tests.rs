use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use ipnet::IpNet;

use super::pdu::{self, Ask, Code, Fault, Intervals, Pdu};
use super::*;
use crate::num::{Asn, Family, Instant, Rng};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
    Vrp { net: net(text), asn: Asn(asn), max_len }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

mod tables {
    use super::*;

    /// RFC 6811 §2.1, word by word.
    fn slowly(all: &BTreeSet<Vrp>, net: &IpNet, origin: Option<Asn>) -> Validity {
        let covering: Vec<&Vrp> = all.iter().filter(|vrp| vrp.net.contains(net)).collect();
        let matched = |vrp: &&Vrp| net.prefix_len() <= vrp.max_len && vrp.asn.0 != 0 && Some(vrp.asn) == origin;
        match (covering.is_empty(), covering.iter().any(matched)) {
            (true, _) => Validity::NotFound,
            (false, true) => Validity::Valid,
            (false, false) => Validity::Invalid,
        }
    }

    fn some_vrp(dice: &mut Rng) -> Vrp {
        let addr = (dice.next_u64() % 8) as u32;
        let of = |len: u8, most: u8, dice: &mut Rng| len + (dice.next_u64() % u64::from(most - len + 1)) as u8;
        let asn = Asn((dice.next_u64() % 4) as u32);
        if dice.next_u64().is_multiple_of(2) {
            let len = (dice.next_u64() % 5) as u8;
            let net = ipnet::Ipv4Net::new((addr << 29).into(), len).unwrap().trunc();
            Vrp { net: net.into(), asn, max_len: of(len, 5, dice) }
        } else {
            let len = (dice.next_u64() % 5) as u8;
            let net = ipnet::Ipv6Net::new((u128::from(addr) << 125).into(), len).unwrap().trunc();
            Vrp { net: net.into(), asn, max_len: of(len, 5, dice) }
        }
    }

    #[test]
    fn a_table_says_what_the_pseudo_code_of_the_rfc_says() {
        let mut dice = Rng::new(7);
        let mut seen = BTreeSet::new();
        for _ in 0..500 {
            let count = dice.next_u64() % 12;
            let all: BTreeSet<Vrp> = (0..count).map(|_| some_vrp(&mut dice)).collect();
            let table = Table::new(all.iter().copied().collect());
            assert_eq!(table.iter().collect::<Vec<_>>(), all.iter().copied().collect::<Vec<_>>());
            let of = |family| all.iter().filter(|vrp| Family::of(&vrp.net) == family).count();
            assert!(Family::ALL.into_iter().all(|family| table.count(family) == of(family)));
            for _ in 0..40 {
                let asked = some_vrp(&mut dice);
                let origin = Some(asked.asn).filter(|_| !dice.next_u64().is_multiple_of(5));
                let said = table.validate(&asked.net, origin);
                assert_eq!(said, slowly(&all, &asked.net, origin), "{} from {origin:?} by {all:?}", asked.net);
                seen.insert(said.name());
                let covering: BTreeSet<Vrp> = table.covering(asked.net).collect();
                assert_eq!(covering, all.iter().copied().filter(|vrp| vrp.net.contains(&asked.net)).collect());
            }
        }
        assert_eq!(seen.len(), 3, "all of them were met");
    }

    /// Whatever is judged otherwise by another table lies in what is said to have changed.
    #[test]
    fn what_changed_covers_whatever_is_judged_otherwise() {
        let mut dice = Rng::new(11);
        let mut otherwise = 0;
        for _ in 0..300 {
            let mut all: BTreeSet<Vrp> = (0..8).map(|_| some_vrp(&mut dice)).collect();
            let before = Table::new(all.iter().copied().collect());
            let mut changes = Vec::new();
            for _ in 0..dice.next_u64() % 4 {
                let one = some_vrp(&mut dice);
                let announced = all.insert(one);
                if !announced {
                    all.remove(&one);
                }
                changes.push((one, announced));
            }
            let after = before.apply(&mut changes).unwrap();
            assert_eq!(after.iter().collect::<Vec<_>>(), all.into_iter().collect::<Vec<_>>());
            let changed = before.difference(&after);
            for _ in 0..60 {
                let asked = some_vrp(&mut dice);
                if before.validate(&asked.net, Some(asked.asn)) != after.validate(&asked.net, Some(asked.asn)) {
                    otherwise += 1;
                    assert!(changed.covers(&asked.net), "{} by {changed:?}", asked.net);
                    assert!(changed.concerns(Family::of(&asked.net)));
                }
            }
        }
        assert!(otherwise > 100);
    }

    #[test]
    fn changes_that_do_not_fit_are_refused() {
        let (a, b) = (vrp("10.0.0.0/8", 24, 1), vrp("2001:db8::/32", 48, 2));
        let table = Table::new(vec![a]);
        assert_eq!(table.apply(&mut [(a, true)]).err(), Some(super::super::table::Wrong::Duplicate(a)));
        assert_eq!(table.apply(&mut [(b, false)]).err(), Some(super::super::table::Wrong::Unknown(b)));
        let both = table.apply(&mut [(b, true), (a, false), (a, true)]).unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [a, b], "gone and there again is there");
        assert!(both.difference(&both).is_empty() && Covers::all().covers(&b.net) && Covers::all().len() == 2);
    }

    #[test]
    fn as_0_may_originate_nothing() {
        let table = Table::new(vec![vrp("192.0.2.0/24", 24, 0)]);
        assert_eq!(table.validate(&net("192.0.2.0/24"), Some(Asn(0))), Validity::Invalid);
        assert_eq!(table.validate(&net("192.0.2.0/24"), None), Validity::Invalid, "a path that ends in a set");
        assert_eq!(table.validate(&net("192.0.0.0/16"), None), Validity::NotFound);
    }
}

mod octets {
    use super::*;

    fn read(octets: &[u8]) -> Result<Option<(u8, Pdu, usize)>, Fault> {
        pdu::next(octets)
    }

    fn wrong(octets: &[u8]) -> Code {
        read(octets).expect_err("it is no PDU").code
    }

    #[test]
    fn each_pdu_is_read_as_the_rfc_draws_it() {
        let all: [(&[u8], Pdu); 8] = [
            (&[1, 0, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5], Pdu::SerialNotify { session: 7, serial: 5 }),
            (&[1, 3, 0, 7, 0, 0, 0, 8], Pdu::CacheResponse { session: 7 }),
            (
                &[1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 26, 0, 192, 0, 2, 0, 0, 1, 0, 1],
                Pdu::Prefix { announced: true, vrp: vrp("192.0.2.0/24", 26, 65537) },
            ),
            (
                &[1, 6, 0, 0, 0, 0, 0, 32, 0, 32, 48, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0xe8],
                Pdu::Prefix { announced: false, vrp: vrp("2001:db8::/32", 48, 65000) },
            ),
            (
                &[1, 7, 0, 7, 0, 0, 0, 24, 0, 0, 0, 5, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 1],
                // Each within its bounds (RFC 8210 §6).
                Pdu::EndOfData {
                    session: 7,
                    serial: 5,
                    intervals: Some(Intervals {
                        refresh: Duration::from_secs(30),
                        retry: Duration::from_secs(1),
                        expire: Duration::from_secs(600),
                    }),
                },
            ),
            (&[0, 7, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5], Pdu::EndOfData { session: 7, serial: 5, intervals: None }),
            (&[1, 8, 0, 0, 0, 0, 0, 8], Pdu::CacheReset),
            (
                &[1, 10, 0, 2, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 4, b'n', b'o', 7, b'!'],
                Pdu::Error { code: Code::NO_DATA, text: "no!".into() },
            ),
        ];
        for (octets, pdu) in all {
            assert_eq!(read(octets), Ok(Some((octets[0], pdu, octets.len()))));
            (0..octets.len()).for_each(|n| assert_eq!(read(&octets[..n]), Ok(None), "{n} octets of it"));
            let more = [octets, &[9; 3]].concat();
            assert_eq!(read(&more).unwrap().unwrap().2, octets.len(), "what follows is another one");
        }
    }

    #[test]
    fn what_is_no_pdu_has_a_code() {
        for (octets, code) in [
            (&[1, 4, 0, 0, 0, 0, 0, 21][..], Code::CORRUPT),
            (&[1, 10, 0, 0, 0xff, 0xff, 0xff, 0xff], Code::CORRUPT),
            (&[1, 9, 0, 0, 0, 1, 0, 0], Code::CORRUPT),
            (&[0, 9, 0, 0, 0, 0, 0, 32], Code::UNSUPPORTED_TYPE),
            (&[1, 11, 0, 0, 0, 0, 0, 8], Code::UNSUPPORTED_TYPE),
            (&[1, 2, 0, 0, 0, 0, 0, 8], Code::INVALID_REQUEST),
            (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 33, 33, 0, 192, 0, 2, 0, 0, 0, 0, 1], Code::CORRUPT),
            (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 23, 0, 192, 0, 2, 0, 0, 0, 0, 1], Code::CORRUPT),
            (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 33, 0, 192, 0, 2, 0, 0, 0, 0, 1], Code::CORRUPT),
            (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 24, 0, 192, 0, 2, 1, 0, 0, 0, 1], Code::CORRUPT),
            (&[1, 10, 0, 0, 0, 0, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0], Code::CORRUPT),
            (&[1, 10, 0, 0, 0, 0, 0, 16, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], Code::CORRUPT),
        ] {
            assert_eq!(wrong(octets), code, "{octets:?}");
        }
    }

    #[test]
    fn no_octets_at_all_make_us_panic_or_wait_for_more_than_a_pdu_can_have() {
        let mut dice = Rng::new(3);
        let mut read_some = 0;
        for _ in 0..20_000 {
            let mut octets: Vec<u8> = (0..dice.next_u64() % 64).map(|_| dice.next_u64() as u8).collect();
            if let Some(head) = octets.get_mut(..8) {
                head.copy_from_slice(&[
                    (dice.next_u64() % 3) as u8,
                    (dice.next_u64() % 12) as u8,
                    0,
                    1,
                    0,
                    0,
                    0,
                    (dice.next_u64() % 48) as u8,
                ]);
            }
            if let Ok(Some((_, _, length))) = read(&octets) {
                assert!((8..=octets.len()).contains(&length));
                read_some += 1;
            }
        }
        assert!(read_some > 100, "{read_some}");
    }

    #[test]
    fn questions_and_complaints_are_written_as_the_rfc_draws_them() {
        let mut out = BytesMut::new();
        Ask::Serial { session: 7, serial: 5 }.put(1, &mut out);
        Ask::Reset.put(0, &mut out);
        assert_eq!(out[..], [1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 8]);
        let about = [1, 11, 0, 0, 0, 0, 0, 8];
        let told = pdu::complaint(1, &Fault::new(Code::UNSUPPORTED_TYPE, "no"), &about);
        assert_eq!(told[..], [&[1, 10, 0, 5, 0, 0, 0, 26, 0, 0, 0, 8][..], &about, &[0, 0, 0, 2, b'n', b'o']].concat());
        assert!(pdu::complaint(1, &Fault::new(Code::CORRUPT, ""), &[0; 5000]).len() < 100, "a part of it is enough");
    }
}

/// What a cache says.
mod cache {
    use super::*;

    pub fn response(version: u8, session: u16) -> Vec<u8> {
        vec![version, 3, (session >> 8) as u8, session as u8, 0, 0, 0, 8]
    }

    pub fn prefix(version: u8, announced: bool, vrp: Vrp) -> Vec<u8> {
        let mut out = BytesMut::new();
        let (kind, len): (u8, u32) = if vrp.net.addr().is_ipv4() { (4, 20) } else { (6, 32) };
        out.put_slice(&[version, kind, 0, 0]);
        out.put_u32(len);
        out.put_slice(&[u8::from(announced), vrp.net.prefix_len(), vrp.max_len, 0]);
        match vrp.net.addr() {
            std::net::IpAddr::V4(addr) => out.put_slice(&addr.octets()),
            std::net::IpAddr::V6(addr) => out.put_slice(&addr.octets()),
        }
        out.put_u32(vrp.asn.0);
        out.to_vec()
    }

    pub fn end(version: u8, session: u16, serial: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_slice(&[version, 7, (session >> 8) as u8, session as u8]);
        out.put_u32(if version == 0 { 12 } else { 24 });
        out.put_u32(serial);
        if version > 0 {
            [100, 50, 1000].into_iter().for_each(|seconds| out.put_u32(seconds));
        }
        out.to_vec()
    }

    pub fn answer(version: u8, session: u16, serial: u32, changes: &[(bool, Vrp)]) -> Vec<u8> {
        let some = changes.iter().flat_map(|(announced, vrp)| prefix(version, *announced, *vrp));
        response(version, session).into_iter().chain(some).chain(end(version, session, serial)).collect()
    }

    pub fn error(version: u8, code: u8) -> Vec<u8> {
        vec![version, 10, 0, code, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    pub fn notify(version: u8, session: u16, serial: u32) -> Vec<u8> {
        let mut out = vec![version, 0, (session >> 8) as u8, session as u8, 0, 0, 0, 12];
        out.extend(serial.to_be_bytes());
        out
    }

    pub const RESET: [u8; 8] = [1, 2, 0, 0, 0, 0, 0, 8];
}

/// Caches in virtual time, and what they were asked.
mod machine {
    use super::*;

    struct Net {
        caches: Caches,
        now: Instant,
        /// Connections that were asked for, in order.
        dialled: Vec<(u32, u64)>,
        sent: Vec<(u32, Vec<u8>)>,
        closed: Vec<(u32, u64)>,
        /// Nobody is there.
        refusing: bool,
        report: Report,
        news: Vec<News>,
        /// VRPs that are used.
        used: Vec<Vrp>,
        updates: usize,
    }

    fn params(n: u8, preference: u8) -> CacheParams {
        CacheParams {
            address: ([192, 0, 2, n], 323).into(),
            preference,
            refresh: None,
            retry: None,
            expire: None,
            timeout: Duration::from_secs(10),
            max_vrps: 100,
        }
    }

    impl Net {
        fn new(wanted: Vec<CacheParams>) -> Net {
            let mut net = Net {
                caches: Caches::new(1),
                now: at(1),
                dialled: Vec::new(),
                sent: Vec::new(),
                closed: Vec::new(),
                refusing: false,
                report: Report::default(),
                news: Vec::new(),
                used: Vec::new(),
                updates: 0,
            };
            net.caches.configure(wanted, net.now);
            net.collect();
            net
        }

        fn collect(&mut self) {
            while let Some(action) = self.caches.poll() {
                match action {
                    Action::Dial { cache, life, .. } => {
                        self.dialled.push((cache, life));
                        if self.refusing {
                            self.caches.on_closed(cache, life, "nobody", self.now);
                        }
                    }
                    Action::Send { cache, octets, .. } => self.sent.push((cache, octets.to_vec())),
                    Action::Close { cache, life } => self.closed.push((cache, life)),
                }
            }
            if let Some(report) = self.caches.take_report() {
                if let Some(update) = &report.update {
                    self.used = update.table.iter().collect();
                    self.updates += 1;
                }
                self.news.extend(report.news.iter().cloned());
                self.report = report;
            }
        }

        fn connect(&mut self) -> (u32, u64) {
            let (cache, life) = *self.dialled.last().expect("somebody is dialled");
            self.caches.on_connected(cache, life, self.now);
            self.collect();
            (cache, life)
        }

        fn say(&mut self, (cache, life): (u32, u64), octets: &[u8]) {
            self.caches.on_octets(cache, life, octets, self.now);
            self.collect();
        }

        fn close(&mut self, (cache, life): (u32, u64)) {
            self.caches.on_closed(cache, life, "gone", self.now);
            self.collect();
        }

        /// Up to this moment, with each deadline on the way.
        fn wait(&mut self, seconds: u64) {
            let end = self.now + Duration::from_secs(seconds);
            let mut steps = 0;
            while let Some(next) = self.caches.next_deadline().filter(|next| *next <= end) {
                self.now = self.now.max(next);
                self.caches.on_time(self.now);
                self.collect();
                steps += 1;
                assert!(steps < 1000, "it is never content");
            }
            self.now = end;
        }

        fn last_sent(&self) -> &[u8] {
            &self.sent.last().expect("something is sent").1
        }

        fn states(&self) -> Vec<&'static str> {
            self.report.caches.iter().map(|cache| cache.state).collect()
        }

        fn error(&self, n: usize) -> &str {
            self.report.caches[n].last_error.as_deref().unwrap_or("")
        }
    }

    fn a() -> Vrp {
        vrp("10.1.0.0/16", 24, 1)
    }

    fn b() -> Vrp {
        vrp("2001:db8::/32", 48, 2)
    }

    /// Connected, and loaded with `a`.
    fn loaded() -> (Net, (u32, u64)) {
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        net.say(link, &cache::answer(1, 7, 5, &[(true, a())]));
        assert_eq!((net.states(), net.used.clone()), (vec!["synchronised"], vec![a()]));
        (net, link)
    }

    #[test]
    fn a_cache_is_asked_for_everything_and_then_for_what_changed() {
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        assert_eq!((net.states(), net.last_sent()), (vec!["loading"], &cache::RESET[..]));
        // Octet by octet.
        for octet in cache::answer(1, 7, 5, &[(true, a()), (true, b())]) {
            assert!(net.used.is_empty());
            net.say(link, &[octet]);
        }
        assert_eq!((net.used.clone(), net.updates), (vec![a(), b()], 1));
        assert_eq!(net.news, [News::Synchronised { cache: params(1, 10).address, vrps: 2 }]);
        let asked = net.sent.len();
        net.wait(99);
        assert_eq!(net.sent.len(), asked, "Refresh Interval is 100");
        net.wait(1);
        assert_eq!(net.last_sent(), [1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5]);
        net.say(link, &cache::answer(1, 7, 6, &[(false, a())]));
        assert_eq!((net.used.clone(), net.report.source.as_ref().unwrap().serial), (vec![b()], 6));
        net.wait(100);
        net.say(link, &cache::answer(1, 7, 6, &[]));
        assert_eq!(net.updates, 2, "an answer without a change is none");
    }

    #[test]
    fn a_notify_is_followed_at_once_but_not_more_often_than_every_second() {
        let (mut net, link) = loaded();
        net.wait(5);
        let asked = net.sent.len();
        net.say(link, &cache::notify(1, 7, 5));
        net.wait(0);
        assert_eq!(net.sent.len(), asked, "that is known");
        net.say(link, &cache::notify(1, 7, 6));
        net.wait(0);
        assert_eq!(net.last_sent(), [1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5]);
        // While the question is open: it is asked again afterwards.
        net.say(link, &cache::notify(1, 7, 7));
        net.say(link, &cache::answer(1, 7, 6, &[]));
        let asked = net.sent.len();
        for serial in 8..1000 {
            net.say(link, &cache::notify(1, 7, serial));
            net.wait(0);
        }
        assert_eq!(net.sent.len(), asked);
        net.wait(1);
        assert_eq!((net.sent.len(), net.last_sent()), (asked + 1, &[1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 6][..]));
        net.say(link, &cache::answer(1, 7, 7, &[]));
        net.say(link, &cache::notify(1, 8, 1));
        assert_eq!(&net.last_sent()[..4], [1, 10, 0, 0], "another session: what we have is no beginning");
        net.wait(1);
        net.connect();
        assert_eq!((net.last_sent(), net.used.clone()), (&cache::RESET[..], vec![a()]));
    }

    #[test]
    fn a_cache_reset_is_followed_by_the_whole_and_nothing_is_lost_meanwhile() {
        let (mut net, link) = loaded();
        net.wait(100);
        net.say(link, &[1, 8, 0, 0, 0, 0, 0, 8]);
        assert_eq!((net.last_sent(), net.used.clone()), (&cache::RESET[..], vec![a()]));
        net.say(link, &cache::answer(1, 9, 1, &[(true, a()), (true, b())]));
        assert_eq!(net.used, [a(), b()]);
    }

    #[test]
    fn what_was_said_is_used_until_it_expires() {
        let (mut net, link) = loaded();
        net.refusing = true;
        net.close(link);
        assert_eq!((net.states(), net.used.clone()), (vec!["waiting"], vec![a()]));
        net.wait(998);
        assert_eq!(net.used, [a()]);
        net.wait(2);
        assert!(net.used.is_empty() && net.report.source.is_none());
        assert_eq!(net.news.last(), Some(&News::Expired { cache: params(1, 10).address }));
        let lost = net.news.iter().filter(|news| matches!(news, News::Lost { .. })).count();
        assert_eq!(lost, 1, "said once, however often it is tried");
        let dials = net.dialled.len();
        assert!((20..40).contains(&dials), "{dials} attempts: from a second on up to the Retry Interval of 50");
        net.refusing = false;
        net.wait(50);
        net.connect();
        assert_eq!(net.last_sent(), cache::RESET, "nothing is left that could change");
    }

    #[test]
    fn a_cache_that_comes_back_goes_on_where_it_was() {
        let (mut net, link) = loaded();
        net.close(link);
        net.wait(1);
        let link = net.connect();
        assert_eq!(net.last_sent(), [1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5]);
        net.say(link, &cache::answer(1, 7, 6, &[(true, b())]));
        assert_eq!((net.used.clone(), net.updates), (vec![a(), b()], 2));
        assert_eq!(net.news.len(), 3, "there, lost, there");
    }

    #[test]
    fn another_session_after_a_restart_is_loaded_whole_without_a_gap() {
        let (mut net, link) = loaded();
        net.close(link);
        net.wait(1);
        let link = net.connect();
        net.say(link, &cache::response(1, 8));
        assert!(net.error(0).contains("another session"), "{}", net.error(0));
        assert_eq!(net.closed.last(), Some(&link));
        net.wait(3);
        let link = net.connect();
        assert_eq!((net.last_sent(), net.used.clone()), (&cache::RESET[..], vec![a()]));
        net.say(link, &cache::answer(1, 8, 1, &[(true, a())]));
        assert_eq!((net.updates, net.report.source.as_ref().unwrap().session), (1, 8), "the same VRPs are no change");
    }

    #[test]
    fn the_second_takes_over_and_the_first_takes_back() {
        let mut net = Net::new(vec![params(2, 20), params(1, 10)]);
        assert_eq!(net.dialled.len(), 1, "the second has nothing to do yet");
        let first = net.connect();
        net.say(first, &cache::answer(1, 7, 5, &[(true, a())]));
        assert_eq!(net.states(), ["synchronised", "standing by"]);
        net.close(first);
        assert_eq!(net.dialled.len(), 2, "at once");
        let second = net.connect();
        assert_eq!((net.used.clone(), net.last_sent()), (vec![a()], &cache::RESET[..]));
        net.say(second, &cache::answer(1, 3, 1, &[(true, a()), (true, b())]));
        assert_eq!((net.used.clone(), net.updates), (vec![a(), b()], 2));
        assert_eq!(net.report.source.as_ref().unwrap().address, params(2, 20).address);
        net.wait(3);
        let first = net.connect();
        assert_eq!(net.states(), ["loading", "synchronised"], "as long as the first has not said everything");
        net.say(first, &cache::answer(1, 7, 6, &[(true, a())]));
        assert_eq!((net.used.clone(), net.states()), (vec![a()], vec!["synchronised", "standing by"]));
        assert_eq!(net.closed.last(), Some(&second));
        net.say(second, &cache::answer(1, 3, 2, &[]));
        assert_eq!(net.used, [a()], "what it still says is not heard");
    }

    #[test]
    fn no_data_available_is_no_reason_to_wait_for_it() {
        let mut net = Net::new(vec![params(1, 10), params(2, 20)]);
        let first = net.connect();
        net.say(first, &cache::error(1, 2));
        assert!(net.error(0).contains("no data yet"));
        assert_eq!(net.dialled.len(), 2, "the next one is asked");
        net.wait(2);
        assert!(net.dialled.len() < 4);
    }

    #[test]
    fn an_older_cache_is_spoken_to_in_its_version() {
        // It answers in it.
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        net.say(link, &cache::notify(0, 7, 5));
        net.say(link, &cache::answer(0, 7, 5, &[(true, a())]));
        assert_eq!((net.used.clone(), net.report.caches[0].version), (vec![a()], Some(0)));
        net.wait(3600);
        assert_eq!(net.last_sent(), [0, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 5]);
        // It complains, and is dialled again at once.
        for complaint in [cache::error(0, 4), cache::error(1, 4), cache::error(0, 0)] {
            let mut net = Net::new(vec![params(1, 10)]);
            let link = net.connect();
            net.say(link, &complaint);
            assert_eq!((net.dialled.len(), net.report.caches[0].failures), (2, 0));
            let link = net.connect();
            assert_eq!(net.last_sent(), [0, 2, 0, 0, 0, 0, 0, 8]);
            net.say(link, &cache::error(0, 4));
            assert_eq!((net.dialled.len(), net.report.caches[0].failures), (2, 1), "and not for ever");
        }
        // It hangs up.
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        net.close(link);
        net.wait(1);
        net.connect();
        assert_eq!(net.last_sent(), [0, 2, 0, 0, 0, 0, 0, 8]);
    }

    #[test]
    fn a_version_is_agreed_once_and_for_all() {
        let (mut net, link) = loaded();
        net.say(link, &cache::notify(0, 7, 6));
        assert_eq!(&net.last_sent()[..4], [1, 10, 0, 8]);
        assert!(net.error(0).starts_with("Unexpected Protocol Version"));
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        net.say(link, &cache::response(2, 7));
        assert_eq!(&net.last_sent()[..4], [1, 10, 0, 4]);
    }

    /// Whatever a cache does wrong costs it the connection, and what it said before stays.
    #[test]
    fn rubbish_costs_the_connection_and_no_vrp() {
        let more = |changes: &[(bool, Vrp)]| cache::answer(1, 7, 6, changes);
        let too_many: Vec<(bool, Vrp)> = (0..200).map(|n| (true, vrp(&format!("10.9.{n}.0/24"), 24, 9))).collect();
        for (octets, code, why) in [
            (more(&[(true, a())]), 7, "Duplicate"),
            (more(&[(false, b())]), 6, "Unknown"),
            (more(&too_many), 1, "max_vrps"),
            (cache::prefix(1, true, b()), 0, "not asked for"),
            (cache::end(1, 7, 6), 0, "not asked for"),
            ([cache::response(1, 7), cache::end(1, 8, 6)].concat(), 0, "another session"),
            ([cache::response(1, 7), cache::response(1, 7)].concat(), 0, "nothing that was asked"),
            ([cache::response(1, 7), vec![1, 8, 0, 0, 0, 0, 0, 8]].concat(), 0, "Cache Reset"),
            (vec![1, 99, 0, 0, 0, 0, 0, 8], 5, "no PDU of type 99"),
            (vec![b'G', b'E', b'T', b' ', b'/', b' ', b'H', b'T'], 4, "version 71"),
        ] {
            let (mut net, link) = loaded();
            net.wait(100);
            net.say(link, &octets);
            assert!(net.error(0).contains(why), "{why}: {}", net.error(0));
            assert_eq!(&net.last_sent()[..4], [1, 10, 0, code], "{why}");
            assert_eq!((net.closed.last(), net.used.clone(), net.states()), (Some(&link), vec![a()], vec!["waiting"]));
        }
        let (mut net, link) = loaded();
        net.wait(100);
        let sent = net.sent.len();
        net.say(link, &cache::error(1, 3));
        assert_eq!((net.sent.len(), net.used.clone()), (sent, vec![a()]), "no complaint is answered with one");
    }

    #[test]
    fn a_cache_that_stalls_or_trickles_is_let_go() {
        let mut net = Net::new(vec![params(1, 10), params(2, 20)]);
        let link = net.connect();
        net.say(link, &cache::response(1, 7));
        net.wait(9);
        assert_eq!(net.dialled.len(), 1);
        net.wait(1);
        assert!(net.error(0).contains("nothing for 10s"), "{}", net.error(0));
        assert_eq!(net.dialled.len(), 2);
        // One VRP every nine seconds.
        let mut net = Net::new(vec![params(1, 10)]);
        let link = net.connect();
        net.say(link, &cache::response(1, 7));
        for n in 0..12 {
            net.wait(9);
            net.say(link, &cache::prefix(1, true, vrp(&format!("10.{n}.0.0/16"), 24, 1)));
        }
        assert!(net.error(0).contains("longer than"), "{}", net.error(0));
    }

    #[test]
    fn other_caches_in_the_configuration_cost_no_vrp_before_they_have_spoken() {
        let (mut net, link) = loaded();
        net.caches.configure(vec![params(3, 1)], net.now);
        net.collect();
        assert_eq!((net.closed.last(), net.used.clone()), (Some(&link), vec![a()]));
        let link = net.connect();
        assert_eq!(net.last_sent(), cache::RESET);
        net.say(link, &cache::answer(1, 1, 1, &[(true, b())]));
        assert_eq!(net.used, [b()]);
        net.caches.configure(vec![params(3, 1)], net.now);
        net.collect();
        assert_eq!(net.states(), ["synchronised"], "the same configuration is none");
        net.caches.configure(Vec::new(), net.now);
        net.collect();
        assert!(net.used.is_empty());
    }
}
