//! A node of a story that runs: namespaces with processes in them, or a container.
//!
//! In: the node, and where its files and programs are. Out: its processes, its network, and a way to run commands in it.
//! A container is entered by `docker exec`; its kernel is looked at from a thread in its network, as that of a namespace is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::containers::{self, Container};
use super::image::{Image, Start};
use super::mounts;
use super::ns::Ns;
use super::proc::program;
use super::story::split_words;
use super::topology::{Bind, File, Node};

/// What a machine is made of.
pub struct Parts<'a> {
    pub story: &'a str,
    pub name: &'a str,
    pub node: &'a Node,
    pub file: &'a File,
    /// Of the files that it sees: private copies.
    pub binds: Vec<Bind>,
    pub scratch: &'a Path,
}

/// Where machines live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Namespaces,
    /// Containers of the docker daemon that `DOCKER_HOST` names.
    Containers,
}

#[derive(Debug)]
pub struct Machine {
    // Dropped in this order: processes are reaped before their namespace is.
    daemons: Daemons,
    container: Option<Container>,
    pub ns: Ns,
    pub image: Image,
    log: PathBuf,
    programs: PathBuf,
}

/// Processes that are killed when dropped, with all that they started.
#[derive(Debug, Default)]
struct Daemons(Vec<Child>);

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.0 {
            signal_group(child, libc::SIGKILL);
            let _ = child.wait();
        }
    }
}

fn signal_group(child: &Child, signal: i32) {
    // SAFETY: kill has no preconditions; each of them leads a group of its own, and is not reaped yet.
    unsafe { libc::kill(-(child.id() as i32), signal) };
}

impl Parts<'_> {
    fn log(&self) -> PathBuf {
        self.scratch.join(format!("{}.log", self.name))
    }

    /// Starts its processes. Its links come later, as containerlab has it.
    ///
    /// # Errors
    /// What is missing, or would not start.
    pub fn start(&self, home: Home) -> Result<Machine, String> {
        match home {
            Home::Namespaces => self.in_namespaces(),
            Home::Containers => self.in_container(),
        }
    }

    fn in_namespaces(&self) -> Result<Machine, String> {
        let named = |e: io::Error| format!("{}: {e}", self.name);
        let image = Image::of(self.node)?;
        let bare = image == Image::Idle && self.binds.is_empty();
        let ns = if bare { Ns::pod(self.name) } else { Ns::node(self.name) }.map_err(named)?;
        for (key, value) in self.file.sysctls(self.node) {
            ns.sysctl(&key, &value).map_err(named)?;
        }
        if !bare {
            self.bind_files(&ns).map_err(named)?;
        }
        let (log, programs, env) = (self.log(), self.scratch.join("bin"), self.file.env(self.node));
        let path = search_path(&programs);
        let how = Start { ns: &ns, log: &log, path: &path, programs: &programs, env: &env };
        let children = image.start(self.node, &how).map_err(|e| format!("{e}\n{}", super::story::tail(&log)))?;
        Ok(Machine { daemons: Daemons(children), container: None, ns, image, log, programs })
    }

    fn bind_files(&self, ns: &Ns) -> io::Result<()> {
        ns.run(mounts::fresh_run)?;
        let home = self.scratch.join(self.name);
        for bind in self.binds.clone() {
            let home = home.clone();
            ns.run(move || mounts::bind(&bind.source, &bind.target, &home))?;
        }
        Ok(())
    }

    fn in_container(&self) -> Result<Machine, String> {
        let container = Container::start(self)?;
        let ns = Ns::of_process(self.name, container.pid()?).map_err(|e| format!("{}: {e}", self.name))?;
        let (image, programs) = (Image::of(self.node)?, self.scratch.join("bin"));
        Ok(Machine { daemons: Daemons::default(), container: Some(container), ns, image, log: self.log(), programs })
    }
}

impl Machine {
    /// Runs a command line; as containerlab does, without a shell.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run(&self, line: &str) -> io::Result<Output> {
        let mut command = self.command(line)?;
        if self.container.is_some() { command.output() } else { self.ns.output(command) }
    }

    /// Begins one.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, line: &str) -> io::Result<Child> {
        let mut command = self.command(line)?;
        if self.container.is_some() { command.spawn() } else { self.ns.spawn(command) }
    }

    fn command(&self, line: &str) -> io::Result<Command> {
        let words = split_words(line);
        let (name, args) = words.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
        let mut command = match &self.container {
            Some(container) => container.exec(),
            None => {
                // The runner's PATH counts for the child but not for finding it, so look here.
                let mut command = Command::new(program(name).unwrap_or_else(|| self.programs.join(name)));
                command.env("PATH", search_path(&self.programs));
                command
            }
        };
        if self.container.is_some() {
            command.arg(name);
        }
        command.args(args).stdin(Stdio::null());
        Ok(command)
    }

    /// Ends its daemons as a power cut would: no word to anybody.
    pub fn kill(&mut self) {
        match &self.container {
            Some(container) => container.tell("kill"),
            None => self.daemons = Daemons::default(),
        }
    }

    /// Stops and continues them.
    pub fn pause(&self, paused: bool) {
        match &self.container {
            Some(container) => container.tell(if paused { "pause" } else { "unpause" }),
            None => self.daemons.0.iter().for_each(|child| signal_group(child, if paused { libc::SIGSTOP } else { libc::SIGCONT })),
        }
    }

    /// Ends a container in order and starts it again, with its links and without their addresses, as `containerlab restart` does.
    ///
    /// # Errors
    /// It is no container, or docker would not.
    pub fn restart(&mut self, interfaces: &[&str]) -> Result<(), String> {
        let container = self.container.as_ref().ok_or("namespaces are not restarted")?;
        container.tell("stop");
        container.tell("start");
        let (pid, name) = (container.pid()?, self.ns.name().to_string());
        let fresh = Ns::of_process(&name, pid).map_err(|e| format!("{name}: {e}"))?;
        // The network of before lives as long as our thread in it does: the links wait there.
        for interface in interfaces {
            for (ns, words) in [(&self.ns, format!("set {interface} netns {pid}")), (&fresh, format!("set {interface} up"))] {
                let mut command = Command::new("ip");
                command.arg("link").args(words.split(' '));
                let done = ns.output(command).map_err(|e| e.to_string())?;
                if !done.status.success() {
                    return Err(format!("{name}: ip link {words}: {}", String::from_utf8_lossy(&done.stderr)));
                }
            }
        }
        self.ns = fresh;
        Ok(())
    }

    /// The last words of its daemons.
    pub fn last_words(&self) -> String {
        match &self.container {
            Some(container) => container.logs(),
            None => super::story::tail(&self.log),
        }
    }

    /// How to enter it from another terminal.
    pub fn door(&self) -> String {
        match &self.container {
            Some(container) => format!("docker exec -it {} sh", container.name()),
            None => {
                let mounts = self.ns.init_pid().map(|pid| format!("--mount=/proc/{pid}/ns/mnt ")).unwrap_or_default();
                format!("nsenter --net={} {mounts}", self.ns.net_path())
            }
        }
    }
}

fn search_path(programs: &Path) -> String {
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display())
}

/// Copies of a node's files, which it may change as it likes.
///
/// # Errors
/// What the file system said.
pub fn private_files(node: &Node, dir: &Path, home: &Path) -> Result<Vec<Bind>, String> {
    let user = Image::of(node)?.user();
    fs::create_dir(home).map_err(|e| e.to_string())?;
    let copied = node.binds.iter().enumerate().map(|(number, bind)| {
        let bind = super::topology::parse_bind(bind, dir)?;
        let copy = home.join(number.to_string());
        mounts::private_copy(&bind.source, &copy, user).map_err(|e| format!("{}: {e}", bind.source.display()))?;
        Ok(Bind { source: copy, ..bind })
    });
    copied.collect()
}

/// All machines of a story.
pub type Machines = BTreeMap<String, Machine>;

/// What stands in the way of containers, in words.
///
/// # Errors
/// It does.
pub fn may_have_containers(file: &File) -> Result<(), String> {
    file.topology.nodes.values().try_for_each(|node| containers::has_image(&node.image))
}
