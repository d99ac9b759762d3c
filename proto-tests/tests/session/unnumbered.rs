//! A peer that is configured by its interface: whoever is at the other end of the link, while it is there.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use catbird::api::{Answer, Command, PeerDetail, Question};
use catbird::config::{Config, Environment, params};
use catbird::kernel::{IfIndex, KernelEvent};
use catbird::ndp::Sign;
use catbird::num::{Asn, ConnId, HoldTime, Instant, RouterId};
use catbird::peer::{Direction, Transport};
use catbird::speaker::{Effect, Input, Params, Speaker};
use catbird::wire::{Capability, Message, Open};

const SECOND: Duration = Duration::from_secs(1);
const LINK: u32 = 7;
/// Of a connection that somebody opened to us.
const GUEST: ConnId = ConnId(1 << 40);

fn neighbour(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

fn configured(more: &str) -> Params {
    let text = format!(
        "[node]\nname = \"us\"\nasn = 64512\nrouter_id = \"192.0.2.1\"\n{more}[[peer]]\ninterface = \"eth1\"\nasn = \"external\"\n\
         import = \"all\"\nexport = \"all\"\n"
    );
    let nothing = |path: &std::path::Path| Err(format!("{} does not exist", path.display()));
    let checked = Config::parse("test", &text, &Environment { hostname: None, read: &nothing, memory_limit: None });
    let report = checked.report.render(false);
    params::speaker(&checked.config.unwrap_or_else(|| panic!("{report}")))
}

/// One router and its link.
struct Bench {
    speaker: Speaker,
    now: Instant,
    dials: Vec<(ConnId, Transport)>,
    closed: Vec<ConnId>,
    /// What the shell was told of neighbours.
    found: Vec<Ipv6Addr>,
    notices: Vec<String>,
    answer: Option<Answer>,
}

impl Bench {
    fn new(params: Params) -> Bench {
        let now = Instant::ZERO + SECOND;
        let speaker = Speaker::new(params, now, 7);
        let mut bench = Bench { speaker, now, dials: vec![], closed: vec![], found: vec![], notices: vec![], answer: None };
        bench.tell(Input::Kernel(KernelEvent::DumpStart));
        bench.link(true);
        bench.tell(Input::Kernel(KernelEvent::DumpEnd));
        bench
    }

    fn link(&mut self, up: bool) {
        self.tell(Input::Kernel(KernelEvent::Link { ifindex: IfIndex(LINK), name: "eth1".to_owned(), up }));
    }

    fn hear(&mut self, last: u16, sign: Sign) {
        self.tell(Input::Neighbour { interface: "eth1".to_owned(), addr: neighbour(last), sign });
    }

    fn tell(&mut self, input: Input) {
        self.speaker.handle(self.now, input);
        self.run(Duration::ZERO);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.speaker.settle(self.now) {}
            while let Some(effect) = self.speaker.poll() {
                match effect {
                    Effect::Dial { conn, transport } => self.dials.push((conn, transport)),
                    Effect::Close { conn } => self.closed.push(conn),
                    Effect::Neighbour { addr, .. } => self.found.push(addr),
                    Effect::Notice(notice) => self.notices.push(notice.to_string()),
                    Effect::Answer { answer, .. } => self.answer = Some(answer),
                    _ => {}
                }
            }
            self.speaker.check_invariants();
            match self.speaker.next_deadline() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
    }

    fn detail(&mut self) -> PeerDetail {
        self.tell(Input::Query { id: 1, question: Question::Peer { peer: "eth1".into() } });
        let Some(Answer::Peer(detail)) = self.answer.take() else { panic!("no answer about eth1") };
        *detail
    }

    /// Whom the last dial goes to.
    fn dialled(&self) -> Option<SocketAddr> {
        self.dials.last().map(|(_, transport)| transport.remote)
    }

    /// The last dial succeeds, and OPENs agree.
    fn establish(&mut self) -> ConnId {
        let (conn, transport) = self.dials.last().cloned().expect("a dial");
        assert_eq!(transport.interface.as_deref(), Some("eth1"));
        let std::net::IpAddr::V6(addr) = transport.remote.ip() else { panic!("{transport:?}") };
        let end = |addr, port| SocketAddr::V6(SocketAddrV6::new(addr, port, 0, LINK));
        let (local, remote) = (end(neighbour(1), 40_000), end(addr, 179));
        self.tell(Input::Connected { conn, local, remote, direction: Direction::Dialled });
        self.agree(conn);
        conn
    }

    fn agree(&mut self, conn: ConnId) {
        let capabilities = vec![Capability::Multiprotocol { afi: 1, safi: 1 }, Capability::FourOctetAs(Asn(64513))];
        let id = RouterId::new([192, 0, 2, 2].into()).expect("an identifier");
        let open = Open::new(Asn(64513), HoldTime::DEFAULT, id, capabilities);
        for message in [Message::Open(open.into()), Message::KeepAlive] {
            self.tell(Input::Received { conn, batch: vec![message].into() });
        }
        assert_eq!(self.detail().row.state, "Established", "{:?}", self.detail().row.why_down);
    }
}

#[test]
fn nobody_is_dialled_before_somebody_is_heard_and_then_that_one() {
    let mut bench = Bench::new(configured(""));
    bench.run(60 * SECOND);
    assert!(bench.dials.is_empty());
    let row = bench.detail().row;
    assert_eq!((row.name.as_str(), row.address.as_str(), row.state.as_str()), ("eth1", "interface eth1", "Idle"));
    assert!(row.why_down.as_deref().unwrap_or_default().contains("nobody was heard on eth1 yet"), "{:?}", row.why_down);
    bench.link(false);
    assert_eq!(bench.detail().row.why_down.as_deref(), Some("eth1 is down, or has no carrier"));
    bench.link(true);
    bench.tell(Input::Neighbour { interface: "eth2".to_owned(), addr: neighbour(9), sign: Sign::Advertisement });
    assert!(bench.dials.is_empty(), "another link's neighbour");
    bench.hear(2, Sign::Advertisement);
    assert_eq!(bench.dialled().map(|to| to.ip()), Some(neighbour(2).into()));
    assert_eq!(bench.found, [neighbour(2)]);
    bench.establish();
    assert_eq!(bench.detail().row.address, "fe80::2%eth1");
}

#[test]
fn who_connects_is_the_neighbour_if_nobody_was_heard() {
    let mut bench = Bench::new(configured(""));
    let end = |last, port| SocketAddr::V6(SocketAddrV6::new(neighbour(last), port, 0, LINK));
    bench.tell(Input::Connected { conn: GUEST, local: end(1, 179), remote: end(2, 40_000), direction: Direction::Accepted });
    assert!(bench.closed.is_empty(), "{:?}", bench.notices);
    bench.agree(GUEST);
    let stranger = ConnId(GUEST.0 + 1);
    bench.tell(Input::Connected { conn: stranger, local: end(1, 179), remote: end(3, 40_000), direction: Direction::Accepted });
    assert!(bench.closed.contains(&stranger) && !bench.closed.contains(&GUEST), "there is a session with another: {:?}", bench.closed);
}

#[test]
fn a_session_is_not_given_up_for_whoever_else_speaks_and_the_operator_is_told() {
    let mut bench = Bench::new(configured(""));
    bench.hear(2, Sign::Advertisement);
    let conn = bench.establish();
    bench.hear(3, Sign::Advertisement);
    bench.run(SECOND);
    assert_eq!((bench.found.len(), bench.closed.contains(&conn)), (1, false));
    assert!(bench.detail().row.warnings.join(" ").contains("another router speaks on eth1, too: fe80::3"), "{:?}", bench.detail().row);
    // Its session ends, and it was not heard for long: the other one has its turn.
    bench.run(20 * SECOND);
    bench.hear(3, Sign::Advertisement);
    bench.tell(Input::Closed { conn, error: None });
    assert_eq!(bench.found, [neighbour(2), neighbour(3)]);
    assert_eq!(bench.dialled().map(|to| to.ip()), Some(neighbour(3).into()));
}

#[test]
fn another_cable_is_another_neighbour_twenty_times() {
    let mut bench = Bench::new(configured(""));
    bench.hear(2, Sign::Advertisement);
    for last in 3..23 {
        let conn = bench.establish();
        bench.link(false);
        assert!(bench.closed.contains(&conn), "without carrier there is no session");
        assert!(bench.detail().row.why_down.is_some_and(|why| why.contains("eth1 is down or gone")));
        bench.run(SECOND / 2);
        bench.link(true);
        bench.hear(last, Sign::Advertisement);
        assert_eq!(bench.dialled().map(|to| to.ip()), Some(neighbour(last).into()), "at once");
    }
    bench.establish();
    assert_eq!(bench.detail().row.address, "fe80::16%eth1");
    assert!(
        bench.notices.iter().any(|line| line == "eth1: the neighbour on eth1 is fe80::3, where fe80::2 was before"),
        "{:?}",
        bench.notices
    );
}

#[test]
fn the_same_neighbour_comes_back_after_the_link_without_being_heard_anew() {
    let mut bench = Bench::new(configured(""));
    bench.hear(2, Sign::Advertisement);
    let conn = bench.establish();
    bench.link(false);
    assert!(bench.closed.contains(&conn));
    bench.link(true);
    bench.run(5 * SECOND);
    assert!(bench.dials.len() > 1 && bench.dialled().map(|to| to.ip()) == Some(neighbour(2).into()));
}

#[test]
fn an_operators_word_counts_whoever_is_there() {
    let mut bench = Bench::new(configured(""));
    bench.tell(Input::Command { id: 2, command: Command::PeerDown { peer: "eth1".into(), text: None } });
    bench.hear(2, Sign::Advertisement);
    bench.run(60 * SECOND);
    assert!(bench.dials.is_empty(), "down is down");
    assert!(!bench.detail().row.admin_up);
    bench.tell(Input::Command { id: 3, command: Command::PeerUp { peer: "eth1".into() } });
    bench.establish();
}

#[test]
fn a_reload_keeps_the_neighbour_and_the_session() {
    let mut bench = Bench::new(configured(""));
    bench.hear(2, Sign::Advertisement);
    let conn = bench.establish();
    bench.tell(Input::Reload { id: 4, params: Box::new(configured("on_term = \"withdraw\"\n")) });
    let mut other = configured("");
    let peer = std::sync::Arc::make_mut(&mut other.peers[0]);
    std::sync::Arc::make_mut(&mut peer.session).description = Some("the left one".to_owned());
    bench.tell(Input::Reload { id: 5, params: Box::new(other) });
    let detail = bench.detail();
    assert_eq!((detail.row.state.as_str(), detail.row.address.as_str()), ("Established", "fe80::2%eth1"));
    assert_eq!(detail.description.as_deref(), Some("the left one"));
    let mut none = configured("");
    none.peers.clear();
    bench.tell(Input::Reload { id: 6, params: Box::new(none) });
    assert!(bench.closed.contains(&conn));
    bench.hear(2, Sign::Advertisement);
    assert_eq!(bench.found.len(), 1, "nobody wants to know any more");
}
