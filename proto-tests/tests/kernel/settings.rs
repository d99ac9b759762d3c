//! `[fib]` as `configs/reference.toml` names it, changed under a running daemon by `catbird reload`: what the kernel shows, before and
//! after, and what it costs those who speak through it.

use std::time::Duration;

use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::may_run;
use proto_tests::netlab::sites::Sites;

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);

/// Two nodes in one subnet, agreed; the first has these settings.
fn sites(test: &str, more: &str) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure("").unwrap();
    sites.configure_one(0, more).unwrap();
    sites.start_all().unwrap();
    Some(sites)
}

/// Our routes in the first node's kernel, both families, IPv6's `pref medium` left out.
fn routes(sites: &Sites) -> Vec<String> {
    let said = sites.ip(0, "route show proto bgp") + &sites.ip(0, "-6 route show proto bgp");
    said.lines().map(|line| line.trim_end().trim_end_matches("pref medium").trim_end().to_owned()).collect()
}

/// Waits until they are these; the time it took.
fn until_routes(sites: &Sites, wanted: &[&str]) -> Duration {
    let is_so = || if routes(sites) == wanted { Ok(()) } else { Err(routes(sites)) };
    let reached = proto_tests::netlab::until(PATIENT, is_so);
    reached.unwrap_or_else(|found| panic!("wanted {wanted:#?}\nfound {found:#?}\n{}", sites.log(0))).1
}

/// Datagrams between the pods, both families, which have all come back so far.
fn talk(sites: &Sites) -> Vec<Echo> {
    for (pod, v4, v6) in [(0, "10.244.2.2", "fd00:10:244:2::2"), (1, "10.244.1.2", "fd00:10:244:1::2")] {
        for to in [v4, v6] {
            let answer = sites.nodes[pod].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
            answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}", sites.log(pod)));
        }
    }
    [false, true].map(|v6| sites.ping(v6).unwrap()).into()
}

/// All that was sent came back.
fn none_lost(talk: Vec<Echo>, what: &str) {
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    println!("{what}: sent and lost, IPv4 and IPv6: {counted:?}");
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "{what}: {counted:?}");
}

const PLAIN: [&str; 4] = [
    "blackhole 10.244.1.0/26 metric 1024",
    "10.244.2.0/26 via 10.0.2.1 dev eth0 metric 1024",
    "blackhole fd00:10:244:1::/122 dev lo metric 1024",
    "fd00:10:244:2::/122 via fd00:2::1 dev eth0 metric 1024",
];

#[test]
fn source_and_metrics_follow_a_reload_and_no_packet_is_lost() {
    let Some(sites) = sites("source_and_metrics_follow_a_reload_and_no_packet_is_lost", "") else { return };
    until_routes(&sites, &PLAIN);
    sites.ip(0, "addr add 10.244.1.9/32 dev lo");
    sites.ip(0, "addr add fd00:10:244:1::9/128 dev lo nodad");
    let talk = talk(&sites);
    let go_on = || talk.iter().for_each(|echo| echo.await_more(50));
    let turn = |settings: &str, wanted: [&str; 4]| {
        sites.configure_one(0, settings).unwrap();
        let said = sites.catbird(0, "reload");
        assert!(said.contains("[fib] ") && said.contains(" -> "), "{said}");
        let took = until_routes(&sites, &wanted);
        println!("{:?}: in the kernel after {took:?}", settings.replace('\n', " "));
        go_on();
    };
    go_on();
    turn(
        "[fib]\nsource_ipv4 = \"10.244.1.9\"\nsource_ipv6 = \"fd00:10:244:1::9\"",
        [
            PLAIN[0],
            "10.244.2.0/26 via 10.0.2.1 dev eth0 src 10.244.1.9 metric 1024",
            PLAIN[2],
            "fd00:10:244:2::/122 via fd00:2::1 dev eth0 src fd00:10:244:1::9 metric 1024",
        ],
    );
    assert!(sites.ip(0, "route get 10.244.2.2").contains("src 10.244.1.9"), "what the node itself sends");
    assert!(sites.ip(0, "-6 route get fd00:10:244:2::2").contains("src fd00:10:244:1::9"));
    turn(
        "[fib]\nmetric = 50\nblock_metric = 77",
        [
            "blackhole 10.244.1.0/26 metric 77",
            "10.244.2.0/26 via 10.0.2.1 dev eth0 metric 50",
            "blackhole fd00:10:244:1::/122 dev lo metric 77",
            "fd00:10:244:2::/122 via fd00:2::1 dev eth0 metric 50",
        ],
    );
    assert!(sites.ip(0, "route get 10.244.2.2").contains("src 10.0."), "the kernel's own choice again");
    turn(
        "[fib]\nmetric = \"from-local-pref\"",
        [
            PLAIN[0],
            "10.244.2.0/26 via 10.0.2.1 dev eth0 metric 2147483547",
            PLAIN[2],
            "fd00:10:244:2::/122 via fd00:2::1 dev eth0 metric 2147483547",
        ],
    );
    turn("", PLAIN);
    none_lost(talk, "source, metric, metric from LOCAL_PREF and back");
}

/// As Calico's BIRD maps it: the metric is 2^31-1 - LOCAL_PREF.
#[test]
fn a_local_pref_that_policy_sets_becomes_the_metric_and_follows_it() {
    let settings = "[fib]\nmetric = \"from-local-pref\"\n[policy.prefer]\nrules = [{ set_local_pref = LP, then = \"accept\" }]";
    let test = "a_local_pref_that_policy_sets_becomes_the_metric_and_follows_it";
    let prefer = |pref: &str| settings.replace("LP", pref);
    let Some(sites) = sites(test, &prefer("2147482623")) else { return };
    let with = |text: &str| {
        sites.configure_one(0, text).unwrap();
        let config = sites.config_text(0).replace("[cluster]\n", "[cluster]\nimport = [\"prefer\"]\n");
        sites.set_config_text(0, &config).unwrap();
    };
    // Started without the policy: LOCAL_PREF is what the other node says, 100.
    let metric = |m: &str| {
        let v4 = format!("10.244.2.0/26 via 10.0.2.1 dev eth0 metric {m}");
        let v6 = format!("fd00:10:244:2::/122 via fd00:2::1 dev eth0 metric {m}");
        until_routes(&sites, &[PLAIN[0], &v4, PLAIN[2], &v6])
    };
    metric("2147483547");
    let talk = talk(&sites);
    for (pref, wanted) in [("2147482623", "1024"), ("4294967295", "0"), ("0", "2147483647"), ("200", "2147483447")] {
        talk.iter().for_each(|echo| echo.await_more(50));
        with(&prefer(pref));
        let said = sites.catbird(0, "reload");
        assert!(said.contains("refresh"), "judged again, and no session closed: {said}");
        // Without a metric IPv6 has 1024, and IPv4 shows none.
        let took = match wanted {
            "0" => until_routes(&sites, &[PLAIN[0], "10.244.2.0/26 via 10.0.2.1 dev eth0", PLAIN[2], PLAIN[3]]),
            other => metric(other),
        };
        println!("LOCAL_PREF {pref} is metric {wanted}: after {took:?}");
    }
    talk.iter().for_each(|echo| echo.await_more(50));
    none_lost(talk, "four LOCAL_PREFs");
}

#[test]
fn another_table_and_protocol_wait_for_the_next_start_and_leave_nothing_behind() {
    let test = "another_table_and_protocol_wait_for_the_next_start_and_leave_nothing_behind";
    let learn = "[[redistribute]]\nprefixes = [\"10.244.0.0/16 ge 26 le 26\"]\nkind = \"block\"";
    let Some(mut sites) = sites(test, learn) else { return };
    until_routes(&sites, &PLAIN);
    let elsewhere = format!("[fib]\ntable = 100\nprotocol = \"bird\"\n{learn}");
    sites.configure_one(0, &elsewhere).unwrap();
    let withdrawing = sites.config_text(0).replace("[node]\n", "[node]\non_term = \"withdraw\"\n");
    sites.set_config_text(0, &withdrawing).unwrap();
    let said = sites.catbird(0, "reload");
    for wanted in ["at the next start of the daemon: table 254 -> 100", "at the next start of the daemon: protocol 186 -> 12"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    // A change that could be made at once is, in the old place.
    sites.set_config_text(0, &withdrawing.replace("[fib]\n", "[fib]\nblock_metric = 7\n")).unwrap();
    sites.catbird(0, "reload");
    until_routes(&sites, &["blackhole 10.244.1.0/26 metric 7", PLAIN[1], "blackhole fd00:10:244:1::/122 dev lo metric 7", PLAIN[3]]);
    // Until then nothing is learned elsewhere, and what is ours is not taken for another's.
    sites.ip(0, "route add blackhole 10.244.8.0/26 proto 80");
    sites.until_ip(1, PATIENT, "route show proto bgp", |said| said.contains("10.244.8.0/26 via 10.0.1.1"));
    let said = sites.catbird(0, "blocks");
    let by_kernel: Vec<&str> = said.lines().filter(|l| l.contains("kernel")).filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(by_kernel, ["10.244.8.0/26"], "{said}");
    sites.ip(0, "route del blackhole 10.244.8.0/26");
    sites.until_ip(1, PATIENT, "route show proto bgp", |said| !said.contains("10.244.8.0/26"));
    sites.ip(0, "rule add to 10.244.0.0/16 lookup 100");
    // A table is there from its first route on, and `ip` will not show one that is not.
    sites.ip(0, "route add unreachable 192.0.2.0/24 table 100");
    sites.ip(0, "-6 route add unreachable 2001:db8::/32 table 100");
    sites.end(0, libc::SIGTERM);
    assert_eq!(routes(&sites), [] as [&str; 0], "withdrawn from where they stood");
    sites.start(0).unwrap();
    sites.until_ip(0, PATIENT, "route show table 100", |said| {
        said.contains("10.244.2.0/26 via 10.0.2.1 dev eth0 proto bird") && said.contains("blackhole 10.244.1.0/26 proto bird metric 7")
    });
    sites.until_ip(0, PATIENT, "-6 route show table 100", |said| said.contains("fd00:10:244:2::/122 via fd00:2::1 dev eth0 proto bird"));
    assert_eq!(routes(&sites), [] as [&str; 0]);
    assert!(sites.ip(0, "route get 10.244.2.2").contains("via 10.0.2.1 dev eth0 table 100"));
    // Put right there, too, when others touch it.
    sites.ip(0, "route flush table 100 proto bird");
    sites.until_ip(0, PATIENT, "route show table 100", |said| said.contains("10.244.2.0/26 via 10.0.2.1 dev eth0 proto bird"));
}

#[test]
fn a_next_hop_over_an_ignored_interface_is_not_resolved_until_the_setting_goes() {
    let test = "a_next_hop_over_an_ignored_interface_is_not_resolved_until_the_setting_goes";
    let Some(sites) = sites(test, "") else { return };
    until_routes(&sites, &PLAIN);
    let reload = |settings: &str| {
        sites.configure_one(0, settings).unwrap();
        let said = sites.catbird(0, "reload");
        assert!(said.contains("[fib] ignore_interfaces changes"), "{said}");
    };
    let ignoring = "[fib]\nignore_interfaces = [\"kube-ipvs*\", \"et*0\"]";
    for round in 0..3 {
        reload(ignoring);
        let took = until_routes(&sites, &[PLAIN[0], PLAIN[2]]);
        let said = sites.catbird(0, "nexthops");
        assert!(said.contains("10.0.2.1") && said.contains("no route covers it"), "{said}");
        reload("");
        let back = until_routes(&sites, &PLAIN);
        println!("round {round}: gone {took:?} after eth0 was to be ignored, there again after {back:?}");
    }
    let log = sites.log(0);
    assert_eq!(log.lines().filter(|l| l.contains(" n2: up with ")).count(), 1, "the session stood all the time:\n{log}");
    assert!(!log.contains(" n2: down"), "{log}");
}

/// The other way round: a network of somebody else's says that it leads to the node, and is not to be believed.
#[test]
fn a_better_route_over_an_ignored_interface_is_taken_only_when_it_is_not_ignored() {
    let test = "a_better_route_over_an_ignored_interface_is_taken_only_when_it_is_not_ignored";
    let ignoring = "[fib]\nignore_interfaces = [\"kube*\"]";
    let Some(sites) = sites(test, ignoring) else { return };
    until_routes(&sites, &PLAIN);
    // What the node itself sends to the other, the session's packets too, does not ask the table that this is about.
    sites.ip(0, "route add 10.0.0.0/16 dev eth0 table 50");
    sites.ip(0, "rule add pref 10 to 10.0.2.1 lookup 50");
    sites.ip(0, "link add kube0 type veth peer name kube1");
    sites.ip(0, "link set kube0 up");
    sites.ip(0, "link set kube1 up");
    let talk = talk(&sites);
    sites.ip(0, "route add 10.0.2.0/25 dev kube0");
    talk.iter().for_each(|echo| echo.await_more(200));
    assert_eq!(routes(&sites), PLAIN, "not over kube0");
    none_lost(talk, "a better route over an ignored interface");
    let turn = |settings: &str, dev: &str| {
        sites.configure_one(0, settings).unwrap();
        sites.catbird(0, "reload");
        let way = format!("10.244.2.0/26 via 10.0.2.1 dev {dev} metric 1024");
        let took = until_routes(&sites, &[PLAIN[0], &way, PLAIN[2], PLAIN[3]]);
        println!("over {dev} after {took:?}");
    };
    turn("", "kube0");
    turn(ignoring, "eth0");
}
