//! A peer that says what the test says. By default it is polite: it answers a connection with its OPEN, an OPEN with a KEEPALIVE, and keeps
//! the session alive. Each of these can be switched off, and anything can be said by hand.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use catbird::num::{Asn, ConnId, FamilySet, HoldTime, RouterId};
use catbird::wire::{Capability, Context, MAX_EXTENDED_LEN, MAX_LEN, Message, Notification, Open};

/// How a scripted peer behaves, and what it heard.
pub struct Script {
    /// Its OPEN.
    pub open: Open,
    /// Send it as soon as a connection stands.
    pub greets: bool,
    /// Answer an OPEN with a KEEPALIVE.
    pub confirms: bool,
    /// Go on with KEEPALIVEs.
    pub beats: bool,
    /// The key that its kernel wants segments to be signed with.
    pub md5: Option<Vec<u8>>,
    /// The OPEN that it got.
    pub their_open: Option<Open>,
    /// The last NOTIFICATION that it got.
    pub told: Option<Notification>,
    conns: Vec<ConnId>,
    /// Connections that the other side has closed.
    pub closed: Vec<ConnId>,
    heard: Vec<(ConnId, Message)>,
    up: bool,
    beating: bool,
    next: u64,
}

impl Script {
    pub(super) fn new(asn: Asn, id: RouterId) -> Script {
        Script {
            open: open_of(asn, id),
            greets: true,
            confirms: true,
            beats: true,
            md5: None,
            their_open: None,
            told: None,
            conns: Vec::new(),
            closed: Vec::new(),
            heard: Vec::new(),
            up: false,
            beating: false,
            next: 0,
        }
    }

    /// Neither greets nor answers nor beats.
    pub fn be_silent(&mut self) {
        self.greets = false;
        self.confirms = false;
        self.beats = false;
    }

    /// A KEEPALIVE came: the other side has taken our OPEN.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The newest connection that stands.
    pub fn current(&self) -> Option<ConnId> {
        self.conns.last().copied()
    }

    /// All connections that stand.
    pub fn conns(&self) -> &[ConnId] {
        &self.conns
    }

    /// Changes the capabilities of its OPEN.
    pub fn offer(&mut self, capabilities: Vec<Capability>) {
        self.open.capabilities = capabilities;
    }

    /// Everything of one type that was heard on any connection.
    pub fn take_heard(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.heard).into_iter().map(|(_, m)| m).collect()
    }

    /// What was heard, with its connection.
    pub fn heard(&self) -> &[(ConnId, Message)] {
        &self.heard
    }

    pub(super) fn next_conn(&mut self) -> ConnId {
        self.next += 1;
        ConnId(self.next)
    }

    /// How it writes: what its OPEN and the other's allow.
    pub(super) fn encode(&self, message: &Message) -> Vec<u8> {
        message.to_bytes(&self.writes()).to_vec()
    }

    pub(super) fn on_connected(&mut self, conn: ConnId) -> Vec<u8> {
        self.conns.push(conn);
        self.up = false;
        self.beating = false;
        if self.greets { self.encode(&Message::Open(Box::new(self.open.clone()))) } else { Vec::new() }
    }

    pub(super) fn on_closed(&mut self, conn: ConnId) {
        self.conns.retain(|c| *c != conn);
        self.closed.push(conn);
        self.up = false;
    }

    pub(super) fn on_message(&mut self, conn: ConnId, message: Message) -> Vec<u8> {
        let answer = match &message {
            Message::Open(open) => {
                self.their_open = Some((**open).clone());
                if self.confirms { keepalive() } else { Vec::new() }
            }
            Message::KeepAlive => {
                self.up = true;
                Vec::new()
            }
            Message::Notification(notification) => {
                self.told = Some(notification.clone());
                Vec::new()
            }
            Message::Update(_) | Message::RouteRefresh(_) => Vec::new(),
        };
        self.heard.push((conn, message));
        answer
    }

    /// Once a session: when to beat first.
    pub(super) fn wants_beat(&mut self) -> Option<Duration> {
        if !self.up || !self.beats || self.beating {
            return None;
        }
        self.beating = true;
        Some(self.interval())
    }

    pub(super) fn beat(&mut self) -> (Vec<u8>, Duration) {
        (if self.beats { keepalive() } else { Vec::new() }, self.interval())
    }

    fn interval(&self) -> Duration {
        let theirs = self.their_open.as_ref().map_or(HoldTime::DEFAULT, |o| o.hold_time);
        let hold = theirs.min(self.open.hold_time).duration().unwrap_or(Duration::from_secs(90));
        hold / 3
    }

    /// How it reads what the router writes.
    pub(super) fn reads(&self) -> Context {
        self.context(false)
    }

    fn writes(&self) -> Context {
        self.context(true)
    }

    fn context(&self, sending: bool) -> Context {
        let Some(theirs) = &self.their_open else { return Context::INITIAL };
        let has = |open: &Open, c: &Capability| open.capabilities.contains(c);
        let long = has(&self.open, &Capability::ExtendedMessage) && has(theirs, &Capability::ExtendedMessage);
        let paths = |open: &Open, f: fn(catbird::wire::AddPathMode) -> bool| -> FamilySet {
            let lists = open.capabilities.iter().filter_map(|c| if let Capability::AddPath(l) = c { Some(l) } else { None });
            lists.flatten().filter(|(_, _, mode)| f(*mode)).filter_map(|(a, s, _)| catbird::num::Family::from_codes(*a, *s)).collect()
        };
        let (sender, receiver) = if sending { (&self.open, theirs) } else { (theirs, &self.open) };
        Context {
            four_octet_as: self.open.has_four_octet_as() && theirs.has_four_octet_as(),
            families: FamilySet::ALL,
            add_path: paths(sender, |m| m.sends()).and(paths(receiver, |m| m.receives())),
            extended_next_hop: FamilySet::NONE,
            refresh_subtypes: has(sender, &Capability::EnhancedRouteRefresh),
            max_len: if long { MAX_EXTENDED_LEN } else { MAX_LEN },
            external: self.open.asn != theirs.asn,
            confederation: false,
        }
    }
}

/// An OPEN with the capabilities that everybody has.
pub fn open_of(asn: Asn, id: RouterId) -> Open {
    let capabilities = vec![
        Capability::Multiprotocol { afi: 1, safi: 1 },
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::FourOctetAs(asn),
    ];
    Open::new(asn, HoldTime::DEFAULT, id, capabilities)
}

/// The octets of a KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&[0, 19, 4]);
    octets
}

/// An UPDATE with four-octet AS numbers that announces IPv4 prefixes over eBGP (`as_path` not empty) or iBGP (LOCAL_PREF 100).
pub fn update(next_hop: [u8; 4], as_path: &[u32], prefixes: &[&str]) -> Vec<u8> {
    let mut attrs = BytesMut::new();
    attrs.put_slice(&[0x40, 1, 1, 0]);
    let segment = if as_path.is_empty() { 0 } else { 2 + 4 * as_path.len() };
    attrs.put_slice(&[0x40, 2, segment as u8]);
    if !as_path.is_empty() {
        attrs.put_slice(&[2, as_path.len() as u8]);
        as_path.iter().for_each(|asn| attrs.put_u32(*asn));
    }
    attrs.put_slice(&[0x40, 3, 4]);
    attrs.put_slice(&next_hop);
    if as_path.is_empty() {
        attrs.put_slice(&[0x40, 5, 4, 0, 0, 0, 100]);
    }
    raw_update(&[], &attrs, prefixes)
}

/// An UPDATE of given attributes: withdrawn prefixes, attribute octets, announced prefixes (IPv4).
pub fn raw_update(withdrawn: &[&str], attrs: &[u8], announced: &[&str]) -> Vec<u8> {
    let (withdrawn, announced) = (nlri(withdrawn), nlri(announced));
    let len = 19 + 2 + withdrawn.len() + 2 + attrs.len() + announced.len();
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.push(2);
    out.extend_from_slice(&(withdrawn.len() as u16).to_be_bytes());
    out.extend_from_slice(&withdrawn);
    out.extend_from_slice(&(attrs.len() as u16).to_be_bytes());
    out.extend_from_slice(attrs);
    out.extend_from_slice(&announced);
    out
}

fn nlri(prefixes: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for prefix in prefixes {
        let net: ipnet::Ipv4Net = prefix.parse().unwrap_or_else(|_| panic!("{prefix} is no IPv4 prefix"));
        out.push(net.prefix_len());
        out.extend_from_slice(&net.addr().octets()[..usize::from(net.prefix_len().div_ceil(8))]);
    }
    out
}
