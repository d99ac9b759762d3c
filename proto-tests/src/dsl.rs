//! Messages as a test writes them: octets made by hand, so that they can be wrong.
//!
//! In: what a test says, `upd().reach("10.1.0.0/26").next_hop("192.0.2.2").attr(4, 0x80, &[0, 0, 1])`. Out: the octets of one message.
//! Nothing of catbird's encoder is used here: the two are checks of each other. What is left unsaid has a well-formed default.

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;

/// An UPDATE. See [`upd`].
#[derive(Clone, Debug, Default)]
pub struct Upd {
    withdrawn: Vec<(u32, IpNet)>,
    reached: Vec<(u32, IpNet)>,
    next_hop: Option<IpAddr>,
    link_local: Option<IpAddr>,
    segments: Vec<(u8, Vec<u32>)>,
    origin: u8,
    two_octets: bool,
    add_path: bool,
    path_id: u32,
    multiprotocol: bool,
    extra: Vec<(u8, u8, Vec<u8>)>,
    without: Vec<u8>,
    order: Option<Vec<u8>>,
    tail: Vec<u8>,
}

/// An UPDATE that says nothing yet. Prefixes bring ORIGIN igp, an empty AS_PATH and NEXT_HOP 192.0.2.1 (or 2001:db8::1) with them unless told otherwise.
pub fn upd() -> Upd {
    Upd::default()
}

impl Upd {
    /// A prefix that is announced; IPv6 goes into MP_REACH_NLRI.
    pub fn reach(mut self, net: &str) -> Upd {
        self.reached.push((self.path_id, parse(net)));
        self
    }

    /// A prefix that is withdrawn; IPv6 goes into MP_UNREACH_NLRI.
    pub fn withdraw(mut self, net: &str) -> Upd {
        self.withdrawn.push((self.path_id, parse(net)));
        self
    }

    pub fn next_hop(mut self, addr: &str) -> Upd {
        self.next_hop = Some(addr.parse().expect("an address"));
        self
    }

    /// The second address of an IPv6 next hop (RFC 2545 §3).
    pub fn link_local(mut self, addr: &str) -> Upd {
        self.link_local = Some(addr.parse().expect("an address"));
        self
    }

    /// Announced IPv4 prefixes go into MP_REACH_NLRI too.
    pub fn multiprotocol(mut self) -> Upd {
        self.multiprotocol = true;
        self
    }

    /// One AS_SEQUENCE more.
    pub fn as_path(self, asns: &[u32]) -> Upd {
        self.segment(2, asns)
    }

    /// One segment more, of any type: 1 set, 2 sequence, 3 and 4 of a confederation.
    pub fn segment(mut self, kind: u8, asns: &[u32]) -> Upd {
        self.segments.push((kind, asns.to_vec()));
        self
    }

    pub fn origin(mut self, origin: u8) -> Upd {
        self.origin = origin;
        self
    }

    /// AS numbers have two octets (RFC 6793: an old speaker).
    pub fn two_octets(mut self) -> Upd {
        self.two_octets = true;
        self
    }

    /// Prefixes that follow carry this Path Identifier (RFC 7911).
    pub fn path_id(mut self, id: u32) -> Upd {
        (self.add_path, self.path_id) = (true, id);
        self
    }

    /// An attribute with any flags and any value; it takes the place of a default of the same code. Said twice, it is there twice.
    pub fn attr(mut self, code: u8, flags: u8, value: &[u8]) -> Upd {
        self.extra.push((code, flags, value.to_vec()));
        self
    }

    pub fn med(self, med: u32) -> Upd {
        self.attr(4, 0x80, &med.to_be_bytes())
    }

    pub fn local_pref(self, local_pref: u32) -> Upd {
        self.attr(5, 0x40, &local_pref.to_be_bytes())
    }

    pub fn community(self, asn: u16, value: u16) -> Upd {
        self.attr(8, 0xc0, &[asn.to_be_bytes(), value.to_be_bytes()].concat())
    }

    /// Leaves out a default.
    /// An EXTENDED_COMMUNITIES with this one.
    pub fn extended_community(self, text: &str) -> Upd {
        let community: catbird::wire::ExtendedCommunity = text.parse().expect("an extended community");
        self.attr(16, 0xc0, &community.0)
    }

    pub fn without(mut self, code: u8) -> Upd {
        self.without.push(code);
        self
    }

    /// The attributes in this order of codes; those that are not named come after.
    pub fn order(mut self, codes: &[u8]) -> Upd {
        self.order = Some(codes.to_vec());
        self
    }

    /// Octets after everything else: in the NLRI field, whatever they are.
    pub fn tail(mut self, octets: &[u8]) -> Upd {
        self.tail = octets.to_vec();
        self
    }

    /// Code, flags and value of every attribute, in the order in which they are sent.
    fn attributes(&self) -> Vec<(u8, u8, Vec<u8>)> {
        let mut all = self.defaults();
        all.retain(|(code, ..)| !self.extra.iter().any(|(other, ..)| other == code) && !self.without.contains(code));
        all.extend(self.extra.iter().cloned());
        match &self.order {
            // RFC 7606 §5.1: the MP attributes first, then by code.
            None => all.sort_by_key(|(code, ..)| (![14, 15].contains(code), *code)),
            Some(order) => all.sort_by_key(|(code, ..)| order.iter().position(|c| c == code).unwrap_or(order.len())),
        }
        all
    }

    fn defaults(&self) -> Vec<(u8, u8, Vec<u8>)> {
        let (reach, unreach) = (self.run(&self.reached, true), self.run(&self.withdrawn, true));
        let mut all = Vec::new();
        if !unreach.is_empty() {
            all.push((15, 0x80, [vec![0, 2, 1], unreach].concat()));
        }
        if self.reached.is_empty() {
            return all;
        }
        all.push((1, 0x40, vec![self.origin]));
        all.push((2, 0x40, self.path()));
        if !self.run(&self.reached, false).is_empty() {
            let hop = self.next_hop.filter(IpAddr::is_ipv4).unwrap_or([192, 0, 2, 1].into());
            all.push((3, 0x40, octets(hop)));
        }
        if !reach.is_empty() {
            let v4 = self.multiprotocol && self.reached.iter().any(|(_, n)| matches!(n, IpNet::V4(_)));
            let mut hop = octets(self.next_hop.unwrap_or([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()));
            hop.extend(self.link_local.map(octets).unwrap_or_default());
            all.push((14, 0x80, [vec![0, if v4 { 1 } else { 2 }, 1, hop.len() as u8], hop, vec![0], reach].concat()));
        }
        all
    }

    fn path(&self) -> Vec<u8> {
        let mut value = Vec::new();
        for (kind, asns) in &self.segments {
            value.extend([*kind, asns.len() as u8]);
            for asn in asns {
                let wide = asn.to_be_bytes();
                value.extend_from_slice(if self.two_octets { &wide[2..] } else { &wide });
            }
        }
        value
    }

    /// The prefixes that belong into an MP attribute, or those that belong into the body.
    fn run(&self, nets: &[(u32, IpNet)], mp: bool) -> Vec<u8> {
        let belongs = |net: &IpNet| (matches!(net, IpNet::V6(_)) || self.multiprotocol) == mp;
        nets.iter().filter(|(_, net)| belongs(net)).flat_map(|(id, net)| prefix(self.add_path.then_some(*id), *net)).collect()
    }

    /// The whole message.
    pub fn octets(&self) -> Vec<u8> {
        let withdrawn = self.run(&self.withdrawn, false);
        let mut attributes = Vec::new();
        for (code, flags, value) in self.attributes() {
            let long = value.len() > 255 || flags & 0x10 != 0;
            attributes.extend([if long { flags | 0x10 } else { flags }, code]);
            let len = (value.len() as u16).to_be_bytes();
            attributes.extend_from_slice(if long { &len } else { &len[1..] });
            attributes.extend(value);
        }
        let nlri = [self.run(&self.reached, false), self.tail.clone()].concat();
        let lengths = [withdrawn.len() as u16, attributes.len() as u16].map(u16::to_be_bytes);
        message(2, &[&lengths[0][..], &withdrawn, &lengths[1], &attributes, &nlri].concat())
    }
}

impl From<Upd> for Bytes {
    fn from(update: Upd) -> Bytes {
        update.octets().into()
    }
}

/// Header and body, with the length that they have.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &(body.len() as u16 + 19).to_be_bytes(), &[kind], body].concat()
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// A NOTIFICATION.
pub fn notification(code: u8, subcode: u8, data: &[u8]) -> Vec<u8> {
    message(3, &[&[code, subcode], data].concat())
}

/// A ROUTE-REFRESH with the subtype of RFC 7313.
pub fn route_refresh(afi: u16, subtype: u8, safi: u8) -> Vec<u8> {
    message(5, &[&afi.to_be_bytes()[..], &[subtype, safi]].concat())
}

/// An OPEN. See [`open`].
#[derive(Clone, Debug)]
pub struct OpenDsl {
    version: u8,
    my_as: u16,
    hold: u16,
    id: [u8; 4],
    capabilities: Vec<(u8, Vec<u8>)>,
    parameters: Option<Vec<u8>>,
}

/// An OPEN of version 4 with a hold time of 90 s, identifier 192.0.2.9 and no capabilities; a number that does not fit becomes AS_TRANS with capability 65.
pub fn open(asn: u32) -> OpenDsl {
    let mut open = OpenDsl {
        version: 4,
        my_as: u16::try_from(asn).unwrap_or(23456),
        hold: 90,
        id: [192, 0, 2, 9],
        capabilities: Vec::new(),
        parameters: None,
    };
    if asn > 65535 {
        open = open.capability(65, &asn.to_be_bytes());
    }
    open
}

impl OpenDsl {
    pub fn version(mut self, version: u8) -> OpenDsl {
        self.version = version;
        self
    }

    pub fn hold(mut self, seconds: u16) -> OpenDsl {
        self.hold = seconds;
        self
    }

    pub fn id(mut self, id: [u8; 4]) -> OpenDsl {
        self.id = id;
        self
    }

    pub fn capability(mut self, code: u8, value: &[u8]) -> OpenDsl {
        self.capabilities.push((code, value.to_vec()));
        self
    }

    /// Opt Parm Len and everything after it, instead of what the capabilities give.
    pub fn parameters(mut self, octets: &[u8]) -> OpenDsl {
        self.parameters = Some(octets.to_vec());
        self
    }

    /// The whole message; each capability is a parameter of its own.
    pub fn octets(&self) -> Vec<u8> {
        let each = |(code, value): &(u8, Vec<u8>)| [&[2, value.len() as u8 + 2, *code, value.len() as u8], &value[..]].concat();
        let parameters: Vec<u8> = self.capabilities.iter().flat_map(each).collect();
        let parameters = self.parameters.clone().unwrap_or_else(|| [&[parameters.len() as u8], &parameters[..]].concat());
        message(1, &[&[self.version][..], &self.my_as.to_be_bytes(), &self.hold.to_be_bytes(), &self.id, &parameters].concat())
    }
}

impl From<OpenDsl> for Bytes {
    fn from(open: OpenDsl) -> Bytes {
        open.octets().into()
    }
}

fn parse(net: &str) -> IpNet {
    net.parse().expect("a prefix")
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn prefix(id: Option<u32>, net: IpNet) -> Vec<u8> {
    let mut out = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    out.push(net.prefix_len());
    out.extend_from_slice(&octets(net.network())[..usize::from(net.prefix_len().div_ceil(8))]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_style_page_has_these_octets() {
        let octets = upd().reach("10.1.0.0/26").next_hop("192.0.2.2").attr(4, 0x80, &[0, 0, 1]).octets();
        let attributes = [
            &[0x40, 1, 1, 0][..],        // ORIGIN igp
            &[0x40, 2, 0],               // AS_PATH, empty
            &[0x40, 3, 4, 192, 0, 2, 2], // NEXT_HOP
            &[0x80, 4, 3, 0, 0, 1],      // MULTI_EXIT_DISC, an octet short
        ]
        .concat();
        let body = [&[0, 0, 0, 20][..], &attributes, &[26, 10, 1, 0, 0]].concat();
        assert_eq!(octets, message(2, &body));
        assert_eq!(octets[16..19], [0, 48, 2]);
    }

    #[test]
    fn ipv6_goes_into_the_multiprotocol_attributes() {
        let octets = upd().reach("2001:db8::/32").next_hop("2001:db8::1").as_path(&[64512]).octets();
        assert_eq!(octets[23..30], [0x80, 14, 26, 0, 2, 1, 16]);
        let octets = upd().withdraw("2001:db8::/32").octets();
        assert_eq!(octets[19..], [0, 0, 0, 11, 0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8]);
    }
}
