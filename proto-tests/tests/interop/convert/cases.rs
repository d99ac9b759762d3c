//! The configurations, and the neighbour of each.

use super::{Case, From};

/// A neighbour with one session over IPv4, for both families or one.
const V4: &str =
    "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK ipv4 { import all; export filter give; }; }";
const BOTH: &str = "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK ipv4 { import all; export filter give; }; \
                    ipv6 { import all; export filter give; next hop address fd77::2; }; }";
const V6: &str = "protocol bgp s1 { local fd77::2 as 65002; neighbor fd77::1 as 65001; QUICK ipv6 { import all; export filter give; }; }";
const INSIDE: &str = "protocol bgp s1 { local 10.77.0.2 as 65001; neighbor 10.77.0.1 as 65001; QUICK ipv4 { import all; export filter give; next hop self; }; }";

macro_rules! bird {
    ($name:literal, $neighbour:expr, $body:literal) => {
        Case {
            name: $name,
            from: From::Bird,
            neighbour: $neighbour,
            config: concat!(
                "router id 10.77.0.1;\nprotocol device { scan time 1; }\nprotocol kernel { ipv4 { export where source = RTS_BGP; }; }\n",
                "protocol kernel { ipv6 { export where source = RTS_BGP; }; }\n",
                "protocol static own { ipv4; route 10.55.0.0/24 blackhole; route 10.55.1.0/24 unreachable; }\n",
                "protocol static own6 { ipv6; route fd55::/64 blackhole; }\n",
                $body
            ),
        }
    };
}

macro_rules! frr {
    ($name:literal, $neighbour:expr, $body:literal) => {
        Case {
            name: $name,
            from: From::Frr,
            neighbour: $neighbour,
            config: concat!(
                "frr defaults traditional\nip route 10.55.0.0/24 blackhole\nip route 10.55.1.0/24 Null0\nipv6 route fd55::/64 blackhole\n",
                $body
            ),
        }
    };
}

macro_rules! gobgp {
    ($name:literal, $neighbour:expr, $body:literal) => {
        Case {
            name: $name,
            from: From::Gobgp,
            neighbour: $neighbour,
            config: concat!("[global.config]\nas = 65001\nrouter-id = \"10.77.0.1\"\n", $body),
        }
    };
}

pub const ALL: &[Case] = &[
    bird!(
        "BIRD: all in, own routes out",
        V4,
        "protocol bgp up { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002; connect delay time 1; connect retry time 1;
           ipv4 { import all; export where source = RTS_STATIC; }; }"
    ),
    bird!(
        "BIRD: both families in one session, from a template",
        BOTH,
        "template bgp racks { local 10.77.0.1 as 65001; hold time 9; connect delay time 1;
           ipv4 { import all; export where proto = \"own\"; }; ipv6 { import all; export all; next hop address fd77::1; }; }
         protocol bgp up from racks { neighbor 10.77.0.2 as 65002; }"
    ),
    bird!(
        "BIRD: a filter with communities, lengths and paths",
        V4,
        "define WANTED = [ 10.88.0.0/16{24,25}, 10.99.0.0/16+ ];
         function is_odd() { if (65002, 666) ~ bgp_community then return true; return bgp_path ~ [= * 64666 * =]; }
         filter taken { if is_odd() then reject; if net ~ WANTED then { bgp_local_pref = 200; accept; } if bgp_path.len > 2 then accept; reject; }
         protocol bgp up { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002; connect delay time 1;
           ipv4 { import filter taken; export filter { if net = 10.55.0.0/24 then { bgp_community.add((65001, 7)); bgp_large_community.add((65001, 1, 9));
             bgp_med = 30; accept; } reject; }; }; }"
    ),
    bird!(
        "BIRD: prepended, with nested conditions",
        V4,
        "protocol bgp up { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002; connect delay time 1;
           ipv4 { import where !(net ~ [ 0.0.0.0/0, 192.168.0.0/16+ ]);
             export filter { if source = RTS_STATIC then { if net.len = 24 && net ~ 10.55.1.0/24 then { bgp_path.prepend(65001); bgp_path.prepend(65001); } else
               bgp_community.add((65001, 1)); accept; } reject; }; }; }"
    ),
    bird!(
        "BIRD: a password, and TTL security",
        "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK password \"s3cret\"; ttl security on; ipv4 { import all; export filter give; }; }",
        "protocol bgp up { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002; password \"s3cret\"; ttl security on; passive on;
           ipv4 { import all; export where source = RTS_STATIC; import limit 100 action disable; }; }"
    ),
    bird!(
        "BIRD: IPv6 alone",
        V6,
        "protocol bgp up { local fd77::1 as 65001; neighbor fd77::2 as 65002; connect delay time 1; ipv6 { import where net != fd88:1::/64; export all; }; }"
    ),
    bird!(
        "BIRD: inside an AS, and a client",
        INSIDE,
        "protocol direct { ipv4; }
         protocol bgp in1 { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65001; rr client; connect delay time 1; ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }"
    ),
    bird!(
        "BIRD: two neighbours, of which one is told what the other says",
        "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK ipv4 { import all; export filter give; }; }
         protocol bgp s2 { local 10.77.0.4 as 65002; neighbor 10.77.0.3 as 65001; QUICK allow local as 1; ipv4 { import all; export none; }; }",
        "protocol bgp up { local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002; connect delay time 1; ipv4 { import all; export none; }; }
         protocol bgp lower { local 10.77.0.3 as 65001; neighbor 10.77.0.4 as 65002; connect delay time 1; ipv4 { import none; next hop self;
           export where source = RTS_BGP && net != 0.0.0.0/0; }; }"
    ),
    bird!(
        "BIRD: what the shape of a Calico node is",
        INSIDE,
        "protocol direct { ipv4; }
         function aggr() { if net = 10.55.0.0/24 then accept; if net ~ 10.55.0.0/24 then reject; }
         filter peers { aggr(); if net ~ 10.55.0.0/16 then { accept; } reject; }
         template bgp mesh { local 10.77.0.1 as 65001; multihop; graceful restart; connect delay time 2; connect retry time 5;
           error wait time 5, 30; ipv4 { import all; export filter peers; add paths on; gateway recursive; }; }
         protocol bgp Mesh_10_77_0_2 from mesh { neighbor 10.77.0.2 as 65001; }"
    ),
    bird!(
        "BIRD: a neighbour that comes from a range",
        V4,
        "protocol bgp racks { local as 65001; neighbor range 10.77.0.0/24 external; dynamic name \"rack\"; ipv4 { import all; export all; }; }"
    ),
    frr!(
        "FRR: all in, all out",
        V4,
        "router bgp 65001
 bgp router-id 10.77.0.1
 no bgp ebgp-requires-policy
 neighbor 10.77.0.2 remote-as 65002
 neighbor 10.77.0.2 timers connect 1
 address-family ipv4 unicast
  network 10.55.0.0/24
  network 10.55.1.0/24
 exit-address-family
"
    ),
    frr!(
        "FRR: prefix lists and route-maps in both directions",
        V4,
        "ip prefix-list RACKS seq 5 deny 10.88.1.128/25
ip prefix-list RACKS seq 10 permit 10.88.0.0/16 le 25
ip prefix-list OWN permit 10.55.0.0/24
route-map IN permit 10
 match ip address prefix-list RACKS
 set local-preference 200
route-map OUT permit 10
 match ip address prefix-list OWN
 set community 65001:7 65001:8
 set as-path prepend 65001 65001
 set metric 30
router bgp 65001
 bgp router-id 10.77.0.1
 neighbor 10.77.0.2 remote-as 65002
 neighbor 10.77.0.2 timers connect 1
 address-family ipv4 unicast
  network 10.55.0.0/24
  network 10.55.1.0/24
  neighbor 10.77.0.2 route-map IN in
  neighbor 10.77.0.2 route-map OUT out
"
    ),
    frr!(
        "FRR: a session for each family, from a group",
        "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK ipv4 { import all; export filter give; }; }
         protocol bgp s2 { local fd77::2 as 65002; neighbor fd77::1 as 65001; QUICK ipv6 { import all; export filter give; }; }",
        "ip prefix-list DEFAULT permit 0.0.0.0/0
ipv6 prefix-list SIX permit fd88::/64
route-map IN4 deny 10
 match ip address prefix-list DEFAULT
route-map IN4 permit 20
route-map IN6 permit 10
 match ipv6 address prefix-list SIX
route-map OUT permit 10
router bgp 65001
 bgp router-id 10.77.0.1
 no bgp default ipv4-unicast
 neighbor UP peer-group
 neighbor UP remote-as external
 neighbor UP timers 3 9
 neighbor UP timers connect 1
 neighbor 10.77.0.2 peer-group UP
 neighbor fd77::2 peer-group UP
 address-family ipv4 unicast
  network 10.55.0.0/24
  neighbor 10.77.0.2 activate
  neighbor 10.77.0.2 route-map IN4 in
  neighbor 10.77.0.2 route-map OUT out
 exit-address-family
 address-family ipv6 unicast
  network fd55::/64
  neighbor fd77::2 activate
  neighbor fd77::2 route-map IN6 in
  neighbor fd77::2 route-map OUT out
 exit-address-family
"
    ),
    frr!(
        "FRR: external without a policy, which is told and believed nothing",
        V4,
        "router bgp 65001
 bgp router-id 10.77.0.1
 neighbor 10.77.0.2 remote-as 65002
 neighbor 10.77.0.2 timers connect 1
 address-family ipv4 unicast
  network 10.55.0.0/24
"
    ),
    frr!(
        "FRR: inside an AS, static routes announced",
        INSIDE,
        "router bgp 65001
 bgp router-id 10.77.0.1
 neighbor 10.77.0.2 remote-as internal
 neighbor 10.77.0.2 timers connect 1
 neighbor 10.77.0.2 password s3cret
 no neighbor 10.77.0.2 password
 address-family ipv4 unicast
  network 10.55.0.0/24
  neighbor 10.77.0.2 next-hop-self
"
    ),
    frr!(
        "FRR: another AS for one neighbour, lists without route-maps",
        "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 64999; QUICK ipv4 { import all; export filter give; }; }",
        "access-list RACKS deny 10.88.1.0/24
access-list RACKS permit 10.0.0.0/8
bgp as-path access-list OURS permit ^$
router bgp 65001
 bgp router-id 10.77.0.1
 no bgp ebgp-requires-policy
 neighbor 10.77.0.2 remote-as 65002
 neighbor 10.77.0.2 local-as 64999 no-prepend replace-as
 neighbor 10.77.0.2 timers connect 1
 address-family ipv4 unicast
  network 10.55.0.0/24
  neighbor 10.77.0.2 distribute-list RACKS in
  neighbor 10.77.0.2 filter-list OURS out
"
    ),
    gobgp!(
        "GoBGP: all in, all out",
        V4,
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.77.0.2\"\npeer-as = 65002\n[neighbors.timers.config]\nconnect-retry = 1\nhold-time = 9\nkeepalive-interval = 3\n"
    ),
    gobgp!(
        "GoBGP: a password, and waiting",
        "protocol bgp s1 { local 10.77.0.2 as 65002; neighbor 10.77.0.1 as 65001; QUICK password \"s3cret\"; ipv4 { import all; export filter give; }; }",
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.77.0.2\"\npeer-as = 65002\nauth-password = \"s3cret\"\n[neighbors.transport.config]\npassive-mode = true\n"
    ),
    gobgp!(
        "GoBGP: policies",
        V4,
        "[global.apply-policy.config]
import-policy-list = [\"in\"]
default-import-policy = \"accept-route\"
export-policy-list = [\"out\"]
default-export-policy = \"reject-route\"
[[defined-sets.prefix-sets]]
prefix-set-name = \"own\"
[[defined-sets.prefix-sets.prefix-list]]
ip-prefix = \"10.55.0.0/16\"
masklength-range = \"24..24\"
[[defined-sets.bgp-defined-sets.community-sets]]
community-set-name = \"odd\"
community-list = [\"65002:666\"]
[[policy-definitions]]
name = \"in\"
[[policy-definitions.statements]]
[policy-definitions.statements.conditions.bgp-conditions.match-community-set]
community-set = \"odd\"
[policy-definitions.statements.actions]
route-disposition = \"reject-route\"
[[policy-definitions]]
name = \"out\"
[[policy-definitions.statements]]
[policy-definitions.statements.conditions.match-prefix-set]
prefix-set = \"own\"
[policy-definitions.statements.actions.bgp-actions]
set-med = 40
[policy-definitions.statements.actions.bgp-actions.set-community]
options = \"add\"
[policy-definitions.statements.actions.bgp-actions.set-community.set-community-method]
communities-list = [\"65001:9\"]
[policy-definitions.statements.actions]
route-disposition = \"accept-route\"
[[neighbors]]
[neighbors.config]
neighbor-address = \"10.77.0.2\"
peer-as = 65002
[neighbors.timers.config]
connect-retry = 1
"
    ),
    gobgp!(
        "GoBGP: inside an AS, from a group",
        INSIDE,
        "[[peer-groups]]
[peer-groups.config]
peer-group-name = \"nodes\"
peer-as = 65001
[[peer-groups.afi-safis]]
[peer-groups.afi-safis.config]
afi-safi-name = \"ipv4-unicast\"
[[neighbors]]
[neighbors.config]
neighbor-address = \"10.77.0.2\"
peer-group = \"nodes\"
[neighbors.timers.config]
connect-retry = 1
"
    ),
];
