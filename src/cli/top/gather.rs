//! What `top` knows, asked of the daemon over its control socket.
//!
//! In: the socket, an interval, single questions. Out: [`Gathered`]s, in the order they come. Three threads: one for the numbers, one for
//! events, one for what a key asked. A daemon that is away is said, and asked again.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::client::{ClientError, ask};
use super::super::{output, tables};
use crate::api::{Answer, FibRow, Question, Snapshot};
use crate::daemon::protocol::{FullStatus, Reply, Request};

/// Pause before a daemon that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Rests between two looks at the numbers are at least so many times as long as the look took.
const REST: u32 = 9;
/// Kernel routes that are not as they should be, and are shown.
pub const TROUBLED: usize = 200;
/// Questions that wait while one is being answered.
const WAITING: usize = 4;
/// Pages of kernel routes that are looked through for them at a time.
const PAGES: usize = 32;

/// News for the screen.
#[derive(Debug)]
pub enum Gathered {
    /// Everything there is to count, of one moment.
    Numbers(Box<Numbers>),
    /// It cannot be asked, and why.
    Away(String),
    Event {
        /// In UTC, as RFC 3339 has it.
        time: String,
        level: String,
        text: String,
    },
    /// So many events were not seen.
    Missed(u64),
    /// What a key asked for.
    Text { title: String, lines: Vec<String> },
}

/// One look at the numbers.
#[derive(Debug)]
pub struct Numbers {
    /// On the clock of this machine, from any moment on.
    pub at: Duration,
    pub full: FullStatus,
    pub snapshot: Snapshot,
    /// Kernel routes that are not as they should be: [`TROUBLED`] at most.
    pub troubled: Vec<FibRow>,
}

/// The threads' end.
pub struct Gatherer {
    questions: SyncSender<Question>,
}

impl Gatherer {
    /// They end when nobody hears them any more, or with the process.
    pub fn start(socket: &Path, interval: Duration, tell: SyncSender<Gathered>) -> Gatherer {
        let (questions, asked) = sync_channel(WAITING);
        let (numbers, events) = ((socket.to_owned(), tell.clone()), (socket.to_owned(), tell.clone()));
        let socket = socket.to_owned();
        thread::spawn(move || look(&numbers.0, interval, &numbers.1));
        thread::spawn(move || follow(&events.0, &events.1));
        thread::spawn(move || answer(&socket, &asked, &tell));
        Gatherer { questions }
    }

    /// Its answer comes as [`Gathered::Text`].
    ///
    /// # Errors
    /// In words: others wait for theirs, and it is not asked.
    pub fn ask(&self, question: Question) -> Result<(), String> {
        self.questions.try_send(question).map_err(|_| "the daemon has yet to answer what was asked before".to_owned())
    }
}

fn look(socket: &Path, interval: Duration, tell: &SyncSender<Gathered>) {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let news = match numbers(socket, began) {
            Ok(numbers) => Gathered::Numbers(Box::new(numbers)),
            Err(error) => Gathered::Away(error.to_string()),
        };
        let took = asked.elapsed();
        if tell.send(news).is_err() {
            return;
        }
        thread::sleep(interval.saturating_sub(took).max(took.saturating_mul(REST)));
    }
}

fn numbers(socket: &Path, began: Instant) -> Result<Numbers, ClientError> {
    let snapshot = match one(socket, &Request::Query(Question::Metrics))? {
        Reply::Answer(Answer::Metrics(snapshot)) => *snapshot,
        other => return Err(ClientError::Strange(format!("{other:?}"))),
    };
    let at = began.elapsed();
    let full = match one(socket, &Request::Status)? {
        Reply::Status(full) => *full,
        other => return Err(ClientError::Strange(format!("{other:?}"))),
    };
    let fib = &full.status.fib;
    let troubled = if fib.wanted == fib.installed { Vec::new() } else { troubled(socket)? };
    Ok(Numbers { at, full, snapshot, troubled })
}

fn troubled(socket: &Path) -> Result<Vec<FibRow>, ClientError> {
    let mut found = Vec::new();
    for reply in ask(socket, &Request::Query(Question::Fib { net: None, cursor: 0 }))?.take(PAGES) {
        let Reply::Answer(Answer::Fib(page)) = reply? else { continue };
        found.extend(page.rows.into_iter().filter(|row| row.state != "installed"));
        if found.len() >= TROUBLED {
            break;
        }
    }
    found.truncate(TROUBLED);
    Ok(found)
}

/// The first line of the answer.
fn one(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    ask(socket, request)?.next().unwrap_or_else(|| Err(ClientError::Strange("nothing".to_owned())))
}

fn follow(socket: &Path, tell: &SyncSender<Gathered>) {
    loop {
        if let Ok(replies) = ask(socket, &Request::Monitor { streams: Vec::new() }) {
            for reply in replies.map_while(Result::ok) {
                let news = match reply {
                    Reply::Event { time, level, text, .. } => Gathered::Event { time, level, text },
                    Reply::Missed(n) => Gathered::Missed(n),
                    _ => continue,
                };
                if tell.send(news).is_err() {
                    return;
                }
            }
        }
        thread::sleep(RETRY);
    }
}

fn answer(socket: &Path, asked: &Receiver<Question>, tell: &SyncSender<Gathered>) {
    for question in asked {
        let title = title(&question);
        let lines = match one(socket, &Request::Query(question)) {
            Ok(reply) => words(reply).unwrap_or_else(|error| vec![error.to_string()]),
            Err(error) => vec![error.to_string()],
        };
        if tell.send(Gathered::Text { title, lines }).is_err() {
            return;
        }
    }
}

fn title(question: &Question) -> String {
    match question {
        Question::Peer { peer } => format!("catbird peer {peer}"),
        Question::Why { net, longest: true } => format!("catbird why {}", net.addr()),
        Question::Why { net, longest: false } => format!("catbird why {net}"),
        _ => String::new(),
    }
}

/// As the command of the same name shows it.
fn words(reply: Reply) -> io::Result<Vec<String>> {
    match reply {
        Reply::Answer(Answer::Peer(peer)) => output::lines(|out| tables::peer(out, &peer)),
        Reply::Answer(Answer::Why(explanation)) => output::lines(|out| tables::explanation(out, &explanation)),
        Reply::Answer(Answer::Refused(why)) | Reply::Failed(why) => Ok(vec![why]),
        other => Ok(vec![format!("the daemon said something that this catbird does not understand: {other:?}")]),
    }
}
