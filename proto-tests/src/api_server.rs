//! A real kube-apiserver with its etcd, for tests of what watches one: `kubernetes/parts` builds and starts them.
//!
//! In: manifests, and what is to go wrong (killed, another certificate, another token). Out: a kubeconfig for the ServiceAccount of our own manifests.
//! Nothing outlives the test: a helper kills both when our end of its pipe closes. What is built takes minutes, and so a test builds nothing: where
//! `kubernetes/parts build` never ran, the test is skipped, loudly.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::netlab::mounts::Scratch;
use crate::netlab::skip;
use crate::outside::free_port;

fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn parts() -> Command {
    Command::new(ours("kubernetes/parts"))
}

/// What a program said; a failure is the test's.
#[track_caller]
fn output(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (said, complaint) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {said}{complaint}");
    said.into_owned()
}

/// The `kubectl` of these parts, if they are built.
fn built() -> Option<PathBuf> {
    let out = parts().arg("where").output().ok().filter(|out| out.status.success())?;
    Some(Path::new(String::from_utf8_lossy(&out.stdout).trim()).join("kubectl"))
}

/// That one, or else the machine's own.
pub fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    built().or_else(|| std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|program| program.is_file()))
}

/// What our own manifests come to: a folder of `configs/kubernetes`, with components. `scratch` is a folder of the caller's.
#[track_caller]
pub fn kustomized(kubectl: &Path, scratch: &Path, overlay: &str, components: &[&str]) -> String {
    let folder = scratch.join("overlay");
    fs::create_dir_all(&folder).expect("the folder is the caller's");
    // Its paths are relative, or it does not take them.
    let up = "../".repeat(folder.components().count() - 1);
    let manifests = ours("../configs/kubernetes").canonicalize().expect("it is there");
    let path = |name: &str| format!("{up}{}", manifests.join(name).strip_prefix("/").expect("absolute").display());
    let components: Vec<String> = components.iter().map(|name| path(&format!("components/{name}"))).collect();
    let text = serde_json::json!({"resources": [path(overlay)], "components": components});
    fs::write(folder.join("kustomization.yaml"), text.to_string()).expect("the folder is the caller's");
    output(Command::new(kubectl).arg("kustomize").arg(folder))
}

/// A running one.
pub struct ApiServer {
    folder: Scratch,
    kubectl: PathBuf,
    ports: (u16, u16),
    flags: Vec<String>,
    holder: Child,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl ApiServer {
    /// With these flags besides; `None`, and a word, where its parts are not built.
    #[track_caller]
    pub fn start(what: &str, flags: &[&str]) -> Option<ApiServer> {
        let Some(kubectl) = built() else {
            skip(what, "no kube-apiserver is built: proto-tests/kubernetes/parts build (Go, four minutes)");
            return None;
        };
        let folder = Scratch::new("kube").expect("a temporary folder");
        let holder = parts().arg("hold").arg(folder.path()).stdin(Stdio::piped()).spawn().expect("our own script");
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let server = ApiServer { folder, kubectl, ports: (free_port(), etcd_port()), flags, holder };
        server.up();
        Some(server)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts what does not run.
    #[track_caller]
    pub fn up(&self) {
        let ports = [self.ports.0.to_string(), self.ports.1.to_string()];
        output(parts().arg("up").arg(self.folder()).args(ports).args(&self.flags));
    }

    /// `kill -9` of the API; etcd lives on.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder().join("apiserver.pid")).expect("it runs");
        output(Command::new("kill").arg("-9").arg(pid.trim()));
    }

    /// The next certificate comes from another authority, and whoever trusts the old one is refused at the next connection.
    pub fn rotate(&self) {
        output(parts().arg("rotate").arg(self.folder()));
    }

    /// `kubectl ARGS` as the administrator.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        output(Command::new(&self.kubectl).arg("--kubeconfig").arg(self.folder().join("admin.kubeconfig")).args(args))
    }

    /// Applies what stands in a text: YAML, or JSON, or several.
    #[track_caller]
    pub fn apply(&self, text: &str) {
        self.with_text(&["apply", "--server-side", "--force-conflicts"], text);
    }

    /// `kubectl ARGS -f` the text.
    #[track_caller]
    pub fn with_text(&self, args: &[&str], text: &str) -> String {
        let path = self.folder().join("objects.yaml");
        fs::write(&path, text).expect("the folder is ours");
        self.kubectl(&[args, &["-f", &path.display().to_string()]].concat())
    }

    /// A node as a kubelet and a controller leave it.
    #[track_caller]
    pub fn node(&self, name: &str, address: &str, block: &str) {
        let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": block, "podCIDRs": [block]}});
        self.apply(&node.to_string());
        self.address(name, address);
    }

    /// Its InternalIP is this one.
    #[track_caller]
    pub fn address(&self, name: &str, address: &str) {
        let status = serde_json::json!({"status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}});
        self.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status.to_string()]);
    }

    /// A kubelet's word that it lives.
    #[track_caller]
    pub fn heartbeat(&self, name: &str, n: u32) {
        let at = format!("2026-01-01T00:00:{:02}Z", n % 60);
        let status = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]}});
        self.kubectl(&["patch", "node", name, "--subresource=status", "--type=strategic", "-p", &status.to_string()]);
    }

    /// See [`kustomized`].
    #[track_caller]
    pub fn kustomized(&self, overlay: &str, components: &[&str]) -> String {
        kustomized(&self.kubectl, self.folder(), overlay, components)
    }

    /// The namespace, the ServiceAccount and the rights of an overlay, and nothing else: whoever needs more has no rights to it.
    #[track_caller]
    pub fn allow(&self, overlay: &str, components: &[&str]) {
        let wanted = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
        let all = self.kustomized(overlay, components);
        let kept = documents(&all).into_iter().filter(|object| object["kind"].as_str().is_some_and(|kind| wanted.contains(&kind)));
        self.apply(&kept.map(|object| object.to_string()).collect::<Vec<_>>().join("\n---\n"));
    }

    /// The file that [`ApiServer::kubeconfig`] takes its token from.
    pub fn token_file(&self) -> PathBuf {
        self.folder().join("token")
    }

    /// A token of catbird's ServiceAccount that ends in so many seconds, or has ended, is what the file holds now.
    #[track_caller]
    pub fn token(&self, seconds: i32) {
        let token = output(parts().arg("token").arg(self.folder()).args(["catbird", "catbird", &seconds.to_string()]));
        replace(&self.token_file(), token.trim());
    }

    /// The file that [`ApiServer::kubeconfig`] takes its authorities from says whom the server's certificate is from now.
    pub fn trust(&self) {
        let trusted = fs::read_to_string(self.folder().join("pki/trust.crt")).expect("it is there");
        replace(&self.folder().join("authority"), &trusted);
    }

    /// For catbird, as its pod would be: token and authority are files. The token that a cluster gives, for an hour.
    #[track_caller]
    pub fn kubeconfig(&self) -> PathBuf {
        let token = self.kubectl(&["create", "token", "catbird", "-n", "catbird", "--duration=1h"]);
        replace(&self.token_file(), token.trim());
        self.trust();
        let path = self.folder().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{}\", certificate-authority: \"{}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\nusers: [{{name: u, user: {{tokenFile: \"{}\"}}}}]\n",
            self.ports.0,
            self.folder().join("authority").display(),
            self.token_file().display(),
        );
        fs::write(&path, text).expect("the folder is ours");
        path
    }
}

/// Whole or not at all, as a kubelet does it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new).expect("the folder is ours");
    file.write_all(text.as_bytes()).expect("and has room");
    fs::rename(&new, path).expect("and lets us rename");
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let read = |document| Value::deserialize(document).unwrap_or_else(|e| panic!("{e}: {text}"));
    serde_yaml_ng::Deserializer::from_str(text).map(read).filter(|value| !value.is_null()).collect()
}

/// A definition of a kind whose objects may say anything.
pub fn definition(group: &str, version: &str, kind: &str, namespaced: bool) -> Value {
    let lower = kind.to_lowercase();
    let plural = if let Some(stem) = lower.strip_suffix('y') { format!("{stem}ies") } else { format!("{lower}s") };
    let free = serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": {"kind": kind, "plural": plural, "singular": lower, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": free, "status": free}}}}],
        },
    })
}

/// etcd wants the one after it, too.
fn etcd_port() -> u16 {
    loop {
        let port = free_port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
