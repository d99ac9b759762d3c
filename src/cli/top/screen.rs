//! What `top` knows, what of it is looked at, and what a key does.
//!
//! In: [`Gathered`] news and keys. Out: rows in their order, rates, and wishes that the terminal's loop fulfils. No terminal and no clock: the
//! tests feed it and compare frames.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::args::Target;
use super::super::rows::Row;
use super::gather::{Gathered, Numbers};
use crate::api::{Counters, PeerMetrics, Question};

/// Events that are kept.
const EVENTS: usize = 500;
/// Intervals whose changes are drawn.
pub const HISTORY: usize = 120;
/// A prompt takes no more.
const TYPED: usize = 64;

/// What the loop is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Quit,
    Ask(Question),
}

/// What fills the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Sessions,
    /// Kernel routes that are not as they should be.
    Kernel,
    Events,
    Help,
    /// The answer to a question.
    Text,
}

/// By what sessions are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those that are down first, then by name.
    Trouble,
    Name,
    /// The most changes heard a second first.
    In,
    /// The most changes told a second first.
    Out,
    Received,
}

impl Order {
    pub fn word(self) -> &'static str {
        match self {
            Order::Trouble => "down first",
            Order::Name => "name",
            Order::In => "in/s",
            Order::Out => "out/s",
            Order::Received => "received",
        }
    }

    fn next(self) -> Order {
        match self {
            Order::Trouble => Order::Name,
            Order::Name => Order::In,
            Order::In => Order::Out,
            Order::Out => Order::Received,
            Order::Received => Order::Trouble,
        }
    }
}

/// What is being typed, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Only sessions whose row has this text.
    Filter,
    /// A prefix or an address to explain.
    Why,
}

/// Changes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Prefixes announced and withdrawn by the peer.
    pub heard: f64,
    /// Prefixes announced to it and withdrawn from it.
    pub told: f64,
}

/// One event.
#[derive(Clone, Debug)]
pub struct EventLine {
    pub time: String,
    pub level: String,
    pub text: String,
}

/// Everything that a frame is made of.
pub struct Screen {
    /// Since the start of `top`.
    pub now: Duration,
    pub interval: Duration,
    pub colour: bool,
    pub numbers: Option<Box<Numbers>>,
    /// When they came.
    pub taken: Duration,
    /// Of each peer, by name; none until there are two looks.
    pub rates: HashMap<String, Rate>,
    pub total: Option<Rate>,
    /// Kernel changes a second.
    pub kernel: Option<f64>,
    /// Prefixes changed a second, in and out, the newest last.
    pub history: VecDeque<u64>,
    pub events: VecDeque<EventLine>,
    /// Why the daemon cannot be asked now.
    pub away: Option<String>,
    pub view: View,
    pub order: Order,
    pub only_down: bool,
    pub filter: String,
    pub prompt: Option<(Prompt, String)>,
    /// Why what was typed is nothing.
    pub complaint: Option<String>,
    pub paused: bool,
    /// Of the rows that are shown, the one that keys mean.
    pub selected: usize,
    /// Of a text or of events, the first line that is shown.
    pub scrolled: usize,
    pub title: String,
    pub lines: Vec<String>,
}

impl Screen {
    /// Before anything is known.
    pub fn new(interval: Duration, colour: bool) -> Screen {
        Screen {
            now: Duration::ZERO,
            interval,
            colour,
            numbers: None,
            taken: Duration::ZERO,
            rates: HashMap::new(),
            total: None,
            kernel: None,
            history: VecDeque::new(),
            events: VecDeque::new(),
            away: None,
            view: View::Sessions,
            order: Order::Trouble,
            only_down: false,
            filter: String::new(),
            prompt: None,
            complaint: None,
            paused: false,
            selected: 0,
            scrolled: 0,
            title: String::new(),
            lines: Vec::new(),
        }
    }

    /// What a paused screen does not take in is lost, but for events and answers.
    pub fn take(&mut self, news: Gathered) {
        match news {
            Gathered::Numbers(_) | Gathered::Away(_) if self.paused => {}
            Gathered::Numbers(numbers) => self.count(numbers),
            Gathered::Away(why) => self.away = Some(why),
            Gathered::Event { time, level, text } => self.event(EventLine { time, level, text }),
            Gathered::Missed(n) => {
                let text = format!("{n} events were missed: they came faster than they were read");
                self.event(EventLine { time: String::new(), level: "warn".to_owned(), text });
            }
            Gathered::Text { title, lines } => {
                (self.title, self.lines, self.scrolled, self.view) = (title, lines, 0, View::Text);
            }
        }
    }

    fn event(&mut self, line: EventLine) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(line);
    }

    fn count(&mut self, numbers: Box<Numbers>) {
        self.away = None;
        self.taken = self.now;
        let before = self.numbers.replace(numbers);
        let (Some(before), Some(now)) = (before, &self.numbers) else { return };
        // After a restart everything is counted from zero again.
        let same = before.full.process.pid == now.full.process.pid && now.full.status.uptime_seconds >= before.full.status.uptime_seconds;
        let seconds = now.at.saturating_sub(before.at).as_secs_f64();
        if !same || seconds <= 0.0 {
            (self.total, self.kernel) = (None, None);
            self.rates.clear();
            return;
        }
        let earlier: HashMap<&str, &PeerMetrics> = before.snapshot.peers.iter().map(|peer| (peer.row.name.as_str(), peer)).collect();
        let rate = |peer: &PeerMetrics| {
            let earlier = earlier.get(peer.row.name.as_str())?;
            Some((peer.row.name.clone(), rate(earlier, peer, seconds)))
        };
        self.rates = now.snapshot.peers.iter().filter_map(rate).collect();
        let total = self.rates.values().fold(Rate::default(), |sum, r| Rate { heard: sum.heard + r.heard, told: sum.told + r.told });
        let (was, is) = (written(&before.snapshot.counters), written(&now.snapshot.counters));
        (self.total, self.kernel) = (Some(total), Some(is.saturating_sub(was) as f64 / seconds));
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((total.heard + total.told).round() as u64);
    }

    /// Those of the rows that are wanted, in their order.
    pub fn sessions(&self) -> Vec<&PeerMetrics> {
        let Some(numbers) = &self.numbers else { return Vec::new() };
        let mut rows: Vec<&PeerMetrics> = numbers.snapshot.peers.iter().filter(|peer| self.wanted(peer)).collect();
        rows.sort_by_cached_key(|peer| peer.row.key());
        let rate = |peer: &PeerMetrics| self.rates.get(&peer.row.name).copied().unwrap_or_default();
        match self.order {
            Order::Name => {}
            Order::Trouble => rows.sort_by_key(|peer| (up(peer), peer.row.warnings.is_empty())),
            Order::In => rows.sort_by(|a, b| rate(b).heard.total_cmp(&rate(a).heard)),
            Order::Out => rows.sort_by(|a, b| rate(b).told.total_cmp(&rate(a).told)),
            Order::Received => rows.sort_by_key(|peer| std::cmp::Reverse(peer.row.families.iter().map(|f| f.received).sum::<u64>())),
        }
        rows
    }

    fn wanted(&self, peer: &PeerMetrics) -> bool {
        let fits = || {
            let filter = self.filter.to_lowercase();
            peer.row.cells().iter().any(|cell| cell.text.to_lowercase().contains(&filter))
        };
        !(self.only_down && up(peer)) && (self.filter.is_empty() || fits())
    }

    /// What a key does: with a prompt it is typed, else it is a word of its own.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Wish::Quit);
        }
        self.complaint = None;
        match self.prompt.take() {
            Some((prompt, typed)) => self.typed(prompt, typed, key.code),
            None => self.pressed(key.code),
        }
    }

    fn typed(&mut self, prompt: Prompt, mut typed: String, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Esc => {
                if prompt == Prompt::Filter {
                    self.filter.clear();
                }
                return None;
            }
            KeyCode::Enter if prompt == Prompt::Why => return self.why(&typed),
            KeyCode::Enter => return None,
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char(c) if typed.chars().count() < TYPED => typed.push(c),
            _ => {}
        }
        if prompt == Prompt::Filter {
            self.filter.clone_from(&typed);
            self.selected = 0;
        }
        self.prompt = Some((prompt, typed));
        None
    }

    fn why(&mut self, typed: &str) -> Option<Wish> {
        match typed.trim().parse() {
            Ok(Target::Net(net)) => Some(Wish::Ask(Question::Why { net: net.trunc(), longest: false })),
            Ok(Target::Address(address)) => Some(Wish::Ask(Question::Why { net: address.into(), longest: true })),
            Err(why) => {
                self.complaint = Some(format!("{typed}: {why}"));
                None
            }
        }
    }

    fn pressed(&mut self, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc => self.show(View::Sessions),
            KeyCode::Char('1') => self.show(View::Sessions),
            KeyCode::Char('2') => self.show(View::Kernel),
            KeyCode::Char('3') => self.show(View::Events),
            KeyCode::Char('?' | 'h') => self.show(View::Help),
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Char('d') => (self.only_down, self.selected) = (!self.only_down, 0),
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('/') => (self.view, self.prompt) = (View::Sessions, Some((Prompt::Filter, self.filter.clone()))),
            KeyCode::Char('w') => self.prompt = Some((Prompt::Why, String::new())),
            KeyCode::Enter => return self.chosen(),
            other => self.moved(other),
        }
        None
    }

    fn show(&mut self, view: View) {
        (self.view, self.scrolled, self.selected) = (view, 0, 0);
    }

    /// Everything about the row.
    fn chosen(&self) -> Option<Wish> {
        match self.view {
            View::Sessions => {
                let peer = self.sessions().get(self.selected)?.row.name.clone();
                Some(Wish::Ask(Question::Peer { peer }))
            }
            View::Kernel => {
                let net = self.numbers.as_ref()?.troubled.get(self.selected)?.net;
                Some(Wish::Ask(Question::Why { net, longest: false }))
            }
            View::Events | View::Help | View::Text => None,
        }
    }

    fn moved(&mut self, key: KeyCode) {
        let by: isize = match key {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -20,
            KeyCode::PageDown => 20,
            KeyCode::Home => isize::MIN,
            KeyCode::End => isize::MAX,
            _ => return,
        };
        let last = self.rows().saturating_sub(1);
        let at = match self.view {
            View::Sessions | View::Kernel => &mut self.selected,
            View::Events | View::Help | View::Text => &mut self.scrolled,
        };
        *at = at.saturating_add_signed(by).min(last);
    }

    /// Of the view.
    fn rows(&self) -> usize {
        match self.view {
            View::Sessions => self.sessions().len(),
            View::Kernel => self.numbers.as_ref().map_or(0, |numbers| numbers.troubled.len()),
            View::Events => self.events.len(),
            View::Text => self.lines.len(),
            View::Help => 0,
        }
    }
}

pub fn up(peer: &PeerMetrics) -> bool {
    peer.row.state.eq_ignore_ascii_case("established")
}

fn rate(before: &PeerMetrics, now: &PeerMetrics, seconds: f64) -> Rate {
    let changes = |peer: &PeerMetrics| {
        let u = &peer.updates;
        (u.announced_received + u.withdrawn_received, u.announced_sent + u.withdrawn_sent)
    };
    let (was, is) = (changes(before), changes(now));
    Rate { heard: is.0.saturating_sub(was.0) as f64 / seconds, told: is.1.saturating_sub(was.1) as f64 / seconds }
}

/// Changes that the kernel answered.
fn written(counters: &Counters) -> u64 {
    counters.fib_operations.iter().map(|op| op.count).sum()
}
