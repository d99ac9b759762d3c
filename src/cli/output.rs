//! How answers look: aligned tables (with colours on a terminal), tab-separated lines or JSON on request.
//!
//! In: rows. Out: text on standard output, page by page. What the columns of an answer are is [`super::tables`]' matter.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::args::Format;

/// What a cell's content means to the eye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As the terminal has it.
    #[default]
    Plain,
    /// Green.
    Good,
    /// Yellow.
    Warn,
    /// Red.
    Bad,
    /// Faint.
    Dim,
    /// Bold.
    Bold,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Good => "\x1b[32m",
            Style::Warn => "\x1b[33m",
            Style::Bad => "\x1b[31m",
            Style::Dim => "\x1b[2m",
            Style::Bold => "\x1b[1m",
        }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Without colours.
    pub text: String,
    /// Applied if the output is a terminal.
    pub style: Style,
}

/// Plain text.
pub fn cell(value: impl Display) -> Cell {
    styled(value, Style::Plain)
}

/// Text with a meaning.
pub fn styled(value: impl Display, style: Style) -> Cell {
    Cell { text: value.to_string(), style }
}

/// A value, or a dash.
pub fn maybe(value: Option<impl Display>) -> Cell {
    value.map_or_else(|| styled("-", Style::Dim), cell)
}

/// Is colour wanted? On a terminal, unless NO_COLOR is set (no-color.org).
pub fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Standard output, and how to write on it.
pub struct Output {
    to: Box<dyn Write>,
    /// Print data instead of tables.
    pub json: bool,
    tsv: bool,
    colour: bool,
}

impl Output {
    /// To standard output, with colours if it is a terminal.
    pub fn new(format: Format) -> Output {
        let stdout = io::stdout();
        Output {
            colour: colour_on(&stdout) && format == Format::Table,
            json: format == Format::Json,
            tsv: format == Format::Tsv,
            to: Box::new(io::BufWriter::new(stdout)),
        }
    }

    /// What names and texts of others could do to a terminal is taken out.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.to, "{}", harmless(&text.to_string(), self.colour))
    }

    /// As they are.
    pub fn octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.to.write_all(octets)
    }

    /// # Errors
    /// The output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// One object.
    pub fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.to, value)?;
        writeln!(self.to)
    }

    /// One line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, value)?;
        writeln!(self.to)
    }

    /// Text in a style, if there is colour.
    pub fn paint(&self, cell: &Cell) -> String {
        self.painted(&cell.text, cell.style)
    }

    fn painted(&self, text: &str, style: Style) -> String {
        if self.colour && style != Style::Plain && !text.is_empty() { format!("{}{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// The lines that `show` writes, without colours.
///
/// # Errors
/// `show` has none of its own, for memory can be written.
pub fn lines(show: impl FnOnce(&mut Output) -> io::Result<()>) -> io::Result<Vec<String>> {
    let written = Shared::default();
    let mut out = Output { to: Box::new(written.clone()), json: false, tsv: false, colour: false };
    show(&mut out)?;
    out.flush()?;
    let octets = written.0.borrow();
    Ok(String::from_utf8_lossy(&octets).lines().map(str::to_owned).collect())
}

/// What is written, for who looks at it afterwards.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text without control characters but ends of line, tabs and, where there is colour, colours.
fn harmless(text: &str, colour: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\x1b' if colour && is_colour(rest.as_str()) => shown.push(c),
            c if c.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            c => shown.push(c),
        }
    }
    shown
}

/// What follows an escape character sets a colour, as in `[32m`, and does nothing else.
fn is_colour(rest: &str) -> bool {
    let numbers = rest.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    numbers.is_some_and(|rest| rest.starts_with('m'))
}

/// The columns of a list, and what its signs mean.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub titles: &'static [&'static str],
    /// Stands below the rows; for people, not for machines.
    pub legend: &'static str,
}

/// A list that comes in pages: a table, or an array of JSON with one row a line.
pub struct Listing {
    columns: Columns,
    widths: Vec<usize>,
    rows: usize,
    begun: bool,
}

impl Listing {
    /// With these columns; rows come page by page.
    pub fn new(columns: Columns) -> Listing {
        Listing { columns, widths: Vec::new(), rows: 0, begun: false }
    }

    /// Writes a page. The first one decides the widths.
    pub fn page<T: Serialize>(&mut self, out: &mut Output, rows: &[T], cells: impl Fn(&T) -> Vec<Cell>) -> io::Result<()> {
        if out.json {
            return self.json_page(out, rows);
        }
        let cells: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
        if !self.begun {
            self.begin(out, &cells)?;
        }
        for row in &cells {
            self.row(out, row)?;
        }
        self.rows = self.rows.saturating_add(rows.len());
        Ok(())
    }

    fn json_page<T: Serialize>(&mut self, out: &mut Output, rows: &[T]) -> io::Result<()> {
        for row in rows {
            write!(out.to, "{}", if self.begun { ",\n " } else { "[" })?;
            self.begun = true;
            serde_json::to_writer(&mut out.to, row)?;
        }
        Ok(())
    }

    /// After the last page; `nothing` is printed if there were no rows.
    pub fn end(self, out: &mut Output, nothing: &str) -> io::Result<()> {
        if out.json {
            return if self.begun { out.line("]") } else { out.line("[]") };
        }
        if self.rows == 0 && !out.tsv {
            return out.line(nothing);
        }
        if self.rows > 0 && !out.tsv && !self.columns.legend.is_empty() {
            return out.line(out.paint(&styled(self.columns.legend, Style::Dim)));
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut Output, rows: &[Vec<Cell>]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.begun = true;
        let width = |column: usize, title: &str| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.text.chars().count());
            cells.max().unwrap_or(0).max(title.len())
        };
        self.widths = self.columns.titles.iter().enumerate().map(|(column, title)| width(column, title)).collect();
        let titles: Vec<Cell> = self.columns.titles.iter().map(|title| styled(title, Style::Bold)).collect();
        self.row(out, &titles)
    }

    fn row(&self, out: &mut Output, cells: &[Cell]) -> io::Result<()> {
        let last = cells.len().saturating_sub(1);
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            line.push_str(&out.paint(cell));
            match (column == last, out.tsv) {
                (true, _) => {}
                (false, true) => line.push('\t'),
                (false, false) => {
                    let width = self.widths.get(column).copied().unwrap_or(0);
                    let pad = width.saturating_sub(cell.text.chars().count()).saturating_add(2);
                    line.extend(std::iter::repeat_n(' ', pad));
                }
            }
        }
        out.line(if out.tsv { &line } else { line.trim_end_matches(' ') })
    }
}

/// `3d4h`, `2h05m`, `4m10s`, `12s`, `40ms`: two units at most.
pub fn duration(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let s = time.as_secs();
    match s {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `12.3 MiB`.
pub fn octets(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("B");
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, kept.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("fine").write(octets)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn listing(format: Format, colour: bool, pages: &[&[(u32, &str)]]) -> String {
        let paper = Paper::default();
        let (json, tsv) = (format == Format::Json, format == Format::Tsv);
        let mut out = Output { to: Box::new(paper.clone()), json, tsv, colour };
        let mut listing = Listing::new(Columns { titles: &["N", "WORD", "NOTE"], legend: "a legend" });
        for page in pages {
            let cells = |(n, word): &(u32, &str)| vec![cell(n), styled(word, Style::Good), maybe(None::<u8>)];
            listing.page(&mut out, page, cells).expect("paper is patient");
        }
        listing.end(&mut out, "nothing").expect("paper is patient");
        let octets = paper.0.lock().expect("fine").clone();
        String::from_utf8(octets).expect("text")
    }

    const PAGES: &[&[(u32, &str)]] = &[&[(1, "one"), (20, "twenty")], &[(3, "three")]];

    #[test]
    fn a_table_is_aligned_in_a_pipe_too_and_tabs_are_for_machines() {
        let table = "N   WORD    NOTE\n1   one     -\n20  twenty  -\n3   three   -\na legend\n";
        assert_eq!(listing(Format::Table, false, PAGES), table);
        assert_eq!(listing(Format::Tsv, false, PAGES), "N\tWORD\tNOTE\n1\tone\t-\n20\ttwenty\t-\n3\tthree\t-\n");
        assert!(listing(Format::Table, true, PAGES).contains("\x1b[32mone\x1b[0m"), "colour only where it is wanted");
    }

    #[test]
    fn what_others_call_themselves_does_nothing_to_the_terminal() {
        let evil = "\x1b]0;title\x07\x1b[2Jpeer\r\u{9b}K";
        assert_eq!(harmless(evil, true), "\u{fffd}]0;title\u{fffd}\u{fffd}[2Jpeer\u{fffd}\u{fffd}K");
        assert_eq!(harmless("\x1b[1;32mup\x1b[0m\tb\n", true), "\x1b[1;32mup\x1b[0m\tb\n");
        assert!(!harmless("\x1b[32mup", false).contains('\x1b'));
    }

    #[test]
    fn json_is_one_array_over_all_pages() {
        let parsed: Vec<(u32, String)> = serde_json::from_str(&listing(Format::Json, true, PAGES)).expect("an array");
        assert_eq!(parsed.len(), 3);
        assert_eq!(listing(Format::Json, false, &[]), "[]\n");
        assert_eq!([listing(Format::Table, false, &[]), listing(Format::Tsv, false, &[])], ["nothing\n", ""]);
    }

    #[test]
    fn times_have_two_units_at_most() {
        let shown: Vec<String> = [0.04, 12.9, 250.0, 7500.0, 360_000.0, -1.0].into_iter().map(duration).collect();
        assert_eq!(shown, ["40ms", "12s", "4m10s", "2h05m", "4d04h", "0ms"]);
        assert_eq!([octets(512), octets(12_900_000)], ["512 B", "12.3 MiB"]);
    }
}
