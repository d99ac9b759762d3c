//! What runs in a node: the program behind an image's name.
//!
//! In: an image (`catbird-frr:latest`) and a node to start it in. Out: processes, with their words in a log file.
//! The `Dockerfile` at the root builds the images for containerlab; here the same programs come from Debian's packages and from cargo.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::clock::patiently;
use super::ns::Ns;
use super::proc::{catbird, frr_program, program};
use super::topology::Node;

/// Longer than any daemon takes to open its socket, also on a busy machine.
const START: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    Catbird,
    Frr,
    Bird,
    Gobgp,
    Prometheus,
    /// No daemon: a pod, a machine that is all `exec`, or what only people look at.
    Idle,
}

/// How to start it.
pub struct Start<'a> {
    pub ns: &'a Ns,
    pub log: &'a Path,
    pub path: &'a str,
    /// The programs of `containerlab/bin`, and `catbird`.
    pub programs: &'a Path,
    pub env: &'a BTreeMap<String, String>,
}

impl Image {
    /// # Errors
    /// A name that the runner does not know.
    pub fn of(node: &Node) -> Result<Self, String> {
        if node.entrypoint.as_deref() == Some("pause") {
            return Ok(Self::Idle);
        }
        let base = node.image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
        match base {
            "catbird" | "catbird-debug" | "catbird-migrate" => Ok(Self::Catbird),
            "catbird-frr" => Ok(Self::Frr),
            "catbird-bird" => Ok(Self::Bird),
            "catbird-gobgp" => Ok(Self::Gobgp),
            "prometheus" => Ok(Self::Prometheus),
            "grafana" => Ok(Self::Idle),
            other => {
                Err(format!("image {other:?}: the runner knows catbird, -debug, -migrate, -frr, -bird, -gobgp, prometheus and grafana"))
            }
        }
    }

    /// The user that its daemon becomes.
    pub fn user(self) -> &'static str {
        match self {
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::Catbird | Self::Gobgp | Self::Prometheus | Self::Idle => "root",
        }
    }

    /// What must be installed, and is not.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::Frr => ["zebra", "staticd", "bgpd"].into_iter().find(|name| frr_program(name).is_none()),
            Self::Bird => Some("bird").filter(|name| program(name).is_none()),
            Self::Gobgp => Some("gobgpd").filter(|name| program(name).is_none()),
            Self::Prometheus => ["prometheus", "promtool"].into_iter().find(|name| program(name).is_none()),
            Self::Catbird | Self::Idle => None,
        }
    }

    /// Starts its processes.
    ///
    /// # Errors
    /// What is missing or would not start.
    pub fn start(self, node: &Node, how: &Start<'_>) -> Result<Vec<Child>, String> {
        match self {
            Self::Idle => Ok(Vec::new()),
            Self::Catbird => {
                let words = node.cmd.as_deref().unwrap_or("run -c /etc/catbird/catbird.toml").split_whitespace();
                let begun = match node.entrypoint.as_deref() {
                    Some(program) => how.spawn(&how.own_program(program), words),
                    None => how.spawn(&catbird()?, words),
                };
                begun.map(|child| vec![child])
            }
            Self::Prometheus => {
                let options = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/run/prometheus", "--log.level=warn"];
                how.spawn(&found("prometheus")?, options).map(|child| vec![child])
            }
            Self::Bird => how.spawn(&found("bird")?, ["-f", "-c", "/etc/bird/bird.conf"]).map(|child| vec![child]),
            Self::Gobgp => how.spawn(&found("gobgpd")?, ["-f", "/etc/gobgp/gobgpd.toml"]).map(|child| vec![child]),
            Self::Frr => start_frr(how),
        }
    }
}

fn found(name: &str) -> Result<PathBuf, String> {
    program(name).ok_or_else(|| format!("{name} is not installed"))
}

impl Start<'_> {
    fn own_program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    fn spawn<'a>(&self, program: &Path, args: impl IntoIterator<Item = &'a str>) -> Result<Child, String> {
        let failed = |e: io::Error| format!("{}: {}: {e}", self.ns.name(), program.display());
        let log = File::options().create(true).append(true).open(self.log).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(args).env("PATH", self.path).envs(self.env).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        self.ns.spawn(command).map_err(failed)
    }
}

/// As FRR's own start script: zebra first, then the daemons of the `daemons` file, then the one configuration for all of them.
fn start_frr(how: &Start<'_>) -> Result<Vec<Child>, String> {
    if !super::user::is_root() {
        return Err("FRR needs real root: it becomes its own user".into());
    }
    let settings = how.ns.run(|| fs::read_to_string("/etc/frr/daemons")).map_err(|e| format!("/etc/frr/daemons: {e}"))?;
    let mut children = Vec::new();
    for name in frr_daemons(&settings) {
        let options = frr_options(&settings, &name);
        let path = frr_program(&name).ok_or_else(|| format!("FRR's {name} is not installed"))?;
        children.push(how.spawn(&path, options.iter().map(String::as_str))?);
        let socket = PathBuf::from(format!("/run/frr/{name}.vty"));
        let open = how.ns.run(move || patiently(START, || socket.exists()));
        open.ok_or_else(|| format!("{name} of {} opens no socket", how.ns.name()))?;
    }
    let mut vtysh = Command::new(found("vtysh")?);
    vtysh.arg("-b");
    let said = how.ns.output(vtysh).map_err(|e| format!("vtysh: {e}"))?;
    let words = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    if said.status.success() && !words.contains("Unknown command") {
        Ok(children)
    } else {
        Err(format!("{}: vtysh -b: {} {words}", how.ns.name(), said.status))
    }
}

/// zebra and staticd always run; the file says which others do.
fn frr_daemons(settings: &str) -> Vec<String> {
    let asked = settings.lines().filter_map(|line| line.trim().strip_suffix("=yes")).filter(|name| name.ends_with('d'));
    let mut names = vec!["zebra".to_string(), "staticd".to_string()];
    names.extend(asked.map(str::to_string).filter(|name| name != "staticd"));
    names
}

fn frr_options(settings: &str, daemon: &str) -> Vec<String> {
    let prefix = format!("{daemon}_options=");
    let value = settings.lines().find_map(|line| line.trim().strip_prefix(&prefix)).unwrap_or("\"-A 127.0.0.1\"");
    value.trim_matches('"').split_whitespace().map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frr_starts_what_its_daemons_file_says() {
        let settings = "bgpd=yes\nospfd=no\nvtysh_enable=yes\nbfdd=yes\nzebra_options=\"  -A 127.0.0.1 -s 9000\"\n";
        assert_eq!(frr_daemons(settings), ["zebra", "staticd", "bgpd", "bfdd"]);
        assert_eq!(frr_options(settings, "zebra"), ["-A", "127.0.0.1", "-s", "9000"]);
        assert_eq!(frr_options(settings, "bgpd"), ["-A", "127.0.0.1"]);
    }

    #[test]
    fn an_image_is_known_by_its_last_name() {
        let of = |image: &str| Image::of(&Node { image: image.into(), ..Node::default() });
        assert_eq!(of("catbird:latest"), Ok(Image::Catbird));
        assert_eq!(of("catbird-debug:latest"), Ok(Image::Catbird));
        assert_eq!(of("lab.example/x/catbird-frr:8.4.4"), Ok(Image::Frr));
        assert!(of("ubuntu").is_err());
    }
}
