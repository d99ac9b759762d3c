//! `[kubernetes]` against an API of our own that speaks as much of the protocol as a watch needs, over plain HTTP: lists that come as a stream,
//! lists in pages where there are no streams, events, and being away.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use proto_tests::netlab::patiently;
use proto_tests::outside::{Daemon, PATIENCE};
use serde_json::{Value, json};

/// What the API has, and who watches.
#[derive(Default)]
struct World {
    version: u64,
    nodes: BTreeMap<String, Value>,
    watchers: Vec<TcpStream>,
    /// Requests answered so far, by their query.
    asked: Vec<String>,
    /// An API that is too old for lists as a stream.
    old: bool,
    away: bool,
}

struct Api {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Api {
    fn with(nodes: &[(&str, &str, &str)]) -> Api {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let world = Arc::new(Mutex::new(World::default()));
        let api = Api { address, world: world.clone() };
        nodes.iter().for_each(|(name, ip, block)| api.set(name, ip, block));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = world.clone();
                thread::spawn(move || serve(stream, &world));
            }
        });
        api
    }

    /// Adds or changes a node; equal ones are a heartbeat.
    fn set(&self, name: &str, ip: &str, block: &str) {
        let mut world = self.world.lock().expect("the world");
        world.version += 1;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "resourceVersion": world.version.to_string()},
            "spec": {"podCIDRs": [block]}, "status": {"addresses": [{"type": "InternalIP", "address": ip}],
            "conditions": [{"type": "Ready", "lastHeartbeatTime": format!("beat {}", world.version)}]}});
        let kind = if world.nodes.insert(name.to_owned(), node.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        world.tell(kind, &node);
    }

    fn delete(&self, name: &str) {
        let mut world = self.world.lock().expect("the world");
        let node = world.nodes.remove(name).expect("it is there");
        world.tell("DELETED", &node);
    }

    /// Closes everything and answers nobody, or comes back.
    fn away(&self, away: bool) {
        let mut world = self.world.lock().expect("the world");
        world.away = away;
        if away {
            world.watchers.drain(..).for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
        }
    }

    fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let path = folder.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).expect("a file of our own");
        path
    }
}

impl World {
    fn tell(&mut self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.watchers.retain_mut(|stream| chunk(stream, &line).is_ok());
    }
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())?;
    stream.flush()
}

/// One connection: requests one after the other, until one is a watch.
fn serve(stream: TcpStream, world: &Mutex<World>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    while let Some(target) = request(&mut reader) {
        let mut world = world.lock().expect("the world");
        if world.away {
            return;
        }
        world.asked.push(target.clone());
        let has = |word: &str| target.contains(word);
        if !target.starts_with("/api/v1/nodes?") {
            let _gone = reply(
                &mut stream,
                "404 Not Found",
                &json!({"kind": "Status", "code": 404, "message": "no such kind", "reason": "NotFound"}),
            );
        } else if has("watch=true") && has("sendInitialEvents=true") && world.old {
            let _gone = reply(
                &mut stream,
                "422 Unprocessable Entity",
                &json!({"kind": "Status", "code": 422, "message": "no streams", "reason": "Invalid"}),
            );
        } else if has("watch=true") {
            let begun = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").is_ok();
            // What happened since is not kept: whoever comes back with an older place begins anew.
            let place = target.split(['?', '&']).find_map(|part| part.strip_prefix("resourceVersion=")?.parse::<u64>().ok());
            if begun && !has("sendInitialEvents=true") && place.is_some_and(|place| place < world.version) {
                let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old", "reason": "Expired"}});
                let _gone = chunk(&mut stream, &format!("{gone}\n"));
                return;
            }
            if begun && (!has("sendInitialEvents=true") || initial(&mut stream, &world).is_ok()) {
                world.watchers.push(stream);
            }
            return;
        } else {
            let list = json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": world.version.to_string()},
                "items": world.nodes.values().collect::<Vec<_>>()});
            let _gone = reply(&mut stream, "200 OK", &list);
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|octets| *octets > 0)?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    first.split(' ').nth(1).map(str::to_owned)
}

fn reply(stream: &mut TcpStream, status: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn initial(stream: &mut TcpStream, world: &World) -> std::io::Result<()> {
    for node in world.nodes.values() {
        chunk(stream, &format!("{}\n", json!({"type": "ADDED", "object": node})))?;
    }
    let end = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"resourceVersion": world.version.to_string(),
        "annotations": {"k8s.io/initial-events-end": "true"}}});
    chunk(stream, &format!("{}\n", json!({"type": "BOOKMARK", "object": end})))
}

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("catbird-kubernetes-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder of our own");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn start(api: &Api, state: &Folder) -> Daemon {
    Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        format!(
            "[node]\nname = \"us\"\n[listen]\naddresses = [\"127.0.0.1\"]\nport = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n\
             [control]\nsocket = \"{}\"\n[kubernetes]\nflavour = \"nodes\"\nkubeconfig = \"{}\"\nstate_file = \"{}\"\n",
            folder.join("sock").display(),
            api.kubeconfig(folder).display(),
            state.0.join("objects").display(),
        )
    })
}

const NODES: [(&str, &str, &str); 3] =
    [("us", "127.0.0.1", "10.244.1.0/24"), ("b", "127.0.0.2", "10.244.2.0/24"), ("c", "127.0.0.3", "10.244.3.0/24")];

/// The neighbours by name, in order.
fn peers(daemon: &Daemon) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_str(&daemon.ask(&["--json", "peers"])).unwrap_or_default();
    rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn until(daemon: &Daemon, names: &[&str]) {
    let there = || peers(daemon) == names;
    assert!(patiently(PATIENCE, there).is_some(), "{:?} and not {names:?}\n{}\n{}", peers(daemon), daemon.ask(&["status"]), daemon.log());
}

#[test]
fn nodes_of_the_api_are_neighbours_and_blocks_as_they_come_and_go() {
    let (api, state) = (Api::with(&NODES), Folder::new("follow"));
    let daemon = start(&api, &state);
    until(&daemon, &["b", "c"]);
    assert!(daemon.ask(&["blocks"]).contains("10.244.1.0/24"), "{}", daemon.ask(&["blocks"]));
    assert!(daemon.ask(&["peer", "b"]).contains("from Node b"), "{}", daemon.ask(&["peer", "b"]));
    api.set("d", "127.0.0.4", "10.244.4.0/24");
    until(&daemon, &["b", "c", "d"]);
    // The core says that it has reloaded, and then the keeper of the configuration that it is done.
    let said = |words: &str| daemon.log().matches(words).count();
    let taken_over = || {
        let both = || said("reloaded: ") == said("is taken over");
        assert!(patiently(PATIENCE, both).is_some(), "{}", daemon.log());
        said("is taken over")
    };
    let before = taken_over();
    (0..50).for_each(|_| api.set("b", "127.0.0.2", "10.244.2.0/24"));
    api.delete("c");
    until(&daemon, &["b", "d"]);
    assert_eq!(taken_over(), before + 1, "heartbeats are no change: {}", daemon.log());
}

#[test]
fn an_api_that_is_away_takes_nothing_and_a_start_without_it_knows_the_nodes() {
    let (api, state) = (Api::with(&NODES), Folder::new("away"));
    let daemon = start(&api, &state);
    until(&daemon, &["b", "c"]);
    let kept = || state.0.join("objects").exists();
    assert!(patiently(PATIENCE, kept).is_some(), "what is known is left for the next start");
    api.away(true);
    let warned = || daemon.ask(&["status"]).contains("nodes cannot be watched, and what was known last stays");
    assert!(patiently(PATIENCE, warned).is_some(), "{}", daemon.ask(&["status"]));
    assert_eq!(peers(&daemon), ["b", "c"]);
    let second = start(&api, &state);
    until(&second, &["b", "c"]);
    api.away(false);
    api.set("d", "127.0.0.4", "10.244.4.0/24");
    until(&daemon, &["b", "c", "d"]);
    until(&second, &["b", "c", "d"]);
}

#[test]
fn an_api_without_lists_as_a_stream_is_listed_in_pages() {
    let (api, state) = (Api::with(&NODES), Folder::new("old"));
    api.world.lock().expect("the world").old = true;
    let daemon = start(&api, &state);
    until(&daemon, &["b", "c"]);
    api.delete("b");
    until(&daemon, &["c"]);
    let asked = api.world.lock().expect("the world").asked.clone();
    assert!(asked.iter().any(|target| !target.contains("watch=true")), "{asked:?}");
}
