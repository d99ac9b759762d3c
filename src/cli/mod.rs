//! The operator's side: what was typed becomes a request, what comes back becomes a table or JSON.
//!
//! In: arguments. Out: text on standard output, one sentence on standard error if it did not work, and an exit code. Everything is asked of
//! the daemon over its control socket (`daemon::protocol`), except what concerns files alone: `check` and `diff`, of configurations and of objects.

pub mod args;
pub mod client;
mod config_commands;
pub mod decode;
mod objects;
mod output;
mod tables;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::api::{Answer, Command as RouterCommand, Page, Question, RouteFilter};
use crate::daemon::protocol::{Reply, Request};
use args::{Args, BlockCommand, Command, Direction, LogCommand, PeerCommand, Target};
use client::{ClientError, Replies, ask};
use output::{Cell, Listing, Output};

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
    let mut out = Output::new(args.json);
    let outcome = match &args.command {
        Command::Check { file, objects: Some(objects), flavour, strict, node } => {
            let asked = objects::Asked { file: file.as_deref(), node: node.as_deref(), flavour: *flavour };
            objects::check(&mut out, objects, &asked, *strict)
        }
        Command::Check { file: Some(file), strict, node, .. } => config_commands::check(&mut out, file, *strict, node.as_deref()),
        Command::Decode(what) => Ok(decode::run(what, args.json)),
        Command::Diff { file, objects: both, flavour, all, node, .. } if !both.is_empty() => {
            let asked = objects::Asked { file: file.as_deref(), node: node.as_deref(), flavour: *flavour };
            match both.as_slice() {
                [old, new] => objects::diff(&mut out, old, new, &asked, *all),
                _ => Ok(Exit::Unreadable),
            }
        }
        Command::Diff { file: Some(file), from: Some(from), node, .. } => config_commands::diff(&mut out, from, file, node.as_deref()),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "catbird", &mut io::stdout());
            Ok(Exit::Fine)
        }
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
            Command::Status => self.status(),
            Command::Peers => {
                let replies = self.ask(Question::Peers { cursor: 0 })?;
                self.list(replies, tables::PEERS, "no peers are configured", tables::peer_row, |a| pick!(a, Peers))
            }
            Command::Peer { peer, what } => self.peer(peer, what.as_ref()),
            Command::Routes { what, longer, peer } => {
                let filter = filter(*what, *longer, peer.clone());
                let replies = self.ask(Question::Routes { filter, cursor: 0 })?;
                self.list(replies, tables::ROUTES, "no route", tables::route_row, |a| pick!(a, Routes))
            }
            Command::Why { prefix } => self.one(Question::Why { net: prefix.trunc() }),
            Command::Fib { prefix } => {
                let replies = self.ask(Question::Fib { net: prefix.map(|net| net.trunc()), cursor: 0 })?;
                self.list(replies, tables::FIB, "no kernel route of ours", tables::fib_row, |a| pick!(a, Fib))
            }
            Command::Nexthops => {
                let replies = self.ask(Question::Nexthops { cursor: 0 })?;
                self.list(replies, tables::NEXTHOPS, "no next hop is in use", tables::nexthop_row, |a| pick!(a, Nexthops))
            }
            Command::Blocks => {
                let replies = self.ask(Question::Blocks)?;
                let rows = |answer| if let Answer::Blocks(rows) = answer { Ok(Page { rows, next: None }) } else { Err(answer) };
                self.list(replies, tables::BLOCKS, "this node has no blocks", tables::block_row, rows)
            }
            Command::Block { what: BlockCommand::Add { block } } => self.command(RouterCommand::BlockAdd { net: *block }),
            Command::Block { what: BlockCommand::Remove { block } } => self.command(RouterCommand::BlockRemove { net: *block }),
            Command::Drain { no_wait } => self.command(RouterCommand::Drain { wait: !no_wait }),
            Command::Undrain => self.command(RouterCommand::Undrain),
            Command::Reload { confirm } => self.say(Request::Reload { confirm_seconds: confirm.map(|time| time.as_secs_f64()) }),
            Command::Confirm => self.say(Request::Confirm),
            Command::Log { what: LogCommand::Set { level } } => self.say(Request::LogLevel { level: word(*level) }),
            Command::Monitor { streams } => self.say(Request::Monitor { streams: streams.iter().map(|s| word(*s)).collect() }),
            Command::Diff { file, .. } => self.diff(file.as_deref()),
            Command::Run { .. } | Command::Check { .. } | Command::Decode(_) | Command::Completions { .. } => Ok(Exit::Fine),
        }
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
                self.list(replies, tables::ROUTES, "nothing", tables::route_row, |a| pick!(a, Received))
            }
            Some(PeerCommand::Advertised) => {
                let replies = self.ask(Question::Advertised { peer, cursor: 0 })?;
                self.list(replies, tables::ROUTES, "nothing", tables::route_row, |a| pick!(a, Advertised))
            }
            Some(PeerCommand::Down { message }) => self.command(RouterCommand::PeerDown { peer, text: message.clone() }),
            Some(PeerCommand::Up) => self.command(RouterCommand::PeerUp { peer }),
            Some(PeerCommand::Clear { hard }) => self.command(RouterCommand::PeerClear { peer, hard: *hard }),
            Some(PeerCommand::Refresh { direction: Direction::In }) => self.command(RouterCommand::RefreshIn { peer }),
            Some(PeerCommand::Refresh { direction: Direction::Out }) => self.command(RouterCommand::RefreshOut { peer }),
        }
    }

    /// A list that comes in pages.
    fn list<T: serde::Serialize>(
        &mut self,
        replies: Replies,
        titles: &'static [&'static str],
        nothing: &str,
        cells: impl Fn(&T) -> Vec<Cell>,
        page: impl Fn(Answer) -> Result<Page<T>, Answer>,
    ) -> Result<Exit, ClientError> {
        let mut listing = Listing::new(titles);
        for reply in replies {
            match reply? {
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                Reply::Answer(answer) => match page(answer) {
                    Ok(page) => listing.page(self.out, &page.rows, &cells)?,
                    Err(other) => return Err(ClientError::Strange(format!("{other:?}"))),
                },
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            }
        }
        listing.end(self.out, nothing)?;
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
                Reply::Status(status) => tables::status(self.out, status)?,
                Reply::Reloaded(reloaded) if self.out.json => self.out.object(reloaded)?,
                Reply::Reloaded(reloaded) => tables::reloaded(self.out, reloaded)?,
                Reply::Event { notice, .. } if self.out.json => self.event_line(notice)?,
                Reply::Event { text, level, .. } => self.event(text, level)?,
                Reply::Missed(n) => self.missed(*n)?,
                Reply::Answer(_) | Reply::Failed(_) | Reply::End => return Err(ClientError::Strange(format!("{reply:?}"))),
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

    fn event_line(&mut self, notice: &serde_json::Value) -> io::Result<()> {
        self.out.json_line(notice)?;
        self.out.flush()
    }

    fn missed(&mut self, n: u64) -> io::Result<()> {
        if self.out.json {
            return self.out.json_line(&serde_json::json!({ "event": "missed", "count": n }));
        }
        self.event(&format!("{n} events were missed: they came faster than they were read"), "warn")
    }
}

fn filter(what: Option<Target>, longer: bool, peer: Option<String>) -> RouteFilter {
    match what {
        None => RouteFilter { peer, ..RouteFilter::default() },
        Some(Target::Address(address)) => RouteFilter { address: Some(address), peer, ..RouteFilter::default() },
        Some(Target::Net(net)) => RouteFilter { net: Some(net.trunc()), longer, peer, ..RouteFilter::default() },
    }
}

/// A clap word as it is typed.
fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}
