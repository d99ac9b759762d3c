//! Keeps the configuration in force: reads the file again, compares what it means, applies it whole or not at all.
//!
//! In: orders to reload or to confirm, new password files, and time. Out: `Input::Reload` to the core, listening sockets arranged anew, and how it went, for
//! `catbird status` and the metrics. It leaves parsing, checking and grading to `config`, and what a change does to a session to the speaker.
//!
//! An unusable file changes nothing: the last good configuration stays and the report is kept. An equal one is not even handed to the core.
//! A reload that waits for confirmation goes back by itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{self, Config};
use crate::speaker::Params;
use crate::speaker::reload_plan::Change;

use super::desk::{Desk, LastReload};
use super::handle::{Gone, Handle};
use super::listener::{Guest, Guests, Listeners};
use super::protocol::Reloaded;
use super::{blocks, control, http, secrets, tasks};

/// Orders that wait at most; a reload is quick and seldom.
const ORDERS: usize = 4;

/// Pause before a listening address or key that the kernel refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What the keeper is told.
pub enum Order {
    Reload {
        confirm: Option<Duration>,
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// What would a reload of this text (with its name), or of the file, change?
    Diff {
        text: Option<(String, String)>,
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    Confirm {
        reply: oneshot::Sender<bool>,
    },
}

/// The keeper's door.
#[derive(Clone)]
pub struct Keeper {
    orders: mpsc::Sender<Order>,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    config: Arc<Config>,
    state: LastReload,
}

impl Keeper {
    pub(super) async fn order(&self, order: Order) -> Result<(), Gone> {
        self.orders.send(order).await.map_err(|_| Gone)
    }

    pub fn config(&self) -> Arc<Config> {
        self.lock().config.clone()
    }

    pub fn state(&self) -> LastReload {
        self.lock().state.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work behind the door.
pub struct Keeping {
    keeper: Keeper,
    orders: mpsc::Receiver<Order>,
    path: PathBuf,
    listeners: Listeners,
    /// The configuration to go back to, and when.
    probation: Option<(Instant, Arc<Config>)>,
    /// Something could not be listened on.
    again: Option<Instant>,
    secrets: secrets::Watch,
    /// When password files are looked at next.
    look: Instant,
    services: Services,
}

/// What serves operators, each with the settings that it was started with.
#[derive(Default)]
struct Services {
    control: Option<(config::model::Control, JoinHandle<()>)>,
    http: Option<(SocketAddr, JoinHandle<()>)>,
    blocks: Option<(PathBuf, JoinHandle<()>)>,
}

/// Ends a service whose settings are no longer these, and starts one if there is something to serve.
fn arrange<S: PartialEq>(running: &mut Option<(S, JoinHandle<()>)>, wanted: Option<S>, start: impl FnOnce(&S) -> JoinHandle<()>) {
    if running.as_ref().map(|(settings, _)| settings) == wanted.as_ref() {
        return;
    }
    if let Some((_, task)) = running.take() {
        task.abort();
    }
    *running = wanted.map(|settings| {
        let task = start(&settings);
        (settings, task)
    });
}

impl Services {
    fn arrange(&mut self, config: &Arc<Config>, handle: &Handle) {
        arrange(&mut self.control, Some(config.control.clone()), |_| {
            tasks::service("control", control::serve(handle.clone(), config.clone()))
        });
        arrange(&mut self.http, config.metrics.listen, |_| tasks::service("http", http::serve(handle.clone(), config.clone())));
        arrange(&mut self.blocks, config.pods.file.clone(), |file| tasks::service("blocks", blocks::serve(handle.clone(), file.clone())));
    }
}

/// Starts with the configuration that was read at the start.
pub fn keep(config: Config, path: PathBuf, listeners: Listeners) -> (Keeper, Keeping) {
    let state = LastReload { successful: true, at: SystemTime::now(), error: None, unconfirmed: false };
    let (sender, orders) = mpsc::channel(ORDERS);
    let keeper = Keeper { orders: sender, shared: Arc::new(Mutex::new(Shared { config: Arc::new(config), state })) };
    (
        keeper.clone(),
        Keeping {
            keeper,
            orders,
            path,
            listeners,
            probation: None,
            again: None,
            secrets: secrets::Watch::default(),
            look: Instant::now(),
            services: Services::default(),
        },
    )
}

impl Keeping {
    /// Until the daemon ends.
    ///
    /// # Errors
    /// None; the shape is that of a service.
    pub async fn serve(mut self, handle: Handle) -> std::io::Result<()> {
        self.arrange(&handle);
        loop {
            let look = secrets::has_files(&self.keeper.config()).then_some(self.look);
            let deadline = [self.probation.as_ref().map(|p| p.0), self.again, look].into_iter().flatten().min();
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(order) = self.orders.recv() => self.obey(order, &handle).await,
                () = sleep => self.on_time(&handle).await,
            }
        }
    }

    async fn obey(&mut self, order: Order, handle: &Handle) {
        let heard = match order {
            Order::Reload { confirm, reply } => reply.send(self.reload(confirm, handle).await).is_ok(),
            Order::Diff { text, reply } => reply.send(self.diff(text, handle).await).is_ok(),
            Order::Confirm { reply } => {
                let waited = self.probation.take().is_some();
                self.keeper.lock().state.unconfirmed = false;
                reply.send(waited).is_ok()
            }
        };
        if !heard {
            tracing::debug!("who ordered a reload did not wait for the outcome");
        }
    }

    async fn on_time(&mut self, handle: &Handle) {
        let now = Instant::now();
        if self.again.is_some_and(|at| at <= now) {
            self.arrange(handle);
        }
        if self.look <= now {
            self.look = now + secrets::LOOK;
            let rotated = self.secrets.look(&self.keeper.config());
            if let Some(new) = rotated
                && self.apply(&Arc::new(new), handle).await.is_err()
            {
                tracing::debug!("the core ended before the new password came");
            }
        }
        if let Some((_, former)) = self.probation.take_if(|(at, _)| *at <= now) {
            tracing::warn!("the new configuration was not confirmed: the former one comes back");
            // Its keys may be older than the files.
            self.secrets = secrets::Watch::default();
            self.keeper.lock().state.unconfirmed = false;
            if self.apply(&former, handle).await.is_err() {
                tracing::debug!("the core ended before the former configuration came back");
            }
        }
    }

    async fn reload(&mut self, confirm: Option<Duration>, handle: &Handle) -> Result<Reloaded, String> {
        let outcome = self.read_and_apply(confirm, handle).await;
        let mut shared = self.keeper.lock();
        shared.state.at = SystemTime::now();
        shared.state.successful = outcome.is_ok();
        shared.state.error = outcome.as_ref().err().cloned();
        shared.state.unconfirmed = self.probation.is_some();
        outcome
    }

    async fn read_and_apply(&mut self, confirm: Option<Duration>, handle: &Handle) -> Result<Reloaded, String> {
        let (mut new, warnings) = read(&self.path)?;
        let old = self.keeper.config();
        secrets::keep_last_good(&mut new, &old);
        let new = Arc::new(new);
        let changes = self.apply(&new, handle).await.map_err(|gone| gone.to_string())?;
        if let Some(time) = confirm {
            // A second reload on probation still goes back to the configuration that was confirmed last.
            let former = self.probation.take().map_or(old, |(_, former)| former);
            self.probation = Some((Instant::now() + time, former));
        } else {
            self.probation = None;
        }
        Ok(Reloaded { changes, warnings, confirm_seconds: confirm.map(|time| time.as_secs_f64()) })
    }

    async fn diff(&self, text: Option<(String, String)>, handle: &Handle) -> Result<Reloaded, String> {
        let (mut new, warnings) = match text {
            Some((name, text)) => usable(config::check_text(&name, &text))?,
            None => read(&self.path)?,
        };
        secrets::keep_last_good(&mut new, &self.keeper.config());
        let params = Box::new(config::params::speaker(&new));
        let changes = handle.plan(params, false).await.map_err(|gone| gone.to_string())?;
        Ok(Reloaded { changes, warnings, confirm_seconds: None })
    }

    async fn apply(&mut self, new: &Arc<Config>, handle: &Handle) -> Result<Vec<Change>, Gone> {
        let params = Box::new(config::params::speaker(new));
        let changes = handle.plan(params, true).await?;
        let old = std::mem::replace(&mut self.keeper.lock().config, new.clone());
        if old.log.level != new.log.level
            && let Err(error) = handle.set_log_level(&new.log.level.to_string())
        {
            tracing::error!(error, "the log keeps its level");
        }
        self.arrange(handle);
        Ok(changes)
    }

    /// Brings sockets and services to the configuration in force; what the kernel refuses is said and tried again.
    fn arrange(&mut self, handle: &Handle) {
        let config = self.keeper.config();
        let refused = self.listeners.arrange(&addresses(&config), guests(&config::params::speaker(&config)));
        for refused in &refused {
            tracing::error!("{refused}; tried again in {AGAIN:?}");
        }
        self.again = (!refused.is_empty()).then(|| Instant::now() + AGAIN);
        self.services.arrange(&config, handle);
    }
}

/// The configuration and its warnings.
///
/// # Errors
/// The report, or why the file cannot be read at all.
fn read(path: &Path) -> Result<(Config, Vec<String>), String> {
    usable(config::load(path).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn usable(checked: config::Checked) -> Result<(Config, Vec<String>), String> {
    let warnings = checked.report.findings().iter().map(|finding| finding.problem.to_string()).collect();
    checked.config.map(|config| (config, warnings)).ok_or_else(|| checked.report.to_string())
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.listen.addresses.iter().map(|addr| SocketAddr::new(*addr, config.listen.port)).collect()
}

/// Who may come, from the peers and ranges of the router.
fn guests(params: &Params) -> Guests {
    let mut guests = Guests::default();
    for peer in &params.peers {
        guests.hosts.insert(peer.session.remote.addr, guest(&peer.session));
    }
    guests.ranges = params.ranges.iter().map(|range| (range.net, guest(&range.template.session))).collect();
    guests.ranges.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
    guests
}

fn guest(session: &crate::peer::Params) -> Guest {
    let transport = session.transport();
    Guest { ttl: transport.ttl, md5: transport.md5, user_timeout: transport.user_timeout }
}
