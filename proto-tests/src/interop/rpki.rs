//! RPKI with a real cache (`stayrtr`) and somebody else's own client beside ours on it: the same verdicts on the same routes.
//!
//! In: which daemon. Out: findings, as panics. The caches run beside the other daemon: the preferred one on port 8282, the next one on 8283.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Arena, OUR_ROUTE, Other, Setup, THEIR_ROUTE, THEM};
use crate::netlab::proc::program;
use crate::netlab::{patiently, skip};

const PORTS: [u16; 2] = [8282, 8283];
const THEIR_SECOND: &str = "10.88.1.0/24";
/// Blocks that we announce besides.
const OURS: [&str; 3] = [OUR_ROUTE, "10.99.0.64/26", "10.99.0.128/26"];

/// A cache that ends with the test.
struct Cache(Child);

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(arena: &Arena, port: u16) -> Cache {
    let mut command = Command::new(program("stayrtr").expect("looked for before"));
    let json = arena.scratch.path().join("vrps.json");
    let bind = format!("{THEM}:{port}");
    let metrics = format!("127.0.0.1:{}", port + 1000);
    command.args(["-bind", &bind, "-cache", &json.to_string_lossy(), "-checktime=false", "-refresh", "1", "-metrics.addr", &metrics]);
    let log = std::fs::File::options().create(true).append(true).open(arena.scratch.path().join("stayrtr.log")).expect("ours");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    Cache(arena.them.spawn(command).expect("stayrtr starts"))
}

/// FRR's client is a module in a package of its own.
fn has_module() -> bool {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    folders.iter().any(|folder| std::path::Path::new(folder).join("frr/modules/bgpd_rpki.so").is_file())
}

/// What both caches say from now on.
fn publish(arena: &Arena, vrps: &[(&str, u8, u32)]) {
    let roa = |(prefix, max, asn): &(&str, u8, u32)| json!({ "prefix": prefix, "maxLength": max, "asn": format!("AS{asn}"), "ta": "test" });
    let roas: Vec<Value> = vrps.iter().map(roa).collect();
    // Renamed into its place, so that nobody reads a half of it.
    let new = arena.file("vrps.new", &json!({ "metadata": { "buildtime": "2026-11-30T00:00:00Z" }, "roas": roas }).to_string());
    std::fs::rename(new, arena.scratch.path().join("vrps.json")).expect("ours");
}

pub(super) fn ours() -> String {
    let cache = |port, preference| {
        format!("[[rpki]]\naddress = \"{THEM}\"\nport = {port}\npreference = {preference}\ntimeout = \"5s\"\nretry = \"2s\"\n")
    };
    let policy = "[policy.no-invalid]\ndefault = \"accept\"\n[[policy.no-invalid.rules]]\nname = \"origin\"\nrpki = \"invalid\"\nthen = \"reject\"\n";
    format!("{}{}{policy}", cache(PORTS[0], 1), cache(PORTS[1], 2))
}

pub(super) fn frrs() -> String {
    format!("rpki\n rpki polling_period 1\n rpki cache {THEM} {} preference 1\nexit\n", PORTS[0])
}

pub(super) fn birds() -> String {
    let timers = "retry keep 1; refresh keep 5; expire keep 600;";
    format!("roa4 table r4;\nprotocol rpki cache {{ roa4 {{ table r4; }}; remote {THEM} port {}; {timers} }}\n", PORTS[0])
}

/// What we say of a prefix and an origin.
fn our_verdict(arena: &Arena, net: &str, asn: u32) -> String {
    let report: Value = serde_json::from_str(&arena.ask_us(&["rpki", net, &asn.to_string(), "--json"])).unwrap_or_default();
    let report = report.get("data").unwrap_or(&report);
    report["verdict"]["state"].as_str().unwrap_or("nothing").to_owned()
}

/// Which cache we use, by its port.
fn used(arena: &Arena) -> Option<u16> {
    let report: Value = serde_json::from_str(&arena.ask_us(&["rpki", "--json"])).unwrap_or_default();
    report.get("data").unwrap_or(&report)["source"].as_str()?.rsplit(':').next()?.parse().ok()
}

/// What they say of it. FRR says it of the routes that it has.
fn their_verdict(arena: &Arena, net: &str, asn: u32) -> String {
    match arena.other {
        Other::Bird => {
            let said = arena.ask_them(&["birdc", "eval", &format!("roa_check(r4, {net}, {asn})")]);
            // BIRD's enumeration: unknown, valid, invalid.
            let word = |digit: &str| match digit {
                "0" | "ROA_UNKNOWN" => Some("not-found"),
                "1" | "ROA_VALID" => Some("valid"),
                "2" | "ROA_INVALID" => Some("invalid"),
                _ => None,
            };
            let last = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').rfind(|word| !word.is_empty()).unwrap_or("");
            word(last).map_or(said.clone(), str::to_owned)
        }
        _ => {
            let said = arena.ask_them(&["vtysh", "-c", &format!("show bgp ipv4 unicast {net}")]);
            let state = said.split("rpki validation-state: ").nth(1).and_then(|rest| rest.split([',', '\n', ' ']).next());
            match state {
                Some("valid") => "valid".to_owned(),
                Some("invalid") => "invalid".to_owned(),
                Some(_) => "not-found".to_owned(),
                None => said,
            }
        }
    }
}

/// Both say this of these.
fn agree(arena: &Arena, expected: &[(&str, u32, &str)]) {
    for (net, asn, verdict) in expected {
        arena.until("our verdict", |arena| our_verdict(arena, net, *asn) == *verdict);
        let so = patiently(Duration::from_secs(60), || their_verdict(arena, net, *asn) == *verdict);
        assert!(so.is_some(), "{net} from {asn} is {verdict}, and they say {}", their_verdict(arena, net, *asn));
    }
}

/// What our table has of their routes: best or not, and what VRPs say.
fn our_routes(arena: &Arena) -> BTreeMap<String, (bool, String)> {
    let answer: Value = serde_json::from_str(&arena.ask_us(&["peer", "them", "received", "--json"])).unwrap_or_default();
    let rows = answer.get("data").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or("").to_owned();
        (text("net"), (row["refused"].is_null(), text("rpki")))
    };
    rows.iter().map(row).collect()
}

/// For some seconds: this route stands in our kernel whenever one looks, and the session is the same one.
fn stands(arena: &Arena, net: &str, what: &str, until: impl Fn() -> bool) {
    let (begin, flaps) = (Instant::now(), arena.our_detail()["flaps"].clone());
    while !until() {
        assert!(arena.in_our_kernel(net), "{net} is gone while {what}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: never\n{}\n{}", arena.ask_us(&["rpki"]), arena.our_view());
    }
    assert!(arena.in_our_kernel(net));
    assert_eq!(arena.our_detail()["flaps"], flaps, "the session is the one that it was");
}

/// The same verdicts, other VRPs without a flap, a cache that dies and comes back, a second one that takes over, none at all.
pub fn verdicts_are_the_same(other: Other) {
    if program("stayrtr").is_none() {
        return skip("RPKI", "stayrtr is not installed");
    }
    if other == Other::Frr && !has_module() {
        return skip("RPKI with FRR", "frr-rpki-rtrlib is not installed");
    }
    let Some(mut arena) = Arena::prepared("RPKI", other, Setup { rpki: true, ..Setup::default() }) else { return };
    publish(
        &arena,
        &[
            ("10.88.0.0/16", 24, 65002),
            (THEIR_SECOND, 24, 65099),
            (OUR_ROUTE, 26, 65001),
            ("10.99.0.64/26", 26, 65099),
            ("2001:db8::/32", 48, 1),
        ],
    );
    let first = serve(&arena, PORTS[0]);
    let second = serve(&arena, PORTS[1]);
    arena.start_them();
    arena.start_us();
    arena.until_up();
    // 10.88.0.0/16 up to /24 covers and allows the second one, too, whatever another VRP says.
    agree(&arena, &[(OURS[0], 65001, "valid"), (OURS[1], 65001, "invalid"), (OURS[2], 65001, "not-found")]);
    arena.until("our kernel has both", |a| a.in_our_kernel(THEIR_ROUTE) && a.in_our_kernel(THEIR_SECOND));
    if other == Other::Bird {
        let pairs = [(THEIR_ROUTE, 65002, "valid"), (THEIR_SECOND, 65099, "valid"), ("10.88.2.0/25", 65002, "invalid")];
        agree(&arena, &pairs);
        agree(&arena, &[(THEIR_ROUTE, 65001, "invalid"), ("10.0.0.0/8", 65002, "not-found"), ("192.0.2.0/24", 0, "not-found")]);
    }

    // One becomes invalid and goes; the other is not-found and stays; then both are well again.
    publish(&arena, &[(THEIR_SECOND, 24, 65099), (OUR_ROUTE, 26, 65099), ("10.99.0.128/26", 26, 65001)]);
    stands(&arena, THEIR_ROUTE, "VRPs change", || !arena.in_our_kernel(THEIR_SECOND));
    agree(&arena, &[(OURS[0], 65001, "invalid"), (OURS[1], 65001, "not-found"), (OURS[2], 65001, "valid")]);
    let routes = our_routes(&arena);
    assert_eq!(routes.get(THEIR_ROUTE), Some(&(true, "not-found".to_owned())), "{routes:?}");
    assert_eq!(routes.get(THEIR_SECOND), Some(&(false, "invalid".to_owned())), "{routes:?}");
    let why = arena.ask_us(&["why", THEIR_SECOND]);
    assert!(why.contains("policy no-invalid, rule origin") && why.contains("rpki invalid"), "{why}");
    publish(&arena, &[(THEIR_SECOND, 24, 65099), (THEIR_SECOND, 24, 65002), (OUR_ROUTE, 26, 65001)]);
    stands(&arena, THEIR_ROUTE, "VRPs change back", || arena.in_our_kernel(THEIR_SECOND));
    agree(&arena, &[(OURS[0], 65001, "valid"), (OURS[2], 65001, "not-found")]);

    // The second takes over, the first takes back, and without both what was said last counts.
    assert_eq!(used(&arena), Some(PORTS[0]));
    drop(first);
    stands(&arena, THEIR_SECOND, "the second takes over", || used(&arena) == Some(PORTS[1]));
    let first = serve(&arena, PORTS[0]);
    stands(&arena, THEIR_SECOND, "the first takes back", || used(&arena) == Some(PORTS[0]));
    drop((first, second));
    stands(&arena, THEIR_SECOND, "no cache is left", || arena.ask_us(&["status"]).contains("is lost"));
    assert_eq!(our_verdict(&arena, THEIR_SECOND, 65002), "valid");
    let log = arena.our_log();
    assert!(log.contains("RPKI cache 10.77.0.2:8282: not synchronised"), "{log}");
}
