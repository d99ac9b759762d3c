//! To look at: `catbird top` on a terminal, and the looking glass with what Alice-LG asks of it, on the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::outside::{Caller, Daemon, OUR_AS, PATIENCE, THEIR_AS, attribute, free_port, keepalive, update, usual_attributes};
use serde_json::{Value, json};

/// A daemon with the looking glass, and two callers: each announces 10.9.N.0/24, and the first 192.0.2.0/24, which import refuses.
fn watched() -> (Daemon, [Caller; 2], u16) {
    let port = free_port();
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |bgp, folder| {
        format!(
            "[node]\nname = \"us\"\nasn = {OUR_AS}\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\n\
             port = {bgp}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n[pods]\nblocks = [\"10.99.0.0/26\"]\n\
             [[peer_group]]\nname = \"callers\"\nasn = {THEIR_AS}\nlisten = [\"127.16.0.0/12\"]\nimport = \"mine\"\nexport = \"all\"\n\
             [looking_glass]\nlisten = \"127.0.0.1:{port}\"\n[policy.mine]\ndefault = \"reject\"\n[[policy.mine.rules]]\n\
             prefixes = [\"10.0.0.0/8+\"]\nthen = \"accept\"\n",
            folder.join("sock").display()
        )
    });
    let mut callers = [daemon.call(1).established(), daemon.call(2).established()];
    for (n, caller) in callers.iter_mut().enumerate() {
        // AS_PATH, NEXT_HOP and communities: 65002:77, no-export; large 65002:1:2
        let marks = [
            attribute(0xc0, 8, &[0xfd, 0xea, 0, 77, 0xff, 0xff, 0xff, 1]),
            attribute(0xc0, 32, &[0, 0, 0xfd, 0xea, 0, 0, 0, 1, 0, 0, 0, 2]),
        ];
        let attributes = [usual_attributes(caller.addr), marks.concat()].concat();
        let mut nlri = vec![24, 10, 9, n as u8];
        if n == 0 {
            nlri.extend([24, 192, 0, 2]);
        }
        let octets = update(&[], &attributes, &nlri);
        caller.say(&octets);
        caller.say(&keepalive());
    }
    assert!(patiently(PATIENCE, || daemon.has("10.9.1.0/24") && daemon.has("10.9.0.0/24")).is_some(), "{}", daemon.ask(&["routes"]));
    (daemon, callers, port)
}

/// Status and body of `GET path`.
fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn got(port: u16, path: &str) -> Value {
    let (head, body) = get(port, path);
    assert!(head.contains(" 200 "), "{path}: {head}\n{body}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
}

/// Prefixes of an answer of birdwatcher, each with the types that Alice-LG insists on.
fn networks(port: u16, path: &str) -> Vec<String> {
    let answer = got(port, path);
    assert!(
        answer["api"]["Version"].is_string() && answer["api"]["result_from_cache"].is_boolean() && answer["ttl"].is_string(),
        "{answer}"
    );
    let routes = answer["routes"].as_array().unwrap_or_else(|| panic!("{path}: {answer}"));
    for route in routes {
        let texts = [&route["network"], &route["from_protocol"], &route["gateway"], &route["interface"], &route["age"]];
        assert!(texts.iter().all(|text| text.is_string()) && route["metric"].is_number() && route["primary"].is_boolean(), "{route:#}");
        let bgp = &route["bgp"];
        assert!(
            bgp["local_pref"].is_string() && bgp["med"].is_string() && bgp["next_hop"].is_string() && bgp["origin"].is_string(),
            "{bgp:#}"
        );
        assert!(bgp["as_path"].as_array().is_some_and(|path| path.iter().all(Value::is_string)), "{bgp:#}");
    }
    let mut all: Vec<String> = routes.iter().map(|route| route["network"].as_str().unwrap_or_default().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn alice_finds_peers_and_routes_as_birdwatcher_says_them() {
    let (daemon, callers, port) = watched();
    let [first, second] = callers.each_ref().map(|caller| caller.addr.to_string());
    let protocols = got(port, "/birdwatcher/protocols/bgp")["protocols"].clone();
    let one = &protocols[&first];
    assert_eq!(
        (&one["state"], &one["bgp_state"], &one["neighbor_as"]),
        (&"up".into(), &"Established".into(), &65002.into()),
        "{protocols:#}"
    );
    assert_eq!((&one["routes"]["imported"], &one["routes"]["filtered"]), (&1.into(), &1.into()), "{one:#}");
    assert_eq!(got(port, "/birdwatcher/protocols/short")["protocols"][&second]["state"], "up");
    let of = |what: &str, peer: &str| networks(port, &format!("/birdwatcher/routes/{what}/{peer}"));
    assert_eq!(of("protocol", &first), ["10.9.0.0/24"]);
    assert_eq!(of("filtered", &first), ["192.0.2.0/24"]);
    assert_eq!(of("filtered", &second), [""; 0]);
    // Nobody reaches a next hop on the loopback, so of what is used there is the block alone, and that is told to it.
    assert_eq!(of("export", &first), ["10.99.0.0/26"]);
    assert_eq!(of("noexport", &first), [""; 0]);
    daemon.ask(&["block", "add", "10.98.0.0/26"]);
    assert!(patiently(PATIENCE, || of("export", &first).len() == 2).is_some());
    daemon.ask(&["block", "remove", "10.98.0.0/26"]);
    assert_eq!(of("table", "master"), ["10.9.0.0/24", "10.9.1.0/24", "10.99.0.0/26"]);
    assert_eq!(of("table", "master6"), [""; 0]);
    assert_eq!(networks(port, "/birdwatcher/routes/table/master4/filtered"), ["192.0.2.0/24"]);
    assert_eq!(networks(port, "/birdwatcher/routes/prefix?prefix=10.9"), ["10.9.0.0/24", "10.9.1.0/24"]);
    assert_eq!(networks(port, "/birdwatcher/route/net/10.9.1.0/24"), ["10.9.1.0/24"]);
    assert_eq!(networks(port, "/birdwatcher/route/net/10.99.0.7/table/master4"), ["10.99.0.0/26"]);
    assert_eq!(got(port, "/birdwatcher/routes/count/table/master4")["routes"], 1);
    let route = got(port, &format!("/birdwatcher/routes/protocol/{first}"))["routes"][0].clone();
    assert_eq!(route["bgp"]["communities"], json!([[65002, 77], [65535, 65281]]));
    assert_eq!(route["bgp"]["large_communities"], json!([[65002, 1, 2]]));
    assert_eq!(route["bgp"]["as_path"], json!(["65002"]));
    assert_eq!(route["learnt_from"], first.as_str());
}

#[test]
fn the_page_explains_and_follows_what_happens() {
    let (daemon, _callers, port) = watched();
    assert_eq!(got(port, "/v1/why?address=10.99.0.9")["net"], "10.99.0.0/26");
    let mut events = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    events.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    events.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut heard = String::new();
    let mut hear = |what: &str| {
        while !heard.contains(what) {
            let mut octets = [0; 4096];
            let read = events.read(&mut octets).unwrap_or_else(|e| panic!("{what}: {e}; {heard}"));
            assert!(read > 0, "it ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&octets[..read]));
        }
    };
    hear("text/event-stream");
    daemon.ask(&["block", "add", "10.98.0.0/26"]);
    hear("10.98.0.0/26");
}

/// Runs `top` on a terminal of 120 by 30 and presses keys, each after a while. What it wrote, and whether it ended well.
fn top(daemon: &Daemon, keys: &[&str]) -> (bool, String) {
    let binary = catbird().unwrap_or_else(|e| panic!("{e}"));
    let line = format!("stty rows 30 cols 120; exec {} --socket {} top --interval 200ms", binary.display(), daemon.socket().display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).env("TERM", "xterm").env("NO_COLOR", "1");
    let mut child = command.spawn().expect("util-linux is installed");
    let mut stdin = child.stdin.take().expect("piped");
    for key in keys {
        thread::sleep(Duration::from_millis(1500));
        stdin.write_all(key.as_bytes()).expect("it reads");
    }
    let out = child.wait_with_output().expect("it ends");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The frames that such a terminal shows: of its control sequences those that move the cursor count, and the end of a frame is where it is hidden.
fn frames(written: &str) -> Vec<String> {
    let mut cells = vec![vec![' '; 120]; 30];
    let (mut at, mut all) = ((0, 0), Vec::new());
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\x1b' {
            if let Some(cell) = cells.get_mut(at.0).and_then(|line| line.get_mut(at.1)) {
                *cell = c;
            }
            at.1 += 1;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let (sequence, after) = rest.split_at((end + 1).min(rest.len()));
        rest = after;
        match sequence.trim_start_matches('[').split_at(sequence.len().saturating_sub(2)) {
            (place, "H") => {
                let numbers: Vec<usize> = place.split(';').filter_map(|n| n.parse().ok()).collect();
                at = (numbers.first().map_or(0, |n| n - 1), numbers.get(1).map_or(0, |n| n - 1));
            }
            ("?25", "l") => all.push(cells.iter().map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join("\n")),
            _ => {}
        }
    }
    all
}

#[test]
fn top_shows_the_running_router_and_gives_the_terminal_back() {
    let (daemon, callers, _port) = watched();
    let (well, shown) = top(&daemon, &["w10.99.0.9\r", "3", "q"]);
    let enter = shown.find("\x1b[?1049h").unwrap_or_else(|| panic!("it takes the whole terminal: {shown:?}"));
    let leave = shown.rfind("\x1b[?1049l").unwrap_or_else(|| panic!("and gives it back: {shown:?}"));
    assert!(well && enter < leave, "{shown:?}");
    let frames = frames(&shown);
    let session = format!("{}  Established", callers[0].addr);
    for words in ["sessions 2/2", &session, "catbird why 10.99.0.9", "from local: best", "nothing has happened yet"] {
        assert!(frames.iter().any(|frame| frame.contains(words)), "{words} in {}", frames.join("\n\n"));
    }
}

#[test]
fn top_without_a_terminal_says_what_to_use() {
    let out = Command::new(catbird().unwrap_or_else(|e| panic!("{e}"))).args(["top"]).stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("wants a terminal") && said.contains("catbird monitor"), "{said}");
}

/// Chromium, driven by WebDriver (chromedriver, Debian's chromium-driver).
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    fn of(width: u32, height: u32) -> Browser {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("chromium-driver is installed: proto-tests/run --browser");
        let mut browser = Browser { driver, port, session: String::new() };
        assert!(patiently(PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).is_some(), "chromedriver listens");
        let args = ["--headless=new".into(), "--no-sandbox".into(), "--disable-gpu".into(), format!("--window-size={width},{height}")];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args } } } });
        browser.session = browser.post("", &wanted)["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        let session = if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let head = format!(
            "{method} /session{session}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).expect("sent");
        // chromedriver keeps the connection open.
        let (mut lines, mut line, mut length) = (BufReader::new(stream), String::new(), 0);
        while lines.read_line(&mut line).expect("a head") > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a number");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).expect("a body");
        let answer: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {answer:#}");
        answer["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, &body.to_string())
    }

    fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The page's text, once it has these words.
    fn reads(&self, words: &str) -> String {
        let text = || self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned();
        assert!(patiently(PATIENCE, || text().contains(words)).is_some(), "{words} in\n{}", text());
        text()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !thread::panicking() {
            self.ask("DELETE", "", "");
        }
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

#[test]
#[ignore = "wants Chromium: proto-tests/run --browser"]
fn the_page_in_a_real_browser_explains_follows_and_fits_a_phone() {
    let (daemon, callers, port) = watched();
    for (width, height) in [(1200, 900), (420, 900)] {
        let browser = Browser::of(width, height);
        browser.post("/url", &json!({ "url": format!("http://127.0.0.1:{port}/#10.99.0.9") }));
        let text = browser.reads("2 of 2 up");
        browser.reads("from local best: only path");
        assert!(text.contains(&callers[0].addr.to_string()) && text.contains("Established"), "{text}");
        browser.run("document.querySelector('#peers button').click()");
        browser.reads("refused by policy mine");
        daemon.ask(&["block", "add", &format!("10.98.{width}.0/26").replace("1200", "12").replace("420", "4")]);
        browser.reads("blocks: added");
        browser.run("document.getElementById('what').value = '10.9.0.0/24'; document.getElementById('search').requestSubmit()");
        browser.reads("ineligible: its next hop cannot be reached");
        let wide = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "nothing is wider than the window: {wide}");
        let asked = browser.run("return performance.getEntriesByType('resource').map((r) => r.name)");
        let here = format!("http://127.0.0.1:{port}/");
        assert!(
            asked.as_array().is_some_and(|all| all.iter().all(|url| url.as_str().is_some_and(|url| url.starts_with(&here)))),
            "{asked:#}"
        );
    }
}
