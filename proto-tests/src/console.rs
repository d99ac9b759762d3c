//! The console blocks of the documents: what is typed there is typed by a test, and what is shown is what is printed.
//!
//! In: Markdown. Out: its steps (files to write, commands to run, with what they print), and whether two outputs say the same. A line
//! `<!-- console: LAB -->` says who runs the blocks from there on: `alone` (no daemon), the name of a story's laboratory, `machines`, or `not: REASON`.
//! A command stands behind `$ ` (this machine) or `NAME# ` (that one); `<!-- file: PATH NAME,NAME -->` before a block of another kind makes it a file there.
//!
//! What differs from run to run is no part of the comparison: times, durations, sizes, process numbers, digits of captures, columns that
//! grow with their content. `...` stands for any number of lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::netlab::proc::workspace;

/// One thing that a document has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub line: usize,
    /// Who runs it.
    pub lab: String,
    pub deed: Deed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A file with this text, on these machines.
    File { path: String, machines: Vec<String>, text: String },
    /// A command on one (`""`: here), and what it prints.
    Command { machine: String, command: String, shown: Vec<String> },
}

/// `README.md`, `CHANGELOG.md`, and everything in `docs/`.
pub fn documents() -> Vec<PathBuf> {
    let root = workspace();
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let entries = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    found.extend(entries.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    found.sort();
    found
}

/// Those of one document that this laboratory runs.
pub fn steps_of(document: &Path, lab: &str) -> Vec<Step> {
    let text = fs::read_to_string(document).unwrap_or_else(|e| panic!("{}: {e}", document.display()));
    steps(&text).into_iter().filter(|step| step.lab == lab).collect()
}

/// All of them, in their order.
pub fn steps(text: &str) -> Vec<Step> {
    let (mut found, mut lab, mut file) = (Vec::new(), String::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(said) = comment(line, "console:") {
            lab = said.to_owned();
        } else if let Some(said) = comment(line, "file:") {
            file = Some(said.to_owned());
        } else if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            match (kind, file.take()) {
                ("console", _) => found.extend(commands(&body, at + 2, &lab)),
                (_, Some(said)) => found.push(Step { line: at + 1, lab: lab.clone(), deed: a_file(&said, &body) }),
                _ => {}
            }
        }
    }
    found
}

fn comment<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    Some(line.strip_prefix("<!-- ")?.strip_prefix(word)?.strip_suffix("-->")?.trim())
}

fn a_file(said: &str, body: &[&str]) -> Deed {
    let (path, machines) = said.split_once(' ').unwrap_or((said, ""));
    let machines = machines.split(',').map(|name| name.trim().to_owned()).collect();
    Deed::File { path: path.to_owned(), machines, text: body.join("\n") + "\n" }
}

/// What is typed: here, or on a machine.
fn typed(line: &str) -> Option<(&str, &str)> {
    if let Some(command) = line.strip_prefix("$ ") {
        return Some(("", command));
    }
    let (machine, command) = line.split_once("# ")?;
    let is_name = machine.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_name.then_some((machine, command))
}

fn commands(body: &[&str], first: usize, lab: &str) -> Vec<Step> {
    let mut found: Vec<Step> = Vec::new();
    for (n, line) in body.iter().enumerate() {
        let last = found.last_mut().map(|step| &mut step.deed);
        match (typed(line), last) {
            (_, Some(Deed::Command { command, .. })) if command.ends_with('\\') => {
                command.pop();
                command.push_str(line.trim_start());
            }
            (Some((machine, command)), _) => {
                let deed = Deed::Command { machine: machine.to_owned(), command: command.to_owned(), shown: Vec::new() };
                found.push(Step { line: first + n, lab: lab.to_owned(), deed });
            }
            (None, Some(Deed::Command { shown, .. })) => shown.push((*line).to_owned()),
            (None, _) => {}
        }
    }
    found
}

/// A line without what differs from run to run.
pub fn stable(line: &str) -> String {
    static PATTERNS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| {
        [
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
            (r"\b(\d+(\.\d+)? ?(ms|s|m|h|d) ?)+\b ?", "<for> "),
            (r"\b\d+(\.\d+)? (KiB|MiB|GiB|B)\b", "<size>"),
            (r"\bpid \d+", "pid <n>"),
            (r"0x[0-9a-f]+", "<hex>"),
            (r"\bcatbird \d+\.\d+\.\d+[^\s,]*( \([^)]*\))?", "catbird <version>"),
            (r"\btime=\S+|\brtt .*", "<time>"),
            (r"\s+", " "),
        ]
        .map(|(pattern, word)| (Regex::new(pattern).expect("a pattern"), word))
        .into()
    });
    let stable = patterns.iter().fold(line.to_owned(), |line, (pattern, word)| pattern.replace_all(&line, *word).into_owned());
    stable.trim().to_owned()
}

/// Where what was printed differs from what is shown, or nothing.
pub fn difference(shown: &[String], printed: &str) -> Option<String> {
    let clean = |line: &str| Some(stable(line)).filter(|line| !line.is_empty());
    let want: Vec<String> = shown.iter().filter_map(|line| clean(line)).collect();
    let got: Vec<String> = printed.lines().filter_map(clean).collect();
    if matches(&want, &got) {
        return None;
    }
    let first = want.iter().find(|line| *line != "..." && !got.contains(line));
    Some(format!("{}printed:\n{}", first.map(|line| format!("not printed: {line}\n")).unwrap_or_default(), printed.trim_end()))
}

fn matches(want: &[String], got: &[String]) -> bool {
    match want.split_first() {
        None => got.is_empty(),
        Some((gap, rest)) if gap == "..." => (0..=got.len()).any(|skipped| matches(rest, &got[skipped..])),
        Some((line, rest)) => got.split_first().is_some_and(|(first, others)| first == line && matches(rest, others)),
    }
}

/// Runs the steps of one document in their order: `run` does a command and answers what it printed, and is asked again until that is what is
/// shown or patience ends (a session takes its time); `write` writes a file. With `CATBIRD_MANUAL=write` what was printed goes into the document.
///
/// # Errors
/// The first step that printed something else, with its line.
pub fn play(
    document: &Path,
    lab: &str,
    write: impl FnMut(&str, &str, &str) -> Result<(), String>,
    run: impl FnMut(&str, &str) -> Result<String, String>,
) -> Result<usize, String> {
    let steps = steps_of(document, lab);
    let mut player = Player { document, write, run, grown: 0 };
    steps.iter().try_for_each(|step| player.step(step))?;
    Ok(steps.len())
}

struct Player<'a, W, R> {
    document: &'a Path,
    write: W,
    run: R,
    /// Lines that the document has gained above what comes next.
    grown: isize,
}

/// Commands that change something are typed once.
const ASKING: [&str; 10] = [
    "catbird peer",
    "catbird routes",
    "catbird why",
    "catbird fib",
    "catbird status",
    "catbird n",
    "catbird bfd",
    "ip ",
    "curl ",
    "promtool ",
];

/// Who compares waits for what is shown; who writes, until things have settled.
fn patience() -> Duration {
    Duration::from_secs(if writes() { 4 } else { 40 })
}

impl<W, R> Player<'_, W, R>
where
    W: FnMut(&str, &str, &str) -> Result<(), String>,
    R: FnMut(&str, &str) -> Result<String, String>,
{
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let place = format!("{}:{}", self.document.display(), step.line);
        match &step.deed {
            Deed::File { path, machines, text } => {
                machines.iter().try_for_each(|machine| (self.write)(machine, path, text)).map_err(|e| format!("{place}: {e}"))
            }
            Deed::Command { machine, command, shown } => {
                let mut printed = (self.run)(machine, command).map_err(|e| format!("{place}: {command}: {e}"))?;
                let begun = Instant::now();
                while difference(shown, &printed).is_some()
                    && ASKING.iter().any(|word| command.starts_with(word))
                    && begun.elapsed() < patience()
                {
                    std::thread::sleep(Duration::from_millis(500));
                    printed = (self.run)(machine, command).map_err(|e| format!("{place}: {command}: {e}"))?;
                }
                match difference(shown, &printed) {
                    Some(_) if writes() => {
                        let line = step.line.saturating_add_signed(self.grown);
                        self.grown += rewrite(self.document, line, shown.len(), &printed).cast_signed() - shown.len().cast_signed();
                    }
                    Some(why) => return Err(format!("{place}: {command}\n{why}\n(CATBIRD_MANUAL=write puts it into the document)")),
                    None => {}
                }
                Ok(())
            }
        }
    }
}

/// Whether this run makes the documents.
pub fn writes() -> bool {
    std::env::var("CATBIRD_MANUAL").is_ok_and(|what| what == "write")
}

/// Puts what was printed in the place of what is shown below the command in this line, and answers how many lines that are.
fn rewrite(document: &Path, line: usize, shown: usize, printed: &str) -> usize {
    let text = fs::read_to_string(document).unwrap_or_else(|e| panic!("{}: {e}", document.display()));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let fresh: Vec<String> = printed.trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
    let count = fresh.len();
    lines.splice(line..line + shown, fresh);
    fs::write(document, lines.join("\n") + "\n").unwrap_or_else(|e| panic!("{}: {e}", document.display()));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
<!-- console: alone -->
```console
$ echo a \\
    b
a b
node-b# catbird peers
PEER
```
<!-- file: /etc/x a,b -->
```toml
x = 1
```
```toml
y = 1
```
";

    #[test]
    fn steps_are_files_and_commands_with_what_they_print() {
        let of = |machine: &str, command: &str, shown: &str| Deed::Command {
            machine: machine.into(),
            command: command.into(),
            shown: vec![shown.into()],
        };
        let deeds: Vec<(usize, Deed)> = steps(TEXT).into_iter().map(|step| (step.line, step.deed)).collect();
        let file = Deed::File { path: "/etc/x".into(), machines: vec!["a".into(), "b".into()], text: "x = 1\n".into() };
        assert_eq!(deeds, [(3, of("", "echo a b", "a b")), (6, of("node-b", "catbird peers", "PEER")), (10, file)]);
        assert!(steps(TEXT).iter().all(|step| step.lab == "alone"));
    }

    #[test]
    fn what_differs_from_run_to_run_is_no_difference_and_everything_else_is() {
        let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&shown("tor  10.0.0.2  Established  3s  1"), "tor 10.0.0.2   Established  12ms  1\n"), None);
        assert_eq!(difference(&shown("local  12h07m  - 1m 2s, 7 messages"), "local 3s  - 45ms, 7 messages\n"), None);
        assert_eq!(difference(&shown("a\n...\nd"), "a\nb\nc\nd\n"), None);
        assert_eq!(
            difference(
                &shown("catbird 0.1.0, pid 19, up 3s, 28.7 MiB resident"),
                "catbird 0.2.0 (abc, changed), pid 7, up 1m 2s, 9 MiB resident"
            ),
            None
        );
        assert!(difference(&shown("tor  10.0.0.2"), "tor 10.0.0.3").is_some());
        assert!(difference(&shown("a"), "a\nb").is_some());
        assert!(difference(&shown("1 routes"), "2 routes").is_some());
    }
}
