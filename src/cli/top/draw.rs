//! One frame of `top`.
//!
//! In: a [`Screen`]. Out: cells of a terminal of any size. What is most telling is nearest to the top, so that a small terminal loses least.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Sparkline, Table, TableState};

use super::super::output::{self, Style, duration, octets, styled};
use super::super::rows::Row;
use super::gather::{Numbers, TROUBLED};
use super::screen::{EventLine, HISTORY, Prompt, Rate, Screen, View};
use crate::api::{FibRow, PeerMetrics, PeerRow};

/// Lines of events below the sessions.
const TAIL: u16 = 6;
/// Warnings that are shown above the sessions.
const WARNINGS: usize = 3;
/// A picture this many intervals old is said to be old.
const OLD: u32 = 3;
const KEYS: &str = "q quit  1 sessions  2 kernel  3 events  Enter more  w why  / filter  d down only  s order  ? help";

const HELP: [&str; 18] = [
    "1, Esc     sessions. RECEIVED and ADVERTISED are prefixes; IN/S and OUT/S are prefixes that changed a second",
    "2          kernel routes that are not as they should be",
    "3          events, the newest first",
    "Up, Down   another row (also k and j, PageUp, PageDown, Home, End)",
    "Enter      everything about the row: `catbird peer NAME`, `catbird why PREFIX`",
    "w          explain a prefix or an address: `catbird why`",
    "/          only sessions whose row has this text; Esc takes all again",
    "d          only sessions that are down",
    "s          another order: down first, name, in/s, out/s, received",
    "Space      stand still, and go on",
    "q          leave (also Ctrl-C)",
    "",
    "The first lines: who this is and for how long; sessions that are up of those that should be;",
    "prefixes and paths in the tables; kernel routes that stand of those that should;",
    "what the process holds in memory.",
    "The curve: prefixes that changed a second, heard and told, one column a look.",
    "",
    "Nothing can be ordered here. Rates need two looks; a restart of the daemon begins anew.",
];

/// Draws it.
pub fn frame(screen: &Screen, frame: &mut Frame<'_>) {
    let head = head(screen);
    let sizes = [
        Constraint::Length(u16::try_from(head.len()).unwrap_or(u16::MAX)),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [top, curve, middle, foot] = Layout::vertical(sizes).areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    changes(screen, frame, curve);
    match screen.view {
        View::Sessions => with_tail(screen, frame, middle),
        View::Kernel => kernel(screen, frame, middle),
        View::Events => events(screen, frame, middle, usize::from(middle.height)),
        View::Text => text(screen, frame, middle),
        View::Help => frame.render_widget(Paragraph::new(HELP.map(Line::from).to_vec()), middle),
    }
    frame.render_widget(Paragraph::new(foot_line(screen)), foot);
}

/// Who, how many, what is wrong.
fn head(screen: &Screen) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(away) = &screen.away {
        lines.push(painted(screen, away, Style::Bad));
    }
    let Some(numbers) = &screen.numbers else {
        if lines.is_empty() {
            lines.push(Line::from("asking the daemon"));
        }
        return lines;
    };
    lines.push(who(screen, numbers));
    lines.push(counts(screen, numbers));
    let warnings = &numbers.full.status.warnings;
    lines.extend(warnings.iter().take(WARNINGS).map(|warning| painted(screen, &format!("warning: {warning}"), Style::Warn)));
    if warnings.len() > WARNINGS {
        lines.push(painted(screen, &format!("and {} more warnings: `catbird status`", warnings.len() - WARNINGS), Style::Warn));
    }
    lines
}

fn who(screen: &Screen, numbers: &Numbers) -> Line<'static> {
    let s = &numbers.full.status;
    let mode = if s.mode == "none" { "no cluster" } else { &s.mode };
    let age = screen.now.saturating_sub(screen.taken);
    let mut spans = vec![
        span(screen, &s.name, Style::Bold),
        Span::from(format!("  AS {}, router id {}, {mode}, up {}", s.asn, s.router_id, duration(s.uptime_seconds))),
    ];
    if s.phase != "running" {
        spans.push(span(screen, &format!("  {}", s.phase), Style::Warn));
    }
    if screen.paused {
        spans.push(span(screen, "  standing still", Style::Warn));
    } else if age > screen.interval.saturating_mul(OLD) {
        spans.push(span(screen, &format!("  {} old", duration(age.as_secs_f64())), Style::Warn));
    }
    Line::from(spans)
}

fn counts(screen: &Screen, numbers: &Numbers) -> Line<'static> {
    let s = &numbers.full.status;
    let all = |up: usize, of: usize| if up >= of { Style::Good } else { Style::Bad };
    let (prefixes, paths) = s.tables.iter().fold((0, 0), |sum, table| (sum.0 + table.prefixes, sum.1 + table.paths));
    Line::from(vec![
        Span::from("sessions "),
        span(screen, &format!("{}/{}", s.peers_established, s.peers_configured), all(s.peers_established, s.peers_configured)),
        Span::from(format!("  routes {prefixes} prefixes, {paths} paths  kernel ")),
        span(screen, &format!("{}/{}", s.fib.installed, s.fib.wanted), all(s.fib.installed, s.fib.wanted)),
        Span::from(format!("  blocks {}  memory {}", s.blocks, octets(numbers.full.process.resident_bytes))),
    ])
}

/// How much happens, as figures and as a curve.
fn changes(screen: &Screen, frame: &mut Frame<'_>, area: Rect) {
    let kernel = screen.kernel.map_or_else(String::new, |n| format!(", kernel {}", figure(n)));
    let words = match screen.total {
        Some(Rate { heard, told }) => format!("changes a second: in {}, out {}{kernel}  ", figure(heard), figure(told)),
        None if screen.numbers.is_some() => "changes a second: not known yet  ".to_owned(),
        None => String::new(),
    };
    let [left, right] =
        Layout::horizontal([Constraint::Length(u16::try_from(words.len()).unwrap_or(u16::MAX)), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(words), left);
    let width = usize::from(right.width).min(HISTORY);
    let shown: Vec<u64> = screen.history.iter().skip(screen.history.len().saturating_sub(width)).copied().collect();
    frame.render_widget(Sparkline::default().data(shown), right);
}

/// Sessions, and the newest events below them.
fn with_tail(screen: &Screen, frame: &mut Frame<'_>, area: Rect) {
    let some = u16::try_from(screen.events.len()).unwrap_or(TAIL).min(TAIL);
    let tail = if area.height > 3 * TAIL { some } else { 0 };
    let [table, below] = Layout::vertical([Constraint::Min(1), Constraint::Length(tail)]).areas(area);
    sessions(screen, frame, table);
    events(screen, frame, below, usize::from(tail));
}

/// Columns of a session, by importance: what does not fit is left out from the end of this list.
const SESSION: [(&str, u16); 10] = [
    ("PEER", 16),
    ("STATE", 11),
    ("SINCE", 7),
    ("RECEIVED", 8),
    ("ADVERTISED", 10),
    ("IN/S", 6),
    ("OUT/S", 6),
    ("BFD", 5),
    ("AS", 10),
    ("KIND", 9),
];

fn sessions(screen: &Screen, frame: &mut Frame<'_>, area: Rect) {
    let rows = screen.sessions();
    if rows.is_empty() {
        let why = if screen.numbers.is_none() {
            ""
        } else if screen.only_down || !screen.filter.is_empty() {
            "no such session"
        } else {
            PeerRow::NOTHING
        };
        return frame.render_widget(Paragraph::new(why), area);
    }
    let longest = rows.iter().map(|peer| peer.row.name.chars().count()).max().unwrap_or_default();
    let name = u16::try_from(longest.clamp(4, 40)).unwrap_or(40);
    let room = area.width.saturating_sub(name);
    let fixed = SESSION.iter().skip(1).scan(0, |used, (_, width)| {
        *used += width + 2;
        Some(*used)
    });
    // The rest of the line, if it is worth something, is for the note.
    let shown = 1 + fixed.take_while(|used| *used + NOTE <= room).count();
    let widths = SESSION.iter().take(shown).enumerate().map(|(n, (_, width))| Constraint::Length(if n == 0 { name } else { *width }));
    let titles =
        SESSION.iter().take(shown).map(|(title, _)| *title).chain(["NOTE"]).map(|title| Cell::from(span(screen, title, Style::Bold)));
    let table = Table::new(rows.iter().map(|peer| session(screen, peer, shown)), widths.chain([Constraint::Min(NOTE - 2)]))
        .header(TableRow::new(titles.collect::<Vec<_>>()))
        .column_spacing(2)
        .row_highlight_style(Look::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(screen.selected.min(rows.len() - 1)));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Columns that a note needs to be worth showing.
const NOTE: u16 = 14;

fn session(screen: &Screen, peer: &PeerMetrics, shown: usize) -> TableRow<'static> {
    let cells = peer.row.cells();
    let of = |title: &str| {
        let at = PeerRow::COLUMNS.titles.iter().position(|t| *t == title);
        at.and_then(|at| cells.get(at)).cloned().unwrap_or_else(|| output::cell(""))
    };
    let rate = screen.rates.get(&peer.row.name);
    let rate = |of: fn(&Rate) -> f64| rate.map_or_else(|| output::maybe(None::<u8>), |rate| output::cell(figure(of(rate))));
    let cell = |title: &str| match title {
        "IN/S" => rate(|r| r.heard),
        "OUT/S" => rate(|r| r.told),
        other => of(other),
    };
    let titles = SESSION.iter().take(shown).map(|(title, _)| *title).chain(["NOTE"]);
    TableRow::new(titles.map(|title| Cell::from(of_cell(screen, &cell(title)))).collect::<Vec<_>>())
}

fn kernel(screen: &Screen, frame: &mut Frame<'_>, area: Rect) {
    let rows: &[FibRow] = screen.numbers.as_ref().map_or(&[], |numbers| &numbers.troubled);
    if rows.is_empty() {
        let words = "every kernel route is as it should be";
        return frame.render_widget(Paragraph::new(painted(screen, words, Style::Good)), area);
    }
    let [table, below] = Layout::vertical([Constraint::Min(1), Constraint::Length(u16::from(rows.len() >= TROUBLED))]).areas(area);
    let cells: Vec<Vec<output::Cell>> = rows.iter().map(Row::cells).collect();
    let titles = FibRow::COLUMNS.titles;
    let width =
        |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or_default();
    let widths =
        titles.iter().enumerate().map(|(n, title)| Constraint::Length(u16::try_from(width(n).max(title.len())).unwrap_or(u16::MAX)));
    let drawn = Table::new(
        cells.iter().map(|row| TableRow::new(row.iter().map(|cell| Cell::from(of_cell(screen, cell))).collect::<Vec<_>>())),
        widths,
    )
    .header(TableRow::new(titles.iter().map(|title| Cell::from(span(screen, title, Style::Bold))).collect::<Vec<_>>()))
    .column_spacing(2)
    .row_highlight_style(Look::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(screen.selected.min(rows.len() - 1)));
    frame.render_stateful_widget(drawn, table, &mut state);
    frame.render_widget(Paragraph::new(format!("these are the first {TROUBLED}; `catbird fib` lists all")), below);
}

/// The newest first, in the last view from the one that was scrolled to.
fn events(screen: &Screen, frame: &mut Frame<'_>, area: Rect, room: usize) {
    let from = if screen.view == View::Events { screen.scrolled } else { 0 };
    let lines: Vec<Line<'_>> = screen.events.iter().rev().skip(from).take(room).map(|event| event_line(screen, event)).collect();
    let lines = if lines.is_empty() && screen.view == View::Events { vec![Line::from("nothing has happened yet")] } else { lines };
    frame.render_widget(Paragraph::new(lines), area);
}

fn event_line(screen: &Screen, event: &EventLine) -> Line<'static> {
    let style = match event.level.as_str() {
        "error" => Style::Bad,
        "warn" => Style::Warn,
        "debug" => Style::Dim,
        _ => Style::Plain,
    };
    // Of 2026-11-30T20:04:19.123Z the time of day is enough here.
    let time = event.time.get(11..19).unwrap_or("        ");
    painted(screen, &format!("{time} {}", event.text), style)
}

fn text(screen: &Screen, frame: &mut Frame<'_>, area: Rect) {
    let [title, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(painted(screen, &screen.title, Style::Bold)), title);
    let shown = screen.lines.iter().skip(screen.scrolled).map(|line| Line::from(harmless(line)));
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), below);
}

fn foot_line(screen: &Screen) -> Line<'static> {
    if let Some((prompt, typed)) = &screen.prompt {
        let words = match prompt {
            Prompt::Filter => "only rows with: ",
            Prompt::Why => "explain the prefix or address: ",
        };
        return painted(screen, &format!("{words}{typed}_"), Style::Bold);
    }
    if let Some(complaint) = &screen.complaint {
        return painted(screen, complaint, Style::Warn);
    }
    let mut shown = Vec::new();
    if screen.view == View::Sessions {
        shown.push(format!("by {}", screen.order.word()));
    }
    if screen.only_down {
        shown.push("only down".to_owned());
    }
    if !screen.filter.is_empty() {
        shown.push(format!("only with \"{}\"", screen.filter));
    }
    let shown = if shown.is_empty() { String::new() } else { format!("[{}]  ", shown.join(", ")) };
    painted(screen, &format!("{shown}{KEYS}"), Style::Dim)
}

/// `0`, `0.4`, `12`, `3.4k`, `1.2M`
fn figure(n: f64) -> String {
    match n {
        n if n >= 999_500.0 => format!("{:.1}M", n / 1e6),
        n if n >= 9_999.5 => format!("{:.0}k", n / 1e3),
        n if n >= 999.5 => format!("{:.1}k", n / 1e3),
        n if n >= 9.95 => format!("{n:.0}"),
        n if n < 0.05 => "0".to_owned(),
        n => format!("{n:.1}"),
    }
}

fn painted(screen: &Screen, text: &str, style: Style) -> Line<'static> {
    Line::from(span(screen, text, style))
}

fn span(screen: &Screen, text: &str, style: Style) -> Span<'static> {
    of_cell(screen, &styled(text, style))
}

fn of_cell(screen: &Screen, cell: &output::Cell) -> Span<'static> {
    Span::styled(harmless(&cell.text), if screen.colour { look(cell.style) } else { Look::new() })
}

/// Names and texts of others do nothing to the terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn look(style: Style) -> Look {
    match style {
        Style::Plain => Look::new(),
        Style::Good => Look::new().fg(Color::Green),
        Style::Warn => Look::new().fg(Color::Yellow),
        Style::Bad => Look::new().fg(Color::Red),
        Style::Dim => Look::new().add_modifier(Modifier::DIM),
        Style::Bold => Look::new().add_modifier(Modifier::BOLD),
    }
}
