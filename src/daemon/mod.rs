//! The shell: sockets, clock, files and signals around the router that is a value.
//!
//! In: the configuration file, the network, signals. Out: sessions on the wire, routes in the kernel, lines in the log. It leaves every
//! decision about routes and sessions to [`crate::speaker`].
//!
//! Two threads. The **core** ([`core`], the process's first thread) has the sockets of BGP, the timers, the router and the monitor of
//! netlink; it opens no file, writes to no pipe and waits for no client. The **services** ([`services`]) have everything that can be made to
//! wait by somebody else: the control socket, HTTP, files, signals. Bounded queues join them: requests go to the core one way, each answer
//! comes back the other. A third thread writes the log ([`event_log`]) and drops lines rather than wait; a fourth keeps BFD's time ([`bfd`]), before
//! all others where the kernel allows it; a fifth, where RPKI caches are configured, reads what they say ([`core`]).
#![deny(unsafe_code)]

pub mod atomics;
pub mod bfd;
pub mod core;
pub mod counters;
pub mod doctor;
pub mod event_log;
pub mod netlink;
mod owner;
pub mod privilege;
pub mod protocol;
pub mod services;
mod state_file;
pub mod sys;
pub mod tasks;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::config::model::LogFormat;
use crate::speaker::{Remembered, Speaker};

use core::clock::Clock;
use core::event_queue::EventQueue;
use core::{Core, REQUESTS};
use counters::DaemonMetrics;
use event_log::{EventLog, Format, Log};
use netlink::Netlink;
use privilege::Kept;
use services::Services;
use services::instance::InstanceLock;
use state_file::StateFile;

/// Exit code of a daemon that could not start.
const CANNOT_START: u8 = 1;

/// Runs the daemon with a configuration that was read from `path`, until it is told to stop. `rights`: what [`privilege::drop_others`] said.
pub fn run(config: Config, path: PathBuf, rights: io::Result<Kept>) -> ExitCode {
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = match Log::start(&config.log.level.to_string(), format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("catbird: cannot start the log: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    match rights.and_then(|kept| serve(config, path, &log, kept)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Everything up, then the core until it ends.
fn serve(config: Config, path: PathBuf, log: &Log, kept: Kept) -> io::Result<()> {
    let config = services::kubernetes::Configured::at_the_start(config);
    let in_force = config.in_force.clone();
    let lock = InstanceLock::take(&in_force.control.socket)?;
    let descriptors = sys::raise_descriptor_limit()?;
    if !kept.net_admin {
        tracing::warn!("without CAP_NET_ADMIN no route is written and no TCP-MD5 key is set");
    }
    tracing::info!(version = protocol::VERSION, node = in_force.node.name, asn = %in_force.node.asn, descriptors, capabilities = %kept, "catbird starts");
    for finding in doctor::look().into_iter().filter(|finding| finding.severity > doctor::Severity::Fine) {
        tracing::warn!(what = finding.subject, cure = finding.cure, "{}", finding.text);
    }
    let counters = Arc::new(DaemonMetrics::new(log.counters(), descriptors));
    let discovery = services::ndp::open();
    privilege::drop_raw();
    let bfd = bfd::BfdThread::start(counters.clone())?;
    privilege::drop_scheduling();
    let (queue, events) = EventQueue::new(counters.clone());
    let (requests, asked) = mpsc::channel(REQUESTS);
    let mut params = crate::config::params::speaker(&in_force);
    let names = owner::OwnerFile::beside(&in_force.control.socket);
    names.open(&mut params.fib);
    let removed_by = std::time::Instant::now() + params.recovery.deadline;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let kernel = {
        let _entered = runtime.enter();
        Netlink::start(netlink::Settings::new(&params.fib)).map_err(|error| explain_netlink(&error))?
    };
    counters.netlink.get_or_init(|| kernel.0.counters());
    let event_log = EventLog::new(log);
    let (state, known) = StateFile::open(&in_force.control.socket);
    let (remember, news) = watch::channel(None);
    let start = services::Start {
        config,
        path,
        requests,
        event_log: event_log.clone(),
        level: log.level(),
        counters,
        lock,
        names: names.clone(),
        net_admin: kept.net_admin,
        state: (state.clone(), news.clone()),
        discovery,
    };
    let services = Services::start(start)?;
    let clock = Clock::start();
    let mut speaker = Speaker::new(params, clock.now(), seed());
    known.into_iter().for_each(|known| speaker.recall(still_good(known, &in_force)));
    runtime.block_on(Core::new(speaker, clock, (events, asked), queue, kernel, bfd, (event_log, remember)).run());
    // A service may wait for a file that never comes; the process ends all the same.
    runtime.shutdown_background();
    services.stop();
    if let Some(Err(error)) = news.borrow().as_ref().map(|known| state.write(known)) {
        tracing::debug!(%error, "the last state was not written down");
    }
    if std::time::Instant::now() > removed_by {
        names.forget_former();
    }
    tracing::info!("catbird has stopped");
    Ok(())
}

/// Blocks that were added before, but for those that the configuration of now speaks against.
fn still_good(mut known: Remembered, config: &Config) -> Remembered {
    known.blocks.retain(|block| match config.objection_to_block(block) {
        Some(why) => {
            tracing::warn!(%block, why, "a block that was added before is announced no more");
            false
        }
        None => true,
    });
    known
}

/// What cannot be had at the start, with cause and cure.
fn explain_netlink(error: &io::Error) -> io::Error {
    let cure = match error.kind() {
        io::ErrorKind::OutOfMemory => {
            "; the sysctl net.core.optmem_max bounds what a socket may keep: 20480, the kernel's own default, is enough"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot read the kernel's routes by netlink: {error}{cure}"))
}

/// Of the core's jitter; the standard library seeds each of its hashers from the kernel's randomness.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
