//! Two ends and a wire between them, in virtual time.

use std::time::Duration;

use super::packet::Packet;
use super::*;
use crate::num::Secret;

const A: PeerId = PeerId(1);
const ADDR: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn params(toward: usize) -> SessionParams {
    SessionParams {
        peer: format!("n{toward}"),
        remote: ADDR[toward].into(),
        local: None,
        link: None,
        path: Path::SingleHop,
        min_ttl: 255,
        min_tx: 50_000,
        min_rx: 50_000,
        multiplier: 3,
        without_realtime: WithoutRealtime::Raise,
        passive: false,
        admin_up: true,
        key: None,
    }
}

/// What went over the wire: when, from which end, what.
type Sent = (Instant, usize, Packet);

/// Two ends.
struct Pair {
    ends: [Bfd; 2],
    now: Instant,
    /// From this end nothing arrives any more.
    cut: [bool; 2],
    sent: Vec<Sent>,
    reports: [Vec<Status>; 2],
}

impl Pair {
    fn new(change: impl Fn(usize, &mut SessionParams)) -> Pair {
        let mut pair = Pair {
            ends: [Bfd::new([1; 16]), Bfd::new([2; 16])],
            now: Instant::ZERO + ms(1000),
            cut: [false; 2],
            sent: Vec::new(),
            reports: Default::default(),
        };
        for end in 0..2 {
            pair.want(end, |params| change(end, params));
        }
        pair
    }

    fn up() -> Pair {
        let mut pair = Pair::new(|_, _| {});
        pair.run(ms(5000));
        assert_eq!(pair.states(), [State::Up; 2]);
        pair.clear();
        pair
    }

    fn want(&mut self, end: usize, change: impl FnOnce(&mut SessionParams)) {
        let mut wanted = params(1 - end);
        change(&mut wanted);
        self.ends[end].want(A, Arc::new(wanted), self.now);
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.reports.iter_mut().for_each(Vec::clear);
    }

    fn arrival(&self, from: usize) -> Arrival {
        Arrival { from: ADDR[from].into(), link: IfIndex(1), ttl: 255, path: Path::SingleHop, at: self.now }
    }

    /// Delivers and serves until there is nothing more for this moment.
    fn exchange(&mut self) {
        loop {
            let mut any = false;
            for end in 0..2 {
                self.ends[end].on_time(self.now, self.now);
                while let Some(transmit) = self.ends[end].poll_transmit(self.now) {
                    any = true;
                    let octets = transmit.octets.as_slice();
                    self.sent.push((self.now, end, packet::decode(octets).unwrap().packet));
                    if !self.cut[end] {
                        let _dropped = self.ends[1 - end].receive(&self.arrival(end), octets, self.now);
                    }
                }
                while let Some(status) = self.ends[end].poll_status() {
                    self.reports[end].push(status);
                }
            }
            if !any {
                return;
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.exchange();
        while let Some(at) = self.ends.iter().filter_map(Bfd::next_deadline).min().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.exchange();
        }
        self.now = until;
        self.exchange();
    }

    fn detail(&self, end: usize) -> Detail {
        self.ends[end].details(self.now).remove(0)
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.detail(end).state)
    }

    /// Intervals between the packets of one end.
    fn gaps(&self, end: usize) -> Vec<Duration> {
        let at: Vec<Instant> = self.sent.iter().filter(|(_, from, packet)| *from == end && !packet.fin).map(|(at, ..)| *at).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[test]
fn two_ends_come_up_by_way_of_init_and_say_so() {
    let mut pair = Pair::new(|_, _| {});
    assert_eq!(pair.states(), [State::Down; 2]);
    pair.run(ms(3000));
    assert_eq!(pair.states(), [State::Up; 2]);
    for end in 0..2 {
        let states: Vec<State> = pair.reports[end].iter().map(|status| status.state).collect();
        assert!(states.starts_with(&[State::Down]) && states.ends_with(&[State::Up]), "{states:?}");
        assert_eq!(pair.detail(end).remote_state, State::Up);
    }
    assert!(pair.sent.iter().any(|(_, _, packet)| packet.state == State::Init));
    assert!(pair.sent.iter().all(|(_, _, packet)| !packet.demand && !packet.independent && packet.required_min_echo_rx == 0));
}

#[test]
fn who_is_not_up_sends_once_a_second_and_says_so() {
    let mut pair = Pair::new(|_, _| {});
    pair.cut = [true; 2];
    pair.run(ms(60_000));
    assert_eq!(pair.states(), [State::Down; 2]);
    let gaps = pair.gaps(0);
    assert!((60..=80).contains(&gaps.len()), "{}", gaps.len());
    assert!(gaps.iter().all(|gap| (ms(750)..=ms(1000)).contains(gap)), "{gaps:?}");
    assert!(pair.sent.iter().all(|(_, _, packet)| packet.desired_min_tx == 1_000_000 && packet.required_min_rx == 50_000));
    pair.cut = [false; 2];
    pair.run(ms(2000));
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.detail(0).desired_min_tx, 50_000, "and fast from then on");
}

#[test]
fn intervals_are_jittered_by_up_to_a_quarter_for_each_packet() {
    let mut pair = Pair::up();
    pair.run(ms(60_000));
    let gaps = pair.gaps(0);
    assert!(gaps.iter().all(|gap| (Duration::from_micros(37_500)..=ms(50)).contains(gap)), "{:?}", gaps.iter().max());
    assert!(gaps.iter().any(|gap| *gap < ms(39)) && gaps.iter().any(|gap| *gap > ms(49)));
    let mean = gaps.iter().sum::<Duration>() / gaps.len() as u32;
    assert!((Duration::from_micros(43_500)..Duration::from_micros(44_000)).contains(&mean), "{mean:?}");
}

#[test]
fn a_multiplier_of_one_leaves_a_tenth_of_the_interval() {
    let mut pair = Pair::new(|_, params| params.multiplier = 1);
    pair.run(ms(5000));
    pair.clear();
    pair.run(ms(60_000));
    let gaps = pair.gaps(0);
    assert!(gaps.iter().all(|gap| (Duration::from_micros(37_500)..=ms(45)).contains(gap)), "{:?}", gaps.iter().max());
    assert_eq!(pair.states(), [State::Up; 2], "and nobody is taken for gone");
    assert!(pair.reports[0].is_empty());
}

#[test]
fn the_slower_side_has_its_way() {
    let mut pair = Pair::new(|end, params| {
        if end == 1 {
            params.min_rx = 400_000;
        }
    });
    pair.run(ms(5000));
    pair.clear();
    pair.run(ms(20_000));
    assert!(pair.gaps(0).iter().all(|gap| (ms(300)..=ms(400)).contains(gap)), "it can receive every 400 ms only");
    assert!(pair.gaps(1).iter().all(|gap| *gap <= ms(50)));
    assert_eq!(pair.detail(1).detection_time, Some(ms(1200)));
    assert_eq!(pair.detail(0).detection_time, Some(ms(150)));
}

#[test]
fn silence_for_the_detection_time_is_the_end_and_not_a_moment_before() {
    let mut pair = Pair::up();
    let last = pair.now;
    pair.cut[1] = true;
    pair.run(ms(149).saturating_sub(ms(50)));
    assert_eq!(pair.states()[0], State::Up);
    pair.run(ms(200));
    let down = pair.reports[0][0];
    assert_eq!((down.state, down.diag, down.downs), (State::Down, Diagnostic::TIME_EXPIRED, 1));
    let heard = pair.sent.iter().filter(|(at, from, _)| *from == 1 && *at <= last).map(|(at, ..)| *at).next_back();
    assert!(heard.is_none(), "the wire was cut before it sent again");
    assert!((ms(100)..=ms(150)).contains(&(down.since - last)), "{:?}", down.since - last);
    let detail = pair.detail(0);
    assert_eq!(detail.remote_discr, 0, "RFC 5880 6.8.1");
    assert_eq!(detail.last_down.unwrap().0.diag, Diagnostic::TIME_EXPIRED);
    // The other one is told, at once, and why.
    let told = pair.reports[1][0];
    assert_eq!((told.state, told.diag, told.remote_diag), (State::Down, Diagnostic::NEIGHBOR_DOWN, Diagnostic::TIME_EXPIRED));
    assert!(told.since - down.since < ms(1));
}

#[test]
fn the_neighbours_multiplier_and_interval_make_the_detection_time() {
    let mut pair = Pair::new(|end, params| {
        if end == 1 {
            (params.min_tx, params.multiplier) = (200_000, 5);
        }
    });
    pair.run(ms(5000));
    assert_eq!(pair.detail(0).detection_time, Some(ms(1000)), "5 x max(50, 200)");
    assert_eq!(pair.detail(1).detection_time, Some(ms(150)));
}

#[test]
fn what_arrived_in_time_is_not_late_because_we_were() {
    let mut pair = Pair::up();
    // This process sleeps for a second. What came meanwhile is handed in with the moment at which it arrived.
    let slept_at = pair.now;
    let discr = [pair.detail(0).discr, pair.detail(1).discr];
    let words = Packet {
        state: State::Up,
        detect_mult: 3,
        my_discr: discr[1],
        your_discr: discr[0],
        desired_min_tx: 50_000,
        required_min_rx: 50_000,
        ..Packet::default()
    };
    pair.now = slept_at + ms(1000);
    for n in 1..=20 {
        let at = Arrival { at: slept_at + ms(50 * n), ..pair.arrival(1) };
        pair.ends[0].receive(&at, &words.encode(24), pair.now).unwrap();
    }
    pair.ends[0].on_time(pair.now, pair.now);
    assert_eq!(pair.detail(0).state, State::Up);
    // And where not all could be read, nobody is judged by what is not known.
    pair.now = pair.now + ms(1000);
    let read_until = pair.now - slept_at;
    assert!(read_until > ms(150));
    pair.ends[0].on_time(pair.now, slept_at + ms(1100));
    assert_eq!(pair.detail(0).state, State::Up);
    pair.ends[0].on_time(pair.now, pair.now);
    assert_eq!(pair.detail(0).state, State::Down);
}

#[test]
fn other_intervals_are_agreed_by_a_poll_and_nothing_flaps() {
    let mut pair = Pair::up();
    pair.want(0, |params| (params.min_tx, params.min_rx) = (300_000, 300_000));
    pair.run(ms(10));
    let polls = |pair: &Pair, end| pair.sent.iter().filter(|(_, from, packet)| *from == end && packet.poll).count();
    assert_eq!(polls(&pair, 0), 1);
    let fin = pair.sent.iter().find(|(_, _, packet)| packet.fin).expect("an answer");
    assert!(fin.1 == 1 && !fin.2.poll);
    assert_eq!(pair.detail(0).tx_interval, ms(300), "the Final came");
    pair.clear();
    pair.run(ms(10_000));
    assert_eq!(polls(&pair, 0), 0);
    assert!(pair.gaps(0).iter().all(|gap| (ms(225)..=ms(300)).contains(gap)));
    assert_eq!(pair.detail(1).detection_time, Some(ms(900)));
    // And back.
    pair.want(0, |_| {});
    pair.run(ms(10_000));
    assert_eq!((pair.detail(0).tx_interval, pair.detail(1).detection_time), (ms(50), Some(ms(150))));
    assert_eq!(pair.states(), [State::Up; 2]);
    assert!(pair.reports.iter().all(Vec::is_empty), "{:?}", pair.reports);
}

#[test]
fn a_longer_interval_holds_only_when_the_neighbour_knows() {
    let mut pair = Pair::up();
    pair.cut[1] = true;
    pair.want(0, |params| (params.min_tx, params.min_rx) = (500_000, 20_000));
    pair.exchange();
    let detail = pair.detail(0);
    assert!(detail.polling);
    assert_eq!((detail.desired_min_tx, detail.required_min_rx), (500_000, 20_000), "as advertised");
    assert_eq!(detail.tx_interval, ms(50), "as sent: the Final has not come");
    assert_eq!(detail.detection_time, Some(ms(150)), "as expected: it does not know that it may be quicker");
    pair.run(ms(100));
    assert!(pair.sent.iter().filter(|(_, from, _)| *from == 0).all(|(_, _, packet)| packet.poll), "until a Final comes");
    pair.cut[1] = false;
    pair.run(ms(60));
    let detail = pair.detail(0);
    assert_eq!((detail.polling, detail.tx_interval), (false, ms(500)));
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn two_changes_in_a_row_are_two_polls() {
    let mut pair = Pair::up();
    pair.cut[1] = true;
    pair.want(0, |params| params.min_tx = 100_000);
    pair.exchange();
    pair.want(0, |params| params.min_tx = 200_000);
    pair.run(ms(20));
    assert_eq!(pair.detail(0).desired_min_tx, 100_000, "the second waits");
    pair.cut[1] = false;
    pair.run(ms(1000));
    assert_eq!((pair.detail(0).desired_min_tx, pair.detail(0).tx_interval), (200_000, ms(200)));
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn a_poll_is_answered_at_once_in_any_state_and_without_p() {
    let mut pair = Pair::new(|_, _| {});
    pair.exchange();
    let words =
        Packet { poll: true, detect_mult: 3, my_discr: 5, desired_min_tx: 1_000_000, required_min_rx: 1_000_000, ..Packet::default() };
    pair.ends[0].receive(&pair.arrival(1), &words.encode(24), pair.now).unwrap();
    let answer = pair.ends[0].poll_transmit(pair.now).unwrap();
    let answer = packet::decode(answer.octets.as_slice()).unwrap().packet;
    assert!(answer.fin && !answer.poll);
    assert_eq!((answer.state, answer.your_discr), (State::Init, 5));
}

#[test]
fn an_operator_holds_it_down_and_the_neighbour_knows_that_the_path_may_be_well() {
    let mut pair = Pair::up();
    pair.want(0, |params| params.admin_up = false);
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::AdminDown, State::Down]);
    let told = pair.reports[1].last().unwrap();
    assert_eq!((told.diag, told.remote_state, told.remote_diag), (Diagnostic::NEIGHBOR_DOWN, State::AdminDown, Diagnostic::ADMIN_DOWN));
    let dropped = pair.ends[0].counters().dropped(Drop::AdminDown);
    assert!(dropped > 0, "what comes is dropped");
    pair.want(0, |_| {});
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn who_is_wanted_no_longer_says_goodbye_for_a_detection_time() {
    let mut pair = Pair::up();
    pair.ends[0].unwant(A, pair.now);
    let since = pair.now;
    pair.run(ms(5000));
    assert!(pair.ends[0].details(pair.now).is_empty());
    let words: Vec<&Sent> = pair.sent.iter().filter(|(_, from, _)| *from == 0).collect();
    assert!(words.len() >= 3, "{words:?}");
    assert!(words.iter().all(|(at, _, packet)| packet.state == State::AdminDown && *at - since <= ms(3000)));
    assert_eq!(pair.detail(1).remote_state, State::AdminDown);
    assert!(pair.ends[0].next_deadline().is_none(), "nothing is left of it");
}

#[test]
fn a_passive_end_waits_to_be_spoken_to() {
    let mut pair = Pair::new(|_, params| params.passive = true);
    pair.run(ms(20_000));
    assert!(pair.sent.is_empty());
    pair.want(1, |params| params.passive = false);
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn a_neighbour_that_wants_no_packets_or_demands_silence_gets_it() {
    let mut pair = Pair::up();
    let words = |pair: &Pair| Packet {
        state: State::Up,
        detect_mult: 250,
        my_discr: pair.detail(1).discr,
        your_discr: pair.detail(0).discr,
        desired_min_tx: 50_000,
        required_min_rx: 50_000,
        ..Packet::default()
    };
    pair.cut = [true; 2];
    for silent in [Packet { required_min_rx: 0, ..words(&pair) }, Packet { demand: true, ..words(&pair) }] {
        pair.ends[0].receive(&pair.arrival(1), &silent.encode(24), pair.now).unwrap();
        pair.exchange();
        pair.clear();
        pair.run(ms(2000));
        assert!(pair.gaps(0).is_empty(), "{silent:?}");
        let asks = Packet { poll: true, ..silent };
        pair.ends[0].receive(&pair.arrival(1), &asks.encode(24), pair.now).unwrap();
        pair.exchange();
        assert!(pair.sent.iter().any(|(_, from, packet)| *from == 0 && packet.fin), "but a Poll is answered");
        pair.ends[0].receive(&pair.arrival(1), &words(&pair).encode(24), pair.now).unwrap();
        pair.clear();
        pair.run(ms(200));
        assert!(pair.gaps(0).len() >= 2);
    }
}

#[test]
fn what_a_silent_neighbour_wanted_no_longer_holds() {
    let mut pair = Pair::new(|end, params| {
        if end == 1 {
            params.min_rx = 10_000_000;
        }
    });
    pair.run(ms(20_000));
    pair.clear();
    pair.run(ms(30_000));
    assert!(pair.gaps(0).iter().all(|gap| *gap > ms(7000)), "every ten seconds is what it takes");
    pair.cut[1] = true;
    pair.run(ms(20_000));
    pair.clear();
    pair.run(ms(20_000));
    assert_eq!(pair.states()[0], State::Down);
    assert!(pair.gaps(0).len() >= 19, "once a second, until it is heard again: {:?}", pair.gaps(0));
}

#[test]
fn every_packet_that_is_not_ours_is_counted_by_its_reason_and_changes_nothing() {
    let mut pair = Pair::up();
    let before = format!("{:?}", (pair.detail(0).state, pair.detail(0).remote_discr, pair.detail(0).remote_min_rx));
    let good = Packet { state: State::Down, detect_mult: 3, my_discr: 66, your_discr: pair.detail(0).discr, ..Packet::default() };
    let from = pair.arrival(1);
    let stranger = Arrival { from: [192, 0, 2, 66].into(), ..from };
    let cases = [
        (Drop::Ttl, Arrival { ttl: 254, ..from }, good.encode(24).to_vec()),
        (Drop::Version, from, vec![0; 24]),
        (Drop::Length, from, good.encode(23).to_vec()),
        (Drop::Multiplier, from, Packet { detect_mult: 0, ..good }.encode(24).to_vec()),
        (Drop::MyDiscriminator, from, Packet { my_discr: 0, ..good }.encode(24).to_vec()),
        (Drop::YourDiscriminator, from, Packet { your_discr: 0, state: State::Up, ..good }.encode(24).to_vec()),
        (Drop::UnknownDiscriminator, from, Packet { your_discr: good.your_discr ^ 1, ..good }.encode(24).to_vec()),
        (Drop::WrongSource, stranger, good.encode(24).to_vec()),
        (Drop::WrongSource, Arrival { path: Path::MultiHop, ..from }, good.encode(24).to_vec()),
        (Drop::UnknownSource, stranger, Packet { your_discr: 0, ..good }.encode(24).to_vec()),
        (Drop::AuthUnexpected, from, [&Packet { authenticated: true, ..good }.encode(28)[..], &[4, 4, 0, 0]].concat()),
    ];
    for (why, arrival, octets) in cases {
        let counted = pair.ends[0].counters().dropped(why);
        assert_eq!(pair.ends[0].receive(&arrival, &octets, pair.now), Err(why));
        assert_eq!(pair.ends[0].counters().dropped(why), counted + 1, "{why:?}");
        let after = format!("{:?}", (pair.detail(0).state, pair.detail(0).remote_discr, pair.detail(0).remote_min_rx));
        assert_eq!(after, before, "{why:?}");
        assert!(!pair.ends[0].has_to_send(), "{why:?} is not answered");
    }
    assert_eq!(pair.ends[0].receive(&from, &good.encode(24), pair.now), Ok(()), "and the good one does work");
    assert_eq!(pair.detail(0).state, State::Down);
}

#[test]
fn over_routers_the_minimum_ttl_is_the_sessions() {
    let mut bfd = Bfd::new([3; 16]);
    let now = Instant::ZERO;
    bfd.want(A, Arc::new(SessionParams { path: Path::MultiHop, min_ttl: 250, ..params(1) }), now);
    let hello = Packet { detect_mult: 3, my_discr: 9, ..Packet::default() }.encode(24);
    let from = Arrival { from: ADDR[1].into(), link: IfIndex(4), ttl: 249, path: Path::MultiHop, at: now };
    assert_eq!(bfd.receive(&from, &hello, now), Err(Drop::Ttl));
    assert_eq!(bfd.details(now)[0].counters.dropped(Drop::Ttl), 1);
    assert_eq!(bfd.receive(&Arrival { ttl: 250, ..from }, &hello, now), Ok(()));
}

#[test]
fn keys_keep_strangers_out_and_a_changed_key_needs_both_ends() {
    let key = |secret: &[u8]| Some(Key { auth: AuthType::MeticulousSha1, id: 1, secret: Secret::new(secret) });
    let mut pair = Pair::new(|_, params| params.key = key(b"one"));
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Up; 2]);
    let plain = Packet { detect_mult: 3, my_discr: 9, ..Packet::default() }.encode(24);
    assert_eq!(pair.ends[0].receive(&pair.arrival(1), &plain, pair.now), Err(Drop::AuthMissing));
    pair.want(0, |params| params.key = key(b"two"));
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Down; 2]);
    assert!(pair.ends[1].counters().dropped(Drop::AuthDigest) > 0);
    pair.want(1, |params| params.key = key(b"two"));
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Up; 2], "also after sequence numbers of an earlier life");
}

#[test]
fn a_neighbour_that_restarts_is_known_by_its_new_number() {
    let mut pair = Pair::up();
    pair.ends[1] = Bfd::new([9; 16]);
    pair.want(1, |_| {});
    pair.run(ms(5000));
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.detail(0).downs, 1);
}

#[test]
fn discriminators_are_all_different_and_follow_from_the_secret() {
    let draw = |secret| {
        let mut bfd = Bfd::new([secret; 16]);
        for n in 0..1000_u32 {
            let remote = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            bfd.want(PeerId(n), Arc::new(SessionParams { remote: remote.into(), ..params(1) }), Instant::ZERO);
        }
        let mut discrs: Vec<u32> = bfd.details(Instant::ZERO).iter().map(|detail| detail.discr).collect();
        discrs.sort_unstable();
        discrs.dedup();
        discrs
    };
    let (one, other) = (draw(1), draw(2));
    assert_eq!(one.len(), 1000);
    let tag = Bfd::new([1; 16]).tag();
    assert!(tag != 0 && one.iter().all(|discr| discr & TAG_MASK == tag));
    assert_eq!(one, draw(1));
    assert!(one.iter().filter(|discr| other.binary_search(discr).is_ok()).count() < 3, "another secret, others");
}

#[test]
fn two_hundred_sessions_keep_a_bounded_list_of_timers() {
    let mut bfd = Bfd::new([3; 16]);
    let mut now = Instant::ZERO;
    for n in 0..200_u32 {
        let remote = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        bfd.want(PeerId(n), Arc::new(SessionParams { remote: remote.into(), ..params(1) }), now);
    }
    for _ in 0..20_000 {
        now = bfd.next_deadline().unwrap().max(now);
        bfd.on_time(now, now);
        while bfd.poll_transmit(now).is_some() {}
        while bfd.poll_status().is_some() {}
    }
    assert!(bfd.timers.len() <= 400, "{}", bfd.timers.len());
    assert!(bfd.ready.is_empty() && bfd.reports.is_empty());
}
