//! Every sample becomes a configuration, what a policy says is what the original said, and no text at all makes a reader panic.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::program::{Cond, Edit, Edits, Matches, Policy, Range, Step, Stmt, Test, Unfit, compile};
use super::*;
use crate::config::{Config, Environment, SecretFile};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/data/convert")
}

fn include(name: &str) -> Result<String, String> {
    std::fs::read_to_string(folder().join("bird").join(name)).map_err(|e| e.to_string())
}

fn converted(text: &str, dialect: Dialect) -> Converted {
    convert(text, dialect, &include, &Wish::default())
}

fn check(converted: &Converted) -> (Option<Config>, String) {
    let read = |_: &Path| Ok(SecretFile::from("a secret"));
    let checked =
        Config::parse("converted", &converted.toml, &Environment { hostname: Some("node".into()), read: &read, memory_limit: None });
    (checked.config, checked.report.to_string())
}

fn samples() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for kind in ["bird", "frr", "gobgp"] {
        for entry in std::fs::read_dir(folder().join(kind)).expect("a folder of samples") {
            let path = entry.expect("an entry").path();
            // The others are included by one of these.
            if path.extension().is_some_and(|ext| ext == "conf" || ext == "toml") {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("containerlab");
    for file in ["full-mesh/tor/frr.conf", "route-reflector/tor/frr.conf", "frr-bird/tor/frr.conf", "frr-bird/bird.conf"] {
        found.push((root.join(file), std::fs::read_to_string(root.join(file)).expect("text")));
    }
    found.sort();
    found
}

#[test]
fn every_sample_is_recognised_and_becomes_a_configuration_without_a_warning() {
    let samples = samples();
    assert!(samples.len() >= 13, "{}", samples.len());
    for (path, text) in &samples {
        let dialect = Dialect::guess(text).unwrap_or_else(|| panic!("{}: whose is it?", path.display()));
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        assert!(["containerlab", "tor", "frr-bird"].contains(&folder) || dialect.name().to_lowercase() == folder, "{}", path.display());
        let converted = converted(text, dialect);
        let (config, report) = check(&converted);
        assert!(config.is_some() && report.is_empty(), "{}\n{report}\n{}", path.display(), converted.toml);
        assert!(converted.peers > 0 || converted.toml.contains("[[peer_group]]"), "{}", path.display());
        for remark in &converted.remarks {
            assert!(remark.line as usize <= text.lines().count().max(60) && !remark.reason.is_empty(), "{}: {remark:?}", path.display());
        }
    }
}

#[test]
fn what_is_left_out_is_said_with_its_line() {
    let text = "router id 192.0.2.1;\nprotocol ospf v2 {\n  area 0 { };\n}\nprotocol bgp a {\n  local as 64512;\n  neighbor 192.0.2.2 as 64513;\n  \
                frobnicate on;\n  ipv4 { import filter { if bgp_med > 7 then reject; accept; }; export none; };\n}\n";
    let converted = converted(text, Dialect::Bird);
    let said: Vec<(u32, &str)> = converted.remarks.iter().map(|remark| (remark.line, remark.text.as_str())).collect();
    assert_eq!(said.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 8, 9], "{said:?}");
    assert!(said[1].1.contains("frobnicate on") && said[2].1.starts_with("if bgp_med > 7"), "{said:?}");
    assert!(converted.remarks[2].reason.contains("what it refuses passes now"), "{:?}", converted.remarks[2]);
    assert_eq!(converted.lost(), 3);
}

#[test]
fn secrets_are_files_and_stand_neither_in_the_result_nor_in_a_remark() {
    let bird = "protocol bgp a { local as 64512; neighbor 192.0.2.2 as 64513; password \"hunter2\"; password \"hunter2\" \"x\"; ipv4 { import all; export all; }; }";
    let frr = "router bgp 64512\n neighbor 192.0.2.2 remote-as 64513\n neighbor 192.0.2.2 password hunter2\n";
    let gobgp = "[global.config]\nas = 64512\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"192.0.2.2\"\npeer-as = 1\nauth-password = \"hunter2\"\n";
    for (text, dialect) in [(bird, Dialect::Bird), (frr, Dialect::Frr), (gobgp, Dialect::Gobgp)] {
        let converted = converted(text, dialect);
        assert!(converted.toml.contains("password_file = \"/etc/catbird/"), "{}", converted.toml);
        assert!(!converted.toml.contains("hunter2") && !format!("{converted:?}").contains("hunter2"));
        assert_eq!(converted.secrets.iter().map(|secret| secret.secret.as_str()).collect::<Vec<_>>(), ["hunter2"]);
    }
}

#[test]
fn a_policy_that_cannot_be_kept_lets_nothing_through() {
    let text = "protocol bgp a { local as 1; neighbor 192.0.2.2 as 2; ipv4 { import where (1,1) ~ bgp_community && (1,2) ~ bgp_community; export none; }; }";
    let converted = converted(text, Dialect::Bird);
    assert!(converted.toml.contains("import = \"none\""), "{}", converted.toml);
    assert!(converted.remarks[0].reason.contains("communities, not for two at once"), "{:?}", converted.remarks);
}

#[test]
fn files_that_include_themselves_end() {
    let again = |_: &str| Ok("include \"again\"; include \"again\"; protocol device { }".to_owned());
    let converted = convert("include \"again\";", Dialect::Bird, &again, &Wish::default());
    assert!(converted.remarks.iter().any(|remark| remark.reason.contains("includes itself")), "{:?}", converted.remarks.first());
    let grows: String = (1..60).map(|n| format!("define a{n} = a{} a{};\n", n - 1, n - 1)).collect();
    let text = format!("define a0 = 1 2 3 4;\n{grows}a59;");
    assert!(!convert(&text, Dialect::Bird, &again, &Wish::default()).remarks.is_empty());
}

#[test]
fn maps_that_call_themselves_end() {
    let entries: String = (1..200).map(|n| format!("route-map A permit {n}\n call A\n")).collect();
    let text = format!("{entries}router bgp 1\n neighbor 192.0.2.2 remote-as 2\n neighbor 192.0.2.2 route-map A in\n");
    let converted = converted(&text, Dialect::Frr);
    assert!(converted.remarks.iter().any(|remark| remark.reason.contains("calls itself")), "{:?}", converted.remarks.first());
    let calls = "f(); ".repeat(200);
    let text = format!(
        "function f() {{ {calls} }} protocol bgp a {{ local as 1; neighbor 192.0.2.2 as 2; ipv4 {{ import filter {{ f(); accept; }}; }}; }}"
    );
    assert!(self::converted(&text, Dialect::Bird).lost() > 0);
}

/// A route of a world that is small enough to meet the conditions.
#[derive(Clone, Debug)]
struct Route {
    net: ipnet::IpNet,
    communities: Vec<String>,
    kind: Option<&'static str>,
    local_pref: u32,
}

fn holds(test: &Test, route: &Route) -> bool {
    match test {
        Test::Prefixes(ranges) => {
            ranges.iter().any(|range| range.net.contains(&route.net) && (range.min..=range.max).contains(&route.net.prefix_len()))
        }
        Test::Ipv4(v4) => route.net.addr().is_ipv4() == *v4,
        Test::OwnKinds(kinds) => route.kind.is_some_and(|kind| kinds.contains(&kind)),
        Test::Source(source) => (*source == "local") == route.kind.is_some(),
        Test::Communities(list) => list.iter().any(|one| route.communities.contains(one)),
        _ => unreachable!("not made here"),
    }
}

fn asks(cond: &Cond, route: &Route) -> bool {
    match cond {
        Cond::Always(so) => *so,
        Cond::Test(test) => holds(test, route),
        Cond::Not(inner) => !asks(inner, route),
        Cond::All(all) => all.iter().all(|one| asks(one, route)),
        Cond::Any(any) => any.iter().any(|one| asks(one, route)),
        Cond::List(entries) => {
            entries.iter().find(|(range, _)| holds(&Test::Prefixes(vec![*range]), route)).is_some_and(|(_, permit)| *permit)
        }
        Cond::Choice(parts) => asks(if asks(&parts.0, route) { &parts.1 } else { &parts.2 }, route),
    }
}

fn change(edit: &Edit, route: &mut Route) {
    match edit {
        Edit::LocalPref(number) => route.local_pref = *number,
        Edit::Add(list) => list.iter().for_each(|one| {
            if !route.communities.contains(one) {
                route.communities.push(one.clone());
            }
        }),
        Edit::Remove(list) => route.communities.retain(|one| !list.contains(one)),
        _ => unreachable!("not made here"),
    }
}

/// Runs a program as BIRD would. `None`: it returned, or came to its end.
fn runs(program: &[Stmt], route: &mut Route) -> Result<Option<bool>, ()> {
    for stmt in program {
        match stmt {
            Stmt::Edit(edit) => change(edit, route),
            Stmt::End(step) => return Ok(Some(*step == Step::Accept)),
            Stmt::Return => return Err(()),
            Stmt::Call(body) => {
                if let Ok(Some(end)) = runs(body, route) {
                    return Ok(Some(end));
                }
            }
            Stmt::If(cond, yes, no) => {
                if let Some(end) = runs(if asks(cond, route) { yes } else { no }, route)? {
                    return Ok(Some(end));
                }
            }
        }
    }
    Ok(None)
}

/// Asks a policy as catbird does.
fn judged(policy: &Policy, route: &mut Route) -> bool {
    let matches = |m: &Matches, route: &Route| {
        let Matches { prefixes, ipv4, own_kinds, source, communities, .. } = m;
        prefixes.clone().is_none_or(|ranges| holds(&Test::Prefixes(ranges), route))
            && ipv4.is_none_or(|v4| holds(&Test::Ipv4(v4), route))
            && own_kinds.clone().is_none_or(|kinds| holds(&Test::OwnKinds(kinds), route))
            && source.is_none_or(|source| holds(&Test::Source(source), route))
            && communities.clone().is_none_or(|list| holds(&Test::Communities(list), route))
    };
    for rule in &policy.rules {
        if matches(&rule.matches, route) {
            let Edits { local_pref, add, remove, .. } = rule.edits.clone();
            change(&Edit::Remove(remove), route);
            change(&Edit::Add(add), route);
            local_pref.into_iter().for_each(|number| change(&Edit::LocalPref(number), route));
            if rule.then != Step::Next {
                return rule.then == Step::Accept;
            }
        }
    }
    policy.default == Step::Accept
}

fn a_range() -> impl Strategy<Value = Range> {
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "fd00::/16", "0.0.0.0/0"];
    (prop::sample::select(nets.to_vec()), 0..=32_u8, 0..=32_u8)
        .prop_filter_map("none is meant", |(net, min, more)| Range::new(net.parse().expect("a prefix"), min, min.saturating_add(more)))
}

fn a_test() -> impl Strategy<Value = Test> {
    let communities = ["1:1", "1:2", "1:3"].map(str::to_owned);
    prop_oneof![
        prop::collection::vec(a_range(), 1..3).prop_map(Test::Prefixes),
        any::<bool>().prop_map(Test::Ipv4),
        prop::sample::subsequence(vec!["block", "pod", "network"], 1..3).prop_map(Test::OwnKinds),
        prop::sample::select(vec!["local", "external"]).prop_map(Test::Source),
        prop::sample::subsequence(communities.to_vec(), 1..3).prop_map(Test::Communities),
    ]
}

fn a_cond() -> impl Strategy<Value = Cond> {
    let leaf = prop_oneof![
        4 => a_test().prop_map(Cond::Test),
        1 => any::<bool>().prop_map(Cond::Always),
        1 => prop::collection::vec((a_range(), any::<bool>()), 0..4).prop_map(Cond::List),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(Cond::negated),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Cond::All),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Cond::Any),
            (inner.clone(), inner.clone(), inner).prop_map(|parts| Cond::Choice(Box::new(parts))),
        ]
    })
}

fn a_program() -> impl Strategy<Value = Vec<Stmt>> {
    let list = || prop::sample::subsequence(["1:1", "1:2", "1:3"].map(str::to_owned).to_vec(), 1..3);
    let edit = prop_oneof![(0..3_u32).prop_map(Edit::LocalPref), list().prop_map(Edit::Add), list().prop_map(Edit::Remove)];
    let leaf = prop_oneof![
        3 => edit.prop_map(Stmt::Edit),
        2 => prop::sample::select(vec![Step::Accept, Step::Reject]).prop_map(Stmt::End),
        1 => Just(Stmt::Return),
    ];
    let stmt = leaf.prop_recursive(3, 16, 4, |inner| {
        let body = || prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            4 => (a_cond(), body(), body()).prop_map(|(cond, yes, no)| Stmt::If(cond, yes, no)),
            1 => body().prop_map(Stmt::Call),
        ]
    });
    // What returns stands in a function.
    prop::collection::vec(stmt, 0..6).prop_map(|body| vec![Stmt::Call(body), Stmt::End(Step::Accept)])
}

fn a_route() -> impl Strategy<Value = Route> {
    let nets = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.0/24",
        "10.1.1.128/25",
        "10.2.0.0/16",
        "192.0.2.0/24",
        "fd00::/16",
        "fd00:1::/32",
        "fd01::/16",
    ];
    let communities = ["1:1", "1:2", "1:3"].map(str::to_owned).to_vec();
    (
        prop::sample::select(nets.to_vec()),
        prop::sample::subsequence(communities, 0..3),
        prop::option::of(prop::sample::select(vec!["block", "pod", "network"])),
    )
        .prop_map(|(net, communities, kind)| Route { net: net.parse().expect("a prefix"), communities, kind, local_pref: 100 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// What becomes of any route is the same, whether the filter runs or the policy that was made of it.
    #[test]
    fn a_policy_says_what_the_program_said(program in a_program(), routes in prop::collection::vec(a_route(), 8)) {
        let Ok(policy) = compile(&program) else { return Ok(()) };
        for route in routes {
            let (mut theirs, mut ours) = (route.clone(), route.clone());
            let accepted = runs(&program, &mut theirs).ok().flatten().unwrap_or(false);
            prop_assert_eq!(accepted, judged(&policy, &mut ours), "{:?}\n{:#?}", route, policy);
            if accepted {
                theirs.communities.sort();
                ours.communities.sort();
                prop_assert_eq!((&theirs.communities, theirs.local_pref), (&ours.communities, ours.local_pref), "{:?}\n{:#?}", route, policy);
            }
        }
    }
}

#[test]
fn programs_that_grow_without_end_are_refused() {
    let one = |n: u32| {
        let net = format!("10.{}.{}.0/24", n / 256, n % 256).parse().expect("a prefix");
        let test = Test::Prefixes(vec![Range::exactly(net)]);
        // Neither branch ends, so each doubles what follows.
        Stmt::If(Cond::Not(Box::new(Cond::Test(test))), vec![Stmt::Edit(Edit::LocalPref(n))], vec![Stmt::Edit(Edit::Med(n))])
    };
    let program: Vec<Stmt> = (0..200).map(one).collect();
    assert_eq!(compile(&program), Err(Unfit::TooLarge));
}

/// Pieces of the samples, put together anew, cut, and sprinkled.
fn mangled(text: &str, cuts: &[(usize, usize, u8)]) -> String {
    let mut octets = text.as_bytes().to_vec();
    for (at, len, what) in cuts {
        if octets.is_empty() {
            break;
        }
        let at = at % octets.len();
        let end = (at + len % 40).min(octets.len());
        match what % 5 {
            0 => drop(octets.drain(at..end)),
            1 => {
                let piece = octets[at..end].to_vec();
                let to = len % octets.len();
                octets.splice(to..to, piece);
            }
            2 => octets[at] = *what,
            3 => octets.truncate(at.max(1)),
            _ => {
                let signs = b"{}()[];~!=&|\"'.:/-+*,#\n% 0123456789$^_";
                octets.insert(at, signs[usize::from(*what) % signs.len()]);
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_reader_panic_and_what_comes_of_it_is_toml(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..12),
        dialect in prop::sample::select(vec![None, Some(Dialect::Bird), Some(Dialect::Frr), Some(Dialect::Gobgp)]),
    ) {
        let samples = samples();
        let (_, text) = which.get(&samples);
        let text = mangled(text, &cuts);
        let dialect = dialect.or_else(|| Dialect::guess(&text)).unwrap_or(Dialect::Bird);
        let converted = converted(&text, dialect);
        prop_assert!(toml::de::DeTable::parse(&converted.toml).is_ok(), "{}", converted.toml);
        let _ = check(&converted);
    }

    #[test]
    fn no_octets_at_all_do(octets in prop::collection::vec(any::<u8>(), 0..400), which in 0..3_u8) {
        let text = String::from_utf8_lossy(&octets);
        let dialect = [Dialect::Bird, Dialect::Frr, Dialect::Gobgp][usize::from(which)];
        prop_assert!(toml::de::DeTable::parse(&converted(&text, dialect).toml).is_ok());
    }
}
