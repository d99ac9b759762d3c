//! What is wrong with a configuration, in words with which it can be put right without a manual.
//!
//! In: problems with the place where they were found. Out: text for people (a line, a caret, what is accepted, what was perhaps meant).
//! Whether a problem is there at all is for [`super::validate`] and [`super::reader`] to find.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::redact::redact;

/// Octets of the file, from the first to the one after the last.
pub type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// What was read.
    pub value: T,
    /// Octets of the file in which it stands.
    pub span: Span,
}

impl<T> At<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> At<T> {
        At { value, span }
    }
}

/// Whether the configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can be used, and something in it is likely not meant.
    Warning,
    /// It cannot be used.
    Error,
}

/// What may be wrong; values ride in fields, [`fmt::Display`] makes the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not TOML; the parser's own words.
    Syntax(String),
    /// No setting of this section has this name.
    UnknownKey {
        /// As typed.
        key: String,
        /// Of the file, in brackets.
        section: String,
        /// Every name that the section knows; the nearest is suggested.
        accepted: Vec<&'static str>,
    },
    /// A string where a number belongs, or the like.
    WrongType {
        /// In words, with an example.
        expected: &'static str,
        /// The type that stands there.
        found: &'static str,
    },
    /// Of the right type, and outside of what is accepted.
    BadValue {
        /// As typed, unless it is a secret.
        found: String,
        /// In words, with bounds.
        expected: String,
    },
    /// None of a fixed set of words.
    UnknownKeyword {
        /// As typed.
        found: String,
        /// All of them; the nearest is suggested.
        accepted: Vec<String>,
    },
    /// A setting without a default is absent.
    Missing {
        /// Its name.
        key: &'static str,
        /// Where it belongs.
        section: String,
        /// What it is for.
        why: &'static str,
    },
    /// A reference to something that is not defined.
    Unresolved {
        /// What was named: peer group, policy, prefix set.
        kind: &'static str,
        /// As typed.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Two things that must differ are one.
    Duplicate {
        /// Of what.
        kind: &'static str,
        /// Which.
        what: String,
    },
    /// Two settings that do not go together, or one that means nothing here.
    Conflict {
        /// In words.
        what: String,
        /// What to write instead.
        help: String,
    },
    /// A file that another setting names.
    Unreadable {
        /// As configured.
        path: String,
        /// The system's.
        error: String,
    },
    /// No entry of the cluster's list is this node.
    NotInCluster {
        /// Ours.
        name: String,
        /// Those of the list.
        known: Vec<String>,
    },
    /// RFC 8212: an external peer without policy neither learns nor announces.
    NoPolicy {
        /// Its name.
        peer: String,
        /// `import`, `export` or both.
        missing: &'static str,
    },
    /// The name of a former release, which is still taken.
    Renamed {
        /// The former name.
        old: String,
        /// The name to use.
        new: String,
    },
    /// Legal, but hardly what was meant.
    Odd {
        /// In words.
        what: String,
        /// What to do about it.
        help: String,
    },
}

impl Problem {
    /// Problems that do not stop the daemon.
    pub fn severity(&self) -> Severity {
        match self {
            Problem::NoPolicy { .. } | Problem::Odd { .. } | Problem::Unreadable { .. } | Problem::Renamed { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Takes out what was read where the file is not shown.
    fn conceal(&mut self) {
        match self {
            Problem::BadValue { found: text, .. }
            | Problem::UnknownKeyword { found: text, .. }
            | Problem::Unresolved { name: text, .. }
            | Problem::Duplicate { what: text, .. }
            | Problem::Unreadable { path: text, .. }
            | Problem::UnknownKey { key: text, .. } => "***".clone_into(text),
            Problem::Conflict { what, .. } | Problem::Odd { what, .. } => "what stands here cannot stand here".clone_into(what),
            _ => {}
        }
    }

    /// What to write under the caret.
    fn label(&self) -> String {
        match self {
            Problem::Syntax(_) => "here".into(),
            Problem::UnknownKey { section, .. } => format!("not a setting of {section}"),
            Problem::WrongType { expected, .. } => format!("expected {expected}"),
            Problem::BadValue { expected, .. } => format!("expected {expected}"),
            Problem::UnknownKeyword { .. } => "not one of the accepted words".into(),
            Problem::Missing { key, .. } => format!("`{key}` is missing here"),
            Problem::Unresolved { kind, .. } => format!("no {kind} has this name"),
            Problem::Duplicate { .. } => "said again here".into(),
            Problem::Conflict { .. } => "in conflict".into(),
            Problem::Unreadable { error, .. } => error.clone(),
            Problem::NotInCluster { .. } => "none of these is this node".into(),
            Problem::NoPolicy { missing, .. } => format!("no `{missing}`"),
            Problem::Renamed { new, .. } => format!("now {new}"),
            Problem::Odd { .. } => String::new(),
        }
    }

    /// What to do about it: accepted values, the likeliest meaning first.
    fn help(&self) -> Vec<String> {
        match self {
            Problem::UnknownKey { key, accepted, .. } => {
                let words: Vec<String> = accepted.iter().map(|w| (*w).to_owned()).collect();
                meant(key, &words, "accepted")
            }
            Problem::UnknownKeyword { found, accepted } => meant(found, accepted, "accepted"),
            Problem::Unresolved { kind, known, .. } if known.is_empty() => vec![format!("none is defined; add a {kind} of this name")],
            Problem::Unresolved { name, known, .. } => meant(name, known, "known"),
            Problem::NotInCluster { name, known } => {
                let add = "add it to `nodes` of [cluster], or say by [node] name which of them it is".to_owned();
                [meant(name, known, "known"), vec![add]].concat()
            }
            Problem::Duplicate { kind, .. } => vec![format!("each {kind} stands once: correct one of the two, or take it out")],
            Problem::Unreadable { .. } => {
                vec!["the file holds the key alone; as soon as it is there and may be read, the sessions are tried".to_owned()]
            }
            Problem::WrongType { expected: "an array of tables", .. } => {
                vec!["there may be several: write the name in double brackets, as in `[[peer]]`".to_owned()]
            }
            Problem::Syntax(text) if text.contains("duplicate key") => vec!["a setting stands once in its section".to_owned()],
            Problem::Missing { why, .. } if !why.is_empty() => vec![(*why).to_owned()],
            Problem::Conflict { help, .. } | Problem::Odd { help, .. } => vec![help.clone()],
            Problem::NoPolicy { missing, .. } => {
                vec![format!("say `{missing} = \"all\"`, `\"none\"`, `\"own-blocks\"` or the name of a [policy.NAME] (RFC 8212)")]
            }
            _ => Vec::new(),
        }
    }
}

/// "did you mean" and the list of what there is.
fn meant(word: &str, known: &[String], title: &str) -> Vec<String> {
    let mut help = Vec::new();
    if let Some(near) = likeliest(word, known) {
        help.push(format!("did you mean `{near}`?"));
    }
    if known.is_empty() {
        help.push(format!("{title}: nothing yet"));
    } else {
        help.push(format!("{title}: {}", listed(known)));
    }
    help
}

/// What other routers call it.
const SYNONYMS: [(&str, &str); 18] = [
    ("deny", "reject"),
    ("drop", "reject"),
    ("refuse", "reject"),
    ("permit", "accept"),
    ("allow", "accept"),
    ("pass", "accept"),
    ("continue", "next"),
    ("mesh", "full-mesh"),
    ("rr", "route-reflector"),
    ("v4", "ipv4-unicast"),
    ("v6", "ipv6-unicast"),
    ("inet", "ipv4-unicast"),
    ("inet6", "ipv6-unicast"),
    ("ibgp", "internal"),
    ("ebgp", "external"),
    ("verbose", "debug"),
    ("warning", "warn"),
    ("critical", "error"),
];

/// The known word that was meant: one that is spelt nearly so, one that begins so, or one with the same meaning elsewhere.
fn likeliest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let begins = || known.iter().map(String::as_str).find(|k| word.len() > 1 && k.starts_with(word));
    let meant = || SYNONYMS.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours);
    let synonym = || meant().and_then(|ours| known.iter().map(String::as_str).find(|k| *k == ours));
    synonym().or_else(|| nearest(word, known.iter().map(String::as_str))).or_else(begins)
}

/// At most twenty names; a cluster has hundreds.
fn listed(known: &[String]) -> String {
    let shown: Vec<&str> = known.iter().take(20).map(String::as_str).collect();
    match known.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Syntax(text) => write!(f, "not TOML: {text}"),
            Problem::UnknownKey { key, section, .. } => write!(f, "unknown setting `{key}` in {section}"),
            Problem::WrongType { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::BadValue { found, expected } => write!(f, "`{found}` is not {expected}"),
            Problem::UnknownKeyword { found, .. } => write!(f, "unknown value `{found}`"),
            Problem::Missing { key, section, .. } => write!(f, "{section} needs `{key}`"),
            Problem::Unresolved { kind, name, .. } => write!(f, "no {kind} is called `{name}`"),
            Problem::Duplicate { kind, what } => write!(f, "{kind} `{what}` is there twice"),
            Problem::Conflict { what, .. } | Problem::Odd { what, .. } => f.write_str(what),
            Problem::Unreadable { path, error } => write!(f, "no password in {path}: {error}; its sessions stay down"),
            Problem::Renamed { old, new } => write!(f, "{old} is called {new} now; the next release will not know the old name"),
            Problem::NotInCluster { name, .. } => write!(f, "this node, `{name}`, is not in the cluster's list"),
            Problem::NoPolicy { peer, missing: "import" } => {
                write!(f, "external peer {peer} has no import policy: nothing it says is used")
            }
            Problem::NoPolicy { peer, .. } => write!(f, "external peer {peer} has no export policy: it is told nothing"),
        }
    }
}

/// One problem and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Follows from the problem.
    pub severity: Severity,
    /// `None`: the file as a whole.
    pub span: Option<Span>,
    /// What is wrong; its text names the cure.
    pub problem: Problem,
    /// A second place that explains the first ("defined here").
    pub also: Option<(Span, &'static str)>,
}

/// Collects diagnostics while a file is walked, and which settings were looked for.
#[derive(Debug, Default)]
pub struct Diagnostics {
    diagnostics: RefCell<Vec<Diagnostic>>,
    asked: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Diagnostics {
    /// Adds one at a place of the file.
    pub fn report(&self, span: Span, problem: Problem) {
        self.push(Some(span), problem, None);
    }

    /// With a second place.
    pub fn report_with(&self, span: Span, problem: Problem, also: Span, label: &'static str) {
        self.push(Some(span), problem, Some((also, label)));
    }

    /// Adds one that is of no place in particular.
    pub fn report_for_file(&self, problem: Problem) {
        self.push(None, problem, None);
    }

    fn push(&self, span: Option<Span>, problem: Problem, also: Option<(Span, &'static str)>) {
        self.diagnostics.borrow_mut().push(Diagnostic { severity: problem.severity(), span, problem, also });
    }

    /// The reader looked for this setting in that section: it exists.
    pub fn asked_for(&self, section: &str, key: &'static str) {
        self.asked.borrow_mut().insert((section.to_owned(), key));
    }

    /// Is there any that makes the configuration unusable?
    pub fn has_errors(&self) -> bool {
        self.diagnostics.borrow().iter().any(|f| f.severity == Severity::Error)
    }

    /// All that keeps the configuration from being used is that this node is not in the cluster's list.
    pub fn only_unlisted(&self) -> bool {
        let diagnostics = self.diagnostics.borrow();
        let mut errors = diagnostics.iter().filter(|f| f.severity == Severity::Error).peekable();
        errors.peek().is_some() && errors.all(|f| matches!(f.problem, Problem::NotInCluster { .. }))
    }

    /// In the order of the file.
    pub fn into_report(self, file: &str, text: &str) -> Report {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort_by_key(|f| f.span.as_ref().map_or((0, 0), |s| (s.start, s.end)));
        diagnostics.dedup();
        let asked = self.asked.into_inner();
        let shown = redact(text, &asked.iter().map(|(_, key)| *key).collect());
        let hidden = |f: &&mut Diagnostic| f.span.as_ref().is_some_and(|span| text.get(span.clone()) != shown.get(span.clone()));
        diagnostics.iter_mut().filter(hidden).for_each(|f| f.problem.conceal());
        Report { file: file.to_owned(), text: shown, diagnostics, asked }
    }
}

/// Everything found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    /// Without anything that could be a secret.
    text: String,
    diagnostics: Vec<Diagnostic>,
    asked: BTreeSet<(String, &'static str)>,
}

impl Report {
    /// In the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many make it unusable.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|f| f.severity == Severity::Error).count()
    }

    /// How many do not.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len().saturating_sub(self.errors())
    }

    /// Each (section, setting) that the code looked for in this file.
    pub fn settings(&self) -> &BTreeSet<(String, &'static str)> {
        &self.asked
    }

    /// Line and column of an octet, both from one; columns count characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or(&self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
        (line, column)
    }

    /// `file:line:column: the problem`, without the picture.
    pub fn line(&self, finding: &Diagnostic) -> String {
        match &finding.span {
            Some(span) => {
                let (line, column) = self.position(span.start);
                format!("{}:{line}:{column}: {}", self.file, finding.problem)
            }
            None => format!("{}: {}", self.file, finding.problem),
        }
    }

    /// What accepted values or other advice belong to a finding.
    pub fn advice(&self, finding: &Diagnostic) -> Vec<String> {
        finding.problem.help()
    }

    /// All diagnostics with their lines and carets; empty if there are none.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
        let shown: Vec<String> = self.diagnostics.iter().map(|f| self.render_one(&renderer, f)).collect();
        shown.join("\n\n")
    }

    fn render_one(&self, renderer: &Renderer, finding: &Diagnostic) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = match finding.span {
            Some(_) => finding.problem.to_string(),
            None => format!("{}: {}", self.file, finding.problem),
        };
        let mut group = level.primary_title(title).elements(std::iter::empty::<annotate_snippets::Message<'_>>());
        if let Some(span) = &finding.span {
            let mut snippet = Snippet::source(self.text.as_str())
                .path(self.file.as_str())
                .annotation(AnnotationKind::Primary.span(self.clamp(span)).label(finding.problem.label()));
            if let Some((also, label)) = &finding.also {
                snippet = snippet.annotation(AnnotationKind::Context.span(self.clamp(also)).label(*label));
            }
            group = group.element(snippet);
        }
        for help in finding.problem.help() {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    fn clamp(&self, span: &Span) -> Span {
        let end = span.end.min(self.text.len());
        span.start.min(end)..end
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// The known word that a misspelt one most likely meant; `None` if nothing is near.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known.map(|k| (distance(word, k), k)).filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Edits between two words, a swap of neighbours counting once; `-` and `_` are the same.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.replace('-', "_").to_ascii_lowercase();
    strsim::osa_distance(&fold(a), &fold(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_finds_nobody() {
        let known = ["hold_time", "keepalive_time", "password_file"];
        assert_eq!(nearest("hold-time", known.into_iter()), Some("hold_time"));
        assert_eq!(nearest("hodl_time", known.into_iter()), Some("hold_time"));
        assert_eq!(nearest("pasword_file", known.into_iter()), Some("password_file"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }

    #[test]
    fn positions_count_from_one_and_in_characters() {
        let report = Diagnostics::default().into_report("x", "é = 1\nab = 2\n");
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position("é = ".len()), (1, 5));
        assert_eq!(report.position("é = 1\nab".len()), (2, 3));
        assert_eq!(report.position(9999), (3, 1));
    }
}
