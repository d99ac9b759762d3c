//! One peer against octets and a clock that a test moves.

use std::net::SocketAddr;
use std::time::Duration;

use super::fsm::Link;
use super::*;
use crate::num::{Asn, Family, FamilySet, HoldTime, RouterId};
use crate::wire::{Capability, CeaseSubcode, GracefulRestart, Message, Notification, Open, RefreshSubtype, RouteRefresh};

const LOCAL: [u8; 4] = [192, 0, 2, 1];
const REMOTE: [u8; 4] = [192, 0, 2, 2];

fn addr(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn id(ip: [u8; 4]) -> RouterId {
    RouterId::new(ip.into()).unwrap()
}

pub(super) fn link(conn: u64) -> Link {
    Link { conn: ConnId(conn), local: addr(LOCAL, 40000), remote: addr(REMOTE, 179), direction: Direction::Dialled, since: Instant::ZERO }
}

pub(super) fn session() -> Arc<Session> {
    let p = params();
    let ours = negotiate::our_open(&p, &SuppressedCapabilities::Nothing, Default::default());
    Arc::new(negotiate::agree(&p, &ours, Arc::new(their_open()), &link(1)).unwrap())
}

fn params() -> Params {
    Params::new("b", REMOTE.into(), Asn(64512), RemoteAs::Exactly(Asn(64513)), id(LOCAL))
}

/// An OPEN as the other side would send it: everything that we offer too.
fn their_open() -> Open {
    let theirs = Params::new("a", LOCAL.into(), Asn(64513), RemoteAs::Any, id(REMOTE));
    negotiate::our_open(&theirs, &SuppressedCapabilities::Nothing, Default::default())
}

/// The octets that were sent, by type and what follows.
#[derive(Debug, PartialEq, Clone)]
enum Did {
    Dial(ConnId),
    Open(ConnId),
    KeepAlive(ConnId),
    Told(ConnId, u8, u8),
    Close(ConnId),
    Up,
    Down { keep: FamilySet },
    Sweep(FamilySet),
    Refresh(Family, RefreshSubtype),
    Context,
}

struct Desk {
    peer: Peer,
    conns: ConnIds,
    now: Instant,
}

impl Desk {
    fn with(change: impl FnOnce(&mut Params)) -> Desk {
        let mut p = params();
        change(&mut p);
        Desk { peer: Peer::new(PeerId(1), Arc::new(p), 7), conns: ConnIds::default(), now: Instant::ZERO + Duration::from_secs(1000) }
    }

    fn new() -> Desk {
        Desk::with(|_| ())
    }

    fn tell(&mut self, event: Event) -> Vec<Did> {
        self.peer.handle(self.now, event, &mut self.conns);
        self.did()
    }

    fn did(&mut self) -> Vec<Did> {
        let mut all = Vec::new();
        while let Some(action) = self.peer.poll() {
            all.extend(match action {
                Action::Dial { conn, .. } => Some(Did::Dial(conn)),
                Action::Context { .. } => Some(Did::Context),
                Action::Send { conn, octets } => Some(match octets[18] {
                    1 => Did::Open(conn),
                    3 => Did::Told(conn, octets[19], octets[20]),
                    4 => Did::KeepAlive(conn),
                    other => panic!("a peer sends no message of type {other}"),
                }),
                Action::Close { conn } => Some(Did::Close(conn)),
                Action::Established(_) => Some(Did::Up),
                Action::Down(down) => Some(Did::Down { keep: down.keep }),
                Action::SweepStale(families) => Some(Did::Sweep(families)),
                Action::LongLived(_) => None,
                Action::Refresh { family, subtype } => Some(Did::Refresh(family, subtype)),
                Action::Notice(_) => None,
            });
        }
        all
    }

    /// Lets time pass, serving every deadline.
    fn pass(&mut self, time: Duration) -> Vec<Did> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.peer.next_deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline in the past was left standing");
            self.now = at;
            self.peer.on_deadline(at, at, &mut self.conns);
            all.extend(self.did());
        }
        self.now = end;
        all
    }

    fn connected(&mut self, conn: ConnId, direction: Direction) -> Vec<Did> {
        self.tell(Event::Connected { conn, local: addr(LOCAL, 40000), remote: addr(REMOTE, 179), direction })
    }

    fn accept(&mut self, n: u64) -> Vec<Did> {
        self.connected(accepted(n), Direction::Accepted)
    }

    fn say(&mut self, conn: ConnId, message: Message) -> Vec<Did> {
        self.tell(Event::Message { conn, message })
    }

    fn open(&mut self, conn: ConnId, open: Open) -> Vec<Did> {
        self.say(conn, Message::Open(Box::new(open)))
    }

    /// To Established over a dialled connection.
    fn up(&mut self) -> ConnId {
        let Some(Did::Dial(conn)) = self.tell(Event::Start).pop() else { panic!("no dial") };
        self.connected(conn, Direction::Dialled);
        self.open(conn, their_open());
        assert_eq!(self.say(conn, Message::KeepAlive), [Did::Up]);
        conn
    }

    fn why(&self) -> String {
        self.peer.why_down().unwrap()
    }
}

fn accepted(n: u64) -> ConnId {
    ConnId(ConnId::FIRST_ACCEPTED + n)
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn a_session_comes_up_over_a_dialled_connection() {
    let mut desk = Desk::new();
    assert_eq!(desk.tell(Event::Start), [Did::Dial(ConnId(1))]);
    assert_eq!(desk.connected(ConnId(1), Direction::Dialled), [Did::Open(ConnId(1))]);
    assert_eq!(desk.peer.state(), State::OpenSent);
    assert_eq!(desk.open(ConnId(1), their_open()), [Did::Context, Did::KeepAlive(ConnId(1))]);
    assert_eq!(desk.peer.state(), State::OpenConfirm);
    assert_eq!(desk.say(ConnId(1), Message::KeepAlive), [Did::Up]);
    assert_eq!(desk.peer.state(), State::Established);
    assert_eq!(desk.peer.why_down(), None);
    let session = desk.peer.session().unwrap();
    assert_eq!((session.families, session.remote_as, session.hold_time.seconds()), (FamilySet::ALL, Asn(64513), 90));
}

#[test]
fn the_most_telling_reason_is_kept_above_noise_as_long_as_it_recurs() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    let wrong = || {
        negotiate::our_open(
            &Params::new("a", LOCAL.into(), Asn(65099), RemoteAs::Any, id(REMOTE)),
            &SuppressedCapabilities::Nothing,
            Default::default(),
        )
    };
    for n in 0..6 {
        desk.accept(2 * n);
        desk.open(accepted(2 * n), wrong());
        desk.pass(secs(2));
        desk.accept(2 * n + 1);
        desk.tell(Event::Closed { conn: accepted(2 * n + 1), error: None });
        assert!(desk.why().starts_with("AS mismatch: the peer says AS 65099"), "round {n}: {}", desk.why());
        desk.pass(secs(20));
    }
    let known: Vec<(String, u32)> = desk.peer.failures().map(|(f, words)| (words, f.times)).collect();
    assert!(known.iter().any(|(words, times)| words.starts_with("AS mismatch") && *times == 6), "{known:?}");
    let span = desk.peer.failures().next().map(|(f, _)| f.last.since(f.first)).unwrap();
    assert!(span >= secs(100), "first and last: {span:?}");
    // The other side's operator has mended that, and now something else is wrong.
    for n in 20..40 {
        desk.pass(secs(20));
        desk.accept(n);
        desk.tell(Event::Closed { conn: accepted(n), error: None });
    }
    assert!(desk.why().contains("before any OPEN") && !desk.why().contains("AS mismatch"), "{}", desk.why());
}

#[test]
fn a_session_comes_up_over_an_accepted_connection_while_our_dial_hangs() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    assert_eq!(desk.accept(1), [Did::Open(accepted(1))]);
    assert_eq!(desk.open(accepted(1), their_open()), [Did::Close(ConnId(1)), Did::Context, Did::KeepAlive(accepted(1))]);
    assert_eq!(desk.say(accepted(1), Message::KeepAlive), [Did::Up]);
    assert_eq!(desk.connected(ConnId(1), Direction::Dialled), [], "a late word from the attempt that was given up");
    assert_eq!(desk.peer.state(), State::Established);
}

#[test]
fn a_session_comes_up_over_an_accepted_connection_while_our_dial_fails() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    assert_eq!(desk.accept(1), [Did::Open(accepted(1))]);
    assert_eq!(desk.tell(Event::DialFailed { conn: ConnId(1), error: DialError::Refused }), []);
    desk.open(accepted(1), their_open());
    assert_eq!(desk.say(accepted(1), Message::KeepAlive), [Did::Up]);
    assert!(!desk.pass(secs(60)).iter().any(|d| matches!(d, Did::Dial(_))), "nobody dials beside a session");
}

#[test]
fn keepalives_go_out_and_an_expired_hold_timer_is_told_before_the_close() {
    let mut desk = Desk::new();
    let conn = desk.up();
    let did = desk.pass(secs(100));
    let beats = did.iter().filter(|d| **d == Did::KeepAlive(conn)).count();
    // After 30 and 60 seconds at the latest; with the third the time is over.
    assert!((2..=4).contains(&beats), "{did:?}");
    let end = [Did::Told(conn, 4, 0), Did::Close(conn), Did::Down { keep: FamilySet::ALL }];
    assert!(did.windows(3).any(|w| w == end), "{did:?}");
    assert!(desk.why().contains("hold timer"), "{}", desk.why());
}

#[test]
fn a_peer_whose_messages_may_wait_to_be_taken_in_is_not_silent() {
    let mut desk = Desk::with(|p| p.hold_time = HoldTime::new(9).unwrap());
    desk.up();
    let began = desk.now;
    while desk.now < began + secs(30) {
        desk.now = desk.peer.next_deadline().unwrap();
        desk.peer.on_deadline(desk.now, began + secs(5), &mut desk.conns);
        assert!(desk.did().iter().all(|did| matches!(did, Did::KeepAlive(_))), "what came in the last seconds was not handed in yet");
    }
    assert!(desk.pass(secs(1)).iter().any(|did| matches!(did, Did::Down { .. })), "nothing waits any more");
}

#[test]
fn what_is_heard_moves_the_hold_timer_but_no_deadline() {
    let mut desk = Desk::new();
    let conn = desk.up();
    for _ in 0..20 {
        assert!(!desk.pass(secs(80)).contains(&Did::Told(conn, 4, 0)));
        let before = desk.peer.next_deadline();
        assert_eq!(desk.tell(Event::UpdatesSeen { conn, n: 100 }), []);
        assert_eq!(desk.peer.next_deadline(), before);
    }
    assert_eq!(desk.peer.counters().updates_received, 2000);
    assert_eq!(desk.peer.state(), State::Established);
}

#[test]
fn keepalives_are_never_more_frequent_than_one_a_second_nor_rarer_than_a_third() {
    for hold in [3, 9, 90, 240] {
        let mut desk = Desk::with(|p| p.hold_time = HoldTime::new(hold).unwrap());
        let conn = desk.up();
        let mut last = desk.now;
        for _ in 0..50 {
            desk.tell(Event::UpdatesSeen { conn, n: 1 });
            let at = desk.peer.next_deadline().unwrap();
            let did = desk.pass(at.since(desk.now));
            if did.contains(&Did::KeepAlive(conn)) {
                let gap = at.since(last);
                assert!(gap >= secs(1) && gap <= secs(u64::from(hold)) / 3 + timer::TICK, "hold {hold}: {gap:?}");
                last = at;
            }
        }
        assert!(last > Instant::ZERO + secs(1010));
    }
}

#[test]
fn peers_that_were_told_together_are_told_together_again_and_not_at_a_fixed_distance() {
    let beats = |id: u32| {
        let mut desk = Desk::with(|p| p.hold_time = HoldTime::new(90).unwrap());
        let params = desk.peer.params.clone();
        desk.peer = Peer::new(PeerId(id), params, u64::from(id) << 20);
        let conn = desk.up();
        let (mut at, end) = (Vec::new(), desk.now + secs(1200));
        while desk.now < end {
            desk.tell(Event::UpdatesSeen { conn, n: 1 });
            let next = desk.peer.next_deadline().unwrap();
            if desk.pass(next.since(desk.now)).contains(&Did::KeepAlive(conn)) {
                at.push(desk.now);
            }
        }
        at
    };
    let one = beats(1);
    assert_eq!(one, beats(2));
    let gaps: std::collections::BTreeSet<u64> = one.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert!(gaps.len() > 1 && gaps.iter().all(|gap| (20..=30).contains(gap)), "jittered: {gaps:?}");
    assert_ne!(one, beats(5000), "but not thousands at once");
}

#[test]
fn a_hold_time_of_zero_has_no_timers() {
    let mut desk = Desk::with(|p| p.hold_time = HoldTime::ZERO);
    desk.up();
    assert_eq!(desk.peer.next_deadline(), None);
    assert_eq!(desk.pass(secs(100_000)), []);
}

#[test]
fn a_peer_that_never_sends_its_open_is_let_go() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    let did = desk.pass(secs(241));
    assert_eq!(did[..2], [Did::Told(ConnId(1), 4, 0), Did::Close(ConnId(1))]);
    assert!(desk.why().contains("no OPEN"), "{}", desk.why());
}

#[test]
fn a_peer_that_never_confirms_our_open_is_let_go_in_other_words() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    desk.open(ConnId(1), their_open());
    let did = desk.pass(secs(91));
    assert!(did.contains(&Did::Told(ConnId(1), 4, 0)) && did.contains(&Did::Close(ConnId(1))), "{did:?}");
    assert!(desk.why().contains("did not confirm ours"), "{}", desk.why());
}

#[test]
fn unexpected_messages_are_told_with_the_subcode_of_their_state() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    assert_eq!(desk.say(ConnId(1), Message::KeepAlive)[0], Did::Told(ConnId(1), 5, 1));

    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    desk.open(ConnId(1), their_open());
    assert_eq!(desk.tell(Event::UpdatesSeen { conn: ConnId(1), n: 1 })[0], Did::Told(ConnId(1), 5, 2));

    let mut desk = Desk::new();
    let conn = desk.up();
    assert_eq!(desk.open(conn, their_open())[0], Did::Told(conn, 5, 3));
}

#[test]
fn an_open_of_another_as_is_rejected_and_the_attempts_grow_rare() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    let (mut conn, mut attempts) = (ConnId(1), 0);
    let end = desk.now + secs(600);
    while desk.now < end {
        desk.connected(conn, Direction::Dialled);
        let wrong = Open::new(Asn(64999), HoldTime::DEFAULT, id(REMOTE), vec![]);
        assert_eq!(desk.open(conn, wrong), [Did::Told(conn, 2, 2), Did::Close(conn)]);
        attempts += 1;
        conn = loop {
            let at = desk.peer.next_deadline().unwrap();
            if let Some(Did::Dial(conn)) = desk.pass(at.since(desk.now)).first() {
                break *conn;
            }
        };
    }
    assert!((10..=22).contains(&attempts), "{attempts} attempts in ten minutes");
    assert!(desk.why().contains("AS mismatch"), "{}", desk.why());
}

#[test]
fn our_own_router_id_within_our_as_is_rejected_and_outside_of_it_is_not() {
    for (asn, rejected) in [(64512, true), (64513, false)] {
        let mut desk = Desk::with(|p| p.remote_as = RemoteAs::Any);
        desk.tell(Event::Start);
        desk.connected(ConnId(1), Direction::Dialled);
        let did = desk.open(ConnId(1), Open::new(Asn(asn), HoldTime::DEFAULT, id(LOCAL), vec![]));
        assert_eq!(did.contains(&Did::Told(ConnId(1), 2, 3)), rejected, "{did:?}");
    }
}

#[test]
fn no_common_family_is_told_with_the_families_that_we_want() {
    let mut desk = Desk::with(|p| p.families = Family::Ipv6Unicast.into());
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    let did = desk.open(ConnId(1), Open::new(Asn(64513), HoldTime::DEFAULT, id(REMOTE), vec![]));
    assert_eq!(did, [Did::Told(ConnId(1), 2, 7), Did::Close(ConnId(1))]);
    assert!(desk.why().contains("no family in common"), "{}", desk.why());
}

#[test]
fn a_peer_that_rejects_capabilities_is_retried_without_them() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    let refusal = Notification::unsupported_capability(&[Capability::EnhancedRouteRefresh]);
    desk.say(ConnId(1), Message::Notification(refusal));
    let offers = |peer: &Peer| negotiate::our_open(&peer.params, &peer.suppressed, Default::default()).capabilities;
    assert!(!offers(&desk.peer).contains(&Capability::EnhancedRouteRefresh));
    assert!(offers(&desk.peer).contains(&Capability::RouteRefresh));
    let did = desk.pass(secs(2));
    assert_eq!(did, [Did::Dial(ConnId(2))], "not told to anybody, and tried again");
    desk.connected(ConnId(2), Direction::Dialled);
    desk.say(ConnId(2), Message::Notification(Notification::new(2, 4, Default::default())));
    assert_eq!(offers(&desk.peer), []);
}

#[test]
fn a_capability_that_the_peer_misses_is_no_reason_to_offer_less() {
    let ours = negotiate::our_open(
        &Params { families: Family::Ipv4Unicast.into(), ..params() },
        &SuppressedCapabilities::Nothing,
        Default::default(),
    );
    let wants = Notification::unsupported_capability(&[Capability::multiprotocol(Family::Ipv6Unicast)]);
    assert_eq!(SuppressedCapabilities::Nothing.after(&wants, &ours), None);
}

#[test]
fn shutdown_tells_the_operators_words_and_stays_down() {
    let mut desk = Desk::with(|p| p.offer.graceful_restart = None);
    let conn = desk.up();
    let text = Some("disk full, back at nine".to_owned());
    let did = desk.tell(Event::Stop { kind: StopKind::Shutdown, text });
    assert_eq!(did, [Did::Told(conn, 6, 2), Did::Close(conn), Did::Down { keep: FamilySet::NONE }]);
    assert!(desk.why().contains("disk full"), "{}", desk.why());
    assert_eq!(desk.pass(secs(10_000)), []);
    assert_eq!(desk.accept(1), [Did::Told(accepted(1), 6, 2), Did::Close(accepted(1))], "whoever knocks reads the text again");
    assert_eq!(desk.tell(Event::Start), [Did::Dial(ConnId(2))]);
}

#[test]
fn shutdown_is_a_hard_reset_where_notifications_are_graceful() {
    let mut desk = Desk::new();
    let conn = desk.up();
    let did = desk.tell(Event::Stop { kind: StopKind::Shutdown, text: None });
    assert_eq!(did, [Did::Told(conn, 6, 9), Did::Close(conn), Did::Down { keep: FamilySet::NONE }]);
}

#[test]
fn a_reset_is_graceful_and_comes_back_soon() {
    let mut desk = Desk::new();
    let conn = desk.up();
    let did = desk.tell(Event::Stop { kind: StopKind::Reset, text: None });
    assert_eq!(did, [Did::Told(conn, 6, 4), Did::Close(conn), Did::Down { keep: FamilySet::ALL }]);
    assert_eq!(desk.pass(secs(2)), [Did::Dial(ConnId(2))]);
}

#[test]
fn the_collision_of_two_open_connections_is_decided_by_identifiers() {
    // Ours is 192.0.2.1, theirs 192.0.2.2: theirs is higher, so the connection that they dialled stays.
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    assert_eq!(desk.accept(1), [Did::Open(accepted(1))]);
    desk.open(ConnId(1), their_open());
    let did = desk.open(accepted(1), their_open());
    assert_eq!(did, [Did::Told(ConnId(1), 6, 7), Did::Close(ConnId(1)), Did::Context, Did::KeepAlive(accepted(1))]);
    assert_eq!(desk.say(accepted(1), Message::KeepAlive), [Did::Up]);
    assert_eq!(desk.tell(Event::Closed { conn: ConnId(1), error: None }), [], "the loser's last word");
    assert_eq!(desk.peer.state(), State::Established);
}

#[test]
fn the_loser_of_a_collision_may_be_the_one_that_spoke_last() {
    let mut desk = Desk::with(|p| p.router_id = id([192, 0, 2, 9]));
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    desk.accept(1);
    desk.open(ConnId(1), their_open());
    assert_eq!(desk.open(accepted(1), their_open()), [Did::Told(accepted(1), 6, 7), Did::Close(accepted(1))]);
    assert_eq!(desk.say(ConnId(1), Message::KeepAlive), [Did::Up]);
}

#[test]
fn a_second_connection_does_not_cost_an_established_session() {
    let mut desk = Desk::with(|p| p.offer.graceful_restart = None);
    let conn = desk.up();
    desk.pass(secs(20));
    assert_eq!(desk.accept(1), [Did::Open(accepted(1))]);
    assert_eq!(desk.open(accepted(1), their_open()), [Did::Told(accepted(1), 6, 7), Did::Close(accepted(1))]);
    assert_eq!(desk.peer.session().map(|s| s.conn), Some(conn));
}

#[test]
fn a_graceful_peer_that_comes_back_on_a_new_connection_has_restarted() {
    let mut desk = Desk::new();
    let conn = desk.up();
    desk.pass(secs(20));
    desk.accept(1);
    let did = desk.open(accepted(1), their_open());
    assert_eq!(did, [Did::Close(conn), Did::Down { keep: FamilySet::ALL }, Did::Context, Did::KeepAlive(accepted(1))]);
    let did = desk.say(accepted(1), Message::KeepAlive);
    assert_eq!(did, [Did::Sweep(FamilySet::ALL), Did::Up], "its OPEN says that no forwarding state was kept");
}

#[test]
fn a_late_collision_right_after_the_start_is_no_restart() {
    let mut desk = Desk::new();
    let conn = desk.up();
    desk.pass(secs(1));
    desk.accept(1);
    assert_eq!(desk.open(accepted(1), their_open()), [Did::Told(accepted(1), 6, 7), Did::Close(accepted(1))]);
    assert_eq!(desk.peer.session().map(|s| s.conn), Some(conn));
}

/// The peer after a restart: forwarding state kept for IPv4 only.
fn restarted_open() -> Open {
    let mut open = their_open();
    for c in &mut open.capabilities {
        if let Capability::GracefulRestart(g) = c {
            *g = GracefulRestart { restarting: true, families: vec![(1, 1, true), (2, 1, false)], ..g.clone() };
        }
    }
    open
}

#[test]
fn routes_outlive_a_lost_connection_until_the_end_of_rib_of_their_family() {
    let mut desk = Desk::new();
    let conn = desk.up();
    assert_eq!(desk.tell(Event::Closed { conn, error: None }), [Did::Close(conn), Did::Down { keep: FamilySet::ALL }]);
    desk.accept(1);
    desk.open(accepted(1), restarted_open());
    assert_eq!(desk.say(accepted(1), Message::KeepAlive), [Did::Sweep(Family::Ipv6Unicast.into()), Did::Up]);
    assert!(desk.peer.session().unwrap().peer_restarted());
    assert_eq!(desk.tell(Event::EndOfRib { family: Family::Ipv6Unicast }), []);
    assert_eq!(desk.tell(Event::EndOfRib { family: Family::Ipv4Unicast }), [Did::Sweep(Family::Ipv4Unicast.into())]);
    assert_eq!(desk.tell(Event::EndOfRib { family: Family::Ipv4Unicast }), []);
}

#[test]
fn routes_go_when_the_restart_time_ends_without_a_session() {
    let mut desk = Desk::new();
    let conn = desk.up();
    desk.tell(Event::Closed { conn, error: None });
    assert!(!desk.pass(secs(119)).contains(&Did::Sweep(FamilySet::ALL)));
    assert!(desk.pass(secs(2)).contains(&Did::Sweep(FamilySet::ALL)));
}

#[test]
fn stale_routes_wait_for_an_end_of_rib_that_never_comes_only_so_long() {
    let mut desk = Desk::with(|p| p.hold_time = HoldTime::ZERO);
    let conn = desk.up();
    desk.tell(Event::Closed { conn, error: None });
    desk.accept(1);
    desk.open(accepted(1), restarted_open());
    desk.say(accepted(1), Message::KeepAlive);
    assert_eq!(desk.pass(secs(119)), []);
    assert_eq!(desk.pass(secs(2)), [Did::Sweep(Family::Ipv4Unicast.into())]);
}

#[test]
fn a_second_restart_inside_the_window_drops_what_was_stale_already() {
    let mut desk = Desk::new();
    let conn = desk.up();
    desk.tell(Event::Closed { conn, error: None });
    desk.accept(1);
    desk.open(accepted(1), restarted_open());
    desk.say(accepted(1), Message::KeepAlive);
    let did = desk.tell(Event::Closed { conn: accepted(1), error: None });
    assert_eq!(did, [Did::Close(accepted(1)), Did::Sweep(Family::Ipv4Unicast.into()), Did::Down { keep: FamilySet::ALL }]);
}

/// Both ends dial when the way is free again, and the peer closes one of two connections: we had a session on it for a moment.
#[test]
fn what_is_stale_outlives_a_collision_that_the_peer_resolves() {
    let mut desk = Desk::new();
    let conn = desk.up();
    desk.tell(Event::Closed { conn, error: None });
    desk.accept(1);
    desk.open(accepted(1), restarted_open());
    desk.say(accepted(1), Message::KeepAlive);
    let collision = Notification::cease(CeaseSubcode::ConnectionCollision, None);
    let did = desk.say(accepted(1), Message::Notification(collision));
    assert_eq!(did, [Did::Close(accepted(1)), Did::Down { keep: FamilySet::ALL }], "nothing is swept");
    desk.accept(2);
    desk.open(accepted(2), restarted_open());
    assert!(desk.say(accepted(2), Message::KeepAlive).contains(&Did::Up));
    assert_eq!(desk.tell(Event::EndOfRib { family: Family::Ipv4Unicast }), [Did::Sweep(Family::Ipv4Unicast.into())]);
}

#[test]
fn without_the_n_bit_a_notification_ends_the_routes_and_a_hard_reset_always_does() {
    for (n_bit, notification, keep) in [
        (false, Notification::cease(CeaseSubcode::AdministrativeReset, None), FamilySet::NONE),
        (true, Notification::cease(CeaseSubcode::AdministrativeReset, None), FamilySet::ALL),
        (true, Notification::cease(CeaseSubcode::AdministrativeShutdown, None).into_hard_reset(), FamilySet::NONE),
    ] {
        let mut desk = Desk::with(|p| p.offer.graceful_restart.as_mut().unwrap().notification = n_bit);
        let conn = desk.up();
        let did = desk.say(conn, Message::Notification(notification));
        assert_eq!(did, [Did::Close(conn), Did::Down { keep }], "a NOTIFICATION is not answered");
    }
}

#[test]
fn after_our_own_restart_the_open_says_so_until_the_first_session() {
    let mut desk = Desk::new();
    let until = desk.now + secs(120);
    desk.tell(Event::Restarting { until, forwarding: Family::Ipv4Unicast.into() });
    let now = desk.now;
    let facts = desk.peer.restart_facts(now);
    assert!(facts.restarting && facts.forwarding == Family::Ipv4Unicast.into());
    assert!(!desk.peer.restart_facts(until).restarting);
    desk.up();
    let facts = desk.peer.restart_facts(now);
    assert!(!facts.restarting && facts.forwarding == FamilySet::ALL);
}

#[test]
fn a_peer_that_takes_nothing_is_let_go() {
    let mut desk = Desk::with(|p| p.send_hold = Some(secs(100)));
    let conn = desk.up();
    desk.tell(Event::SendBlocked { conn });
    desk.pass(secs(60));
    desk.tell(Event::SendProgress { conn });
    desk.tell(Event::UpdatesSeen { conn, n: 1 });
    desk.tell(Event::SendBlocked { conn });
    desk.pass(secs(60));
    desk.tell(Event::SendBlocked { conn });
    desk.tell(Event::UpdatesSeen { conn, n: 1 });
    assert_eq!(desk.peer.state(), State::Established);
    let did = desk.pass(secs(41));
    assert!(did.contains(&Did::Told(conn, 8, 0)), "{did:?}");
    assert!(desk.why().contains("takes nothing"), "{}", desk.why());
}

#[test]
fn too_many_prefixes_bar_the_peer_for_the_restart_time() {
    let mut desk = Desk::with(|p| p.offer.graceful_restart = None);
    let conn = desk.up();
    let did = desk.tell(Event::MaxPrefixExceeded { family: Family::Ipv4Unicast, limit: 100, restart: Some(secs(300)) });
    assert_eq!(did, [Did::Told(conn, 6, 1), Did::Close(conn), Did::Down { keep: FamilySet::NONE }]);
    assert_eq!(desk.accept(1), [Did::Told(accepted(1), 6, 1), Did::Close(accepted(1))]);
    assert_eq!(desk.pass(secs(299)), []);
    assert_eq!(desk.pass(secs(2)), [Did::Dial(ConnId(2))]);
}

#[test]
fn delayed_opens_let_the_other_side_speak_first() {
    let mut desk = Desk::with(|p| p.delay_open = Some(secs(5)));
    desk.tell(Event::Start);
    assert_eq!(desk.connected(ConnId(1), Direction::Dialled), []);
    assert_eq!(desk.open(ConnId(1), their_open()), [Did::Open(ConnId(1)), Did::Context, Did::KeepAlive(ConnId(1))]);

    let mut desk = Desk::with(|p| p.delay_open = Some(secs(5)));
    desk.tell(Event::Start);
    desk.connected(ConnId(1), Direction::Dialled);
    assert_eq!(desk.pass(secs(5)), [Did::Open(ConnId(1))]);
    assert_eq!(desk.peer.state(), State::OpenSent);
}

#[test]
fn a_passive_peer_never_dials() {
    let mut desk = Desk::with(|p| p.passive = true);
    assert_eq!(desk.tell(Event::Start), []);
    assert_eq!(desk.pass(secs(1000)), []);
    assert_eq!(desk.accept(1), [Did::Open(accepted(1))]);
    desk.tell(Event::Closed { conn: accepted(1), error: None });
    assert!(desk.why().contains("before any OPEN"), "{}", desk.why());
    assert_eq!(desk.pass(secs(1000)), []);
}

#[test]
fn a_peer_that_comes_by_itself_ends_our_rest_but_not_without_bound() {
    let mut desk = Desk::new();
    desk.tell(Event::Start);
    let mut opened = 0;
    for n in 0..1000 {
        let did = desk.accept(n);
        if did.contains(&Did::Open(accepted(n))) {
            opened += 1;
            desk.open(accepted(n), Open::new(Asn(1), HoldTime::DEFAULT, id(REMOTE), vec![]));
        } else {
            assert_eq!(did, [Did::Told(accepted(n), 6, 5), Did::Close(accepted(n))]);
        }
        desk.pass(Duration::from_millis(10));
    }
    assert!((64..=64 + 9 * 8).contains(&opened), "{opened} conversations in ten seconds of 1,000 knocks");
}

#[test]
fn refresh_is_answered_in_established_and_marks_only_if_negotiated() {
    let mut desk = Desk::with(|p| p.offer.enhanced_refresh = false);
    let conn = desk.up();
    let refresh = |subtype| Message::RouteRefresh(RouteRefresh::new(Family::Ipv4Unicast, subtype));
    assert_eq!(desk.say(conn, refresh(RefreshSubtype::Normal)), [Did::Refresh(Family::Ipv4Unicast, RefreshSubtype::Normal)]);
    assert_eq!(desk.say(conn, refresh(RefreshSubtype::BoRR)), []);
    assert_eq!(desk.say(conn, Message::RouteRefresh(RouteRefresh { afi: 25, safi: 70, subtype: RefreshSubtype::Normal })), []);
    assert_eq!(desk.peer.state(), State::Established);
}

#[test]
fn a_changed_hold_time_restarts_the_session_and_a_changed_description_does_not() {
    let mut desk = Desk::new();
    let conn = desk.up();
    let live = Params { description: Some("new".into()), ..params() };
    assert_eq!(desk.tell(Event::Reconfigured { params: Arc::new(live.clone()), restart: false }), []);
    let restart = Params { hold_time: HoldTime::new(30).unwrap(), ..live };
    let did = desk.tell(Event::Reconfigured { params: Arc::new(restart), restart: true });
    assert_eq!(did, [Did::Told(conn, 6, 6), Did::Close(conn), Did::Down { keep: FamilySet::ALL }]);
    assert_eq!(desk.pass(secs(2)), [Did::Dial(ConnId(2))]);
}

/// A peer that is told of other parameters, which no session was agreed by.
fn reconfigured(desk: &mut Desk, change: impl FnOnce(&mut Params)) -> Vec<Did> {
    let mut p = Params::clone(desk.peer.params());
    change(&mut p);
    desk.tell(Event::Reconfigured { params: Arc::new(p), restart: false })
}

#[test]
fn a_peer_that_becomes_passive_gives_up_its_attempt_and_dials_no_more() {
    let mut desk = Desk::new();
    assert_eq!(desk.tell(Event::Start), [Did::Dial(ConnId(1))]);
    assert_eq!(reconfigured(&mut desk, |p| p.passive = true), [Did::Close(ConnId(1))]);
    assert_eq!((desk.peer.state(), desk.pass(secs(3600))), (State::Active, vec![]), "it waits to be called");
    assert_eq!(reconfigured(&mut desk, |p| p.passive = false), [Did::Dial(ConnId(2))], "and dials again at once");
    desk.tell(Event::DialFailed { conn: ConnId(2), error: DialError::Refused });
    assert_eq!((desk.peer.state(), reconfigured(&mut desk, |p| p.passive = true)), (State::Active, vec![]));
    assert_eq!(desk.pass(secs(3600)), [], "between two attempts too");
}

#[test]
fn a_longest_rest_that_is_made_shorter_holds_for_the_rest_under_way() {
    let mut desk = Desk::with(|p| (p.idle_hold, p.idle_hold_max) = (secs(3600), secs(3600)));
    let conn = desk.up();
    desk.tell(Event::Message { conn, message: Message::Notification(Notification::new(6, 4, Default::default())) });
    assert_eq!((desk.peer.state(), desk.pass(secs(60))), (State::Idle, vec![]));
    reconfigured(&mut desk, |p| (p.idle_hold, p.idle_hold_max) = (secs(1), secs(5)));
    assert_eq!(desk.pass(secs(6)), [Did::Dial(ConnId(2))]);
}

#[test]
fn why_it_is_down_is_said_in_words() {
    let mut desk = Desk::new();
    assert_eq!(desk.why(), "not started");
    desk.tell(Event::Start);
    assert_eq!(desk.why(), "connecting");
    desk.tell(Event::DialFailed { conn: ConnId(1), error: DialError::Refused });
    assert!(desk.why().contains("refused"), "{}", desk.why());
    desk.pass(secs(25));
    assert!(desk.why().starts_with("no answer (sent with TTL 1"), "{}", desk.why());
    let mut desk = Desk::with(|p| p.md5 = Some(Secret::new(b"x")));
    desk.tell(Event::Start);
    desk.pass(secs(25));
    assert!(desk.why().contains("MD5"), "{}", desk.why());
}

#[test]
fn a_connection_to_another_local_address_is_refused() {
    let mut desk = Desk::with(|p| p.local_addr = Some([192, 0, 2, 77].into()));
    desk.tell(Event::Start);
    assert_eq!(desk.accept(1), [Did::Told(accepted(1), 6, 5), Did::Close(accepted(1))]);
    assert_eq!(desk.peer.counters().refused, 1);
}
