//! Keeps the configuration in force: reads the file again, compares what it means, applies it whole or not at all.
//!
//! In: commands to reload or to confirm, new password files, a replaced configuration file, and time. Out: `Input::Reload` to the core,
//! listening sockets arranged anew, services started and ended, and how it went, for `catbird status` and the metrics. It leaves parsing,
//! checking and grading to `config`, and what a change does to a session to the speaker.
//!
//! An unusable file changes nothing: the last good configuration stays and the report is kept. An equal one is not even handed to the core.
//! A reload that waits for confirmation goes back by itself.
//!
//! A configuration file that is a link, as in a mounted ConfigMap, is replaced whole by whoever keeps it, and is taken over when that has
//! happened (`[reload] watch`). One that is edited in place may be half written or meant for `catbird diff`: that it has changed is only said, or with
//! `watch = true` it is taken over when it has stood unchanged from one look to the next.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api;
use crate::config::model::WatchFile;
use crate::config::{self, Config};
use crate::daemon::core::listener::{AllowedPeer, AllowedPeers};
use crate::daemon::counters::DaemonMetrics;
use crate::daemon::owner::OwnerFile;
use crate::daemon::protocol::Reloaded;
use crate::daemon::tasks;
use crate::speaker::reload_plan::Change;
use crate::speaker::{BlockSource, Params};

use super::api::{Gone, RouterApi};
use super::config_handle::{Command, ConfigHandle};
use super::files::{Reader, Version, version};
use super::handle::DaemonHandle;
use super::http::Site;
use super::instance::InstanceLock;
use super::kubernetes::{Configured, Objects, Service};
use super::{bird, block_file, cni, control, http, password_files};

/// Pause before a listening address or key that the kernel refused is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often files are looked at.
const POLL_INTERVAL: Duration = password_files::POLL_INTERVAL;

/// After a change of the objects, how long more of them are waited for.
const MERGE_AFTER: Duration = Duration::from_millis(100);

/// Of a change that nobody asked for, lines in the log; `catbird diff` before it, or `monitor config`, has all.
const LOGGED_CHANGES: usize = 20;

/// In warnings: what the objects come to.
const OBJECTS: &str = "objects";

/// In warnings and metrics: the configuration file.
const TOPIC: &str = "configuration";

/// The work behind [`ConfigHandle`].
pub struct ConfigManager {
    handle: ConfigHandle,
    /// As it stands in the file; what is in force is this with what the objects of the cluster say.
    file_config: Arc<Config>,
    objects: Arc<Objects>,
    /// The objects have changed; a moment later they are looked at, for changes come in crowds.
    merge_at: Option<Instant>,
    commands: mpsc::Receiver<Command>,
    counters: Arc<DaemonMetrics>,
    names: OwnerFile,
    file: ConfigFile,
    /// The configuration to go back to, and when.
    pending_confirm: Option<(Instant, Arc<Config>)>,
    /// Something could not be listened on.
    retry_at: Option<Instant>,
    /// What the kernel refused the last time; said when it changes.
    refused: Vec<String>,
    passwords: password_files::Watch,
    cni: cni::Keeper,
    /// When files are looked at next.
    poll_at: Instant,
    services: Running,
}

/// What serves operators, each with the settings that it was started with.
#[derive(Default)]
struct Running {
    /// For the first control socket.
    lock: Option<InstanceLock>,
    control: Option<(config::model::Control, JoinHandle<()>)>,
    http: Option<(SocketAddr, JoinHandle<()>)>,
    glass: Option<(SocketAddr, JoinHandle<()>)>,
    blocks: Option<(PathBuf, JoinHandle<()>)>,
    bird: Option<((PathBuf, u32), JoinHandle<()>)>,
    kubernetes: Option<(config::model::Kubernetes, JoinHandle<()>)>,
}

/// Ends a service whose settings are no longer these; true if one is to be started in its place. What the old one held is free then.
async fn makes_room<S: PartialEq>(running: &mut Option<(S, JoinHandle<()>)>, wanted: Option<&S>) -> bool {
    if running.as_ref().map(|(settings, _)| settings) == wanted {
        return false;
    }
    if let Some((_, task)) = running.take() {
        task.abort();
        let _aborted = task.await;
    }
    wanted.is_some()
}

impl Running {
    async fn arrange(&mut self, config: &Arc<Config>, handle: &DaemonHandle) {
        let wanted = config.control.clone();
        if makes_room(&mut self.control, Some(&wanted)).await {
            let lock = self.lock.take();
            self.control = Some((wanted, tasks::service("control", control::serve(handle.clone(), config.clone(), lock))));
        }
        let sites = [(&mut self.http, Site::Metrics, config.metrics.listen), (&mut self.glass, Site::LookingGlass, config.looking_glass)];
        for (running, site, wanted) in sites {
            if makes_room(running, wanted.as_ref()).await {
                *running = wanted.map(|address| (address, tasks::service(site.name(), http::serve(handle.clone(), site, address))));
            }
        }
        if makes_room(&mut self.blocks, config.pods.file.as_ref()).await {
            let start = |file: PathBuf| (file.clone(), tasks::service("blocks", block_file::serve(handle.clone(), file)));
            self.blocks = config.pods.file.clone().map(start);
        }
        let folder = config.bird_sockets.clone().map(|folder| (folder, config.control.mode));
        if makes_room(&mut self.bird, folder.as_ref()).await {
            let start = |(folder, mode): (PathBuf, u32)| {
                ((folder.clone(), mode), tasks::service("BIRD's sockets", bird::serve(handle.clone(), folder, mode)))
            };
            self.bird = folder.map(start);
        }
    }

    /// The API that the file names, and none else.
    async fn watch(&mut self, file: &Config, objects: &Arc<Objects>, counters: &Arc<DaemonMetrics>) {
        if makes_room(&mut self.kubernetes, file.kubernetes.as_ref()).await {
            let start = |service: Service| (service.kubernetes.clone(), tasks::service("kubernetes", service.serve()));
            self.kubernetes = Service::of(file, objects, counters).map(start);
        }
    }
}

/// Starts with the configuration that was read at the start.
pub fn new(
    start: Configured,
    path: PathBuf,
    counters: Arc<DaemonMetrics>,
    lock: InstanceLock,
    names: OwnerFile,
) -> (ConfigHandle, ConfigManager) {
    let Configured { file, objects, in_force } = start;
    let (handle, commands) = ConfigHandle::new(in_force);
    let shown = objects.clone();
    counters.watches.come_from(move || shown.rows());
    let manager = ConfigManager {
        handle: handle.clone(),
        commands,
        counters,
        names,
        file_config: Arc::new(file),
        objects,
        merge_at: None,
        file: ConfigFile { path, read: None, seen: None, reader: Reader::default() },
        pending_confirm: None,
        retry_at: None,
        refused: Vec::new(),
        passwords: password_files::Watch::default(),
        cni: cni::Keeper::default(),
        poll_at: Instant::now(),
        services: Running { lock: Some(lock), ..Running::default() },
    };
    (handle, manager)
}

impl ConfigManager {
    /// Until the daemon ends.
    ///
    /// # Errors
    /// None; the shape is that of a service.
    pub async fn serve(mut self, handle: DaemonHandle) -> io::Result<()> {
        self.arrange(&handle).await;
        if let Some(text) = self.handle.config().unlisted_warning() {
            tracing::warn!("{text}");
        }
        let objects = self.objects.clone();
        loop {
            let deadlines = [self.pending_confirm.as_ref().map(|p| p.0), self.retry_at, self.merge_at];
            let deadline = deadlines.into_iter().flatten().fold(self.poll_at, Instant::min);
            tokio::select! {
                Some(command) = self.commands.recv() => self.on_command(command, &handle).await,
                () = objects.changed.notified() => {
                    self.merge_at.get_or_insert(Instant::now() + MERGE_AFTER);
                }
                () = tokio::time::sleep_until(deadline) => self.on_time(&handle).await,
            }
        }
    }

    async fn on_command(&mut self, command: Command, handle: &DaemonHandle) {
        let received = match command {
            Command::Reload { confirm, reply } => reply.send(self.reload(confirm, handle).await).is_ok(),
            Command::Diff { text, reply } => reply.send(self.diff(text, handle).await).is_ok(),
            Command::Confirm { reply } => {
                let waited = self.pending_confirm.take().is_some();
                self.handle.lock().state.unconfirmed = false;
                reply.send(waited).is_ok()
            }
        };
        if !received {
            tracing::debug!("who asked for a reload did not wait for the outcome");
        }
    }

    async fn on_time(&mut self, handle: &DaemonHandle) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.arrange(handle).await;
        }
        if self.pending_confirm.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.go_back(handle).await;
        }
        if self.merge_at.is_some_and(|at| at <= now) {
            self.merge_at = None;
            self.merge(handle).await;
        }
        if self.poll_at <= now {
            self.poll_files(handle).await;
            self.poll_at = Instant::now() + POLL_INTERVAL;
        }
    }

    async fn go_back(&mut self, handle: &DaemonHandle) {
        let Some((_, former)) = self.pending_confirm.take() else { return };
        tracing::warn!("the new configuration was not confirmed: the former one comes back");
        let text = format!("the configuration in {} was not confirmed: the one before it is in force", self.file.path.display());
        self.counters.warn(TOPIC, vec![text]);
        // Its keys may be older than the files.
        self.passwords = password_files::Watch::default();
        self.handle.lock().state.unconfirmed = false;
        self.file_config = former;
        self.merge(handle).await;
    }

    async fn poll_files(&mut self, handle: &DaemonHandle) {
        let config = self.file_config.clone();
        if password_files::has_files(&config)
            && let Some(new) = self.passwords.look(&config, &self.counters).await
        {
            self.file_config = Arc::new(new);
            self.merge(handle).await;
        }
        let in_force = self.handle.config();
        self.cni.look(&in_force, &self.objects, &self.counters).await;
        if self.pending_confirm.is_some() {
            return;
        }
        match self.file.look().await {
            FileChange::None => {}
            // Whoever waits for the list has nothing to lose by a file that is still being written.
            change if change.is_taken_over(config.watch) || config.waits_to_be_listed() => self.take_over_file(handle).await,
            FileChange::Edited { .. } | FileChange::Replaced => {
                let path = self.file.path.display();
                let text = format!("{path} has changed since it was read: `catbird diff` shows how, `catbird reload` takes it over");
                self.counters.warn(TOPIC, vec![text]);
            }
        }
    }

    async fn take_over_file(&mut self, handle: &DaemonHandle) {
        match self.reload(None, handle).await {
            Ok(reloaded) => {
                tracing::info!(changes = reloaded.changes.len(), "the configuration file has changed and is taken over");
                for change in reloaded.changes.iter().take(LOGGED_CHANGES) {
                    tracing::info!("{change}");
                }
            }
            Err(report) => tracing::error!("the configuration file has changed and is not usable; the last good one stays:\n{report}"),
        }
    }

    async fn reload(&mut self, confirm: Option<Duration>, handle: &DaemonHandle) -> Result<Reloaded, String> {
        let outcome = self.read_and_apply(confirm, handle).await;
        self.counters.warn(TOPIC, Vec::new());
        let mut shared = self.handle.lock();
        shared.state.at = SystemTime::now();
        shared.state.successful = outcome.is_ok();
        shared.state.error = outcome.as_ref().err().cloned();
        shared.state.unconfirmed = self.pending_confirm.is_some();
        outcome
    }

    async fn read_and_apply(&mut self, confirm: Option<Duration>, handle: &DaemonHandle) -> Result<Reloaded, String> {
        let old = self.file_config.clone();
        let (mut new, mut warnings) = self.file.read(self.handle.config().waits_to_be_listed()).await?;
        password_files::keep_last_good(&mut new, &old);
        if new.kubernetes.as_ref().is_some_and(|new| old.kubernetes.as_ref().is_none_or(|old| old.watches_other_objects(new))) {
            self.objects.begin_anew();
        }
        let merged = self.objects.merged(&new)?;
        self.file_config = Arc::new(new);
        let changes = if merged.provisional && !self.handle.config().provisional {
            warnings.push("the objects of the cluster are waited for; until then what is in force stays".to_owned());
            self.arrange(handle).await;
            Vec::new()
        } else {
            let (changes, removed) = self.apply(&Arc::new(merged), handle).await.map_err(|gone| gone.to_string())?;
            warnings.extend(removed);
            changes
        };
        if let Some(time) = confirm {
            // A second reload on probation still goes back to the configuration that was confirmed last.
            let former = self.pending_confirm.take().map_or(old, |(_, former)| former);
            self.pending_confirm = Some((Instant::now() + time, former));
        } else {
            self.pending_confirm = None;
        }
        Ok(Reloaded { changes, warnings, confirm_seconds: confirm.map(|time| time.as_secs_f64()) })
    }

    async fn diff(&mut self, text: Option<(String, String)>, handle: &DaemonHandle) -> Result<Reloaded, String> {
        let waits = self.handle.config().waits_to_be_listed();
        let (mut new, mut warnings) = match text {
            Some((name, text)) => usable(config::check_text(&name, &text), waits)?,
            None => self.file.load(waits).await?.1?,
        };
        password_files::keep_last_good(&mut new, &self.file_config);
        let merged = self.objects.merged(&new)?;
        let changes = handle.plan(Box::new(config::params::speaker(&merged)), false).await.map_err(|gone| gone.to_string())?;
        warnings.extend(impossible_blocks(&merged, handle).await.iter().map(|(net, why)| removal(net, why)));
        Ok(Reloaded { changes, warnings, confirm_seconds: None })
    }

    /// Takes over what the file and the objects say together now, if that is something else than what is in force.
    async fn merge(&mut self, handle: &DaemonHandle) {
        let merged = match self.objects.merged(&self.file_config) {
            Ok(merged) => merged,
            Err(why) => {
                tracing::error!("the objects of the cluster make no configuration, and the last good one stays: {why}");
                return self.counters.warn(OBJECTS, vec![format!("the last good configuration stays: {why}")]);
            }
        };
        self.counters.warn(OBJECTS, Vec::new());
        let in_force = self.handle.config();
        if merged == *in_force || merged.provisional && !in_force.provisional {
            return;
        }
        match self.apply(&Arc::new(merged), handle).await {
            Ok((changes, _)) => tracing::info!(changes = changes.len(), "the configuration has changed and is taken over"),
            Err(gone) => tracing::debug!("{gone}"),
        }
    }

    /// What changed, and what else had to give way.
    async fn apply(&mut self, new: &Arc<Config>, handle: &DaemonHandle) -> Result<(Vec<Change>, Vec<String>), Gone> {
        let params = Box::new(config::params::speaker(new));
        // Before the first route is written at another metric: whoever starts after us must know it.
        self.names.note_metrics(&params.fib);
        let changes = handle.plan(params, true).await?;
        let old = std::mem::replace(&mut self.handle.lock().config, new.clone());
        if old.log.level != new.log.level
            && let Err(error) = handle.set_log_level(&new.log.level.to_string())
        {
            tracing::error!(error, "the log keeps its level");
        }
        self.arrange(handle).await;
        let mut removed = Vec::new();
        for (net, why) in impossible_blocks(new, handle).await {
            let text = removal(&net, &why);
            tracing::warn!("{text}");
            handle.command(api::Command::BlockRemove { net }).await.ok_or(Gone)?;
            removed.push(text);
        }
        Ok((changes, removed))
    }

    /// Brings sockets and services to the configuration in force; what the kernel refuses is said and tried again.
    async fn arrange(&mut self, handle: &DaemonHandle) {
        let config = self.handle.config();
        self.counters.warn("cluster", config.unlisted_warning().into_iter().collect());
        let allowed = allowed_peers(&config::params::speaker(&config));
        let refused = handle.listen(addresses(&config), allowed).await.unwrap_or_default();
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        for text in refused.iter().filter(|text| !self.refused.contains(text)) {
            tracing::error!("{text}; tried again every {RETRY_INTERVAL:?}");
        }
        self.retry_at = (!refused.is_empty()).then(|| Instant::now() + RETRY_INTERVAL);
        self.refused = refused;
        self.services.arrange(&config, handle).await;
        self.services.watch(&self.file_config, &self.objects, &self.counters).await;
    }
}

/// Blocks that `catbird block add` added and this configuration rules out, each with the reason.
async fn impossible_blocks(config: &Config, handle: &DaemonHandle) -> Vec<(IpNet, String)> {
    let Some(api::Answer::Blocks(rows)) = handle.query(api::Question::Blocks).await else { return Vec::new() };
    let added = rows.iter().filter(|row| row.source.split(',').any(|source| source == BlockSource::Command.name()));
    added.filter_map(|row| Some((row.net, config.objection_to_block(&row.net)?))).collect()
}

fn removal(net: &IpNet, why: &str) -> String {
    format!("{net}, which `catbird block add` added, cannot be a block any more and is withdrawn: {why}")
}

/// The configuration file, and which version of it was read last.
struct ConfigFile {
    path: PathBuf,
    read: Option<Version>,
    /// Another one, that stood there at the last look.
    seen: Option<Version>,
    reader: Reader,
}

/// What has become of the file since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileChange {
    /// It is the one that was read.
    None,
    /// In place, by an editor; it was already so at the look before.
    Edited { settled: bool },
    /// It is a link that leads to another file now.
    Replaced,
}

impl FileChange {
    fn is_taken_over(self, watch: WatchFile) -> bool {
        match self {
            FileChange::None => false,
            FileChange::Replaced => watch != WatchFile::Never,
            FileChange::Edited { settled } => settled && watch == WatchFile::Always,
        }
    }
}

impl ConfigFile {
    /// The configuration and its warnings.
    ///
    /// # Errors
    /// The report, or why the file cannot be read at all.
    async fn read(&mut self, waits: bool) -> Result<Usable, String> {
        let (version, usable) = self.load(waits).await?;
        self.read = version;
        usable
    }

    /// Which version stands there, and what it comes to; it is not taken for read.
    async fn load(&mut self, waits: bool) -> Result<(Option<Version>, Result<Usable, String>), String> {
        let path = self.path.clone();
        let work = move || Ok((version(&path).ok(), load(&path, waits)));
        self.reader.run(work).await.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// A file that is gone or whose storage hangs has not changed: it will be replaced, or come back.
    async fn look(&mut self) -> FileChange {
        let path = self.path.clone();
        let work = move || Ok((version(&path)?, std::fs::symlink_metadata(&path)?.is_symlink()));
        match self.reader.run(work).await {
            Ok((version, _)) if self.read == Some(version) => FileChange::None,
            // The first look, at the file with which the daemon has just started.
            Ok((version, _)) if self.read.is_none() => {
                self.read = Some(version);
                FileChange::None
            }
            Ok((_, true)) => FileChange::Replaced,
            Ok((version, false)) => FileChange::Edited { settled: self.seen.replace(version) == Some(version) },
            Err(error) => {
                tracing::debug!(file = %self.path.display(), %error, "the configuration file cannot be looked at");
                FileChange::None
            }
        }
    }
}

/// As at the start: a password file that cannot be read costs its peers their sessions and nobody else.
fn load(path: &Path, waits: bool) -> Result<Usable, String> {
    usable(config::load(path).map_err(|error| format!("{}: {error}", path.display()))?, waits)
}

/// A configuration and its warnings.
type Usable = (Config, Vec<String>);

/// `waits`: this node is not in the cluster's list, and may still not be. One that is in it is not taken out by its own file.
fn usable(checked: config::Checked, waits: bool) -> Result<Usable, String> {
    let warnings = checked.report.diagnostics().iter().map(|finding| finding.problem.to_string()).collect();
    let config = checked.config.or(checked.unlisted.filter(|_| waits)).ok_or_else(|| checked.report.to_string())?;
    config::params::can_be_run(&config)?;
    Ok((config, warnings))
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.listen.addresses.iter().map(|addr| SocketAddr::new(*addr, config.listen.port)).collect()
}

/// Who may come, from the peers and ranges of the router.
fn allowed_peers(params: &Params) -> AllowedPeers {
    let mut allowed = AllowedPeers::default();
    for peer in &params.peers {
        match &peer.session.remote.zone {
            Some(link) if peer.session.by_interface => drop(allowed.links.insert(link.clone(), allowed_peer(&peer.session))),
            _ => drop(allowed.hosts.insert(peer.session.remote.addr, allowed_peer(&peer.session))),
        }
    }
    allowed.ranges = params.ranges.iter().map(|range| (range.net, allowed_peer(&range.template.session))).collect();
    let sessions = params.peers.iter().map(|peer| &peer.session).chain(params.ranges.iter().map(|range| &range.template.session));
    allowed.mss = sessions.filter_map(|session| session.mss).min();
    allowed.ranges.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
    allowed
}

/// Nobody comes in for a peer whose password is not to be had.
fn allowed_peer(session: &crate::peer::Params) -> AllowedPeer {
    let transport = session.transport();
    AllowedPeer { ttl: transport.ttl, md5: transport.md5, user_timeout: transport.user_timeout, barred: session.hindrance.is_some() }
}
