//! The shell: sockets, clock, files and signals around the router that is a value.
//!
//! In: the configuration file, the network, signals. Out: sessions on the wire, routes in the kernel, lines in the log. It leaves every
//! decision about routes and sessions to [`crate::speaker`], which it feeds through one bounded queue.
//!
//! One thread does the work: readers decode, the core decides and writes, and no wake-up crosses a thread.
#![deny(unsafe_code)]

pub mod blocks;
pub mod clock;
pub mod codec;
pub mod conn;
pub mod control;
pub mod core;
pub mod crowd;
pub mod desk;
pub mod dialer;
pub mod gauges;
pub mod handle;
pub mod http;
pub mod listener;
pub mod metrics;
pub mod netlink;
pub mod notices;
mod owner;
pub mod privilege;
pub mod protocol;
pub mod ready;
pub mod reload;
pub mod secrets;
pub mod signal;
pub mod sockopt;
pub mod tasks;
pub mod tcpext;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::model::LogFormat;
use crate::speaker::Speaker;

use clock::Clock;
use core::{Core, Inbox, REQUESTS};
use gauges::Gauges;
use handle::Handle;
use listener::Listeners;
use netlink::Netlink;
use notices::{Format, LogLevel, Notices};

/// Exit code of a daemon that could not start.
const CANNOT_START: u8 = 1;

/// Runs the daemon with a configuration that was read from `path`, until it is told to stop.
pub fn run(config: Config, path: PathBuf) -> ExitCode {
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let started = notices::start_log(&config.log.level.to_string(), format)
        .map_err(io::Error::other)
        .and_then(|log| Ok((log, Builder::new_current_thread().enable_all().build()?)))
        .and_then(|(log, runtime)| runtime.block_on(serve(config, path, log, Notices::new(format))));
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Everything up, then the core until it ends.
async fn serve(config: Config, path: PathBuf, log: LogLevel, notices: Notices) -> io::Result<()> {
    control::alone(&config.control.socket)?;
    let descriptors = sockopt::raise_descriptor_limit()?;
    // Before the writer's thread is started: capabilities are each thread's own.
    let kept = privilege::drop_others()?;
    if !kept.net_admin {
        tracing::warn!("without CAP_NET_ADMIN no route is written and no TCP-MD5 key is set");
    }
    let gauges = Arc::new(Gauges::default());
    let (inbox, words) = Inbox::new(gauges.clone());
    let (requests, asked) = mpsc::channel(REQUESTS);
    let clock = Clock::start();
    let mut params = crate::config::params::speaker(&config);
    let (names, before) = owner::OwnerFile::open(&config.control.socket, params.fib.owner());
    params.fib.former.extend(before);
    let removed_by = std::time::Instant::now() + params.recovery.deadline;
    let kernel = Netlink::start(netlink::Settings::new(&params.fib))?;
    gauges.netlink.get_or_init(|| kernel.0.counters());
    let (keeper, keeping) = reload::keep(config, path, Listeners::new(inbox.clone()));
    let config = keeper.config();
    let handle = Handle::new(requests, keeper, notices.clone(), log, gauges);
    tasks::service("reload", keeping.serve(handle.clone()));
    tasks::service("signals", signal::serve(handle));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = config.node.name, asn = %config.node.asn, descriptors, capabilities = %kept, "catbird starts");
    let speaker = Speaker::new(params, clock.now(), seed());
    Core::new(speaker, clock, (words, asked), inbox, kernel, notices).run().await;
    if std::time::Instant::now() > removed_by {
        names.forget_former();
    }
    tracing::info!("catbird has stopped");
    Ok(())
}

/// Of the core's jitter; the standard library seeds each of its hashers from the kernel's randomness.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
