//! Mistakes that operators have made: each with the place where it is told, the cause in words, and the cure.

use super::*;

const NODE: &str = "[node]\nasn = 64512\n";
const PEER: &str = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n";
const TOR: &str = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 65001\nimport = \"all\"\nexport = \"all\"\n";
const RULE: &str = "[node]\nasn = 64512\n[[policy.p.rules]]\nthen = \"accept\"\n";
const NODES: &str = "[node]\nname = \"a\"\nasn = 64512\n[cluster]\nnodes = [\n  { name = \"a\", addresses = [\"10.0.0.1\", \"fd00::1\"] },\n  \
                     { name = \"b\", addresses = [\"10.0.0.2\", \"fd00::2\"] },\n]\n";
const OVER: &str = "[fib.overlay]\nmode = \"always\"\n";

/// What was typed first, what follows; then line and column, the cause, the cure.
type Mistake = (&'static str, &'static str, &'static str, &'static str, &'static str);

const TYPING: &[Mistake] = &[
    (PEER, "hodl_time = \"9s\"", "6:1", "unknown setting `hodl_time` in [[peer]]", "did you mean `hold_time`?"),
    (NODE, "[[peers]]", "3:3", "unknown setting `peers`", "did you mean `peer`?"),
    (PEER, "add_path = \"recieve\"", "6:12", "unknown value `recieve`", "did you mean `receive`?"),
    (PEER, "families = [\"ipv4\"]", "6:13", "unknown value `ipv4`", "did you mean `ipv4-unicast`?"),
    (NODE, "[policy.p]\ndefault = \"deny\"", "4:11", "unknown value `deny`", "did you mean `reject`?"),
    (NODE, "[log]\nlevel = \"verbose\"", "4:9", "unknown value `verbose`", "did you mean `debug`?"),
    (NODE, "[fib]\ntable = \"mian\"", "4:9", "unknown value `mian`", "did you mean `main`?"),
    (PEER, "passive = \"yes\"", "6:11", "found a string", "expected true or false"),
    (PEER, "hold_time = [9]", "6:13", "found an array", "such as 90, \"90s\""),
    (NODE, "[peer]\naddress = \"10.0.0.2\"", "3:1", "found a table", "as in `[[peer]]`"),
    (NODE, "[[peer]\naddress = \"10.0.0.2\"", "3:8", "not TOML", "expected `]`"),
    (NODE, "router_id = \"10.0.0.1", "3:22", "not TOML", "expected `\"`"),
    (NODE, "asn = 64513", "3:1", "duplicate key", "stands once in its section"),
    ("", "", "1:1", "[node] needs `asn`", "for instance 64512"),
    (NODE, "[[fib.learn]]\nprefixes = [\"10.0.0.0/8+\"]", "3:1", "`[[fib.learn]]` is called", "now `[[redistribute]]`"),
    (PEER, "name = \"\\u001b[31mred\"", "6:8", "is not a string", "without control characters"),
    (NODE, "[policy.\"a\\tb\"]\ndefault = \"accept\"", "3:9", "is not a name", "without control characters"),
];

const ADDRESSES: &[Mistake] = &[
    (NODE, "[pods]\nblocks = [\"10.244.1.0/33\"]", "4:11", "`10.244.1.0/33` is not a prefix", "is at most 32"),
    (NODE, "[pods]\nblocks = [\"10.244.2.65/26\"]", "4:11", "its host bits are not zero", "perhaps 10.244.2.64/26?"),
    (NODE, "[pods]\nblocks = [\"10.244.2.64\"]", "4:11", "its length is missing", "perhaps 10.244.2.64/32?"),
    (NODE, "[pods]\nblocks = [\"0.0.0.0/0\"]", "4:11", "not the whole address space", "a block holds addresses of this node's pods"),
    (NODE, "[pods]\nblocks = [\"127.0.0.0/8\"]", "4:11", "no unicast destinations", "a block holds addresses of this node's pods"),
    (NODE, "[pods]\nblocks = [\"224.0.0.0/4\"]", "4:11", "multicast", "a block holds addresses of this node's pods"),
    (NODE, "[pods]\nblocks = [\"fe80::/10\"]", "4:11", "link-local", "a block holds addresses of this node's pods"),
    (NODES, "[pods]\nblocks = [\"10.0.0.0/26\"]", "10:11", "it covers a 10.0.0.1", "a block holds addresses of this node's pods"),
    (
        NODE,
        "[pods]\nblocks = [\"10.244.0.0/16\", \"10.244.1.0/26\"]",
        "4:28",
        "lies inside block",
        "perhaps one of them belongs to another node",
    ),
    (NODE, "[pods]\nblocks = [\"10.244.1.0/26\", \"10.244.1.0/26\"]", "4:28", "is there twice", "each block stands once"),
    (NODE, "[prefix_set.s]\nprefixes = [\"10.0.0.0/8 ge 33\"]", "4:13", "`ge` of 10.0.0.0/8", "a length from 8 to 32"),
    (
        NODE,
        "[prefix_set.s]\nprefixes = [\"10.0.0.0/8 ge 26 le 24\"]",
        "4:13",
        "is not a range of prefixes",
        "none has at least 26 and at most 24",
    ),
    (NODE, "[prefix_set.s]\nprefixes = [\"10.0.0.1/8\"]", "4:13", "the host bits of 10.0.0.1/8", "perhaps 10.0.0.0/8?"),
    (NODE, "[[peer]]\naddress = \"10.0.0.256\"\nasn = 64512", "4:11", "`10.0.0.256` is not", "an IPv4 or IPv6 address"),
    (NODE, "[[peer]]\naddress = \"tor.example.net\"\nasn = 64512", "4:11", "`tor.example.net` is not", "names are not looked up"),
    (NODE, "[[peer]]\naddress = \"fe80::2\"\nasn = 64512", "4:11", "a link-local address needs its interface", "\"fe80::2%eth0\""),
    (NODE, "[[peer]]\ninterface = \"eth1\"\nsource = \"10.0.0.1\"\nasn = 64512", "5:10", "another `source`", "leave `source` out"),
    (
        NODE,
        "[[peer]]\ninterface = \"eth1\"\nmultihop = 3\nasn = 64512",
        "5:12",
        "`multihop` for a peer on a link",
        "give the peer its `address`",
    ),
    (NODE, "[[peer]]\ninterface = \"eth1\"\nttl_security = 2\nasn = 64512", "5:16", "`ttl_security` of several hops", "ttl_security = 1"),
    (NODE, "[[peer]]\ninterface = \"eth1\"\nasn = 64512\n[[peer]]\ninterface = \"eth1\"\nasn = 64512", "7:13", "eth1", "first here"),
    (PEER, "long_lived_ipv4 = \"5000h\"", "6:19", "`5000h`", "at most 16777215 whole seconds"),
    (PEER, "role = \"customer\"", "6:8", "`role` on a session inside the AS", "between two ASes (RFC 9234)"),
    (TOR, "role_strict = true", "8:15", "`role_strict` without a `role`", "role = \"customer\""),
    (NODE, "router_id = \"0.0.0.0\"", "3:13", "`0.0.0.0` is not a router id", "any but 0.0.0.0 (RFC 6286"),
    (NODE, "router_id = \"fd00::1\"", "3:13", "`fd00::1` is not", "an IPv4 address"),
    (NODE, "[metrics]\nlisten = \"9179\"", "4:10", "`9179` is not", "such as \"127.0.0.1:9179\""),
    (
        NODE,
        "[looking_glass]\nlisten = \"127.0.0.1:9179\"",
        "4:10",
        "`127.0.0.1:9179` is not",
        "another address or port than `[metrics] listen`",
    ),
    (
        NODE,
        "[looking_glass]\nlisten = \"0.0.0.0:9179\"",
        "4:10",
        "`0.0.0.0:9179` is not",
        "another address or port than `[metrics] listen`",
    ),
];

const NUMBERS: &[Mistake] = &[
    (NODE, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 0", "5:7", "`0` is not an AS number", "from 1 to 4294967294"),
    (NODE, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 23456", "5:7", "`23456` is not an AS number", "23456 is reserved"),
    (NODE, "[[peer]]\naddress = \"10.0.0.2\"", "3:1", "[[peer]] needs `asn`", "or \"external\" or \"internal\""),
    (PEER, "hold_time = 2", "6:13", "`2s` is not a hold time", "3 to 65535 whole seconds"),
    (PEER, "hold_time = \"9s\"\nkeepalive_time = \"10s\"", "7:18", "`10s` is not a time of 1 to 8", "less than the hold time"),
    (PEER, "keepalive_time = \"0s\"", "6:18", "`0s` is not a time of 1 to 89", "less than the hold time"),
    (PEER, "connect_retry = \"-1s\"", "6:17", "`-1s` is not a time", "from 100ms to 8760h"),
    (PEER, "send_hold = \"1e9s\"", "6:13", "`1e9s` is not a time", "from 0 to 8760h"),
    (
        PEER,
        "idle_hold = \"40s\"",
        "6:13",
        "`idle_hold` (40s) is longer than `idle_hold_max` (30s)",
        "the wait grows from the first to the second",
    ),
    (PEER, "max_prefix_ipv4 = 4294967296", "6:19", "`4294967296` is not an integer", "from 0 to 4294967295"),
    (TOR, "multihop = 0", "8:12", "`0` is not an integer", "from 1 to 255"),
    (PEER, "router_lifetime = \"9s\"", "6:19", "`9s` is not 0", "from 10 to 9000 whole seconds"),
    (PEER, "tcp_mss = 9", "6:11", "`9` is not a segment size", "from 88 to 32767"),
    (NODE, "[fib]\nprotocol = 2", "4:12", "`2` is not a protocol", "from 5 to 255"),
    (NODE, "[graceful_restart]\nrestart_time = \"2h\"", "4:16", "`2h` is not a restart time", "at most 4095 whole seconds"),
    (NODE, "[limits]\nmemory = \"64MB\"", "4:10", "`64MB` is not a quantity of memory", "such as \"512MiB\""),
    (NODE, "[ready]\nshare = 50", "4:9", "`50` is not a share", "from 0.0 to 1.0"),
    (NODE, "[control]\nmode = \"rw\"", "4:8", "`rw` is not file permissions", "such as \"0660\""),
    (RULE, "communities = [\"64512:65536\"]", "5:16", "`64512:65536` is not a community", "such as \"64512:100\""),
];

const MEANING: &[Mistake] = &[
    (PEER, "import = \"from-tor\"", "6:10", "no policy is called `from-tor`", "known: all, none, own-blocks"),
    (PEER, "group = \"racks\"", "6:9", "no [[peer_group]] is called `racks`", "add a [[peer_group]]"),
    (RULE, "prefix_sets = [\"pods\"]", "5:16", "no [prefix_set.NAME] is called `pods`", "add a [prefix_set.NAME]"),
    (RULE, "peers = [\"tor\"]", "5:10", "no peer is called `tor`", "add a peer of this name"),
    (RULE, "communities = []", "5:15", "nothing is in an empty list", "leave it out"),
    (NODE, "[[policy.p.rules]]\nprefixes = [\"10.0.0.0/8+\"]", "3:1", "needs `then`", "\"accept\", \"reject\" or \"next\""),
    (PEER, "import = [\"all\", \"none\"]", "6:11", "`all` stands alone", "make the last policy's `default` say"),
    (NODE, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 65001\nexport = \"all\"", "3:1", "has no import policy", "say `import = \"all\"`"),
    (NODE, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 65001\nimport = \"all\"", "3:1", "has no export policy", "say `export = \"all\"`"),
    (TOR, "rr_client = true", "8:13", "a route reflector's client is an internal peer", "remove `rr_client`"),
    (TOR, "ttl_security = 1\nmultihop = 2", "8:16", "exclude each other", "ttl_security = N already allows N hops"),
    (
        TOR,
        "[[policy.p.rules]]\nthen = \"accept\"\nset_next_hop = \"10.0.0.9\"\nfamily = \"ipv6-unicast\"",
        "10:16",
        "changes nothing",
        "for routes of its own family",
    ),
    (PEER, "password = \"hunter2\"", "6:1", "unknown setting `password`", "did you mean `password_file`?"),
    (PEER, "password_file = \"/run/secret\"", "6:17", "no password in /run/secret", "as soon as it is there"),
    (PEER, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512", "7:11", "peer `10.0.0.2` is there twice", "each peer stands once"),
    (NODES, "[[peer]]\naddress = \"10.0.0.1\"\nasn = 64512", "10:11", "is this node's own address", "does not peer with itself"),
    (NODES, "[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512", "10:11", "peer `10.0.0.2` is there twice", "{ name = \"b\""),
    (
        NODE,
        "[[peer_group]]\nname = \"g\"\nlisten = [\"10.0.0.0/24\"]",
        "3:1",
        "[[peer_group]] needs `asn`",
        "the AS number of the neighbours",
    ),
    (
        "[node]\nname = \"c\"\nasn = 64512\n",
        "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }]",
        "2:8",
        "is not in the cluster's list",
        "add it to `nodes`",
    ),
    (
        "[node]\nasn = 64512\n",
        "[cluster]\nmode = \"route-reflector\"\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }]",
        "3:1",
        "needs `cluster_id`",
        "at least one node has a `cluster_id`",
    ),
    (
        NODE,
        "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }, { name = \"b\", addresses = [\"10.0.0.1\"] }]",
        "4:79",
        "node address `10.0.0.1` is there twice",
        "each node address stands once",
    ),
    (
        NODE,
        "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }, { name = \"a\", addresses = [\"10.0.0.2\"] }]",
        "4:61",
        "node `a` is there twice",
        "each node stands once",
    ),
    (
        NODE,
        "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }, { name = \"b\" }]",
        "4:52",
        "needs `addresses`",
        "that the other nodes reach it by",
    ),
    (
        NODE,
        "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }, { name = \"b\", addresses = [\"fd00::2\"] }]",
        "4:52",
        "no address family in common",
        "give both an IPv4 or both an IPv6 address",
    ),
    (
        "[node]\nasn = 64512\naddresses = [\"10.0.0.1\"]\n",
        "[fib.overlay]\nmode = \"always\"",
        "5:8",
        "[fib.overlay] needs `nodes`",
        "a [cluster] list would tell",
    ),
    (
        NODES,
        "[fib.overlay]\nmode = \"always\"\nvni = 16777216",
        "11:7",
        "`16777216` is not a VXLAN network identifier",
        "from 1 to 16777215",
    ),
    (
        NODES,
        "[fib.overlay]\nmode = \"always\"\ndevice = \"a-name-of-sixteen\"",
        "11:10",
        "is not the name of an interface",
        "at most 15 characters",
    ),
    (
        NODE,
        "[[redistribute]]\nprefixes = [\"10.0.0.0/8+\"]\nprotocols = [\"bgp\"]",
        "5:14",
        "that of the routes that catbird writes",
        "name those of others",
    ),
];

#[test]
fn each_mistake_is_told_with_its_place_its_cause_and_its_cure() {
    let all: Vec<&Mistake> = [TYPING, ADDRESSES, NUMBERS, MEANING].into_iter().flatten().collect();
    assert!(all.len() >= 40, "{} mistakes", all.len());
    let mut wrong = Vec::new();
    for (before, typed, place, cause, cure) in all {
        let text = format!("{before}{typed}\n");
        let report = parse(&text).report;
        let of = |line: &&String| line.starts_with(&format!("{place}: ")) && line.contains(cause);
        let lines: Vec<String> = report.diagnostics().iter().map(|f| report.line(f).replace("test.toml:", "")).collect();
        if lines.iter().find(of).is_none() || !report.render(false).contains(cure) {
            wrong.push(format!("{text}--- wanted {place}: {cause}; {cure}\n{report}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All of them in one file, and nothing is told but they.
#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = format!(
        "{NODES}{OVER}vni = 0\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 0\nhodl_time = 9\n[pods]\nblocks = [\"10.0.0.0/26\", \"10.244.1.1/26\"]\n"
    );
    let told = findings(&text);
    let places: Vec<&str> = told.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["11:7", "13:11", "14:7", "15:1", "17:11", "17:26"], "{told:?}");
}
