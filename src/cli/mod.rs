//! The operator's side: what was typed becomes a request, what comes back becomes a table or JSON.
//!
//! In: arguments. Out: text on standard output, one sentence on standard error if it did not work, and an exit code. Everything is asked of
//! the daemon over its control socket (`daemon::protocol`), except what concerns files alone: `check`, `convert` and `diff`,
//! of configurations and of objects.

pub mod args;
pub mod client;
mod completions;
mod config_commands;
mod convert;
pub mod decode;
mod doctor;
mod man;
mod mcp;
mod objects;
mod output;
mod path;
mod rows;
mod schema;
mod simulate;
mod tables;
mod top;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::api::{Answer, BfdRow, Command as RouterCommand, Page, PeerRow, Question, RouteFilter, RpkiCacheRow};
use crate::daemon::protocol::{Reply, Request};
use args::{Args, BlockCommand, Command, Direction, Format, Kind, LogCommand, PeerCommand, Target};
use client::{ClientError, Replies, ask};
use output::{Listing, Output};
use rows::Row;

/// What the process says to its caller; `catbird --help` tells the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or shown.
    Fine = 0,
    /// The daemon or the configuration said no.
    Refused = 1,
    /// A file, or the output, could not be read or written.
    Unreadable = 2,
    /// Nobody serves the control socket.
    NoDaemon = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl ClientError {
    fn exit(&self) -> Exit {
        match self {
            ClientError::NotRunning(_) | ClientError::Stale(_) | ClientError::NoPermission(_) => Exit::NoDaemon,
            ClientError::Other { .. } | ClientError::Silent { .. } | ClientError::Strange(_) | ClientError::Failed(_) => Exit::Refused,
            ClientError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
            ClientError::Output(_) => Exit::Refused,
        }
    }
}

/// Does what was typed.
pub fn main(args: Args) -> ExitCode {
    if let Command::Run { config } = &args.command {
        return run(config);
    }
    let mut out = Output::new(args.form());
    let outcome = match &args.command {
        Command::Check { file, objects: Some(objects), flavour, strict, node } => {
            let asked = objects::Asked { file: file.as_deref(), node: node.as_deref(), flavour: *flavour };
            objects::check(&mut out, objects, &asked, *strict)
        }
        Command::Check { file, strict, node, .. } => {
            let file = file.as_deref().unwrap_or(Path::new(args::DEFAULT_FILE));
            config_commands::check(&mut out, file, *strict, node.as_deref())
        }
        Command::Decode(what) => Ok(decode::run(what, args.form() == Format::Json)),
        Command::Convert(what) => convert::run(&mut out, what),
        Command::Simulate(what) => simulate::run(&mut out, what),
        Command::Diff { file, objects: both, flavour, all, node, .. } if !both.is_empty() => {
            let asked = objects::Asked { file: file.as_deref(), node: node.as_deref(), flavour: *flavour };
            match both.as_slice() {
                [old, new] => objects::diff(&mut out, old, new, &asked, *all),
                _ => Ok(Exit::Unreadable),
            }
        }
        Command::Diff { file: Some(file), from: Some(from), node, .. } => config_commands::diff(&mut out, from, file, node.as_deref()),
        Command::Completions { shell } => {
            out.octets(completions::script(*shell).as_bytes()).map(|()| Exit::Fine).map_err(ClientError::from)
        }
        Command::Man { folder } => Ok(write_pages(folder)),
        Command::Doctor => doctor::run(&mut out),
        Command::Path { from, to, mark, port, node } => {
            let asked = path::Asked { socket: &args.socket, from, to, mark: *mark, port: *port, nodes: node };
            path::run(&mut out, &asked)
        }
        Command::Mcp => mcp::serve(&args.socket),
        Command::Top { interval } => top::run(&args.socket, *interval),
        Command::Schema => out.object(&schema::document()).map(|()| Exit::Fine).map_err(ClientError::from),
        command => Client { out: &mut out, args: &args }.run(command),
    };
    match outcome.and_then(|exit| Ok(out.flush().map(|()| exit)?)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            // somebody who reads only the head of our output has seen enough
            if !matches!(&error, ClientError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe) {
                eprintln!("catbird: {error}");
            }
            error.exit().into()
        }
    }
}

fn write_pages(folder: &Path) -> Exit {
    match man::write(folder) {
        Ok(_) => Exit::Fine,
        Err(error) => {
            eprintln!("catbird: cannot write manual pages into {}: {error}", folder.display());
            Exit::Unreadable
        }
    }
}

/// The daemon, after the diagnostics of its configuration.
fn run(path: &Path) -> ExitCode {
    // Before the files are read: what the daemon cannot read later it does not read at its start either.
    let rights = crate::daemon::privilege::drop_others();
    match config_commands::to_run(path) {
        Ok(config) => crate::daemon::run(config, path.to_owned(), rights),
        Err(exit) => exit.into(),
    }
}

/// Takes the page out of the answer that carries it.
macro_rules! pick {
    ($answer:ident, $kind:ident) => {
        match $answer {
            Answer::$kind(page) => Ok(page),
            other => Err(other),
        }
    };
}

/// One request and how its replies are shown.
struct Client<'a> {
    out: &'a mut Output,
    args: &'a Args,
}

impl Client<'_> {
    fn run(&mut self, command: &Command) -> Result<Exit, ClientError> {
        match command {
            Command::Status { .. } => self.status(),
            Command::Peers { down, kind } => self.peers(*down, kind),
            Command::Peer { peer, what } => self.peer(peer, what.as_ref()),
            Command::Routes { .. } => self.routes(filter(command)),
            Command::Why { what: Target::Net(net) } => self.one(Question::Why { net: net.trunc(), longest: false }),
            Command::Why { what: Target::Address(addr) } => self.one(Question::Why { net: (*addr).into(), longest: true }),
            Command::Fib { prefix } => {
                let replies = self.ask(Question::Fib { net: prefix.map(|net| net.trunc()), cursor: 0 })?;
                self.list(replies, |a| pick!(a, Fib))
            }
            Command::Nexthops => {
                let replies = self.ask(Question::Nexthops { cursor: 0 })?;
                self.list(replies, |a| pick!(a, Nexthops))
            }
            Command::Bfd { peer } => self.bfd(peer.clone()),
            Command::Rpki { prefix, asn } => self.rpki(Question::Rpki { net: prefix.map(|net| net.trunc()), asn: *asn }),
            Command::Bmp => {
                let replies = self.ask(Question::Bmp)?;
                self.list(replies, |answer| if let Answer::Bmp(rows) = answer { Ok(Page { rows, next: None }) } else { Err(answer) })
            }
            Command::Blocks => {
                let replies = self.ask(Question::Blocks)?;
                self.list(replies, |answer| if let Answer::Blocks(rows) = answer { Ok(Page { rows, next: None }) } else { Err(answer) })
            }
            Command::Block { what: BlockCommand::Add { block } } => self.command(RouterCommand::BlockAdd { net: *block }),
            Command::Block { what: BlockCommand::Remove { block } } => self.command(RouterCommand::BlockRemove { net: *block }),
            Command::Drain { no_wait, if_shutdown } => self.command(RouterCommand::Drain { wait: !no_wait, if_shutdown: *if_shutdown }),
            Command::Undrain => self.command(RouterCommand::Undrain),
            Command::Reload { confirm } => self.say(Request::Reload { confirm_seconds: confirm.map(|time| time.as_secs_f64()) }),
            Command::Confirm => self.say(Request::Confirm),
            Command::Log { what: LogCommand::Set { level } } => self.say(Request::LogLevel { level: word(*level) }),
            Command::Monitor { streams } => self.say(Request::Monitor { streams: streams.iter().map(|s| word(*s)).collect() }),
            Command::Diff { file, .. } => self.diff(file.as_deref()),
            // They need no daemon.
            Command::Run { .. } | Command::Check { .. } | Command::Decode(_) => Ok(Exit::Fine),
            Command::Completions { .. }
            | Command::Doctor
            | Command::Schema
            | Command::Convert(_)
            | Command::Simulate(_)
            | Command::Man { .. }
            | Command::Path { .. }
            | Command::Top { .. }
            | Command::Mcp => Ok(Exit::Fine),
        }
    }

    fn peers(&mut self, down: bool, kinds: &[Kind]) -> Result<Exit, ClientError> {
        let kinds: Vec<String> = kinds.iter().map(|kind| word(*kind)).collect();
        let wanted = |row: &PeerRow| {
            let up = row.state.eq_ignore_ascii_case("established");
            !(down && up) && (kinds.is_empty() || kinds.contains(&row.kind))
        };
        let replies = self.ask(Question::Peers { cursor: 0 })?;
        self.list(replies, |answer| match answer {
            Answer::Peers(page) => Ok(Page { rows: page.rows.into_iter().filter(wanted).collect(), next: page.next }),
            other => Err(other),
        })
    }

    fn routes(&mut self, filter: RouteFilter) -> Result<Exit, ClientError> {
        let count = filter.count;
        let replies = self.ask(Question::Routes { filter, cursor: 0 })?;
        if !count {
            return self.list(replies, |a| pick!(a, Routes));
        }
        let mut sum = (0, 0);
        for reply in replies {
            match reply? {
                Reply::Answer(Answer::Count { prefixes, paths, .. }) => sum = (sum.0 + prefixes, sum.1 + paths),
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            }
        }
        let (prefixes, paths) = sum;
        match self.out.json {
            true => self.out.object(&serde_json::json!({ "prefixes": prefixes, "paths": paths }))?,
            false => self.out.line(format!("{prefixes} prefixes, {paths} paths"))?,
        }
        Ok(Exit::Fine)
    }

    /// The list, with what concerns no single session below it; or one session.
    fn bfd(&mut self, peer: Option<String>) -> Result<Exit, ClientError> {
        let one = peer.is_some();
        for reply in self.ask(Question::Bfd { peer })? {
            let report = match reply? {
                Reply::Answer(Answer::Bfd(report)) => report,
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            };
            if self.out.json {
                self.out.object(&report)?;
            } else if one {
                report.sessions.iter().try_for_each(|row| tables::bfd(self.out, row))?;
            } else {
                let mut listing = Listing::new(BfdRow::COLUMNS);
                listing.page(self.out, &report.sessions, BfdRow::cells)?;
                listing.end(self.out, BfdRow::NOTHING)?;
            }
            if !self.out.json {
                tables::bfd_notes(self.out, &report, one)?;
            }
        }
        Ok(Exit::Fine)
    }

    fn rpki(&mut self, question: Question) -> Result<Exit, ClientError> {
        for reply in self.ask(question)? {
            let report = match reply? {
                Reply::Answer(Answer::Rpki(report)) => report,
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            };
            match (self.out.json, &report.verdict) {
                (true, _) => self.out.object(&report)?,
                (false, Some(verdict)) => tables::verdict(self.out, verdict)?,
                (false, None) => {
                    let mut listing = Listing::new(RpkiCacheRow::COLUMNS);
                    listing.page(self.out, &report.caches, RpkiCacheRow::cells)?;
                    listing.end(self.out, RpkiCacheRow::NOTHING)?;
                    tables::rpki(self.out, &report)?;
                }
            }
        }
        Ok(Exit::Fine)
    }

    fn diff(&mut self, file: Option<&Path>) -> Result<Exit, ClientError> {
        let text = match file.map(|file| std::fs::read_to_string(file).map_err(|error| (file, error))).transpose() {
            Ok(text) => text,
            Err((file, error)) => {
                eprintln!("catbird: cannot read {}: {error}", file.display());
                return Ok(Exit::Unreadable);
            }
        };
        let name = file.map_or_else(String::new, |file| file.display().to_string());
        self.say(Request::Diff { name, text })
    }

    fn send(&self, request: &Request) -> Result<Replies, ClientError> {
        ask(&self.args.socket, request)
    }

    fn ask(&self, question: Question) -> Result<Replies, ClientError> {
        self.send(&Request::Query(question))
    }

    fn command(&mut self, command: RouterCommand) -> Result<Exit, ClientError> {
        self.say(Request::Command(command))
    }

    fn one(&mut self, question: Question) -> Result<Exit, ClientError> {
        self.say(Request::Query(question))
    }

    fn status(&mut self) -> Result<Exit, ClientError> {
        self.say(Request::Status)
    }

    fn peer(&mut self, peer: &str, what: Option<&PeerCommand>) -> Result<Exit, ClientError> {
        let peer = peer.to_owned();
        match what {
            None => self.one(Question::Peer { peer }),
            Some(PeerCommand::Received { rejected }) => {
                let replies = self.ask(Question::Received { peer, rejected: *rejected, cursor: 0 })?;
                self.list(replies, |a| pick!(a, Received))
            }
            Some(PeerCommand::Advertised) => {
                let replies = self.ask(Question::Advertised { peer, cursor: 0 })?;
                self.list(replies, |a| pick!(a, Advertised))
            }
            Some(PeerCommand::Down { message }) => self.command(RouterCommand::PeerDown { peer, text: message.clone() }),
            Some(PeerCommand::Up) => self.command(RouterCommand::PeerUp { peer }),
            Some(PeerCommand::Clear { hard }) => self.command(RouterCommand::PeerClear { peer, hard: *hard }),
            Some(PeerCommand::Refresh { direction: Direction::In }) => self.command(RouterCommand::RefreshIn { peer }),
            Some(PeerCommand::Refresh { direction: Direction::Out }) => self.command(RouterCommand::RefreshOut { peer }),
        }
    }

    /// A list that comes in pages: sorted, if it is not so long that holding it would cost more than it helps.
    fn list<T: Row>(&mut self, replies: Replies, page: impl Fn(Answer) -> Result<Page<T>, Answer>) -> Result<Exit, ClientError> {
        let mut listing = Listing::new(T::COLUMNS);
        let mut rows: Vec<T> = Vec::new();
        let mut notes = Vec::new();
        let mut sorted = true;
        for reply in replies {
            match reply? {
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                Reply::Answer(answer) => rows.extend(page(answer).map_err(|other| ClientError::Strange(format!("{other:?}")))?.rows),
                Reply::Note(text) => notes.push(text),
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            }
            if rows.len() > rows::SORTED || !sorted {
                sorted = false;
                listing.page(self.out, &rows, T::cells)?;
                rows.clear();
            }
        }
        rows.sort_by_cached_key(T::key);
        listing.page(self.out, &rows, T::cells)?;
        if !sorted {
            eprintln!("catbird: more than {} rows, in the order of the table", rows::SORTED);
        }
        listing.end(self.out, T::NOTHING)?;
        for note in notes {
            eprintln!("catbird: {note}");
        }
        Ok(Exit::Fine)
    }

    /// Anything else: each reply says itself how it is shown.
    fn say(&mut self, request: Request) -> Result<Exit, ClientError> {
        for reply in self.send(&request)? {
            let reply = reply?;
            match &reply {
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why.clone())),
                Reply::Answer(Answer::Peer(peer)) if self.out.json => self.out.object(peer)?,
                Reply::Answer(Answer::Peer(peer)) => tables::peer(self.out, peer)?,
                Reply::Answer(Answer::Why(explanation)) if self.out.json => self.out.object(explanation)?,
                Reply::Answer(Answer::Why(explanation)) => tables::explanation(self.out, explanation)?,
                Reply::Answer(Answer::Done(text)) | Reply::Done(text) if self.out.json => {
                    self.out.object(&serde_json::json!({ "done": text }))?;
                }
                Reply::Answer(Answer::Done(text)) | Reply::Done(text) => self.out.line(text)?,
                Reply::Status(status) if self.out.json => self.out.object(status)?,
                Reply::Status(status) => {
                    tables::status(self.out, status)?;
                    if matches!(self.args.command, Command::Status { memory: true }) {
                        tables::memory(self.out, status)?;
                    }
                }
                Reply::Reloaded(reloaded) if self.out.json => self.out.object(reloaded)?,
                Reply::Reloaded(reloaded) => tables::reloaded(self.out, reloaded)?,
                Reply::Event { notice, time, .. } if self.out.json => self.event_line(notice, time)?,
                Reply::Event { text, level, time, .. } => self.event(&format!("{time} {text}"), level)?,
                Reply::Missed(n) => self.missed(*n)?,
                Reply::Answer(_) | Reply::Note(_) | Reply::Failed(_) | Reply::End => {
                    return Err(ClientError::Strange(format!("{reply:?}")));
                }
            }
        }
        Ok(Exit::Fine)
    }

    fn event(&mut self, text: &str, level: &str) -> io::Result<()> {
        let style = match level {
            "error" => output::Style::Bad,
            "warn" => output::Style::Warn,
            "debug" => output::Style::Dim,
            _ => output::Style::Plain,
        };
        let line = self.out.paint(&output::styled(text, style));
        self.out.line(line)?;
        self.out.flush()
    }

    fn event_line(&mut self, notice: &serde_json::Value, time: &str) -> io::Result<()> {
        self.out.json_line(&stamped(notice, time))?;
        self.out.flush()
    }

    fn missed(&mut self, n: u64) -> io::Result<()> {
        if self.out.json {
            return self.out.json_line(&serde_json::json!({ "event": "missed", "count": n }));
        }
        self.event(&format!("{n} events were missed: they came faster than they were read"), "warn")
    }
}

/// An event with its time.
fn stamped(notice: &serde_json::Value, time: &str) -> serde_json::Value {
    let mut notice = notice.clone();
    if let Some(fields) = notice.as_object_mut() {
        fields.insert("time".to_owned(), time.into());
    }
    notice
}

fn filter(command: &Command) -> RouteFilter {
    let Command::Routes { what, longer, peer, best, community, as_path, count } = command else { return RouteFilter::default() };
    let (net, address) = match what {
        None => (None, None),
        Some(Target::Address(address)) => (None, Some(*address)),
        Some(Target::Net(net)) => (Some(net.trunc()), None),
    };
    RouteFilter {
        net,
        address,
        longer: *longer,
        peer: peer.clone(),
        best: *best,
        community: community.clone(),
        as_path: as_path.clone(),
        count: *count,
    }
}

/// A clap word as it is typed.
fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}
