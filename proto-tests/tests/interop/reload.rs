//! What a reload shows is what happens, on a daemon that runs: random configurations beside FRR, whose session falls when the plan that
//! `catbird reload` printed says so, and never else. (In virtual time, with all peers: `session::reload_property`.)

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use catbird::config::model::Session;
use catbird::peer::RemoteAs;
use proto_tests::netlab::mounts::{Scratch, fresh_run};
use proto_tests::netlab::ns::Ns;
use proto_tests::netlab::proc::{catbird, frr_program};
use proto_tests::netlab::{patiently, skip, user};
use proto_tests::random_config::{live_pair, read};
use serde_json::Value;

/// FRR's address, which many of the random configurations list.
const FRR: &str = "10.99.0.2";
/// A session that is wanted comes up within this time, or its settings do not fit FRR's and the pair tells nothing.
const UP: Duration = Duration::from_secs(12);
/// What a reload ends is ended within this time.
const SETTLED: Duration = Duration::from_millis(1500);

struct Arena {
    us: Ns,
    them: Ns,
    scratch: Scratch,
}

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Arena {
    fn new(test: &str) -> Option<Arena> {
        if !user::is_root() {
            skip(test, "FRR needs real root");
            return None;
        }
        if frr_program("bgpd").is_none() {
            skip(test, "frr is not installed");
            return None;
        }
        let (us, them) = (Ns::node("us").expect("a namespace"), Ns::node("them").expect("a namespace"));
        us.run(fresh_run).expect("an empty /run");
        them.run(fresh_run).expect("an empty /run");
        let far = them.net_fd();
        us.rtnl(move |rtnl| rtnl.add_veth("eth0", None, "eth0", far)).expect("a wire");
        for (ns, addresses) in [(&us, ["10.99.0.1/16", "fd00:99::1/64"]), (&them, ["10.99.0.2/16", "fd00:99::2/64"])] {
            for address in addresses {
                ip(ns, &format!("addr add {address} dev eth0{}", if address.contains(':') { " nodad" } else { "" }));
            }
            ip(ns, "link set eth0 up");
        }
        let scratch = Scratch::new("reload").expect("a temporary folder");
        fs::write(scratch.path().join("a"), "alpha").and_then(|()| fs::write(scratch.path().join("b"), "beta")).expect("ours");
        Some(Arena { us, them, scratch })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn frr(&self, ours: &Session) -> Running {
        let config = self.file("frr.conf");
        fs::write(&config, frr_config(ours)).expect("the scratch folder is ours");
        let mut command = Command::new(frr_program("bgpd").expect("looked for before"));
        command.args(["-A", "127.0.0.1", "-S", "-Z", "-f"]).arg(config).args(["--log", "stdout"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(self.them.spawn(command).expect("bgpd starts"))
    }

    fn catbird(&self, text: &str) -> Running {
        self.configure(text);
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        let log = fs::File::create(self.file("log")).expect("the scratch folder is ours");
        command.arg("run").arg("-c").arg(self.file("catbird.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        Running(self.us.spawn(command).expect("catbird starts"))
    }

    /// The random text with what is the harness's to say.
    fn configure(&self, text: &str) {
        let folder = self.scratch.path();
        let text = text.replace("/secrets", &folder.to_string_lossy());
        let mut table: toml::Table = text.parse().expect("TOML");
        let mut set = |section: &str, key: &str, value: toml::Value| {
            let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().expect("a section").insert(key.to_owned(), value);
        };
        set("control", "socket", folder.join("sock").to_string_lossy().into_owned().into());
        set("metrics", "listen", "".into());
        fs::write(self.file("catbird.toml"), toml::to_string(&table).expect("TOML")).expect("the scratch folder is ours");
    }

    fn ask(&self, args: &[&str]) -> Option<Value> {
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.arg("--socket").arg(self.file("sock")).args(args).arg("--json");
        let out = self.us.output(command).expect("the binary runs");
        let value: Value = serde_json::from_slice(&out.stdout).ok().filter(|_| out.status.success())?;
        Some(value.get("data").cloned().unwrap_or(value))
    }

    /// State and number of flaps of the session with FRR.
    fn session(&self) -> Option<(String, u64)> {
        let peer = self.ask(&["peer", FRR])?;
        Some((peer["state"].as_str()?.to_owned(), peer["flaps"].as_u64()?))
    }

    /// `None`: the pair tells nothing, for there is no session to begin with.
    fn check(&self, seed: u64) -> Option<bool> {
        let (before, after) = live_pair(seed);
        let (old, new) = (read(&before).expect("accepted"), read(&after).expect("accepted"));
        let of = |config: &catbird::config::Config| config.sessions.iter().find(|s| s.remote.addr.to_string() == FRR).cloned();
        let ours = of(&old).filter(|s| s.options.enabled)?;
        let _frr = self.frr(&ours);
        let _catbird = self.catbird(&before);
        patiently(UP, || self.session().is_some_and(|(state, _)| state == "Established"))?;
        let (_, flaps) = self.session()?;
        self.configure(&after);
        let reloaded = self.ask(&["reload"]).unwrap_or_else(|| panic!("seed {seed}: the reload was refused\n{after}"));
        std::thread::sleep(SETTLED);
        let flapped = self.session().is_none_or(|(_, now)| now > flaps);
        let name = of(&new).map_or_else(|| ours.name.clone(), |s| s.name);
        let changes = reloaded["changes"].as_array().expect("a plan").clone();
        let named = |c: &Value| c["grade"] == "restart" && c["sessions"].as_array().is_some_and(|all| all.iter().any(|s| *s == *name));
        let graded = changes.iter().any(named);
        let log = || fs::read_to_string(self.file("log")).unwrap_or_default();
        assert_eq!(
            flapped,
            graded,
            "seed {seed}: {name} flapped, graded restart in {changes:#?}\n--- before\n{before}\n--- after\n{after}\n{}",
            log()
        );
        Some(flapped)
    }

    /// So many at least, and on until the session of one has fallen.
    fn check_pairs(&self, wanted: usize) {
        let (mut stayed, mut fell) = (0, 0);
        for outcome in (0..10_000).filter_map(|seed| self.check(seed)) {
            if outcome {
                fell += 1
            } else {
                stayed += 1
            }
            if stayed + fell >= wanted && fell > 0 {
                break;
            }
        }
        println!("{} reloads beside FRR, {fell} of them ended the session, each as the plan said", stayed + fell);
        assert!(stayed > 0 && fell > 0, "{fell} sessions fell, {stayed} stayed: some do, and some do not");
    }
}

fn ip(ns: &Ns, words: &str) {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    assert!(ns.output(command).is_ok_and(|out| out.status.success()), "ip {words}");
}

/// The mirror of our session.
fn frr_config(ours: &Session) -> String {
    let local = ours.options.local_asn.0;
    let theirs = match ours.remote_asn {
        RemoteAs::Exactly(asn) => asn.0,
        RemoteAs::Internal => local,
        RemoteAs::External | RemoteAs::Any => 65_099,
    };
    let us = "10.99.0.1";
    let mut text = format!(
        "frr defaults traditional\nrouter bgp {theirs}\n bgp router-id {FRR}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor {us} remote-as {local}\n neighbor {us} timers connect 1\n"
    );
    if let Some(secret) = ours.options.password.as_ref().and_then(|p| p.secret.as_ref().ok()) {
        text += &format!(" neighbor {us} password {secret}\n");
    }
    if let Some(hops) = ours.options.ttl_security {
        text += &format!(" neighbor {us} ttl-security hops {hops}\n");
    }
    text + &format!(
        " address-family ipv4 unicast\n  network 10.88.0.0/24\n exit-address-family\n address-family ipv6 unicast\n  neighbor {us} activate\n \
         exit-address-family\n"
    )
}

#[test]
fn the_session_with_frr_falls_when_the_plan_says_so_and_never_else() {
    if let Some(arena) = Arena::new("the_session_with_frr_falls_when_the_plan_says_so_and_never_else") {
        arena.check_pairs(8);
    }
}

#[test]
#[ignore = "two hundred take a quarter of an hour: `proto-tests/run --big`"]
fn the_session_with_frr_falls_when_the_plan_says_so_in_two_hundred_pairs() {
    if let Some(arena) = Arena::new("the_session_with_frr_falls_when_the_plan_says_so_in_two_hundred_pairs") {
        arena.check_pairs(200);
    }
}
