//! What happens to the routes of a namespace, as `ip monitor` tells it: proof that nobody touched them.
//!
//! In: a namespace. Out: the lines said between two moments. That something was *not* said counts only if the monitor listens: at both
//! ends a route of our own comes and goes, and we wait for the word about it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::patiently;
use super::ns::Ns;
use super::sites::ip;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `ip monitor route`.
pub struct Monitor {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// It listens when this returns.
    ///
    /// # Panics
    /// If it cannot be started, or says nothing.
    pub fn start(ns: &Ns) -> Monitor {
        let mut command = Command::new("ip");
        command.args(["monitor", "route"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = ns.spawn(command).expect("iproute2 is installed");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (out, heard) = (child.stdout.take().expect("a pipe"), lines.clone());
        let reader = std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|line| heard.lock().expect("nobody panics with it").push(line));
        });
        let monitor = Monitor { child, lines, reader: Some(reader) };
        monitor.await_word(ns, "192.0.2.251");
        monitor
    }

    /// All that was said until now about other routes than our own marks.
    pub fn said(self, ns: &Ns) -> Vec<String> {
        self.await_word(ns, "192.0.2.252");
        let lines = self.lines.lock().expect("nobody panics with it");
        lines.iter().filter(|line| !line.contains("192.0.2.25")).cloned().collect()
    }

    /// A route that leads nowhere comes and goes until that is said.
    fn await_word(&self, ns: &Ns, mark: &str) {
        let heard = || {
            ip(ns, &format!("route add unreachable {mark} proto static"));
            ip(ns, &format!("route del unreachable {mark} proto static"));
            let gone = || self.lines.lock().expect("nobody panics with it").iter().any(|l| l.contains("Deleted") && l.contains(mark));
            patiently(Duration::from_millis(200), gone).is_some()
        };
        patiently(PATIENCE, heard).expect("the monitor tells of a route that came and went");
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
