//! The file of events: what happens to a cluster, and when.
//!
//! In: TOML. Out: a [`Script`], or what is wrong with it, each mistake with its place, a caret and what would be accepted. Whether the machines that
//! it names exist is said by [`Script::plan`](super::plan), which knows the cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use crate::config::reader::Section;
use crate::config::report::{At, Diagnostics, Problem, Report, Span};
use crate::config::values::{Time, keywords};

/// From one event to the next where neither says when: longer than a hold time of 90 s and a restart time of 120 s together.
pub(super) const PAUSE: Duration = Duration::from_secs(300);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Machines are gone without a word, with their pods.
    NodeLost,
    /// Likewise, of reflectors.
    ReflectorLost,
    /// Likewise, of routers of racks: their racks are cut off.
    TorLost,
    /// Two machines do not reach each other.
    LinkCut,
    /// Two halves do not reach each other.
    Partition,
    /// The programs are stopped and started again, one batch after the other.
    RollingRestart,
    /// The programs die, and are started again.
    Crash,
    /// `catbird drain`.
    Drain,
    /// `catbird undrain`.
    Undrain,
    /// Other configurations, one batch after the other.
    Reload,
    /// All machines lose power and start at once.
    MassStart,
}

keywords! {
    Kind {
        NodeLost = "node-lost",
        ReflectorLost = "reflector-lost",
        TorLost = "tor-lost",
        LinkCut = "link-cut",
        Partition = "partition",
        RollingRestart = "rolling-restart",
        Crash = "crash",
        Drain = "drain",
        Undrain = "undrain",
        Reload = "reload",
        MassStart = "mass-start"
    }
}

/// One entry of the file.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Since the first program was started.
    pub at: Duration,
    /// To whom, by name, each with its place in the file; empty: by `count` or `share`, or all.
    pub nodes: Vec<(String, Span)>,
    /// So many, as the seed has it.
    pub count: Option<u32>,
    /// Percent of the nodes on the one side of a partition.
    pub percent: u8,
    /// Undone after so long.
    pub lasts: Option<Duration>,
    /// Machines at a time.
    pub batch: usize,
    /// From one batch to the next.
    pub pause: Duration,
    /// From the end of a program to its next start.
    pub takes: Duration,
    /// The kernel's routes stay, and peers keep theirs (RFC 4724).
    pub graceful: bool,
    /// The new configurations.
    pub to: Option<PathBuf>,
    /// Where it stands in the file.
    pub span: Span,
}

/// All events, in order.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// By time.
    pub events: Vec<Event>,
    /// From the last event to the end.
    pub tail: Duration,
    name: String,
    text: String,
    /// Settings that were looked for: what stands behind others is not shown in findings.
    asked: BTreeSet<(String, &'static str)>,
}

impl Script {
    /// Reads a file. `name` is what the findings call it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Script, Report> {
        let diagnostics = Diagnostics::default();
        let (document, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let problem = Problem::Syntax(error.message().to_owned());
            match error.span() {
                Some(span) => diagnostics.report(span, problem),
                None => diagnostics.report_for_file(problem),
            }
        }
        let mut root = Section::root(&document, &diagnostics);
        let tail = root.take::<Time>("tail").map_or(PAUSE, |time| time.value.0);
        let mut events: Vec<Event> = Vec::new();
        for mut section in root.tables("event") {
            let before = events.last().map_or(Duration::from_secs(60), |event| event.at + PAUSE);
            events.extend(event(&mut section, before, &diagnostics));
            section.finish();
        }
        root.finish();
        let refused = diagnostics.has_errors();
        let report = diagnostics.into_report(name, text);
        match refused {
            true => Err(report),
            false => Ok(Script { events, tail, name: name.to_owned(), text: text.to_owned(), asked: report.settings().clone() }),
        }
    }

    /// No events.
    pub fn quiet(tail: Duration) -> Script {
        Script { tail, ..Script::default() }
    }

    /// Findings about a cluster, as a picture of this file.
    pub(super) fn picture(&self, findings: Vec<(Span, Problem)>) -> String {
        let diagnostics = Diagnostics::default();
        self.asked.iter().for_each(|(section, key)| diagnostics.asked_for(section, key));
        findings.into_iter().for_each(|(span, problem)| diagnostics.report(span, problem));
        diagnostics.into_report(&self.name, &self.text).render(false)
    }
}

impl Event {
    /// With everything at its default.
    pub fn new(kind: Kind, at: Duration) -> Event {
        Event {
            kind,
            at,
            nodes: Vec::new(),
            count: None,
            percent: 50,
            lasts: None,
            batch: 1,
            pause: Duration::from_secs(10),
            takes: Duration::from_secs(1),
            graceful: true,
            to: None,
            span: 0..0,
        }
    }
}

fn event(section: &mut Section<'_>, before: Duration, diagnostics: &Diagnostics) -> Option<Event> {
    let kind = section.need::<Kind>("kind", "what happens, such as \"node-lost\"")?;
    let at = section.take::<Time>("at");
    let moment = at.as_ref().map_or(before, |time| time.value.0);
    let mut event = Event { span: section.span(), ..Event::new(kind.value, moment) };
    let earlier = before.saturating_sub(PAUSE);
    if let Some(at) = at.filter(|at| at.value.0 < earlier) {
        let what = format!("`at` is {:?}, and the event before it is at {earlier:?}", at.value.0);
        diagnostics.report(at.span, Problem::Conflict { what, help: "write events in the order in which they happen".to_owned() });
    }
    let named = section.take::<Vec<At<String>>>("nodes").map(|list| list.value).unwrap_or_default();
    event.nodes = named.into_iter().chain(section.take::<String>("node")).map(|name| (name.value, name.span)).collect();
    let asked = Asked { kind: kind.value, diagnostics };
    use Kind::{Crash, Drain, LinkCut, MassStart, NodeLost, Partition, ReflectorLost, Reload, RollingRestart, TorLost, Undrain};
    event.count = asked.of(section, "count", &[NodeLost, ReflectorLost, TorLost, Crash, Drain, Undrain]);
    event.lasts = asked.of(section, "lasts", &[NodeLost, ReflectorLost, TorLost, LinkCut, Partition, Drain]).map(|time: Time| time.0);
    event.percent = asked.of(section, "percent", &[Partition]).unwrap_or(event.percent);
    let batch: Option<u32> = asked.of(section, "batch", &[RollingRestart, Reload]);
    event.batch = batch.map_or(event.batch, |n| (n as usize).max(1));
    event.pause = asked.of(section, "pause", &[RollingRestart, Reload]).map_or(event.pause, |time: Time| time.0);
    event.takes = asked.of(section, "takes", &[RollingRestart, Crash, MassStart]).map_or(event.takes, |time: Time| time.0);
    event.graceful = asked.of(section, "graceful", &[RollingRestart]).unwrap_or(event.graceful);
    event.to = asked.of(section, "to", &[Reload]);
    check(&event, section, diagnostics);
    Some(event)
}

/// Settings that mean something for some kinds of events alone.
struct Asked<'a> {
    kind: Kind,
    diagnostics: &'a Diagnostics,
}

impl Asked<'_> {
    fn of<T: crate::config::reader::Value>(&self, section: &mut Section<'_>, key: &'static str, kinds: &[Kind]) -> Option<T> {
        use crate::config::values::Keyword;
        let found = section.take::<T>(key)?;
        if kinds.contains(&self.kind) {
            return Some(found.value);
        }
        let words: Vec<&str> = kinds.iter().map(|kind| kind.keyword()).collect();
        let what = format!("`{key}` means nothing for \"{}\"", self.kind.keyword());
        let help = format!("it is a setting of {}; take it out", words.join(", "));
        self.diagnostics.report(found.span, Problem::Conflict { what, help });
        None
    }
}

fn check(event: &Event, section: &Section<'_>, diagnostics: &Diagnostics) {
    let missing = |key, why| diagnostics.report(section.span(), Problem::Missing { key, section: "[[event]]".to_owned(), why });
    match event.kind {
        Kind::LinkCut if event.nodes.len() != 2 => {
            missing("nodes", "the two that do not reach each other: `nodes = [\"node-1\", \"node-2\"]`")
        }
        Kind::Reload if event.to.is_none() => {
            missing("to", "the new configurations: a folder with a file for each node, or one file with [cluster] nodes")
        }
        Kind::Partition if !(1..=99).contains(&event.percent) => {
            let what = format!("`percent = {}` leaves one side empty", event.percent);
            diagnostics.report(section.span(), Problem::Conflict { what, help: "a number from 1 to 99".to_owned() });
        }
        _ => {}
    }
}
