//! The control socket: where `catbird status` and its like are answered, and the only place that takes commands.
//!
//! In: lines of JSON on a unix socket that only its owner and group may open. Out: lines of JSON; lists page by page, so that neither a
//! long table nor a slow reader holds up the protocol or fills the memory. Formats are in `protocol`, meaning in whatever is behind the
//! [`RouterApi`].
//!
//! A client that says nothing or reads nothing is let go after a bounded time, and at once when somebody else wants its place.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;

use super::api::{RouterApi, answers, full_status};
use super::block_file;
use super::clients::{Clients, Limits, Place, Watched};
use super::instance::InstanceLock;
use crate::api::{Command, Question};
use crate::config::Config;
use crate::config::model::Control;
use crate::daemon::event_log::{Stamped, rfc3339};
use crate::daemon::protocol::{MAX_CONFIRM, REQUEST_OCTETS, Reply, Request};
use crate::stats::Level;

/// Operators that are served at one time; they are all of one user or group, so the kernel's word for who they are divides nothing.
pub const CLIENTS: Limits = Limits { total: 64, per_origin: 64 };
/// Pause before the socket is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Who connects and says nothing is let go after this.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Who does not read is let go after this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Listens, and serves until the task is dropped. A socket that cannot be made is said, and tried again.
///
/// `lock`: of the daemon's start; another socket than its is locked here.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A, config: Arc<Config>, mut lock: Option<InstanceLock>) -> io::Result<()> {
    let (listener, _path) = loop {
        match bind(&config.control, &mut lock) {
            Ok(bound) => break bound,
            Err(error) => tracing::error!(%error, "no commands can be given; tried again in {RETRY_INTERVAL:?}"),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    };
    let clients = Clients::new(CLIENTS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match clients.enter(()) {
                Some(place) => admit(stream, place, api.clone()),
                None => turn_away(&stream),
            },
            Err(error) => {
                // for want of descriptors: the next attempt waits a little instead of spinning
                tracing::warn!(%error, "control socket: a client could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit<A: RouterApi>(stream: UnixStream, place: Place<()>, api: A) {
    let (started, start) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let Ok(place) = start.await else { return };
        if let Err(error) = Client::new(stream, place, api).serve().await {
            tracing::debug!(%error, "control socket: a client went away");
        }
    });
    place.serve_by(task.abort_handle());
    if started.send(place).is_err() {
        tracing::debug!("control socket: a client went away before it was served");
    }
}

/// A fresh socket has room for a line; if not, closing is all there is.
fn turn_away(stream: &UnixStream) {
    let text = format!("{} commands are being served and none of them waits; end a `catbird monitor`, or try again", CLIENTS.total);
    let mut line = serde_json::to_vec(&Reply::Failed(text)).unwrap_or_default();
    line.push(b'\n');
    if let Err(error) = stream.try_write(&line) {
        tracing::debug!(%error, "control socket: a client could not be turned away in words");
    }
}

/// The socket's name, removed when nobody serves it any more.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    inode: Option<u64>,
    _lock: InstanceLock,
}

impl Drop for SocketPath {
    /// Unless another daemon has put its own there meanwhile.
    fn drop(&mut self) {
        if inode(&self.path) == self.inode
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "control socket: its name stays behind");
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| std::os::unix::fs::MetadataExt::ino(&meta))
}

/// Binds under a name of our own, sets the mode, and moves it into place: nobody ever sees a socket with other rights, and what a dead
/// daemon left there is replaced in one step.
pub(super) fn bind(control: &Control, lock: &mut Option<InstanceLock>) -> io::Result<(UnixListener, SocketPath)> {
    let path = &control.socket;
    let lock = match lock.take_if(|lock| lock.is_for(path)) {
        Some(lock) => lock,
        None => InstanceLock::take(path)?,
    };
    let mut fresh = path.clone().into_os_string();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    if fresh.exists() {
        fs::remove_file(&fresh)?;
    }
    let listener = UnixListener::bind(&fresh).map_err(|error| named(path, &error))?;
    fs::set_permissions(&fresh, Permissions::from_mode(control.mode))?;
    fs::rename(&fresh, path).map_err(|error| named(path, &error))?;
    Ok((listener, SocketPath { path: path.clone(), inode: inode(path), _lock: lock }))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
}

/// One connection: request after request until it closes.
struct Client<A> {
    lines: BufReader<OwnedReadHalf>,
    writer: Watched<OwnedWriteHalf>,
    place: Place<()>,
    api: A,
}

impl<A: RouterApi> Client<A> {
    fn new(stream: UnixStream, place: Place<()>, api: A) -> Client<A> {
        let (reader, writer) = stream.into_split();
        let writer = Watched::new(writer, place.activity.clone(), WRITE_TIMEOUT);
        Client { lines: BufReader::new(reader), writer, place, api }
    }

    async fn serve(mut self) -> io::Result<()> {
        while let Some(line) = self.line().await? {
            let _answering = self.place.activity.answer();
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => self.answer(request).await?,
                Err(error) => self.say(&Reply::Failed(format!("not a request: {error}"))).await?,
            }
            self.say(&Reply::End).await?;
        }
        Ok(())
    }

    /// A request without its end of line; `None` at the end. Longer ones than are allowed are not read to their end.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = REQUEST_OCTETS as u64 + 1;
        let mut bounded = (&mut self.lines).take(limit);
        let read = bounded.read_until(b'\n', &mut line);
        let n = tokio::time::timeout(READ_TIMEOUT, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if n == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            self.say(&Reply::Failed(format!("a request is one line of at most {REQUEST_OCTETS} octets"))).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(line))
    }

    async fn say(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Query(question) => {
                let topic = matches!(question, Question::Blocks).then_some(block_file::TOPIC);
                let mut pages = answers(self.api.clone(), question);
                while let Some(answer) = pages.next().await {
                    self.say(&Reply::Answer(answer)).await?;
                }
                for text in topic.map(|topic| self.api.counters().warnings_of(topic)).unwrap_or_default() {
                    self.say(&Reply::Note(text)).await?;
                }
                Ok(())
            }
            Request::Status => match full_status(&self.api).await {
                Some(status) => self.say(&Reply::Status(Box::new(status))).await,
                None => self.ending().await,
            },
            Request::Command(command) => self.command(command).await,
            Request::Reload { confirm_seconds } => self.reload(confirm_seconds).await,
            Request::Diff { name, text } => {
                let reply = match self.api.diff(text.map(|text| (name, text))).await {
                    Ok(plan) => Reply::Reloaded(plan),
                    Err(report) => Reply::Failed(report),
                };
                self.say(&reply).await
            }
            Request::Confirm => {
                let reply = match self.api.confirm().await {
                    true => Reply::Done("the new configuration stays".into()),
                    false => Reply::Failed("no configuration waits to be confirmed".into()),
                };
                self.say(&reply).await
            }
            Request::LogLevel { level } => {
                let reply = match self.api.set_log_level(&level) {
                    Ok(()) => Reply::Done(format!("the log's level is {level}")),
                    Err(why) => Reply::Failed(why),
                };
                self.say(&reply).await
            }
            Request::Monitor { streams } => self.monitor(&streams).await,
        }
    }

    async fn command(&mut self, command: Command) -> io::Result<()> {
        if let Command::BlockAdd { net } = &command
            && let Some(why) = self.api.config().objection_to_block(net)
        {
            return self.say(&Reply::Failed(format!("{net} cannot be a block: {why}"))).await;
        }
        match self.api.command(command).await {
            Some(answer) => self.say(&Reply::Answer(answer)).await,
            None => self.ending().await,
        }
    }

    async fn ending(&mut self) -> io::Result<()> {
        self.say(&Reply::Failed("the daemon is ending".into())).await
    }

    async fn reload(&mut self, confirm_seconds: Option<f64>) -> io::Result<()> {
        let confirm = match confirm_seconds.map(confirm_time).transpose() {
            Ok(confirm) => confirm,
            Err(why) => return self.say(&Reply::Failed(why)).await,
        };
        let reply = match self.api.reload(confirm).await {
            Ok(mut reloaded) => {
                reloaded.confirm_seconds = confirm.map(|time| time.as_secs_f64());
                Reply::Reloaded(reloaded)
            }
            Err(report) => Reply::Failed(format!("nothing was changed:\n{report}")),
        };
        self.say(&reply).await
    }

    /// Until the client closes its end, or the daemon ends.
    async fn monitor(&mut self, streams: &[String]) -> io::Result<()> {
        let mut notices = self.api.monitor();
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                // whatever it says now, it wants something else than to listen on
                _ = self.lines.fill_buf() => return Ok(()),
            };
            match notice {
                Ok(happened) if streams.is_empty() || streams.iter().any(|s| s == happened.notice.stream()) => {
                    self.say(&event(&happened)?).await?;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(n)) => self.say(&Reply::Missed(n)).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

/// # Errors
/// It is no time in which somebody could confirm; in words.
fn confirm_time(seconds: f64) -> Result<Duration, String> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && *time <= MAX_CONFIRM);
    time.ok_or_else(|| format!("confirm_seconds: {seconds} is not between 0 and {} (a day)", MAX_CONFIRM.as_secs()))
}

fn event(happened: &Stamped) -> io::Result<Reply> {
    let notice = &happened.notice;
    let level = match notice.level() {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    Ok(Reply::Event {
        time: rfc3339(happened.at),
        text: notice.to_string(),
        stream: notice.stream().to_owned(),
        level: level.to_owned(),
        notice: serde_json::to_value(notice)?,
    })
}

#[cfg(test)]
mod tests;
