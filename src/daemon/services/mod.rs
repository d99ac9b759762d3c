//! Everything that somebody else can make wait: operators, monitors, files, signals. On a thread of its own.
//!
//! In: requests of clients, files as they change, signals. Out: requests to the core through a bounded queue, answers to clients. What
//! hangs here (a client that does not read, storage that does not answer) hangs alone: the core goes on, and so do the other services.

pub mod api;
pub mod bird;
pub mod block_file;
pub mod clients;
pub mod cni;
pub mod config_handle;
pub mod config_manager;
pub mod control;
pub mod files;
pub mod forwarding;
pub mod handle;
pub mod http;
pub mod instance;
pub mod kernel_health;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "nothing watches then"))]
pub mod kubernetes;
pub mod memory;
pub mod metrics;
pub mod ndp;
pub mod neighbours;
pub mod password_files;
pub mod readiness;
pub mod signals;
pub mod systemd;
pub mod tcp_md5_stats;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};

use crate::speaker::Remembered;

use super::core::Request;
use super::counters::DaemonMetrics;
use super::event_log::{EventLog, LogLevel};
use super::owner::OwnerFile;
use super::state_file::StateFile;
use super::tasks;
use handle::DaemonHandle;
use instance::InstanceLock;
use kubernetes::Configured;

/// Files that are read at one time at most.
const FILE_THREADS: usize = 8;

/// How long the end waits for the services to put away their sockets.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the services begin with.
pub struct Start {
    /// As read at the start.
    pub config: Configured,
    /// Where the configuration came from.
    pub path: PathBuf,
    /// To the core.
    pub requests: mpsc::Sender<Request>,
    /// What happens, for monitors.
    pub event_log: EventLog,
    /// Of the log.
    pub level: LogLevel,
    /// Of the shell.
    pub counters: Arc<DaemonMetrics>,
    /// That there is one daemon with this control socket.
    pub lock: InstanceLock,
    /// Under which names we write routes.
    pub names: OwnerFile,
    /// The process has CAP_NET_ADMIN.
    pub net_admin: bool,
    pub state: (StateFile, watch::Receiver<Option<Remembered>>),
    /// Of router discovery, or why there is none.
    pub discovery: io::Result<socket2::Socket>,
}

/// The running thread.
pub struct Services {
    stop: oneshot::Sender<()>,
    ended: Receiver<()>,
}

impl Services {
    /// Starts the thread; what cannot be had yet (a socket, a file) is tried again by its service.
    ///
    /// # Errors
    /// The kernel's, for want of a thread or of descriptors.
    pub fn start(start: Start) -> io::Result<Services> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(FILE_THREADS).build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = sync_channel(1);
        thread::Builder::new().name("catbird-services".into()).spawn(move || {
            runtime.block_on(async move {
                spawn_all(start);
                // An error says that the other end was dropped, which is how we are told.
                let _stopped = stopped.await;
            });
            // Drops the services, and with them their sockets; a thread that waits for storage is left behind.
            runtime.shutdown_background();
            let _nobody_waits = end.send(());
        })?;
        Ok(Services { stop, ended })
    }

    /// Ends the services, and waits for that only for a bounded time.
    pub fn stop(self) {
        drop(self.stop);
        if self.ended.recv_timeout(FAREWELL).is_err() {
            tracing::debug!("the services had not ended when the process did");
        }
    }
}

fn spawn_all(start: Start) {
    let Start { config, path, requests, event_log, level, counters, lock, names, net_admin, state: (state, news), discovery } = start;
    let (config, manager) = config_manager::new(config, path, counters.clone(), lock, names);
    let handle = DaemonHandle::new(requests, config, event_log.clone(), level, counters);
    tasks::service("configuration", manager.serve(handle.clone()));
    tasks::service("signals", signals::serve(handle.clone()));
    tasks::service("TCP-MD5", tcp_md5_stats::serve(handle.clone()));
    tasks::service("kernel", kernel_health::serve(handle.clone(), net_admin));
    tasks::service("systemd", systemd::serve(handle.clone()));
    tasks::service("router discovery", ndp::serve(handle.clone(), discovery));
    tasks::service("memory", memory::serve(handle));
    tasks::service("log", event_log.report());
    tasks::service("state", state.serve(news));
}
