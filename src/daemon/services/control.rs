//! The control socket: where `catbird status` and its like are answered, and the only place that takes orders.
//!
//! In: lines of JSON on a unix socket that only its owner and group may open. Out: lines of JSON; lists page by page, so that neither a
//! long table nor a slow reader holds up the protocol or fills the memory. Words are in `protocol`, deeds in whatever is behind the [`Desk`].

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use super::desk::{Desk, answers, full_status};
use super::protocol::{REQUEST_OCTETS, Reply, Request};
use crate::config::Config;
use crate::config::model::Control;
use crate::speaker::show::Command;
use crate::stats::{Level, Notice};

/// Operators that are served at one time; more wait at the door.
pub const CLIENTS: usize = 64;
/// Pause before the socket is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Who connects and says nothing is let go after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who does not read is let go after this.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Listens, and serves until the task is dropped. A socket that cannot be made is said, and tried again.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<D: Desk>(desk: D, config: Arc<Config>) -> io::Result<()> {
    let (listener, _path) = loop {
        match bind(&config.control) {
            Ok(bound) => break bound,
            Err(error) => tracing::error!(%error, "no orders can be given; tried again in {AGAIN:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // for want of descriptors: the next attempt waits a little instead of spinning
                tracing::warn!(%error, "control socket: a client could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(error) = Client::new(client, desk).serve().await {
                tracing::debug!(%error, "control socket: a client went away");
            }
            drop(place);
        });
    }
}

/// The socket's name, removed when nobody serves it any more.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    inode: Option<u64>,
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
fn bind(control: &Control) -> io::Result<(UnixListener, SocketPath)> {
    let path = &control.socket;
    alone(path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    }
    let mut fresh = path.clone().into_os_string();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    if fresh.exists() {
        fs::remove_file(&fresh)?;
    }
    let listener = UnixListener::bind(&fresh).map_err(|error| named(path, &error))?;
    fs::set_permissions(&fresh, Permissions::from_mode(control.mode))?;
    fs::rename(&fresh, path).map_err(|error| named(path, &error))?;
    Ok((listener, SocketPath { path: path.clone(), inode: inode(path) }))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
}

/// Two daemons with one configuration would fight over sessions and routes: the second asks here first, and does not start.
///
/// # Errors
/// Another daemon answers at this socket, or something stands there that is no socket.
pub fn alone(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
            let text = format!("control socket {}: something else stands there, and is not ours to remove", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => {
            let text = format!("control socket {}: another catbird answers there", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        // what is left of a daemon that died
        Err(_) => Ok(()),
    }
}

/// One connection: request after request until it closes.
struct Client<D> {
    lines: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    desk: D,
}

impl<D: Desk> Client<D> {
    fn new(stream: UnixStream, desk: D) -> Client<D> {
        let (reader, writer) = stream.into_split();
        Client { lines: BufReader::new(reader), writer, desk }
    }

    async fn serve(mut self) -> io::Result<()> {
        while let Some(line) = self.line().await? {
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
        let n = tokio::time::timeout(PATIENCE, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
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
        let write = self.writer.write_all(&line);
        tokio::time::timeout(READ_PATIENCE, write).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Ask(question) => {
                let mut pages = answers(self.desk.clone(), question);
                while let Some(answer) = pages.next().await {
                    self.say(&Reply::Answer(answer)).await?;
                }
                Ok(())
            }
            Request::Status => match full_status(&self.desk).await {
                Some(status) => self.say(&Reply::Status(Box::new(status))).await,
                None => self.ending().await,
            },
            Request::Order(command) => self.order(command).await,
            Request::Reload { confirm_seconds } => self.reload(confirm_seconds).await,
            Request::Diff { name, text } => {
                let reply = match self.desk.diff(text.map(|text| (name, text))).await {
                    Ok(plan) => Reply::Reloaded(plan),
                    Err(report) => Reply::Failed(report),
                };
                self.say(&reply).await
            }
            Request::Confirm => {
                let reply = match self.desk.confirm().await {
                    true => Reply::Done("the new configuration stays".into()),
                    false => Reply::Failed("no configuration waits to be confirmed".into()),
                };
                self.say(&reply).await
            }
            Request::LogLevel { level } => {
                let reply = match self.desk.set_log_level(&level) {
                    Ok(()) => Reply::Done(format!("the log's level is {level}")),
                    Err(why) => Reply::Failed(why),
                };
                self.say(&reply).await
            }
            Request::Monitor { streams } => self.monitor(&streams).await,
        }
    }

    async fn order(&mut self, command: Command) -> io::Result<()> {
        if let Command::BlockAdd { net } = &command
            && let Some(why) = self.desk.config().objection_to_block(net)
        {
            return self.say(&Reply::Failed(format!("{net} cannot be a block: {why}"))).await;
        }
        match self.desk.order(command).await {
            Some(answer) => self.say(&Reply::Answer(answer)).await,
            None => self.ending().await,
        }
    }

    async fn ending(&mut self) -> io::Result<()> {
        self.say(&Reply::Failed("the daemon is ending".into())).await
    }

    async fn reload(&mut self, confirm_seconds: Option<f64>) -> io::Result<()> {
        let confirm = match confirm_seconds.map(Duration::try_from_secs_f64).transpose() {
            Ok(confirm) => confirm,
            Err(error) => return self.say(&Reply::Failed(format!("confirm_seconds: {error}"))).await,
        };
        let reply = match self.desk.reload(confirm).await {
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
        let mut notices = self.desk.monitor();
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                // whatever it says now, it wants something else than to listen on
                _ = self.lines.fill_buf() => return Ok(()),
            };
            match notice {
                Ok(notice) if streams.is_empty() || streams.iter().any(|s| s == notice.stream()) => {
                    self.say(&event(&notice)?).await?;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(n)) => self.say(&Reply::Missed(n)).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

fn event(notice: &Notice) -> io::Result<Reply> {
    let level = match notice.level() {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    Ok(Reply::Event {
        text: notice.to_string(),
        stream: notice.stream().to_owned(),
        level: level.to_owned(),
        notice: serde_json::to_value(notice)?,
    })
}

#[cfg(test)]
mod tests;
