//! A story from `containerlab/`: brought up, driven through what its `expect.toml` tells, taken down.
//!
//! In: the folder. Out: for each situation the time in which it was reached, or what was still wrong at its deadline.
//! containerlab's order is kept: processes first, links second, `exec` last. [`machine`] has what a node is made of:
//! namespaces, or a container.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use super::clock::until;
use super::expect::{Expectation, Expectations, routes_differ};
use super::image::Image;
use super::machine::{self, Home, Machines, Parts};
use super::mounts::Scratch;
use super::netlink::KRoute;
use super::ns::{Ns, finish};
use super::ping::{Socket, Stream, ping};
use super::proc::{catbird, program, workspace};
use super::topology::{self, File};

/// Where a node serves its metrics.
pub const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9179);
const PING: Duration = Duration::from_millis(500);
/// An address that must not answer is not waited for any longer.
const SILENCE: Duration = Duration::from_millis(200);
/// So long a stream goes before anything is done.
const UNDISTURBED: Duration = Duration::from_millis(200);

/// A story that runs.
#[derive(Debug)]
pub struct Story {
    pub file: File,
    expectations: Vec<Expectation>,
    machines: Machines,
    scratch: Scratch,
}

impl Story {
    /// What `containerlab/NAME` needs and this machine lacks, in words; `None` if it can run.
    ///
    /// # Errors
    /// A broken topology file.
    pub fn obstacle(name: &str) -> Result<Option<String>, String> {
        let file = File::read(&folder(name).join("topology.clab.yml"))?;
        if !super::user::is_root() {
            return Ok(Some("network namespaces in a test need root".into()));
        }
        for node in file.topology.nodes.values() {
            if let Some(program) = Image::of(node)?.missing() {
                return Ok(Some(format!("{program} is not installed")));
            }
            let called = node.exec.iter().filter_map(|line| line.split_whitespace().next());
            if let Some(name) = called.into_iter().find(|name| *name != "catbird" && program(name).is_none()) {
                return Ok(Some(format!("{name} is not installed")));
            }
        }
        Ok(None)
    }

    /// Brings `containerlab/NAME` up: every process started, every link joined, every `exec` done.
    ///
    /// # Errors
    /// Faults in the files, programs that are not there, commands that fail.
    pub fn up(name: &str) -> Result<Self, String> {
        Self::up_in(name, Home::Namespaces)
    }

    /// The same in namespaces, or in containers.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_in(name: &str, home: Home) -> Result<Self, String> {
        let dir = folder(name);
        let file = File::read(&dir.join("topology.clab.yml"))?;
        let expectations = Expectations::read(&dir.join("expect.toml"))?.expect;
        let scratch = Scratch::new(name).map_err(|e| e.to_string())?;
        let mut story = Self { file, expectations, machines: BTreeMap::new(), scratch };
        story.check_names()?;
        match home {
            Home::Namespaces => story.install_programs().map_err(|e| format!("programs: {e}"))?,
            Home::Containers => machine::may_have_containers(&story.file)?,
        }
        story.start_all(&dir, home)?;
        story.join_links()?;
        for name in story.file.topology.nodes.keys() {
            story.run_execs(name)?;
        }
        Ok(story)
    }

    /// An expectation about a node that is not there would hold for ever.
    fn check_names(&self) -> Result<(), String> {
        for expect in &self.expectations {
            let mut named = expect.acts_on().chain(expect.looks_at());
            if let Some(stranger) = named.find(|name| !self.file.topology.nodes.contains_key(*name)) {
                return Err(format!("expect.toml: {:?} speaks of {stranger:?}, which is no node", expect.name));
            }
        }
        Ok(())
    }

    /// `exec` says `catbird`; this is where it finds it, and what else the images have of ours.
    fn install_programs(&self) -> io::Result<()> {
        let bin = self.scratch.path().join("bin");
        fs::create_dir(&bin)?;
        for name in ["pause", "supervise"] {
            symlink(folder("bin").join(name), bin.join(name))?;
        }
        let holds_ours = |image: &str| ["catbird:", "catbird-debug:", "catbird-migrate:"].iter().any(|ours| image.starts_with(ours));
        let ours = self.file.topology.nodes.values().any(|node| holds_ours(&node.image));
        if ours { symlink(catbird().map_err(io::Error::other)?, bin.join("catbird")) } else { Ok(()) }
    }

    fn start_all(&mut self, dir: &Path, home: Home) -> Result<(), String> {
        for (name, node) in &self.file.topology.nodes {
            let scratch = self.scratch.path();
            let binds = machine::private_files(node, dir, &scratch.join(name)).map_err(|e| format!("{name}: {e}"))?;
            let parts = Parts { story: &self.file.name, name, node, file: &self.file, binds, scratch };
            self.machines.insert(name.clone(), parts.start(home)?);
        }
        Ok(())
    }

    fn join_links(&self) -> Result<(), String> {
        for link in &self.file.topology.links {
            let ends: Vec<_> = link.endpoints.iter().map(|end| topology::endpoint(end)).collect::<Result<_, _>>()?;
            let [(near, near_if), (far, far_if)] = ends[..] else { return Err("linted: two ends".into()) };
            let (near, far) = (&self.machines[near].ns, &self.machines[far].ns);
            let (near_name, far_name, far_fd) = (near_if.to_string(), far_if.to_string(), far.net_fd());
            near.rtnl(move |rtnl| rtnl.add_veth(&near_name, None, &far_name, far_fd)).map_err(|e| format!("{link:?}: {e}"))?;
            for (ns, name) in [(near, near_if.to_string()), (far, far_if.to_string())] {
                let up = ns.rtnl(move |rtnl| rtnl.index(&name).and_then(|index| rtnl.set_up(index)));
                up.map_err(|e| format!("{link:?}: {e}"))?;
            }
            let name = near_if.to_string();
            near.rtnl(move |rtnl| rtnl.index(&name).and_then(|index| rtnl.settle(index))).map_err(|e| format!("{link:?}: {e}"))?;
        }
        Ok(())
    }

    fn run_execs(&self, name: &str) -> Result<(), String> {
        for line in &self.file.topology.nodes[name].exec {
            let done = self.run(name, line).map_err(|e| format!("{name}: {line}: {e}"))?;
            if !done.status.success() {
                let words = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
                return Err(format!("{name}: {line}: {} {words}", done.status));
            }
        }
        Ok(())
    }

    /// Restarts a container with its links, and does its `exec` again.
    ///
    /// # Errors
    /// It is none, or does not come up.
    pub fn restart(&mut self, name: &str) -> Result<(), String> {
        let links = self.file.topology.links.iter().flat_map(|link| &link.endpoints);
        let ends = links.filter_map(|end| topology::endpoint(end).ok()).filter(|(node, _)| *node == name);
        let interfaces: Vec<&str> = ends.map(|(_, interface)| interface).collect();
        self.machines.get_mut(name).ok_or("no such node")?.restart(&interfaces)?;
        self.run_execs(name)
    }

    /// Stops a node's processes, or lets them go on.
    pub fn pause(&self, name: &str, paused: bool) {
        self.machines[name].pause(paused);
    }

    /// A node with a daemon of ours, in a story that kills nobody: as it was in the first situation, it can be again.
    pub fn survivor(&self) -> Option<String> {
        let deadly = self.expectations.iter().any(|expect| expect.kill.is_some());
        let ours = self.machines.iter().find(|(_, machine)| machine.image == Image::Catbird);
        ours.filter(|_| !deadly).map(|(name, _)| name.clone())
    }

    /// A node's network, for who looks at its packets.
    pub fn network(&self, node: &str) -> &Ns {
        &self.machines[node].ns
    }

    /// How to enter each node from another terminal.
    pub fn doors(&self) -> Vec<String> {
        self.machines.iter().map(|(name, machine)| format!("{name:<8} {}", machine.door())).collect()
    }

    /// Where logs and copies of configurations lie.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs a command line on a node; as containerlab does, without a shell.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run(&self, node: &str, line: &str) -> io::Result<Output> {
        self.machines[node].run(line)
    }

    /// The routes in a node's kernel.
    pub fn routes(&self, node: &str) -> Vec<KRoute> {
        self.machines[node].ns.rtnl(|rtnl| rtnl.routes()).unwrap_or_default()
    }

    /// The names of the situations in `expect.toml`, in their order.
    pub fn situations(&self) -> Vec<String> {
        self.expectations.iter().map(|expect| expect.name.clone()).collect()
    }

    /// Goes through all of `expect.toml`, says how long each situation took.
    ///
    /// # Errors
    /// The first situation that did not come about, what was wrong at its deadline, and the last words of the daemons.
    pub fn play(&mut self) -> Result<Vec<(String, Duration)>, String> {
        self.situations().into_iter().map(|name| self.reach(&name).map(|took| (name, took))).collect()
    }

    /// Does what the situation begins with and waits until it is so.
    ///
    /// # Errors
    /// What was wrong at the deadline, and the last words of the daemons.
    pub fn reach(&mut self, situation: &str) -> Result<Duration, String> {
        let expect = self.expectations.iter().find(|expect| expect.name == situation).cloned();
        let expect = expect.ok_or_else(|| format!("expect.toml knows no {situation:?}"))?;
        let streams = self.begin_streams(&expect)?;
        let start = Instant::now();
        let acted = self.act(&expect)?;
        let left = expect.within.saturating_sub(start.elapsed());
        let reached = until(left, || self.differences(&expect)).map(|((), _)| ((), start.elapsed()));
        if let Some(mut child) = acted {
            let _ = child.wait();
        }
        let (faults, when) = match reached {
            Ok(((), took)) => match until_broken(expect.lasting, || self.differences(&expect)) {
                None => return end_streams(streams, expect.lost).map(|()| took).map_err(|why| format!("{situation}: {why}")),
                Some(faults) => (faults, "reached, but did not last".to_string()),
            },
            Err(faults) => (faults, format!("not within {:?}", expect.within)),
        };
        Err(format!("{situation}: {when}:\n  {}\n{}", faults.join("\n  "), self.logs()))
    }

    fn begin_streams(&self, expect: &Expectation) -> Result<Vec<(String, IpAddr, Stream)>, String> {
        let mut streams = Vec::new();
        for (node, to) in expect.stream.iter().flat_map(|(node, addresses)| addresses.iter().map(move |to| (node, *to))) {
            // Not from a node's own thread: it may have no threads, for its children have process numbers of their own.
            let begun = self.machines[node].ns.run(move || Socket::open(to)).and_then(|socket| Stream::begin(socket, to));
            let stream = begun.map_err(|e| format!("{node}: {to}: {e}"))?;
            streams.push((node.clone(), to, stream));
        }
        if !streams.is_empty() {
            std::thread::sleep(UNDISTURBED);
        }
        Ok(streams)
    }

    /// All commands but the last one end before the clock goes on to what is expected.
    fn act(&mut self, expect: &Expectation) -> Result<Option<Child>, String> {
        if let Some(name) = &expect.kill {
            self.kill(name);
        }
        let Some((last, before)) = expect.run.list().split_last() else { return Ok(None) };
        for run in before {
            let done = self.run(&run.on, &run.command).map_err(|e| format!("{}: {}: {e}", run.on, run.command))?;
            if !done.status.success() {
                return Err(format!("{}: {}: {} {}", run.on, run.command, done.status, String::from_utf8_lossy(&done.stderr)));
            }
        }
        self.machines[&last.on].spawn(&last.command).map(Some).map_err(|e| format!("{}: {}: {e}", last.on, last.command))
    }

    /// Kills a node's daemons as a power cut would: no word to anybody.
    pub fn kill(&mut self, node: &str) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.kill();
        }
    }

    /// Everything that is not as expected; cheap questions first, and pings only when the routes are right.
    fn differences(&self, expect: &Expectation) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let nodes: BTreeSet<&String> = expect.routes.keys().chain(expect.absent.keys()).collect();
        for node in nodes {
            let (wanted, gone) = (expect.routes.get(node), expect.absent.get(node));
            let routes = self.routes(node);
            faults.extend(routes_differ(node, wanted.map_or(&[], Vec::as_slice), gone.map_or(&[], Vec::as_slice), &routes));
        }
        if faults.is_empty() {
            let asked: BTreeSet<&String> = expect.sessions.keys().chain(expect.no_sessions.keys()).collect();
            faults.extend(asked.into_iter().flat_map(|node| self.sessions_differ(node, expect)));
            faults.extend(expect.metrics.iter().flat_map(|(node, lines)| self.metrics_differ(node, lines)));
        }
        if faults.is_empty() {
            let said = |says: &super::expect::Says| match self.run(&says.on, &says.command) {
                Ok(out) => says.differs(&(String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr))),
                Err(e) => vec![format!("{}: {}: {e}", says.on, says.command)],
            };
            faults.extend(expect.says.iter().flat_map(said));
        }
        if faults.is_empty() {
            faults.extend(self.unanswered(&expect.pings));
            faults.extend(self.answered(&expect.silent));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn sessions_differ(&self, node: &str, expect: &Expectation) -> Vec<String> {
        let up = match self.established(node) {
            Ok(up) => up,
            Err(e) => return vec![format!("{node}: {e}")],
        };
        let list = |all: &BTreeMap<String, Vec<String>>| all.get(node).cloned().unwrap_or_default();
        let missing = list(&expect.sessions).into_iter().filter(|peer| !up.contains(peer)).map(|peer| format!("no session with {peer}"));
        let there = list(&expect.no_sessions).into_iter().filter(|peer| up.contains(peer)).map(|peer| format!("a session with {peer}"));
        missing.chain(there).map(|what| format!("{node}: {what}")).collect()
    }

    /// The peers with which a node's own daemon says that it has a session: their addresses, and their names where they have one.
    ///
    /// # Errors
    /// A daemon that does not answer.
    pub fn established(&self, node: &str) -> Result<Vec<String>, String> {
        let ask = |line: &str| {
            let said = self.run(node, line).map_err(|e| format!("{line}: {e}"))?;
            if !said.status.success() {
                return Err(format!("{line}: {} {}", said.status, String::from_utf8_lossy(&said.stderr)));
            }
            Ok(String::from_utf8_lossy(&said.stdout).into_owned())
        };
        let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).map_err(|e| e.to_string());
        match self.machines[node].image {
            Image::Frr => Ok(frr_established(&json(ask("vtysh -c 'show bgp summary json'")?)?)),
            Image::Catbird => Ok(catbird_established(&json(ask("catbird peers --json")?)?)),
            Image::Bird => Ok(bird_established(&ask("birdc show protocols")?)),
            image => Err(format!("the runner cannot ask {image:?} for its sessions")),
        }
    }

    fn metrics_differ(&self, node: &str, lines: &[String]) -> Vec<String> {
        let text = match self.metrics(node) {
            Ok(text) => text,
            Err(e) => return vec![format!("{node}: /metrics: {e}")],
        };
        lines.iter().filter(|line| !text.lines().any(|said| said == *line)).map(|line| format!("{node}: no metric `{line}`")).collect()
    }

    /// What a node serves under `/metrics`.
    ///
    /// # Errors
    /// When it does not.
    pub fn metrics(&self, node: &str) -> io::Result<String> {
        self.machines[node].ns.run(|| http_get(METRICS.into(), "/metrics"))
    }

    fn unanswered(&self, pings: &BTreeMap<String, Vec<IpAddr>>) -> Vec<String> {
        let asked: Vec<_> = pings
            .iter()
            .flat_map(|(node, addresses)| addresses.iter().map(move |to| (node, *to)))
            .map(|(node, to)| (node, to, self.machines[node].ns.start(move || ping(to, PING))))
            .collect();
        let answers = asked.iter().map(|(node, to, answer)| (node, to, finish(answer)));
        answers.filter_map(|(node, to, answer)| answer.err().map(|e| format!("{node}: ping {to}: {e}"))).collect()
    }

    fn answered(&self, silent: &BTreeMap<String, Vec<IpAddr>>) -> Vec<String> {
        let asked = silent.iter().flat_map(|(node, addresses)| addresses.iter().map(move |to| (node, *to)));
        let there = asked.filter(|(node, to)| {
            let to = *to;
            self.machines[*node].ns.run(move || ping(to, SILENCE)).is_ok()
        });
        there.map(|(node, to)| format!("{node}: {to} answers pings")).collect()
    }

    fn logs(&self) -> String {
        let talk = self.machines.iter().filter(|(_, machine)| machine.image != Image::Idle);
        talk.map(|(name, machine)| format!("--- {name}\n{}", machine.last_words())).collect()
    }
}

fn end_streams(streams: Vec<(String, IpAddr, Stream)>, allowed: usize) -> Result<(), String> {
    streams.iter().for_each(|(_, _, stream)| stream.stop());
    let tallies: Vec<_> = streams.into_iter().map(|(node, to, stream)| (node, to, stream.end())).collect();
    for (node, to, tally) in &tallies {
        println!("{node} to {to}: {} of {} echo requests lost", tally.lost, tally.sent);
    }
    let bad = tallies.iter().find(|(_, _, tally)| tally.lost > allowed || tally.sent == 0);
    bad.map_or(Ok(()), |(node, to, tally)| {
        Err(format!("{node} to {to}: {} of {} echo requests were not answered, {allowed} may be", tally.lost, tally.sent))
    })
}

/// Looks again and again for so long; what was wrong, if ever something was.
fn until_broken<E>(time: Duration, mut look: impl FnMut() -> Result<(), E>) -> Option<E> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(fault) = look() {
            return Some(fault);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

fn folder(name: &str) -> PathBuf {
    workspace().join("containerlab").join(name)
}

/// One HTTP request from the namespace of the calling thread; the body of the answer.
///
/// # Errors
/// Refused, silent, or another status than 200.
pub fn http_get(server: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    // Of a client of this age nobody expects that it puts chunks together.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.") && head.contains(" 200 ") => Ok(body.to_string()),
        _ => Err(io::Error::other(answer.lines().next().unwrap_or("no answer").to_string())),
    }
}

fn frr_established(summary: &serde_json::Value) -> Vec<String> {
    let families = ["ipv4Unicast", "ipv6Unicast"].iter().filter_map(|family| summary[*family]["peers"].as_object());
    let peers = families.flatten().filter(|(_, peer)| peer["state"] == "Established");
    peers.map(|(address, _)| address.clone()).collect()
}

/// A list of rows, or an object that holds one.
fn catbird_established(answer: &serde_json::Value) -> Vec<String> {
    let rows = answer.as_array().or_else(|| answer.as_object()?.values().find_map(serde_json::Value::as_array));
    let up = rows.into_iter().flatten().filter(|row| row["state"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("established")));
    up.flat_map(|row| ["address", "name", "peer"].map(|key| row[key].as_str().map(str::to_string))).flatten().collect()
}

/// `NAME BGP TABLE up SINCE Established`
fn bird_established(protocols: &str) -> Vec<String> {
    let up = protocols.lines().filter(|line| line.trim_end().ends_with("Established"));
    up.filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect()
}

/// Words of a command line, with quotes as a shell has them.
pub fn split_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::split_words;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split_words("vtysh -c 'show bgp summary' \"\" x"), ["vtysh", "-c", "show bgp summary", "", "x"]);
        assert_eq!(split_words("  "), Vec::<String>::new());
    }
}
