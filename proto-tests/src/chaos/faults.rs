//! What can happen to a node: the list of faults, each with what it may cost.
//!
//! In: a node, and another one that a fault may be about. Out: the fault done, and undone again.
//! Most are lines for a shell in the node's namespaces, with words in braces that [`Place::fill`] knows: a fault is added by a line.

use super::World;

/// What of a node a fault takes hold of. Two faults that hold the same are not done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The daemon, its configuration, its clients.
    Process,
    Routes,
    Neighbours,
    /// Links and addresses.
    Link,
    Settings,
    Firewall,
}

/// Which packets a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    Nothing,
    /// Of the node, while the fault is being done: what the kernel itself has in its hands at that moment it throws away. (A packet meets a neighbour
    /// entry that was just removed; the queue of a link is another one, and the packets of the old one are dropped.)
    AtOnce,
    /// Of the node, until a second after the fault was done: so long the daemon may take to see and mend it on a machine that is busy. Where
    /// another fault takes the daemon away meanwhile, until sessions and kernels are right again.
    Moment(Families),
    /// Of the node, until half a second after the fault was undone.
    WhileDone(Families),
    /// Between the node and the other one, likewise.
    Pair,
    /// Between the node and the other one, until sessions and kernels are right again.
    PairUntilQuiet,
    /// Of the node, until sessions and kernels are right again.
    UntilQuiet(Families),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

const BOTH: Families = Families { v4: true, v6: true };
const V4: Families = Families { v4: true, v6: false };
const V6: Families = Families { v4: false, v6: true };

/// How it is done, and undone.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Lines for a shell in the node.
    Shell(&'static str, &'static str),
    /// Lines for a shell in the switch.
    Switch(&'static str, &'static str),
    /// `catbird` on the node, a command a line.
    Catbird(&'static str, &'static str),
    /// Another configuration, taken over by `catbird reload`; then the usual one again.
    Reload(Change),
    /// Another configuration and kill -9 at once; then the usual one, likewise.
    Reborn(Change),
    Own(fn(&mut World, &Place) -> Result<(), String>, fn(&mut World, &Place) -> Result<(), String>),
}

/// What a configuration says besides the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Lines of `[cluster]`.
    pub cluster: &'static str,
    /// More pod blocks, as members of a list.
    pub blocks: &'static str,
    /// Whole tables.
    pub tables: &'static str,
}

/// A fault that may be done to any node.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    pub part: Part,
    pub loses: Loses,
    pub deed: Deed,
    /// It lasts at least so long, in milliseconds.
    pub lasts: u64,
}

/// To whom it is done.
#[derive(Clone, Debug)]
pub struct Place {
    pub node: usize,
    /// Another node, with pods.
    pub other: usize,
    /// Words in braces, and what stands for them here.
    pub words: Vec<(&'static str, String)>,
}

impl Place {
    pub fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }
}

impl Fault {
    /// It is about the node's own pods or blocks; a reflector has none.
    pub fn wants_pods(&self) -> bool {
        let texts = match self.deed {
            Deed::Shell(start, end) | Deed::Switch(start, end) | Deed::Catbird(start, end) => [start, end],
            Deed::Reload(change) | Deed::Reborn(change) => [change.blocks, ""],
            Deed::Own(..) => ["", ""],
        };
        texts.iter().any(|text| text.contains("{mb") || text.contains("{mp") || text.contains("{cable}") || text.contains("10.200."))
    }
}

const fn shell(name: &'static str, part: Part, loses: Loses, start: &'static str, end: &'static str) -> Fault {
    Fault { name, part, loses, deed: Deed::Shell(start, end), lasts: 0 }
}

const fn process(name: &'static str, loses: Loses, deed: Deed) -> Fault {
    Fault { name, part: Part::Process, loses, deed, lasts: 0 }
}

const fn reload(name: &'static str, change: Change) -> Fault {
    process(name, Loses::Nothing, Deed::Reload(change))
}

const NO_CHANGE: Change = Change { cluster: "", blocks: "", tables: "" };

/// What others do to the kernel's routes. (`ip route flush` cannot flush routes of nexthop objects, as FRR writes them.)
const ROUTES: &[Fault] = &[
    shell("a route of ours is deleted", Part::Routes, Loses::Moment(V4), "ip route del {ob4} proto {proto}", ""),
    shell("an IPv6 route of ours is deleted", Part::Routes, Loses::Moment(V6), "ip -6 route del {ob6} proto {proto}", ""),
    shell(
        "all routes of ours are flushed",
        Part::Routes,
        Loses::Moment(V4),
        "ip route show proto {proto} | awk '{print \"route del\", ($1 == \"blackhole\" ? $1 \" \" $2 : $1), \"proto {proto}\"}' | ip -batch -",
        "",
    ),
    shell(
        "all IPv6 routes of ours are flushed",
        Part::Routes,
        Loses::Moment(V6),
        "ip -6 route show proto {proto} | awk '{print \"route del\", ($1 == \"blackhole\" ? $1 \" \" $2 : $1), \"proto {proto}\"}' | ip -6 -batch -",
        "",
    ),
    shell(
        "a route of ours is bent, under our protocol",
        Part::Routes,
        Loses::Moment(V4),
        "ip route replace {ob4} via 10.12.22.250 dev eth1 proto {proto} metric {metric}",
        "",
    ),
    shell(
        "a route of ours is bent, under another protocol",
        Part::Routes,
        Loses::Moment(V4),
        "ip route replace {ob4} via 10.12.22.250 dev eth1 proto 50 metric {metric}",
        "",
    ),
    shell(
        "an IPv6 route of ours is bent",
        Part::Routes,
        Loses::Moment(V6),
        "ip -6 route replace {ob6} via fd00:12:22::fa dev eth1 proto {proto} metric {metric}",
        "",
    ),
    shell(
        "an IPv6 route gets a sibling that leads nowhere",
        Part::Routes,
        Loses::WhileDone(V6),
        "ip -6 route append {ob6} via fd00:12:22::fa dev eth1 proto 50 metric {metric}",
        "ip -6 route del {ob6} via fd00:12:22::fa dev eth1 proto 50 2>/dev/null; true",
    ),
    shell(
        "another's route of lower metric to the same node",
        Part::Routes,
        Loses::Nothing,
        "ip route add {ob4} via {o4} dev eth1 proto 50 metric 10",
        "ip route del {ob4} proto 50 metric 10",
    ),
    shell(
        "another's IPv6 route of lower metric to the same node",
        Part::Routes,
        Loses::Nothing,
        "ip -6 route add {ob6} via {o6} dev eth1 proto 50 metric 10",
        "ip -6 route del {ob6} proto 50 metric 10",
    ),
    shell(
        "another's route of higher metric to nowhere",
        Part::Routes,
        Loses::Nothing,
        "ip route add {ob4} via 10.12.22.250 dev eth1 proto 50 metric 5000",
        "ip route del {ob4} proto 50 metric 5000",
    ),
    shell(
        "another's blackhole for one pod",
        Part::Routes,
        Loses::Pair,
        "ip route add blackhole {op4} proto 50; ip -6 route add blackhole {op6} proto 50",
        "ip route del blackhole {op4} proto 50; ip -6 route del blackhole {op6} proto 50",
    ),
    shell("our blackhole is deleted", Part::Routes, Loses::Nothing, "ip route del blackhole {mb4}", ""),
    shell("our IPv6 blackhole is deleted", Part::Routes, Loses::Nothing, "ip -6 route del blackhole {mb6}", ""),
    shell(
        "a thousand routes of another come and go",
        Part::Routes,
        Loses::Nothing,
        "for i in $(seq 0 999); do echo route add 172.30.$((i/250)).$((i%250)) via {o4} proto 50; done | ip -batch -",
        "ip route flush proto 50",
    ),
    shell(
        "a default route comes and goes",
        Part::Routes,
        Loses::Nothing,
        "ip route add default via {o4} proto 50; ip -6 route add default via {o6} proto 50",
        "ip route del default proto 50; ip -6 route del default proto 50",
    ),
    shell(
        "a rule that leads into an empty table",
        Part::Routes,
        Loses::Nothing,
        "ip rule add pref 100 table 100; ip -6 rule add pref 100 table 100",
        "ip rule del pref 100 table 100; ip -6 rule del pref 100 table 100",
    ),
    shell(
        "a nexthop object of another comes, changes and goes",
        Part::Routes,
        Loses::Nothing,
        "ip nexthop add id 77 via {o4} dev eth1 && ip route add 172.31.0.0/24 nhid 77 proto 50 && \
         for i in 1 2 3 4 5 6 7 8; do ip nexthop replace id 77 via 10.12.22.25$((i%4)) dev eth1; done",
        "ip nexthop del id 77",
    ),
    shell(
        "a multipath route of another changes",
        Part::Routes,
        Loses::Nothing,
        "ip route add 172.31.1.0/24 proto 50 nexthop via {o4} dev eth1 nexthop via 10.12.22.250 dev eth1; \
         ip route replace 172.31.1.0/24 proto 50 nexthop via 10.12.22.251 dev eth1 nexthop via 10.12.22.250 dev eth1",
        "ip route del 172.31.1.0/24; true",
    ),
    shell(
        "a route of ours gets another metric",
        Part::Routes,
        Loses::Moment(V4),
        "ip route del {ob4} proto {proto}; ip route add {ob4} via {o4} dev eth1 proto {proto} metric 77",
        "ip route del {ob4} proto {proto} metric 77 2>/dev/null; true",
    ),
    shell(
        "a route that is twenty times deleted",
        Part::Routes,
        Loses::WhileDone(V4),
        "for i in $(seq 20); do ip route del {ob4} proto {proto} 2>/dev/null; sleep 0.05; done; true",
        "",
    ),
];

/// Neighbours, links, addresses.
const LINKS: &[Fault] = &[
    shell("learned neighbours are flushed", Part::Neighbours, Loses::AtOnce, "ip neigh flush dev eth1", ""),
    shell(
        "a neighbour is forgotten",
        Part::Neighbours,
        Loses::AtOnce,
        "ip neigh del {o4} dev eth1 2>/dev/null; ip -6 neigh del {o6} dev eth1 2>/dev/null; true",
        "ip neigh replace {o4} lladdr {omac} dev eth1 nud permanent; ip -6 neigh replace {o6} lladdr {omac} dev eth1 nud permanent",
    ),
    shell(
        "a neighbour's address is wrong",
        Part::Neighbours,
        Loses::Pair,
        "ip neigh replace {o4} lladdr 02:00:00:00:00:99 dev eth1 nud permanent",
        "ip neigh replace {o4} lladdr {omac} dev eth1 nud permanent",
    ),
    shell(
        "two hundred neighbours come and go",
        Part::Neighbours,
        Loses::Nothing,
        "for i in $(seq 200); do echo neigh replace fd00:12:22::9:$i lladdr 02:00:00:00:01:01 nud permanent dev eth1; done | ip -6 -batch -",
        "for i in $(seq 200); do echo neigh del fd00:12:22::9:$i dev eth1; done | ip -6 -force -batch - 2>/dev/null; true",
    ),
    shell(
        "the link is set down",
        Part::Link,
        Loses::UntilQuiet(BOTH),
        "ip link set eth1 down",
        "ip link set eth1 up; ip -6 addr replace {me6}/64 dev eth1 nodad",
    ),
    shell(
        "the link is set down and up five times",
        Part::Link,
        Loses::UntilQuiet(BOTH),
        "for i in 1 2 3 4 5; do ip link set eth1 down; sleep 0.1; ip link set eth1 up; ip -6 addr replace {me6}/64 dev eth1 nodad; sleep 0.1; done",
        "",
    ),
    Fault {
        name: "the cable is pulled",
        part: Part::Link,
        loses: Loses::UntilQuiet(BOTH),
        deed: Deed::Switch("ip link set port{n} down", "ip link set port{n} up"),
        lasts: 0,
    },
    Fault {
        name: "the cable is pulled for longer than the hold time",
        part: Part::Link,
        loses: Loses::UntilQuiet(BOTH),
        deed: Deed::Switch("ip link set port{n} down", "ip link set port{n} up"),
        lasts: 11_000,
    },
    shell("another MTU", Part::Link, Loses::Nothing, "ip link set eth1 mtu 1400", "ip link set eth1 mtu 1500"),
    shell(
        "noise about the link",
        Part::Link,
        Loses::AtOnce,
        "for i in $(seq 20); do ip link set eth1 txqueuelen $((1000+i)); ip link set eth1 allmulticast on; ip link set eth1 allmulticast off; done",
        "",
    ),
    shell(
        "a second link with a subnet of its own",
        Part::Link,
        Loses::Nothing,
        "ip link add second type veth peer name far; ip addr add 192.168.77.1/24 dev second; ip link set second up; ip link set far up",
        "ip link del second",
    ),
    shell(
        "our subnet on a second link",
        Part::Link,
        Loses::Nothing,
        "ip link add second type veth peer name far; ip link set second up; ip link set far up; ip addr add 10.12.22.{n6}/24 dev second",
        "ip link del second",
    ),
    shell(
        "a macvlan comes and goes",
        Part::Link,
        Loses::Nothing,
        // It would answer ARP for the node's address, and who asks in that moment sends to a MAC that is gone for half a minute: the kernels' doing.
        "ip link add mv link eth1 type macvlan mode bridge; ip link set mv arp off; ip link set mv up",
        "ip link del mv",
    ),
    shell(
        "a bridge takes an address of our own block",
        Part::Link,
        Loses::Nothing,
        "ip link add cni0 type bridge; ip addr add {mg4}/26 dev cni0; ip -6 addr add {mg6}/122 dev cni0 nodad; ip link set cni0 up",
        "ip link del cni0",
    ),
    shell(
        "forty interfaces come and go",
        Part::Link,
        Loses::Nothing,
        "for i in $(seq 40); do echo link add many$i type veth peer name ynam$i; echo link set many$i up; done | ip -batch -",
        "for i in $(seq 40); do echo link del many$i; done | ip -batch -",
    ),
    shell(
        "a pod's cable is pulled",
        Part::Link,
        Loses::WhileDone(BOTH),
        "ip link set {cable} down",
        "ip link set {cable} up; ip route replace {mp4} dev {cable}; ip -6 route replace {mp6} dev {cable}",
    ),
    shell(
        "our address goes and comes",
        Part::Link,
        Loses::UntilQuiet(BOTH),
        "ip addr del {me4}/24 dev eth1",
        "ip addr add {me4}/24 dev eth1",
    ),
    shell(
        "our IPv6 address goes and comes",
        Part::Link,
        Loses::UntilQuiet(V6),
        "ip -6 addr del {me6}/64 dev eth1",
        "ip -6 addr add {me6}/64 dev eth1 nodad",
    ),
    shell(
        "a second address comes and goes",
        Part::Link,
        Loses::Nothing,
        "ip addr add 10.12.22.{n6}/24 dev eth1; ip -6 addr add fd00:12:22::6:{n}/64 dev eth1 nodad",
        "ip addr del 10.12.22.{n6}/24 dev eth1; ip -6 addr del fd00:12:22::6:{n}/64 dev eth1",
    ),
    shell(
        "our address gets a lifetime",
        Part::Link,
        Loses::Nothing,
        "ip addr change {me4}/24 dev eth1 valid_lft 100000 preferred_lft 50000",
        "ip addr change {me4}/24 dev eth1 valid_lft forever preferred_lft forever",
    ),
];

/// Kernel settings, and filters.
const FILTERS: &[Fault] = &[
    shell(
        "forwarding is switched off",
        Part::Settings,
        Loses::WhileDone(V4),
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
    ),
    shell(
        "IPv6 forwarding is switched off",
        Part::Settings,
        Loses::UntilQuiet(V6),
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
    ),
    shell(
        "reverse path filter",
        Part::Settings,
        Loses::Nothing,
        "sysctl -qw net.ipv4.conf.all.rp_filter=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0",
    ),
    shell(
        "IPv6 is switched off on the link",
        Part::Link,
        Loses::UntilQuiet(V6),
        "sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.eth1.disable_ipv6=0; ip -6 addr replace {me6}/64 dev eth1 nodad",
    ),
    shell("BGP is dropped for a moment", Part::Firewall, Loses::Nothing, "nft -f - <<X\n{drop179}\nX", "nft delete table inet chaos"),
    Fault {
        name: "BGP is dropped for longer than the hold time",
        part: Part::Firewall,
        loses: Loses::Nothing,
        deed: Deed::Shell("nft -f - <<X\n{drop179}\nX", "nft delete table inet chaos"),
        lasts: 12_000,
    },
    Fault {
        name: "BGP with one node is dropped for longer than the hold time",
        part: Part::Firewall,
        loses: Loses::Nothing,
        deed: Deed::Shell(
            "nft 'table inet chaos { chain c { type filter hook input priority 0; ip saddr {o4} tcp dport 179 drop; ip saddr {o4} tcp sport 179 drop; }; }'",
            "nft delete table inet chaos",
        ),
        lasts: 12_000,
    },
    shell(
        "BGP is answered with a reset",
        Part::Firewall,
        Loses::Nothing,
        "nft 'table inet chaos { chain c { type filter hook input priority 0; tcp dport 179 reject with tcp reset; tcp sport 179 reject with tcp reset; }; }'",
        "nft delete table inet chaos",
    ),
    shell(
        "one packet of BGP in five is dropped",
        Part::Firewall,
        Loses::Nothing,
        "nft 'table inet chaos { chain c { type filter hook input priority 0; tcp dport 179 numgen random mod 5 == 0 drop; \
         tcp sport 179 numgen random mod 5 == 0 drop; }; }'",
        "nft delete table inet chaos",
    ),
    shell(
        "nothing passes between two nodes",
        Part::Firewall,
        Loses::Pair,
        "nft 'table inet chaos { chain c { type filter hook prerouting priority 0; ip saddr {o4} drop; ip6 saddr {o6} drop; ip saddr {ob4} drop; \
         ip6 saddr {ob6} drop; }; }'",
        "nft delete table inet chaos",
    ),
    shell(
        "ICMP is dropped",
        Part::Firewall,
        Loses::Nothing,
        "nft 'table inet chaos { chain c { type filter hook input priority 0; ip protocol icmp drop; }; }'",
        "nft delete table inet chaos",
    ),
];

/// The daemon: its life, its file, its clients.
const DAEMON: &[Fault] = &[
    process("killed, and back when it is undone", Loses::Nothing, Deed::Own(World::kill, World::start)),
    process("killed, and back at once", Loses::Nothing, Deed::Own(World::kill_and_start, World::nothing)),
    process("killed again while it starts", Loses::Nothing, Deed::Own(World::kill_and_start, World::kill_and_start)),
    process("ended, and back when it is undone", Loses::Nothing, Deed::Own(World::terminate, World::start)),
    process("ended, and back at once", Loses::Nothing, Deed::Own(World::terminate, World::start)),
    process("stopped for a moment", Loses::Nothing, Deed::Own(World::stop, World::go_on)),
    Fault {
        name: "stopped for longer than the hold time",
        part: Part::Process,
        loses: Loses::Nothing,
        deed: Deed::Own(World::stop, World::go_on),
        lasts: 11_000,
    },
    process("stopped under twenty thousand routes of another", Loses::Nothing, Deed::Own(World::stop_under_routes, World::go_on)),
    process("every node is killed and comes back", Loses::Nothing, Deed::Own(World::kill_all, World::nothing)),
    process("HUP, ten times", Loses::Nothing, Deed::Own(World::hup, World::nothing)),
    process("a broken configuration", Loses::Nothing, Deed::Own(World::break_configuration, World::mend_configuration)),
    reload("reload: nothing changed", NO_CHANGE),
    reload("reload: another connect_retry", Change { cluster: "idle_hold = \"700ms\"", ..NO_CHANGE }),
    reload("reload: another send hold time", Change { cluster: "send_hold = \"5m\"", ..NO_CHANGE }),
    reload(
        "reload: another import policy",
        Change {
            cluster: "import = [\"prefer\"]",
            tables: "[policy.prefer]\ndefault = \"accept\"\n[[policy.prefer.rules]]\nset_local_pref = 300\nthen = \"accept\"\n",
            ..NO_CHANGE
        },
    ),
    reload(
        "reload: another export policy",
        Change {
            cluster: "export = [\"mark\"]",
            tables: "[policy.mark]\ndefault = \"reject\"\n[[policy.mark.rules]]\nown_blocks = true\nadd_communities = [\"64512:7\"]\nthen = \"accept\"\n",
            ..NO_CHANGE
        },
    ),
    reload("reload: another metric of routes", Change { tables: "[fib]\nmetric = 900\n", ..NO_CHANGE }),
    reload("reload: another metric of blackholes", Change { tables: "[fib]\nblock_metric = 900\n", ..NO_CHANGE }),
    reload("reload: ECMP of one", Change { tables: "[fib]\necmp_width = 1\n", ..NO_CHANGE }),
    reload("reload: an overlay for other subnets", Change { tables: "[fib.overlay]\nmode = \"cross-subnet\"\n", ..NO_CHANGE }),
    reload("reload: metrics of each peer", Change { tables: "[metrics]\nper_peer = \"all\"\n", ..NO_CHANGE }),
    reload("reload: another block", Change { blocks: "\"10.200.{n}.0/26\"", ..NO_CHANGE }),
    process("killed, and back with another metric", Loses::Nothing, Deed::Reborn(Change { tables: "[fib]\nmetric = 900\n", ..NO_CHANGE })),
    process(
        "killed, and back with another protocol",
        Loses::Nothing,
        Deed::Reborn(Change { tables: "[fib]\nprotocol = 99\n", ..NO_CHANGE }),
    ),
    process("killed, and back with another block", Loses::Nothing, Deed::Reborn(Change { blocks: "\"10.200.{n}.0/26\"", ..NO_CHANGE })),
    process("a reload that nobody confirms", Loses::Nothing, Deed::Own(World::unconfirmed, World::mend_configuration)),
    process(
        "a block is announced and withdrawn",
        Loses::Nothing,
        Deed::Catbird("block add 10.201.{n}.0/26", "block remove 10.201.{n}.0/26"),
    ),
    process("drained", Loses::UntilQuiet(BOTH), Deed::Catbird("drain", "undrain")),
    process("killed while it is drained", Loses::UntilQuiet(BOTH), Deed::Own(World::drain_and_kill, World::start_undrained)),
    process("a session is closed and opened", Loses::PairUntilQuiet, Deed::Catbird("peer {peer} down", "peer {peer} up")),
    process("a session is cleared", Loses::Nothing, Deed::Catbird("peer {peer} clear", "")),
    process("a session is cleared, hard", Loses::PairUntilQuiet, Deed::Catbird("peer {peer} clear --hard", "")),
    process("a session is refreshed", Loses::Nothing, Deed::Catbird("peer {peer} refresh in", "peer {peer} refresh out")),
    process("the log tells more", Loses::Nothing, Deed::Catbird("log set debug", "log set info")),
    process("forty clients of the control socket", Loses::Nothing, Deed::Own(World::many_clients, World::nothing)),
    process("clients of HTTP that do not read", Loses::Nothing, Deed::Own(World::deaf_clients, World::hang_up)),
    process("strangers at port 179", Loses::Nothing, Deed::Own(World::strangers, World::hang_up)),
    process(
        "no room in /run",
        Loses::Nothing,
        Deed::Shell(
            "mount -o remount,size=256k /run; head -c 1M /dev/zero > /run/full 2>/dev/null; true",
            "rm -f /run/full; mount -o remount,size=64m /run",
        ),
    ),
    process("killed, and back with no room in /run", Loses::Nothing, Deed::Own(World::reborn_without_room, World::room_again)),
];

/// Every fault there is.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    ROUTES.iter().chain(LINKS).chain(FILTERS).chain(DAEMON)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_many_and_no_two_have_one_name() {
        let names: HashSet<&str> = all().map(|fault| fault.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.len() >= 60, "{}", names.len());
    }
}
