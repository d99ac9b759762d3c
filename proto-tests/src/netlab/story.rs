//! A story from `containerlab/`: brought up, driven through what its `expect.toml` tells, taken down.
//!
//! In: the folder. Out: for each situation the time in which it was reached, or what was still wrong at its deadline.
//! containerlab's order is kept: processes first, links second, `exec` last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::clock::until;
use super::expect::{Expectation, Expectations, routes_differ};
use super::image::{Image, Start};
use super::mounts::{self, Scratch};
use super::netlink::KRoute;
use super::ns::{Ns, finish};
use super::ping::ping;
use super::proc::{catbird, workspace};
use super::topology::{self, File};

/// Where a node serves its metrics.
pub const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9179);
const PING: Duration = Duration::from_millis(500);

/// A story that runs.
#[derive(Debug)]
pub struct Story {
    pub file: File,
    expectations: Vec<Expectation>,
    machines: BTreeMap<String, Machine>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Machine {
    // Dropped in this order: processes are reaped before their namespace is.
    daemons: Daemons,
    ns: Ns,
    image: Image,
    log: PathBuf,
}

/// Processes that are killed when dropped.
#[derive(Debug, Default)]
struct Daemons(Vec<Child>);

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Story {
    /// What `containerlab/NAME` needs and this machine lacks, in words; `None` if it can run.
    ///
    /// # Errors
    /// A broken topology file.
    pub fn obstacle(name: &str) -> Result<Option<String>, String> {
        let file = File::read(&folder(name).join("topology.clab.yml"))?;
        for node in file.topology.nodes.values() {
            let image = Image::of(node)?;
            if let Some(program) = image.missing() {
                return Ok(Some(format!("{program} is not installed")));
            }
            if image == Image::Frr && !super::user::is_root() {
                return Ok(Some("FRR needs real root".into()));
            }
        }
        Ok(None)
    }

    /// Brings `containerlab/NAME` up: every process started, every link joined, every `exec` done.
    ///
    /// # Errors
    /// Faults in the files, programs that are not there, commands that fail.
    pub fn up(name: &str) -> Result<Self, String> {
        let dir = folder(name);
        let file = File::read(&dir.join("topology.clab.yml"))?;
        let expectations = Expectations::read(&dir.join("expect.toml"))?.expect;
        let scratch = Scratch::new(name).map_err(|e| e.to_string())?;
        let mut story = Self { file, expectations, machines: BTreeMap::new(), scratch };
        story.check_names()?;
        if story.file.topology.nodes.values().any(|node| Image::of(node) == Ok(Image::Catbird)) {
            story.install_programs().map_err(|e| format!("programs: {e}"))?;
        }
        story.start_all(&dir)?;
        story.join_links()?;
        story.run_execs()?;
        Ok(story)
    }

    /// An expectation about a node that is not there would hold for ever.
    fn check_names(&self) -> Result<(), String> {
        for expect in &self.expectations {
            let acted = expect.kill.iter().chain(expect.run.iter().map(|run| &run.on));
            let looked = expect.sessions.keys().chain(expect.routes.keys()).chain(expect.absent.keys());
            let looked = looked.chain(expect.pings.keys()).chain(expect.metrics.keys());
            if let Some(stranger) = acted.chain(looked).find(|name| !self.file.topology.nodes.contains_key(*name)) {
                return Err(format!("expect.toml: {:?} speaks of {stranger:?}, which is no node", expect.name));
            }
        }
        Ok(())
    }

    /// `exec` says `catbird`; this is where it finds it.
    fn install_programs(&self) -> io::Result<()> {
        let bin = self.scratch.path().join("bin");
        fs::create_dir(&bin)?;
        symlink(catbird().map_err(io::Error::other)?, bin.join("catbird"))
    }

    fn path(&self) -> String {
        format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.scratch.path().display())
    }

    fn start_all(&mut self, dir: &Path) -> Result<(), String> {
        for (name, node) in &self.file.topology.nodes {
            let image = Image::of(node)?;
            let made = if image == Image::Idle { Ns::pod(name) } else { Ns::node(name) };
            let ns = made.map_err(|e| format!("{name}: {e}"))?;
            for (key, value) in self.file.sysctls(node) {
                ns.sysctl(&key, &value).map_err(|e| format!("{name}: {e}"))?;
            }
            if image != Image::Idle {
                self.bind_files(dir, name, image, &ns)?;
            }
            let log = self.scratch.path().join(format!("{name}.log"));
            let (path, env) = (self.path(), self.file.env(node));
            let children = image.start(node, &Start { ns: &ns, log: &log, path: &path, env: &env });
            let children = children.map_err(|e| format!("{e}\n{}", tail(&log)))?;
            self.machines.insert(name.clone(), Machine { daemons: Daemons(children), ns, image, log });
        }
        Ok(())
    }

    fn bind_files(&self, dir: &Path, name: &str, image: Image, ns: &Ns) -> Result<(), String> {
        let home = self.scratch.path().join(name);
        fs::create_dir(&home).map_err(|e| e.to_string())?;
        ns.run(mounts::fresh_run).map_err(|e| format!("{name}: {e}"))?;
        for (number, bind) in self.file.topology.nodes[name].binds.iter().enumerate() {
            let bind = topology::parse_bind(bind, dir)?;
            let copy = home.join(number.to_string());
            mounts::private_copy(&bind.source, &copy, image.user()).map_err(|e| format!("{name}: {}: {e}", bind.source.display()))?;
            let scratch = home.clone();
            ns.run(move || mounts::bind(&copy, &bind.target, &scratch)).map_err(|e| format!("{name}: {e}"))?;
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

    fn run_execs(&self) -> Result<(), String> {
        for (name, node) in &self.file.topology.nodes {
            for line in &node.exec {
                let done = self.run(name, line).map_err(|e| format!("{name}: {line}: {e}"))?;
                if !done.status.success() {
                    return Err(format!("{name}: {line}: {} {}", done.status, String::from_utf8_lossy(&done.stderr)));
                }
            }
        }
        Ok(())
    }

    /// How to enter each node from another terminal.
    pub fn doors(&self) -> Vec<String> {
        let enter = |(name, machine): (&String, &Machine)| {
            let mounts = machine.ns.init_pid().map(|pid| format!("--mount=/proc/{pid}/ns/mnt ")).unwrap_or_default();
            format!("{name:<8} nsenter --net={} {mounts}", machine.ns.net_path())
        };
        self.machines.iter().map(enter).collect()
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
        self.machines[node].ns.output(self.command(line)?)
    }

    fn command(&self, line: &str) -> io::Result<Command> {
        let words = split_words(line);
        let (program, args) = words.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
        // The runner's PATH counts for the child but not for finding it, so look here.
        let found = super::proc::program(program).unwrap_or_else(|| self.scratch.path().join("bin").join(program));
        let mut command = Command::new(found);
        command.args(args).env("PATH", self.path()).stdin(Stdio::null());
        Ok(command)
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
        let start = Instant::now();
        let acted = self.act(&expect)?;
        let left = expect.within.saturating_sub(start.elapsed());
        let reached = until(left, || self.differences(&expect)).map(|((), _)| ((), start.elapsed()));
        if let Some(mut child) = acted {
            let _ = child.wait();
        }
        let (faults, when) = match reached {
            Ok(((), took)) => match until_broken(expect.lasting, || self.differences(&expect)) {
                None => return Ok(took),
                Some(faults) => (faults, "reached, but did not last".to_string()),
            },
            Err(faults) => (faults, format!("not within {:?}", expect.within)),
        };
        Err(format!("{situation}: {when}:\n  {}\n{}", faults.join("\n  "), self.logs()))
    }

    fn act(&mut self, expect: &Expectation) -> Result<Option<Child>, String> {
        if let Some(name) = &expect.kill {
            self.kill(name);
        }
        let Some(run) = &expect.run else { return Ok(None) };
        let command = self.command(&run.command).map_err(|e| e.to_string())?;
        self.machines[&run.on].ns.spawn(command).map(Some).map_err(|e| format!("{}: {}: {e}", run.on, run.command))
    }

    /// Kills a node's daemons as a power cut would: no word to anybody.
    pub fn kill(&mut self, node: &str) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.daemons = Daemons::default();
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
            faults.extend(expect.sessions.iter().flat_map(|(node, peers)| self.sessions_differ(node, peers)));
            faults.extend(expect.metrics.iter().flat_map(|(node, lines)| self.metrics_differ(node, lines)));
        }
        if faults.is_empty() {
            faults.extend(self.unanswered(&expect.pings));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn sessions_differ(&self, node: &str, peers: &[IpAddr]) -> Vec<String> {
        let up = match self.established(node) {
            Ok(up) => up,
            Err(e) => return vec![format!("{node}: {e}")],
        };
        peers.iter().filter(|peer| !up.contains(peer)).map(|peer| format!("{node}: no session with {peer}")).collect()
    }

    /// The peers with which a node's own daemon says that it has a session.
    ///
    /// # Errors
    /// A daemon that does not answer.
    pub fn established(&self, node: &str) -> Result<Vec<IpAddr>, String> {
        let ask = |line: &str| {
            let said = self.run(node, line).map_err(|e| format!("{line}: {e}"))?;
            if !said.status.success() {
                return Err(format!("{line}: {} {}", said.status, String::from_utf8_lossy(&said.stderr)));
            }
            serde_json::from_slice::<serde_json::Value>(&said.stdout).map_err(|e| format!("{line}: {e}"))
        };
        match self.machines[node].image {
            Image::Frr => Ok(frr_established(&ask("vtysh -c 'show bgp summary json'")?)),
            Image::Catbird => Ok(catbird_established(&ask("catbird peers --json")?)),
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

    fn logs(&self) -> String {
        self.machines.iter().filter(|(_, m)| m.image != Image::Idle).map(|(name, m)| format!("--- {name}\n{}", tail(&m.log))).collect()
    }
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

fn frr_established(summary: &serde_json::Value) -> Vec<IpAddr> {
    let families = ["ipv4Unicast", "ipv6Unicast"].iter().filter_map(|family| summary[*family]["peers"].as_object());
    let peers = families.flatten().filter(|(_, peer)| peer["state"] == "Established");
    peers.filter_map(|(address, _)| address.parse().ok()).collect()
}

/// A list of rows, or an object that holds one.
fn catbird_established(answer: &serde_json::Value) -> Vec<IpAddr> {
    let rows = answer.as_array().or_else(|| answer.as_object()?.values().find_map(serde_json::Value::as_array));
    let up = rows.into_iter().flatten().filter(|row| row["state"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("established")));
    up.filter_map(|row| row["address"].as_str().or_else(|| row["peer"].as_str())?.parse().ok()).collect()
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
