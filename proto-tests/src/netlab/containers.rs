//! Containers by the docker client, as containerlab has them: process first, without a network, and links later.
//!
//! In: a node of a story. Out: a container that is gone when its handle is. The daemon is the one that `DOCKER_HOST` names;
//! `proto-tests/machines/containers` starts one and builds the images.

use std::process::{Command, Stdio};

use super::machine::Parts;

/// So long a daemon may take to end before docker kills it.
const PATIENCE: &str = "5";

#[derive(Debug)]
pub struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "-f", &self.0]);
    }
}

/// Its answer, or what it complains about.
fn docker(words: &[&str]) -> Result<String, String> {
    let said = Command::new("docker").args(words).stdin(Stdio::null()).output().map_err(|e| format!("docker: {e}"))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).trim().to_string());
    }
    Err(format!("docker {}: {}", words.join(" "), String::from_utf8_lossy(&said.stderr).trim()))
}

/// # Errors
/// No such image, or no docker.
pub fn has_image(image: &str) -> Result<(), String> {
    docker(&["image", "inspect", "-f", "{{.Id}}", image]).map(drop)
}

impl Container {
    /// # Errors
    /// What docker says.
    pub fn start(parts: &Parts<'_>) -> Result<Self, String> {
        let name = format!("clab-{}-{}", parts.story, parts.name);
        let mut words: Vec<String> = ["create", "--name", &name, "--hostname", parts.name, "--network", "none"].map(Into::into).into();
        let mut option = |flag: &str, value: String| words.extend([flag.to_string(), value]);
        parts.file.rights(parts.node).iter().for_each(|right| option("--cap-add", right.clone()));
        parts.file.sysctls(parts.node).iter().for_each(|(key, value)| option("--sysctl", format!("{key}={value}")));
        parts.file.env(parts.node).iter().for_each(|(key, value)| option("--env", format!("{key}={value}")));
        parts.binds.iter().for_each(|bind| option("--volume", format!("{}:{}", bind.source.display(), bind.target.display())));
        parts.node.user.iter().for_each(|user| option("--user", user.text()));
        parts.node.entrypoint.iter().for_each(|program| option("--entrypoint", program.clone()));
        words.push(parts.node.image.clone());
        words.extend(parts.node.cmd.iter().flat_map(|cmd| super::story::split_words(cmd)));
        // What an earlier run left.
        let _ = docker(&["rm", "-f", &name]);
        docker(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let container = Self(name);
        docker(&["start", &container.0])?;
        Ok(container)
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its first process, as seen from here.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32, String> {
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &self.0])?;
        pid.parse().ok().filter(|pid| *pid != 0).ok_or_else(|| format!("{} does not run:\n{}", self.0, self.logs()))
    }

    /// `docker exec`, without the command.
    pub fn exec(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.0]);
        command
    }

    /// `kill`, `pause`, `unpause`, `stop`, `start`.
    pub fn tell(&self, verb: &str) {
        let words: &[&str] = if verb == "stop" { &[verb, "-t", PATIENCE, &self.0] } else { &[verb, &self.0] };
        if let Err(why) = docker(words) {
            eprintln!("{why}");
        }
    }

    /// The end of what its processes said.
    pub fn logs(&self) -> String {
        let said = Command::new("docker").args(["logs", "--tail", "15", &self.0]).stdin(Stdio::null()).output();
        said.map(|said| format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))).unwrap_or_default()
    }
}
