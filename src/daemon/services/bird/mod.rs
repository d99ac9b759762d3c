//! Sockets that answer as BIRD's do, for what reads those on a Calico node: calico-node's status reporter and probes, `calicoctl node status`,
//! people's scripts.
//!
//! In: lines on `bird.ctl` (IPv4) and `bird6.ctl` (IPv6) in the folder of `[control] bird_sockets`. Out: replies in BIRD's form: status, protocols,
//! routes. Nothing can be changed here. What there is to say comes page by page from whatever is behind the [`RouterApi`]; [`lines`] writes it.
//!
//! A socket at which somebody answers is left alone: a BIRD that still runs. Clients are few, their lines short, and who reads nothing is let go.

mod lines;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::api::{RouterApi, answers};
use super::clients::{Clients, Limits, Place, Watched};
use super::control::bind;
use crate::api::{Answer, BlockRow, PeerRow, Question, RouteFilter, Status};
use crate::config::model::Control;
use lines::{Asked, Hops, Lookup, Moment, Routes, Side};

/// Of each socket.
const CLIENTS: Limits = Limits { total: 8, per_origin: 8 };
/// Pause before a socket is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Who says nothing is let go after this; scripts leave a `birdc` open.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// Who does not read is let go after this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of the longest line that is read.
const LINE_OCTETS: u64 = 1024;
/// Next hops whose way is shown; routes by others are shown by their next hop.
const HOPS: usize = 20_000;

/// In warnings.
const TOPIC: &str = "bird sockets";

/// Serves both until the task is dropped.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A, folder: PathBuf, mode: u32) -> io::Result<()> {
    let (v4, v6) = tokio::join!(one(api.clone(), &folder, mode, Side::V4), one(api, &folder, mode, Side::V6));
    v4.and(v6)
}

async fn one<A: RouterApi>(api: A, folder: &Path, mode: u32, side: Side) -> io::Result<()> {
    let control = Control { socket: folder.join(side.file()), mode };
    let topic = if side == Side::V4 { TOPIC } else { "bird sockets (IPv6)" };
    let mut said = String::new();
    let (listener, _path) = loop {
        match bound(&control) {
            Ok(bound) => break bound,
            Err(why) if why != said => {
                tracing::warn!("{why}; tried again every {RETRY_INTERVAL:?}");
                api.counters().warn(topic, vec![why.clone()]);
                said = why;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    };
    api.counters().warn(topic, Vec::new());
    accept(listener, &api, side).await
}

/// A folder that is not there is none of ours to make: calico-node's pod shares it.
fn bound(control: &Control) -> Result<(UnixListener, super::control::SocketPath), String> {
    let at = control.socket.display();
    match control.socket.parent() {
        Some(folder) if folder.is_dir() => {}
        _ => return Err(format!("{at} cannot be served: its folder is not there")),
    }
    if std::os::unix::net::UnixStream::connect(&control.socket).is_ok() {
        return Err(format!("{at} is served by another daemon: does BIRD still run?"));
    }
    bind(control, &mut None).map_err(|error| error.to_string())
}

async fn accept<A: RouterApi>(listener: UnixListener, api: &A, side: Side) -> io::Result<()> {
    let clients = Clients::new(CLIENTS);
    loop {
        match listener.accept().await {
            // One too many is closed without a word, as BIRD has none for it.
            Ok((stream, _)) => {
                if let Some(place) = clients.enter(()) {
                    admit(stream, place, api.clone(), side);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "BIRD's socket: a client could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit<A: RouterApi>(stream: UnixStream, place: Place<()>, api: A, side: Side) {
    let (started, start) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let Ok(place) = start.await else { return };
        if let Err(error) = Client::new(stream, place, api, side).serve().await {
            tracing::debug!(%error, "BIRD's socket: a client went away");
        }
    });
    place.serve_by(task.abort_handle());
    if started.send(place).is_err() {
        tracing::debug!("BIRD's socket: a client went away before it was served");
    }
}

/// One connection.
struct Client<A> {
    lines: BufReader<OwnedReadHalf>,
    writer: Watched<OwnedWriteHalf>,
    place: Place<()>,
    api: A,
    side: Side,
}

impl<A: RouterApi> Client<A> {
    fn new(stream: UnixStream, place: Place<()>, api: A, side: Side) -> Client<A> {
        let (reader, writer) = stream.into_split();
        let writer = Watched::new(writer, place.activity.clone(), WRITE_TIMEOUT);
        Client { lines: BufReader::new(reader), writer, place, api, side }
    }

    async fn serve(mut self) -> io::Result<()> {
        self.say(&lines::banner()).await?;
        while let Some(line) = self.line().await? {
            let _answering = self.place.activity.answer();
            match lines::asked(&line) {
                Asked::Nothing => {}
                Asked::Quit => return Ok(()),
                Asked::Unknown(why) => self.say(&format!("{why}\n")).await?,
                Asked::Status => self.status().await?,
                Asked::Protocols { name, details } => self.protocols(name.as_deref(), details).await?,
                Asked::Routes(routes) => self.routes(&routes).await?,
            }
        }
        Ok(())
    }

    /// `None` at the end.
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(LINE_OCTETS);
        let read = bounded.read_until(b'\n', &mut line);
        let n = tokio::time::timeout(READ_TIMEOUT, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if n == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes()).await
    }

    /// The router's, and the time of it.
    async fn now(&self) -> io::Result<(Status, Moment)> {
        match self.api.query(Question::Status).await {
            Some(Answer::Status(status)) => {
                let now = SystemTime::now();
                let reconfigured = self.api.last_reload().at;
                let moment = Moment { now, started: ago(now, status.uptime_seconds), reconfigured };
                Ok((*status, moment))
            }
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn status(&mut self) -> io::Result<()> {
        let (status, moment) = self.now().await?;
        self.say(&lines::status(&status, &moment)).await
    }

    async fn protocols(&mut self, name: Option<&str>, details: bool) -> io::Result<()> {
        let (_, moment) = self.now().await?;
        let side = self.side;
        let mut table = lines::Protocols::new(&moment, name, details);
        let first = table.own();
        self.say(&first).await?;
        let mut pages = answers(self.api.clone(), Question::Peers { cursor: 0 });
        while let Some(Answer::Peers(page)) = pages.next().await {
            for row in page.rows.iter().filter(|row| is_of(row, side)) {
                let detail = if details && table.means(&row.name) { self.detail(&row.name).await } else { None };
                let text = table.peer(row, detail.as_deref());
                self.say(&text).await?;
            }
        }
        let end = table.end();
        self.say(&end).await
    }

    async fn detail(&self, name: &str) -> Option<Box<crate::api::PeerDetail>> {
        match self.api.query(Question::Peer { peer: name.to_owned() }).await? {
            Answer::Peer(detail) => Some(detail),
            _ => None,
        }
    }

    async fn routes(&mut self, asked: &Routes) -> io::Result<()> {
        let (_, moment) = self.now().await?;
        let question = question(asked);
        let blocks = match self.api.query(Question::Blocks).await {
            Some(Answer::Blocks(rows)) => rows,
            _ => Vec::<BlockRow>::new(),
        };
        let mut writer = lines::Table::new(asked, &moment, self.side, self.hops().await, &blocks);
        let mut pages = answers(self.api.clone(), question);
        while let Some(answer) = pages.next().await {
            match answer {
                Answer::Routes(page) | Answer::Received(page) | Answer::Advertised(page) => {
                    let text: String = page.rows.iter().map(|row| writer.route(row)).collect();
                    self.say(&text).await?;
                }
                _ => return self.say("8001 No such protocol or network\n").await,
            }
        }
        let end = writer.end();
        self.say(&end).await
    }

    /// By which way each next hop is reached.
    async fn hops(&self) -> Hops {
        let mut hops = Hops::default();
        let mut pages = answers(self.api.clone(), Question::Nexthops { cursor: 0 });
        while let Some(Answer::Nexthops(page)) = pages.next().await {
            let room = HOPS.saturating_sub(hops.len());
            hops.extend(page.rows.into_iter().filter_map(|row| Some((row.address, row.resolution.hops.into_iter().next()?))).take(room));
        }
        hops
    }
}

fn question(asked: &Routes) -> Question {
    match &asked.lookup {
        Lookup::ExportedTo(peer) => Question::Advertised { peer: peer.clone(), cursor: 0 },
        Lookup::ReceivedFrom(peer) => Question::Received { peer: peer.clone(), rejected: false, cursor: 0 },
        Lookup::All => Question::Routes { filter: RouteFilter { best: asked.primary, ..RouteFilter::default() }, cursor: 0 },
        Lookup::Prefix(net) => {
            Question::Routes { filter: RouteFilter { net: Some(*net), best: asked.primary, ..RouteFilter::default() }, cursor: 0 }
        }
        Lookup::For(address) => {
            Question::Routes { filter: RouteFilter { address: Some(*address), best: asked.primary, ..RouteFilter::default() }, cursor: 0 }
        }
    }
}

fn is_of(row: &PeerRow, side: Side) -> bool {
    side.is(row.address.contains(':'))
}

fn ago(now: SystemTime, seconds: f64) -> SystemTime {
    let age = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
