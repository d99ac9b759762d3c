//! The chapters of the manual, played in a rack of namespaces: what they have written into files is written, what they type is typed, and what
//! they show is compared with what is printed, as far as it is stable (`proto_tests::console`).
//!
//! In: documents with `<!-- console: rack -->`. Out: nothing; or, with `CATBIRD_MANUAL=write`, what was printed, in its place. The rack is one subnet:
//! `node-a` is 10.0.0.1, `node-b` 10.0.0.2, `node-c` 10.0.0.3, `rr-1` and `rr-2` 10.0.0.11 and .12, `tor` 10.0.0.254 with FRR. There is no systemd in a
//! namespace: `systemctl` does here what the unit does, and `proto-tests/machines` has a real one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use proto_tests::console::{Deed, documents, play, steps_of};
use proto_tests::netlab::mounts::{Scratch, bind, fresh_run};
use proto_tests::netlab::proc::{catbird, frr_program};
use proto_tests::netlab::{Ns, alone, skip, user};

const LAB: &str = "rack";
const ADDRESSES: [(&str, &str); 6] = [
    ("node-a", "10.0.0.1"),
    ("node-b", "10.0.0.2"),
    ("node-c", "10.0.0.3"),
    ("rr-1", "10.0.0.11"),
    ("rr-2", "10.0.0.12"),
    ("tor", "10.0.0.254"),
];

struct Machine {
    ns: Ns,
    running: Option<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(self.running.take(), "-KILL");
    }
}

fn end(child: Option<Child>, signal: &str) {
    if let Some(mut child) = child {
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        let _ = child.wait();
    }
}

struct Rack {
    machines: BTreeMap<String, Machine>,
    scratch: Scratch,
    _lan: Ns,
}

fn ip(ns: &Ns, words: &str) {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    let out = ns.output(command).expect("iproute2 is installed");
    assert!(out.status.success(), "ip {words}: {}", String::from_utf8_lossy(&out.stderr));
}

impl Rack {
    fn new(names: &BTreeSet<String>) -> Rack {
        let lan = Ns::node("lan").expect("a namespace");
        ip(&lan, "link add lan type bridge");
        ip(&lan, "link set lan up");
        let mut rack = Rack { machines: BTreeMap::new(), scratch: Scratch::new("manual").expect("a temporary folder"), _lan: lan };
        for name in names {
            let address = ADDRESSES.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no machine {name} in the rack")).1;
            let machine = rack.machine(name, address);
            rack.machines.insert(name.clone(), machine);
        }
        rack
    }

    fn machine(&self, name: &str, address: &str) -> Machine {
        let ns = Ns::node(name).expect("a namespace");
        ns.run(fresh_run).expect("an empty /run");
        let far = ns.net_fd();
        let port = format!("port-{name}");
        self._lan.rtnl(move |rtnl| rtnl.add_veth(&port, None, "eth0", far)).expect("a cable");
        ip(&self._lan, &format!("link set port-{name} master lan"));
        ip(&self._lan, &format!("link set port-{name} up"));
        ip(&ns, &format!("addr add {address}/24 dev eth0"));
        ip(&ns, "link set eth0 up");
        ns.sysctl("net.ipv4.ip_forward", "1").expect("a sysctl");
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(folder.join("etc")).expect("the scratch folder is ours");
        let (source, scratch) = (folder.join("etc"), folder.clone());
        ns.run(move || bind(&source, Path::new("/etc/catbird"), &scratch)).expect("a folder of its own");
        Machine { ns, running: None }
    }

    /// `/etc/catbird/X` and `/etc/frr/X` of this machine.
    fn write(&self, machine: &str, path: &str, text: &str) -> Result<(), String> {
        let name = Path::new(path).file_name().ok_or_else(|| format!("{path}: no file"))?;
        let path = self.scratch.path().join(machine).join("etc").join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn run(&mut self, machine: &str, line: &str) -> Result<String, String> {
        let machine = self.machines.get_mut(machine).ok_or_else(|| format!("no machine {machine:?}"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let log = self.scratch.path().join(machine.ns.name()).join("log");
        match words[..] {
            ["systemctl", "start", "catbird"] => machine.running = Some(daemon(&machine.ns, &log)?),
            ["systemctl", "stop", "catbird"] => end(machine.running.take(), "-TERM"),
            ["systemctl", "restart", "catbird"] => {
                end(machine.running.take(), "-TERM");
                machine.running = Some(daemon(&machine.ns, &log)?);
            }
            ["systemctl", "reload", "catbird"] => return shell(&machine.ns, "catbird reload >/dev/null"),
            ["systemctl", "restart", "frr"] => {
                end(machine.running.take(), "-KILL");
                machine.running = Some(frr(&machine.ns, &log)?);
            }
            _ => return shell(&machine.ns, line),
        }
        Ok(String::new())
    }
}

/// The unit's `ExecStart`, ended in its place when there is a control socket, as `Type=notify` is.
fn daemon(ns: &Ns, log: &Path) -> Result<Child, String> {
    let mut command = Command::new(catbird()?);
    command.arg("run");
    let child = started(ns, command, log)?;
    let up = proto_tests::netlab::patiently(std::time::Duration::from_secs(20), || {
        shell(ns, "catbird status").is_ok_and(|said| said.contains("AS"))
    });
    up.map(|_| child).ok_or_else(|| format!("it does not start: {}", fs::read_to_string(log).unwrap_or_default()))
}

fn frr(ns: &Ns, log: &Path) -> Result<Child, String> {
    let mut command = Command::new(frr_program("bgpd").ok_or("no bgpd")?);
    command.args(["-A", "127.0.0.1", "-S", "-Z", "-f", "/etc/catbird/frr.conf", "--log", "stdout"]);
    started(ns, command, log)
}

fn started(ns: &Ns, mut command: Command, log: &Path) -> Result<Child, String> {
    let log = fs::File::options().create(true).append(true).open(log).map_err(|e| e.to_string())?;
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
    ns.spawn(command).map_err(|e| e.to_string())
}

/// What a shell there prints, of both kinds, and if it ended badly.
fn shell(ns: &Ns, line: &str) -> Result<String, String> {
    let folder = catbird()?.parent().ok_or("the binary lies in a folder")?.to_owned();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec 2>&1; {line}")]).stdin(Stdio::null()).current_dir("/etc/catbird");
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display())).env("LC_ALL", "C.UTF-8");
    let out = ns.output(command).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn chapter(document: &Path) {
    let steps = steps_of(document, LAB);
    let names = steps.iter().flat_map(|step| match &step.deed {
        Deed::File { machines, .. } => machines.clone(),
        Deed::Command { machine, .. } => vec![machine.clone()],
    });
    let rack = Rc::new(RefCell::new(Rack::new(&names.collect())));
    let writer = Rc::clone(&rack);
    let write = |machine: &str, path: &str, text: &str| writer.borrow().write(machine, path, text);
    let run = |machine: &str, line: &str| rack.borrow_mut().run(machine, line);
    let done = play(document, LAB, write, run).unwrap_or_else(|why| panic!("{why}"));
    println!("{}: {done} steps", document.display());
}

#[test]
fn the_manual_shows_what_is_printed() {
    const TEST: &str = "the_manual_shows_what_is_printed";
    if !user::is_root() {
        return skip(TEST, "FRR in namespaces needs root");
    }
    if frr_program("bgpd").is_none() {
        return skip(TEST, "frr is not installed");
    }
    let _alone = alone();
    let chapters: Vec<_> = documents().into_iter().filter(|document| !steps_of(document, LAB).is_empty()).collect();
    assert!(chapters.len() >= 4, "{chapters:?}");
    chapters.iter().for_each(|document| chapter(document));
}
