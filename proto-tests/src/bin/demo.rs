//! `cargo demo`: a cluster that routes, in a few seconds, on this machine, without root.
//!
//! In: how many nodes, in which mode. Out: the story, step by step, as the kernels and the daemons tell it; exit 0 if it came out well.
//! Nothing is left behind: namespaces, links, routes and daemons go with this process, whatever ends it.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::neighbours::crowded;
use proto_tests::netlab::ping::ping;
use proto_tests::netlab::user::{self, Rights};
use proto_tests::netlab::{KRoute, proc, signal, until};

const USAGE: &str = "\
cargo demo [--nodes N] [--mode full-mesh|route-reflector] [--keep]

  --nodes N   nodes with two pods each, 2 to 30 (3)
  --mode M    full-mesh: every node peers with every other (the default)
              route-reflector: two more nodes reflect, the others peer with them alone
  --keep      leave everything up until Ctrl-C, and say how to look around";

/// Far more than it takes; a demo that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const SHOWN: usize = 10;

struct Options {
    plan: Plan,
    keep: bool,
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("cargo demo: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match prepare().and_then(|(binary, rights)| Demo::new(options, rights).play(&binary)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\ncargo demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { plan: Plan { mode: Mode::FullMesh, nodes: 3, pods: 2, dark: 0 }, keep: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--keep" => options.keep = true,
            "--nodes" => {
                let count = args.next().and_then(|text| text.parse().ok()).filter(|count| (2..=30).contains(count));
                options.plan.nodes = count.ok_or("--nodes wants a number from 2 to 30")?;
            }
            "--mode" => {
                options.plan.mode = match args.next().as_deref() {
                    Some("full-mesh") => Mode::FullMesh,
                    Some("route-reflector") => Mode::RouteReflector,
                    _ => return Err("--mode wants full-mesh or route-reflector".into()),
                }
            }
            other => return Err(format!("{other}?")),
        }
    }
    Ok(Some(options))
}

/// The daemon is built as whoever we are; only then we become root in a namespace of our own.
fn prepare() -> Result<(std::path::PathBuf, Rights), String> {
    let binary = proc::catbird()?;
    // Before anything is built on it: only the machine's own namespace tells.
    if let Some(note) = crowded() {
        eprintln!("cargo demo: {note}");
    }
    let rights = user::acquire().map_err(|why| {
        let me = env::current_exe().map_or("target/debug/demo".into(), |path| path.display().to_string());
        format!("{why}.\nThe demo makes network namespaces. As root it needs no leave:\n\n  sudo CATBIRD_BIN={} {me}\n", binary.display())
    })?;
    Ok((binary, rights))
}

struct Demo {
    options: Options,
    rights: Rights,
    colour: bool,
    start: Instant,
    step: usize,
}

impl Demo {
    fn new(options: Options, rights: Rights) -> Self {
        let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
        Self { options, rights, colour, start: Instant::now(), step: 0 }
    }

    fn play(&mut self, binary: &std::path::Path) -> Result<(), String> {
        let plan = self.options.plan;
        let reflectors = if plan.mode == Mode::RouteReflector { ", two route reflectors" } else { ", full mesh" };
        let who = if self.rights == Rights::Root { "as root" } else { "without root, in a user namespace" };
        self.bold(&format!("catbird: {} nodes, {} pods on each{reflectors}; {who}", plan.nodes, plan.pods));
        let mut cluster = self.network(binary)?;
        self.clean_up_on_end(&cluster)?;
        self.no_way_yet(&cluster)?;
        self.daemons(&mut cluster)?;
        self.routes(&cluster)?;
        self.pings(&cluster)?;
        self.drain(&cluster)?;
        self.metrics(&cluster)?;
        if self.options.keep {
            self.stay(&cluster);
        }
        drop(cluster);
        self.bold(&format!("\nAll of it is gone again. {:.1} s.", self.start.elapsed().as_secs_f64()));
        Ok(())
    }

    fn network(&mut self, binary: &std::path::Path) -> Result<Cluster, String> {
        let cluster = Cluster::build(self.options.plan, binary).map_err(|e| format!("the network could not be built: {e}"))?;
        self.title("Nodes on one switch, pods behind each; no address is translated, no packet is wrapped");
        for member in cluster.members.iter().take(SHOWN) {
            let what: Vec<String> = if member.reflector {
                vec!["reflects".into()]
            } else {
                member.pods.iter().map(|pod| format!("{} {}", pod.name, pod.v4)).collect()
            };
            let blocks: Vec<String> = member.blocks().iter().map(ToString::to_string).collect();
            println!("     {:<7} {:<13} {}  {}", member.name, member.v4(), blocks.join(" "), what.join(", "));
        }
        self.more(cluster.members.len());
        Ok(cluster)
    }

    fn clean_up_on_end(&self, cluster: &Cluster) -> Result<(), String> {
        let scratch = cluster.scratch().to_path_buf();
        let keep = self.options.keep;
        // The rest needs no word: daemons and namespaces end with this process.
        signal::on_end(move || {
            let _ = std::fs::remove_dir_all(scratch);
            println!("\nEnded, and everything is gone again.");
            std::process::exit(if keep { 0 } else { 130 });
        })
        .map_err(|e| e.to_string())
    }

    /// The first pod, and a pod of the second node with pods.
    fn pair(cluster: &Cluster) -> (usize, usize) {
        let first = cluster.members.iter().position(|member| !member.reflector).unwrap_or(0);
        (first, first + 1)
    }

    fn no_way_yet(&mut self, cluster: &Cluster) -> Result<(), String> {
        self.title("No daemon runs: the nodes' kernels know no way to each other's pods");
        let (a, b) = Self::pair(cluster);
        let (from, to) = (&cluster.members[a].pods[0], &cluster.members[b].pods[0]);
        self.prompt(&from.name, &format!("ping {}", to.v4));
        let addr = to.v4.into();
        match from.ns.run(move || ping(addr, Duration::from_millis(150))) {
            Ok(_) => Err(format!("{} answers although nobody routes to it", to.v4)),
            Err(e) if e.kind() == io::ErrorKind::HostUnreachable => {
                println!("     destination unreachable, says {}", cluster.members[a].name);
                Ok(())
            }
            Err(e) => {
                println!("     no answer: {e}");
                Ok(())
            }
        }
    }

    fn daemons(&mut self, cluster: &mut Cluster) -> Result<(), String> {
        self.title("`catbird run` on every node");
        let start = Instant::now();
        cluster.start_all().map_err(|e| format!("a daemon would not start: {e}"))?;
        let everyone: Vec<usize> = (0..cluster.members.len()).collect();
        cluster.converge(&everyone, PATIENCE)?;
        let routed = start.elapsed();
        let ends = cluster.session_ends();
        until(PATIENCE, || match cluster.established_ends() {
            Ok(up) if up == ends => Ok(()),
            Ok(up) => Err(format!("{up} of {ends} session ends are established")),
            Err(why) => Err(why),
        })?;
        println!("     {ends} of {ends} session ends established, {} routes in {} kernels,", cluster.wanted_routes(), everyone.len());
        self.good(&format!("     {:.2} s after the first daemon was started", routed.as_secs_f64()));
        self.catbird(cluster, Self::pair(cluster).0, &["peers"])
    }

    fn routes(&mut self, cluster: &Cluster) -> Result<(), String> {
        self.title("The kernel's routes: our own block stops here, the others' go to their nodes");
        let index = Self::pair(cluster).0;
        self.prompt(&cluster.members[index].name, "ip route");
        let routes = cluster.routes(index).map_err(|e| e.to_string())?;
        let (v4, v6): (Vec<&KRoute>, Vec<&KRoute>) = routes.iter().partition(|route| route.net.addr().is_ipv4());
        self.list(&v4);
        self.prompt(&cluster.members[index].name, "ip -6 route");
        self.list(&v6);
        Ok(())
    }

    fn pings(&mut self, cluster: &Cluster) -> Result<(), String> {
        self.title("Pods reach pods");
        let (a, b) = Self::pair(cluster);
        let (from, to) = (&cluster.members[a].pods[0], &cluster.members[b].pods[0]);
        for addr in [to.v4.into(), to.v6.into()] {
            self.prompt(&from.name, &format!("ping {addr}"));
            let took = from.ns.run(move || ping(addr, Duration::from_secs(2))).map_err(|e| format!("{}: ping {addr}: {e}", from.name))?;
            println!("     answered in {:.3} ms", took.as_secs_f64() * 1e3);
        }
        self.everyone_answers(cluster)
    }

    /// Among the first ten nodes, for thirty would send seven thousand pings.
    fn everyone_answers(&self, cluster: &Cluster) -> Result<(), String> {
        let some: Vec<usize> = (0..cluster.members.len()).filter(|&i| !cluster.members[i].reflector).take(SHOWN).collect();
        let (answered, failed) = cluster.ping_all(&some, Duration::from_secs(2));
        match failed.first() {
            None => {
                self.good(&format!("     {answered} of {answered} pings from pod to pod of other nodes answered"));
                Ok(())
            }
            Some(first) => Err(format!("{} of {} pings were not answered, for instance {first}", failed.len(), answered + failed.len())),
        }
    }

    fn drain(&mut self, cluster: &Cluster) -> Result<(), String> {
        let (watcher, drained) = Self::pair(cluster);
        let name = &cluster.members[drained].name;
        let everyone: Vec<usize> = (0..cluster.members.len()).collect();
        let others: Vec<usize> = everyone.iter().copied().filter(|&index| index != drained).collect();
        self.title(&format!("{name} says goodbye, and comes back"));
        let before = cluster.routes(watcher).map_err(|e| e.to_string())?;
        self.prompt(name, "catbird drain");
        let gone = self.order(cluster, drained, "drain", &others)?;
        let after = cluster.routes(watcher).map_err(|e| e.to_string())?;
        println!("     {} of {}'s routes are gone:", before.len().saturating_sub(after.len()), cluster.members[watcher].name);
        before.iter().filter(|route| !after.contains(route)).for_each(|route| self.red(&format!("     - {route}")));
        self.good(&format!("     and from all other kernels, {:.2} s after the order", gone.as_secs_f64()));
        self.prompt(name, "catbird undrain");
        let back = self.order(cluster, drained, "undrain", &everyone)?;
        self.good(&format!("     its routes are back in all kernels after {:.2} s", back.as_secs_f64()));
        self.everyone_answers(cluster)
    }

    /// Gives a node an order and waits, not for its answer but for what it is for.
    fn order(&self, cluster: &Cluster, index: usize, what: &'static str, alive: &[usize]) -> Result<Duration, String> {
        thread::scope(|scope| {
            let start = Instant::now();
            let order = scope.spawn(|| cluster.catbird(index, &[what]));
            let done = cluster.converge(alive, PATIENCE).map(|_| start.elapsed());
            let said = order.join().map_err(|_| "the order's thread died")?.map_err(|e| e.to_string())?;
            if !said.status.success() {
                return Err(format!("catbird {what}: {}", String::from_utf8_lossy(&said.stderr).trim()));
            }
            done
        })
    }

    fn metrics(&mut self, cluster: &Cluster) -> Result<(), String> {
        self.title("What Prometheus sees");
        let index = Self::pair(cluster).0;
        self.prompt(&cluster.members[index].name, "curl localhost:9179/metrics | grep ...");
        let text = cluster.metrics(index).map_err(|e| format!("/metrics: {e}"))?;
        let wanted = ["catbird_ready", "catbird_peers{", "catbird_rib_routes{", "catbird_fib_routes{", "catbird_local_blocks{"];
        let telling = |line: &&str| wanted.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
        let lines: Vec<&str> = text.lines().filter(telling).collect();
        if lines.is_empty() {
            return Err("the metrics say nothing of peers and routes".into());
        }
        lines.iter().take(SHOWN + 2).for_each(|line| println!("     {line}"));
        Ok(())
    }

    fn stay(&mut self, cluster: &Cluster) {
        self.title("It stays up until Ctrl-C; look around from another terminal");
        let (index, me) = (Self::pair(cluster).0, std::process::id());
        let member = &cluster.members[index];
        let user = if self.rights == Rights::Root { "" } else { "--preserve-credentials --user " };
        let enter = format!("nsenter {user}--net --mount --target {}", member.ns.init_pid().unwrap_or_default());
        println!("     {enter} ip route                # {}", member.name);
        println!("     {enter} {} why {}", cluster.binary().display(), cluster.members[index + 1].blocks()[0]);
        let pod = &member.pods[0];
        println!("     nsenter {user}--target {me} --net={} ping {}", pod.ns.net_path(), cluster.members[index + 1].pods[0].v4);
        for other in &cluster.members {
            println!("     {:<7} --target {}", other.name, other.ns.init_pid().unwrap_or_default());
        }
        println!("     configurations and logs: {}", cluster.scratch().display());
        let _ = io::stdout().flush();
        loop {
            thread::park();
        }
    }

    /// Shows what one of our own commands answers.
    fn catbird(&self, cluster: &Cluster, index: usize, args: &[&str]) -> Result<(), String> {
        self.prompt(&cluster.members[index].name, &format!("catbird {}", args.join(" ")));
        let said = cluster.catbird(index, args).map_err(|e| e.to_string())?;
        if !said.status.success() {
            return Err(format!("catbird {}: {}", args.join(" "), String::from_utf8_lossy(&said.stderr).trim()));
        }
        let text: Vec<String> = String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect();
        text.iter().take(SHOWN + 1).for_each(|line| println!("     {line}"));
        self.more(text.len().saturating_sub(1));
        Ok(())
    }

    fn list(&self, routes: &[&KRoute]) {
        routes.iter().take(SHOWN).for_each(|route| println!("     {route}"));
        self.more(routes.len());
    }

    fn more(&self, all: usize) {
        if all > SHOWN {
            println!("     ... and {} more", all - SHOWN);
        }
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        let clock = format!("{:.2} s", self.start.elapsed().as_secs_f64());
        self.bold(&format!("\n{}  {text}  [{clock}]", self.step));
    }

    fn prompt(&self, who: &str, what: &str) {
        println!("   {}", self.paint("36", &format!("{who}$ {what}")));
    }

    fn bold(&self, text: &str) {
        println!("{}", self.paint("1", text));
    }

    fn good(&self, text: &str) {
        println!("{}", self.paint("32", text));
    }

    fn red(&self, text: &str) {
        println!("{}", self.paint("31", text));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
