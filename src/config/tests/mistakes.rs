//! Mistakes that operators make: each is told with its place, its cause and what would be right, all of a file at once.

use super::*;

const PEER: &str = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n";

/// What is said of a peer with this setting more.
fn of_peer(setting: &str) -> Vec<String> {
    findings(&format!("{PEER}{setting}\n"))
}

/// The help of the first finding.
fn help(text: &str) -> String {
    let report = parse(text).report;
    report.diagnostics().first().map(|finding| report.advice(finding).join(" ")).unwrap_or_default()
}

#[test]
fn an_empty_list_in_a_rule_is_a_mistake() {
    let rule = |condition: &str| {
        let text = format!(
            "[node]\nasn = 64512\n[prefix_set.s]\nprefixes = [\"10.0.0.0/8\"]\n[[policy.p.rules]]\nthen = \"accept\"\n{condition}\n"
        );
        findings(&text)
    };
    for key in ["prefixes", "prefix_sets", "own_kinds", "peers", "communities", "as_path_contains", "next_hop_in"] {
        assert_eq!(rule(&format!("{key} = []")), [format!("7:{}: `{key}` is empty, and nothing is in an empty list", key.len() + 4)]);
    }
    assert_eq!(rule("communities = [\"64512:1\"]\nprepend = []"), [""; 0]);
    let elsewhere =
        "[node]\nasn = 64512\n[prefix_set.s]\nprefixes = []\n[[redistribute]]\nprefixes = []\nprotocols = []\ninterfaces = []\n";
    assert_eq!(findings(elsewhere).len(), 4, "{:?}", findings(elsewhere));
    assert!(findings(&format!("{OVERLAY}mode = \"always\"\nnodes = []")).join("").contains("`nodes` is empty"));
    assert!(findings(&MESH.replace("[\"fd00::3\"]", "[]")).join("").contains("`addresses` is empty"));
}

#[test]
fn settings_that_no_session_could_come_up_with_are_refused() {
    let with = |setting: &str| findings(&format!("[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n{setting}\n"));
    for setting in ["multihop = 0", "ttl_security = 0"] {
        assert_eq!(with(setting).len(), 1, "{setting}");
        assert!(with(setting)[0].contains("`0` is not an integer from 1 to 255"), "{:?}", with(setting));
    }
    assert!(with("port = 0")[0].contains("from 1 to 65535"));
    assert!(findings(&MESH.replace("[\"10.0.0.2\", \"fd00::2\"]", "[\"10.0.0.2\"], port = 0"))[0].contains("from 1 to 65535"));
    assert!(findings("[node]\nasn = 64512\n[listen]\nport = 0\n")[0].contains("from 1 to 65535"));
    assert!(findings("[node]\nasn = 64512\n[fib]\necmp_width = 0\n")[0].contains("from 1 to 255"));
}

#[test]
fn times_out_of_range_are_told_with_the_range() {
    for wrong in
        ["-1", "\"-1s\"", "\"1e9s\"", "1e9", "nan", "\"9000h\"", "99999999999", "\"99999999999s\"", "\"1d\"", "99999999999999999999"]
    {
        let told = of_peer(&format!("send_hold = {wrong}"));
        assert_eq!(told.len(), 1, "{wrong}: {told:?}");
        assert!(told[0].contains("a time from 0 to 8760h (a year), such as"), "{wrong}: {told:?}");
    }
    for setting in ["connect_retry", "open_timeout", "idle_hold", "idle_hold_max", "max_prefix_restart"] {
        let told = of_peer(&format!("{setting} = 0"));
        assert!(told[0].contains("`0` is not a time from 100ms to 8760h (a year)"), "{setting}: {told:?}");
        assert_eq!(of_peer(&format!("{setting} = \"3s\"")), [""; 0], "{setting}");
    }
    for wrong in ["0", "\"0s\"", "\"90s\"", "\"1500ms\"", "100000"] {
        let told = of_peer(&format!("keepalive_time = {wrong}"));
        assert!(told[0].contains("a time of 1 to 89 whole seconds"), "{wrong}: {told:?}");
    }
    assert_eq!(of_peer("keepalive_time = 0\nhold_time = 0"), [""; 0]);
    let restart = findings("[node]\nasn = 64512\n[graceful_restart]\nrestart_time = \"90500ms\"\n");
    assert!(restart[0].contains("at most 4095 whole seconds"), "{restart:?}");
}

#[test]
fn numbers_out_of_range_are_told_with_the_range() {
    for (wrong, range) in [
        ("max_prefix_ipv4 = 4294967296", "from 0 to 4294967295"),
        ("max_prefix_ipv4 = -1", "from 0 to 4294967295"),
        ("max_prefix_ipv4 = 99999999999999999999999", "from 0 to 4294967295"),
        ("allow_own_as = 256", "from 0 to 255"),
        ("add_path_limit = -1", "from 0 to 255"),
        ("port = 65536", "from 1 to 65535"),
        ("local_asn = 4294967296", "from 1 to 4294967294"),
    ] {
        let told = of_peer(wrong);
        assert!(told.len() == 1 && told[0].contains(range), "{wrong}: {told:?}");
    }
    for share in ["nan", "inf", "-0.1", "1.01", "7"] {
        let told = findings(&format!("[node]\nasn = 64512\n[ready]\nshare = {share}\n"));
        assert!(told[0].contains("a share from 0.0 to 1.0"), "{share}: {told:?}");
    }
}

#[test]
fn one_wait_that_is_longer_than_the_one_it_grows_to_is_told_even_if_that_is_the_default() {
    assert_eq!(of_peer("idle_hold = \"40s\""), ["6:13: `idle_hold` (40s) is longer than `idle_hold_max` (30s)"]);
    assert_eq!(of_peer("idle_hold_max = \"500ms\""), ["6:17: `idle_hold` (1s) is longer than `idle_hold_max` (500ms)"]);
    assert_eq!(of_peer("delay_open = \"5m\""), ["6:14: `delay_open` (5m) is longer than `open_timeout` (4m)"]);
    assert_eq!(of_peer("delay_open = \"5m\"\nopen_timeout = \"10m\""), [""; 0]);
}

#[test]
fn a_block_that_would_cut_off_a_neighbour_or_is_no_block_is_refused() {
    let mesh = MESH.replace("10.0.0.2", "10.12.22.152");
    let with = |blocks: &str| {
        findings(&format!("{mesh}[[peer]]\nname = \"tor\"\naddress = \"10.9.0.1\"\nasn = 64512\n[pods]\nblocks = [{blocks}]\n"))
    };
    for (block, why) in [
        ("10.12.22.128/26", "it covers b 10.12.22.152, which the blackhole"),
        ("10.0.0.0/26", "it covers a 10.0.0.1"),
        ("fd00::/122", "it covers a fd00::1"),
        ("10.9.0.0/24", "it covers tor 10.9.0.1"),
        ("0.0.0.0/0", "not the whole address space"),
        ("::/0", "not the whole address space"),
        ("127.0.0.0/8", "no unicast destinations"),
        ("224.0.0.0/4", "no unicast destinations"),
        ("fe80::/10", "no unicast destinations"),
    ] {
        let told = with(&format!("\"{block}\""));
        assert!(told.len() == 1 && told[0].contains(why), "{block}: {told:?}");
        assert!(told[0].starts_with("18:11:") && told[0].contains(block), "{block}: {told:?}");
    }
    assert_eq!(with("\"10.244.0.0/26\", \"fd00:244::/122\""), [""; 0]);
    let host_bits = with("\"10.244.2.65/26\"");
    assert!(host_bits[0].contains("perhaps 10.244.2.64/26?"), "{host_bits:?}");
}

#[test]
fn a_block_inside_another_is_a_warning() {
    let checked =
        parse("[node]\nasn = 64512\n[pods]\nblocks = [\"10.244.1.0/26\", \"10.244.0.0/16\", \"10.245.0.0/26\", \"10.244.2.0/26\"]\n");
    assert_eq!((checked.report.errors(), checked.report.warnings()), (0, 2));
    let lines: Vec<String> = checked.report.diagnostics().iter().map(|f| checked.report.line(f)).collect();
    assert_eq!(lines[0], "test.toml:4:11: block 10.244.1.0/26 lies inside block 10.244.0.0/16");
    assert!(findings("[node]\nasn = 64512\n[pods]\nblocks = [\"10.244.1.0/26\", \"10.244.1.0/26\"]\n")[0].contains("is there twice"));
}

#[test]
fn words_of_other_routers_are_understood_and_ours_proposed() {
    assert!(help(&format!("{PEER}families = [\"ipv4\"]")).starts_with("did you mean `ipv4-unicast`?"));
    assert!(help(&format!("{PEER}families = [\"inet6\"]")).starts_with("did you mean `ipv6-unicast`?"));
    let policy = |default: &str| help(&format!("[node]\nasn = 64512\n[policy.p]\ndefault = \"{default}\"\n"));
    assert!(policy("deny").starts_with("did you mean `reject`?"));
    assert!(policy("permit").starts_with("did you mean `accept`?"));
    assert!(policy("banana").starts_with("accepted: accept"), "nobody guesses at this");
}

#[test]
fn a_range_of_prefixes_says_what_is_wrong_with_it() {
    let with = |prefix: &str| findings(&format!("[node]\nasn = 64512\n[prefix_set.s]\nprefixes = [\"{prefix}\"]\n"));
    assert_eq!(
        with("10.0.0.0/8 ge 33"),
        ["4:13: `10.0.0.0/8 ge 33` is not a range of prefixes: `ge` of 10.0.0.0/8 takes a length from 8 to 32"]
    );
    assert!(with("10.0.0.1/8")[0].contains("perhaps 10.0.0.0/8?"));
    assert!(with("10.0.0.0/8 ge 26 le 24")[0].contains("none has at least 26 and at most 24 bits"));
}

#[test]
fn a_peer_that_is_a_node_of_the_cluster_points_at_the_nodes_line() {
    let text = format!("{MESH}[[peer]]\nname = \"c\"\naddress = \"10.0.0.2\"\nasn = 64512\n");
    let picture = parse(&text).report.render(false);
    assert!(picture.contains("peer `10.0.0.2` is there twice") && picture.contains("peer name `c` is there twice"), "{picture}");
    assert!(picture.contains(" 9 |   { name = \"b\"") && picture.contains("10 |   { name = \"c\""), "{picture}");
}

#[test]
fn a_next_hop_that_no_route_can_have_is_a_warning() {
    let with = |rule: &str, peer: &str| {
        let text = format!("{PEER}{peer}\n[[policy.p.rules]]\nthen = \"accept\"\n{rule}\n");
        let checked = parse(&text);
        assert_eq!(checked.report.errors(), 0, "{}", checked.report);
        checked.report.warnings()
    };
    assert_eq!(with("set_next_hop = \"10.0.0.9\"", ""), 0);
    assert_eq!(with("set_next_hop = \"10.0.0.9\"\nfamily = \"ipv6-unicast\"", ""), 1);
    assert_eq!(with("set_next_hop = \"10.0.0.9\"\nprefixes = [\"fd00::/8+\"]", ""), 1);
    assert_eq!(with("set_next_hop = \"fd00::9\"\nprefixes = [\"10.0.0.0/8+\"]", ""), 1);
    assert_eq!(with("set_next_hop = \"fd00::9\"\nfamily = \"ipv4-unicast\"", ""), 0, "RFC 8950");
    assert_eq!(with("set_next_hop = \"fd00::9\"", "export = \"p\"\nfamilies = [\"ipv4-unicast\"]"), 1);
    assert_eq!(with("set_next_hop = \"self\"", "import = \"p\""), 1);
    assert_eq!(with("set_next_hop = \"self\"", "import = \"p\"\nexport = \"p\""), 0);
}

#[test]
fn names_have_no_control_characters() {
    for name in ["\\u001b[31mred", "a\\nb", "\\t"] {
        let told = of_peer(&format!("name = \"{name}\""));
        assert!(told.len() == 1 && told[0].contains("without control characters"), "{told:?}");
        let told = findings(&format!(
            "[node]\nasn = 64512\n[policy.\"{name}\"]\ndefault = \"accept\"\n[prefix_set.\"{name}\"]\nprefixes = [\"10.0.0.0/8\"]\n"
        ));
        assert!(
            told.len() == 2 && told.iter().all(|line| line.contains("without control characters") && !line.contains('\x1b')),
            "{told:?}"
        );
    }
}

/// Whatever is wrong beside it, nothing that is made of the file shows a password that somebody wrote into it.
#[test]
fn a_secret_in_the_file_is_in_no_finding_and_no_picture() {
    let peers = [
        "password = \"hunter2\"",
        "pasword = 'hunter2'",
        "password_file = \"hunter2\"",
        "password = hunter2",
        "password = [\"hunter2\", \"b\"]",
        "password = [\n  \"b\",\n  \"hunter2\"\n]",
        "password = { key = \"hunter2\" }",
        "password.key = \"hunter2\"",
        "\"password\" = \"hunter2\"",
        "password = \"\"\"\nhunter2\"\"\"",
        "password = '''\nhunter2\n'''",
        "password = \"\"\"\nname = \\\"\"\"\nhunter2\"\"\"",
        "password \"hunter2\"",
        "password: hunter2",
        "password = \"hunter2",
        "password = 'hunter2",
        "password = \"\"\"hunter2",
        "password = \"hunter2\\q\"",
        "password = \"hunter2\" passive = maybe",
        "passive = maybe password = \"hunter2\"",
        "passive = maybe # the password is hunter2",
        "families = [\npassword = \"hunter2\"",
        "families = [\"ipv4\", password = \"hunter2\"]",
        "description = \"\"\"\npassword = \"hunter2\"\n",
        "description = \"a\npassword = \"hunter2\"\n",
        "password = \"a\"\npassword = \"hunter2\"",
        "é = \"hunter2\"",
    ];
    let around = ["", "hold_time = 2", "hold_time = \"", "x = ", "[[peer", "\"", "passive = maybe"];
    for peer in peers {
        for (before, after) in around.iter().flat_map(|b| around.iter().map(move |a| (b, a))) {
            let text = format!("[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\n{before}\n{peer}\n{after}\nasn = 64512\n");
            let checked = parse(&text);
            let lines: Vec<String> = checked.report.diagnostics().iter().map(|f| checked.report.line(f)).collect();
            let shown = format!("{}\n{}\n{lines:?}\n{:?}", checked.report.render(false), checked.report.render(true), checked.report);
            assert!(checked.report.errors() > 0 && !shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
    let inline = MESH.replace("[\"fd00::3\"]", "[\"fd00::3\"], password = \"hunter2\", port = 0");
    assert!(!parse(&inline).report.render(false).contains("hunter2"));
    assert!(parse(&inline).report.render(false).contains("password = *********, port = 0"));
}

/// One file that is not there costs one peer its session, and the others run.
#[test]
fn a_password_that_cannot_be_had_keeps_its_peer_down_and_no_other() {
    let text = format!("{PEER}password_file = \"/etc/secret\"\n[[peer]]\naddress = \"10.0.0.3\"\nasn = 64512\n");
    let with = |file: Result<&str, &str>| {
        let read = |_: &Path| file.map(SecretFile::from).map_err(str::to_owned);
        let checked = Config::parse("x", &text, &Environment { hostname: None, read: &read, memory_limit: None });
        let lines = checked.report.diagnostics().iter().map(|f| checked.report.line(f)).collect::<Vec<_>>();
        (params::speaker(&checked.config.expect("a warning")), lines)
    };
    for (file, why) in [(Err("no such file"), "no such file"), (Ok("\n"), "0 octets where"), (Ok(&*"x".repeat(81)), "81 octets where")] {
        let (params, told) = with(file);
        assert!(told.len() == 1 && told[0].contains("x:6:17: no password in /etc/secret: ") && told[0].contains(why), "{told:?}");
        let sessions: Vec<_> = params.peers.iter().map(|peer| &peer.session).collect();
        assert!(!sessions[0].enabled && sessions[0].hindrance.as_ref().is_some_and(|why_down| why_down.contains(why)));
        assert!(sessions[1].enabled && sessions[1].hindrance.is_none());
    }
    let (params, told) = with(Ok("hunter2\n"));
    assert!(told.is_empty() && params.peers[0].session.enabled && params.peers[0].session.md5.is_some());
}

#[test]
fn a_password_file_that_everybody_may_read_is_a_warning() {
    let text = format!("{PEER}password_file = \"/etc/secret\"\n");
    let read = |_: &Path| Ok(SecretFile { world_readable: true, ..SecretFile::from("hunter2") });
    let report = Config::parse("x", &text, &Environment { hostname: None, read: &read, memory_limit: None }).report;
    assert_eq!((report.errors(), report.warnings()), (0, 1));
    assert_eq!(report.line(&report.diagnostics()[0]), "x:6:17: everybody on this machine can read /etc/secret");
}

#[test]
fn the_budget_of_memory_is_half_of_the_limit_unless_it_is_said() {
    let with = |text: &str, memory_limit| {
        let text = format!("[node]\nasn = 64512\nrouter_id = \"10.0.0.1\"\n{text}");
        let checked = Config::parse("x", &text, &Environment { hostname: None, read: &nothing, memory_limit });
        checked.config.map(|config| params::speaker(&config).limits.memory)
    };
    assert_eq!(with("", Some(512 << 20)), Some(Some(256 << 20)));
    assert_eq!(with("", None), Some(None));
    assert_eq!(with("[limits]\nmemory = \"64MiB\"", Some(512 << 20)), Some(Some(64 << 20)));
    assert_eq!(with("[limits]\nmemory = 0", Some(512 << 20)), Some(None));
    assert_eq!(with("[limits]\nmemory = \"64MB\"", None), None);
}

#[test]
fn what_bfd_cannot_be_is_told_with_what_it_can() {
    assert_eq!(of_peer("bfd = true"), [""; 0]);
    let of_profile = |profile: &str| findings(&format!("{PEER}bfd = \"fast\"\n[bfd.fast]\n{profile}\n"));
    assert_eq!(of_profile("min_tx = \"50ms\"\nmultiplier = 5"), [""; 0]);
    assert!(of_peer("bfd = \"fats\"\n[bfd.fast]\n")[0].contains("`fats`"), "{:?}", of_peer("bfd = \"fats\""));
    for wrong in ["4ms", "61s", "0s"] {
        assert!(of_profile(&format!("min_rx = \"{wrong}\""))[0].contains("an interval from 5ms to 60s"), "{wrong}");
    }
    assert!(of_profile("multiplier = 0")[0].contains("from 1 to 255"));
    assert!(of_profile("auth = \"sha1\"")[0].contains("belong together"));
    assert!(of_profile("key_id = 3")[0].contains("belong together"));
    assert!(of_profile("auth = \"sha2\"\nkey_file = \"/x/y\"")[0].contains("unknown value `sha2`"));
    assert!(of_profile("multihop = false\nmin_ttl = 250")[0].contains("`min_ttl` is for sessions over routers"));
    assert!(of_profile("without_realtime = \"no\"")[0].contains("unknown value `no`"));
}

#[test]
fn rules_about_origins_want_a_cache_and_stand_in_import_policies() {
    let rule = "[policy.p]\n[[policy.p.rules]]\nrpki = [\"invalid\", \"not-found\"]\nthen = \"reject\"\n";
    let with = |options: &str, cache: &str| findings(&format!("{PEER}{options}\n{rule}{cache}"));
    let cache = "[[rpki]]\naddress = \"192.0.2.8\"\n";
    assert_eq!(with("import = \"p\"\nexport = \"none\"", cache), [""; 0]);
    let vain = with("import = \"p\"\nexport = \"none\"", "");
    assert!(vain.iter().any(|found| found.contains("no [[rpki]] names a cache")), "{vain:?}");
    let exported = with("import = \"p\"\nexport = \"p\"", cache);
    assert!(exported.iter().any(|found| found.contains("is an export policy of a peer")), "{exported:?}");
    for (wrong, why) in [
        (format!("{cache}{cache}"), "192.0.2.8:323 is named twice"),
        (format!("{cache}refresh = \"1h\"\nexpire = \"1h\"\n"), "`expire` is not longer than `refresh`"),
        ("[[rpki]]\nport = 323\n".to_owned(), "address"),
        (format!("{cache}max_vrps = 0\n"), "from 1 to"),
    ] {
        let found = with("import = \"p\"\nexport = \"none\"", &wrong);
        assert!(found.iter().any(|found| found.contains(why)), "{why}: {found:?}");
    }
}
