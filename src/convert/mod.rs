//! From the configuration of BIRD, FRR or GoBGP to one of catbird.
//!
//! In: the text of `bird.conf` (BIRD 1.6 and 2), `frr.conf` or `gobgpd.toml`. Out: a configuration in TOML, the secrets that it refers to, and a
//! [`Remark`] for each line that has no counterpart here, with its reason.
//!
//! Each dialect is read into one [`Sketch`](sketch::Sketch): peers, groups, blocks, policies. Filters, route-maps and policy statements all become
//! the same small programs ([`program`]), which [`program::compile`] makes into catbird's ordered rules. What is not understood is left out and
//! said; a policy whose meaning cannot be kept becomes one that lets nothing through, so that no route leaks.
//!
//! Reading files is the caller's ([`Include`]); whether the result is a configuration is `config`'s to say. No input makes this panic, and what
//! it costs is bounded by the limits below.

mod bird;
mod emit;
mod frr;
mod gobgp;
pub mod program;
pub mod sketch;
mod value;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// Longer texts are not read, includes counted.
pub const MAX_OCTETS: usize = 4 << 20;
/// More remarks are only counted.
const MAX_REMARKS: usize = 2000;

/// Whose language a configuration is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// BIRD 1.6 or 2.
    Bird,
    /// FRR: bgpd's part of it.
    Frr,
    /// GoBGP, in TOML.
    Gobgp,
}

impl Dialect {
    /// By what only one of them writes.
    pub fn guess(text: &str) -> Option<Dialect> {
        let begins = |words: &[&str]| text.lines().map(str::trim_start).any(|line| words.iter().any(|word| line.starts_with(word)));
        if begins(&["[global", "[[neighbors", "[[peer-groups", "[neighbors", "[[policy-definitions", "[[defined-sets"]) {
            return Some(Dialect::Gobgp);
        }
        if begins(&["router bgp ", "frr version ", "frr defaults ", "route-map ", "ip prefix-list ", "bgp as-path ", "bgp community-list "])
        {
            return Some(Dialect::Frr);
        }
        let words = ["router id ", "protocol ", "template ", "filter ", "function ", "define ", "log syslog", "log stderr", "log \""];
        begins(&words).then_some(Dialect::Bird)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Bird => "BIRD",
            Dialect::Frr => "FRR",
            Dialect::Gobgp => "GoBGP",
        }
    }
}

/// Does a remark change what the router does?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Sessions or routes will differ until somebody looks at it.
    Lost,
    /// Said otherwise here, or of no consequence for routes.
    Note,
}

/// Something in the original that is not in the result, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The included file; `None` for the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    pub line: u32,
    pub grade: Grade,
    /// What stands there, shortened.
    pub text: String,
    /// Why it is left out, and what to do about it.
    pub reason: String,
}

/// A secret of the original: the result has the path of a file instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Of the file, below the folder that was asked for.
    pub file: String,
    /// What is to stand in it.
    pub secret: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.file)
    }
}

/// What came of a conversion.
#[derive(Clone, Debug)]
pub struct Converted {
    pub dialect: Dialect,
    /// catbird's configuration.
    pub toml: String,
    /// In the order of the original.
    pub remarks: Vec<Remark>,
    /// To be put into files.
    pub secrets: Vec<Secret>,
    pub peers: usize,
    pub policies: usize,
}

impl Converted {
    /// Remarks that somebody must look at.
    pub fn lost(&self) -> usize {
        self.remarks.iter().filter(|remark| remark.grade == Grade::Lost).count()
    }
}

/// Finds the text of an `include`; what went wrong is for the reader.
pub type Include<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// How the result is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What the original is called in the result's first line.
    pub name: String,
    /// The folder that secrets will lie in.
    pub secrets: String,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { name: "standard input".to_owned(), secrets: "/etc/catbird".to_owned() }
    }
}

/// Reads the one and writes the other.
pub fn convert(text: &str, dialect: Dialect, include: Include<'_>, wish: &Wish) -> Converted {
    let mut report = Report::default();
    let text = report.bounded(text);
    let sketch = match dialect {
        Dialect::Bird => bird::read(text, include, &mut report),
        Dialect::Frr => frr::read(text, &mut report),
        Dialect::Gobgp => gobgp::read(text, &mut report),
    };
    let sketch = sketch.finished(&mut report);
    let toml = emit::toml(&sketch, dialect, wish, report.remarks.len());
    let (peers, policies) = (sketch.peers.len(), sketch.policies.len());
    Converted { dialect, toml, remarks: report.sorted(), secrets: sketch.secrets, peers, policies }
}

/// Where something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// 0: the file that was asked for; others by [`Report::file`].
    pub file: u16,
    pub line: u32,
}

/// Collects remarks.
#[derive(Debug, Default)]
pub(crate) struct Report {
    remarks: Vec<(Place, Remark)>,
    seen: BTreeSet<(Place, String, String)>,
    files: Vec<String>,
    more: usize,
}

impl Report {
    /// A file that is included from now on.
    pub fn file(&mut self, name: &str) -> u16 {
        self.files.push(name.to_owned());
        u16::try_from(self.files.len()).unwrap_or(u16::MAX)
    }

    pub fn lost(&mut self, place: Place, text: &str, reason: impl Into<String>) {
        self.push(place, Grade::Lost, text, reason.into());
    }

    pub fn note(&mut self, place: Place, text: &str, reason: impl Into<String>) {
        self.push(place, Grade::Note, text, reason.into());
    }

    fn push(&mut self, place: Place, grade: Grade, text: &str, reason: String) {
        let text = shortened(text);
        if self.remarks.len() >= MAX_REMARKS {
            self.more = self.more.saturating_add(1);
        } else if self.seen.insert((place, text.clone(), reason.clone())) {
            let file = usize::from(place.file).checked_sub(1).and_then(|at| self.files.get(at)).cloned();
            self.remarks.push((place, Remark { file, line: place.line, grade, text, reason }));
        }
    }

    fn bounded<'t>(&mut self, text: &'t str) -> &'t str {
        if text.len() <= MAX_OCTETS {
            return text;
        }
        self.lost(Place { file: 0, line: 1 }, "the file", format!("longer than {} MiB: what is beyond is not read", MAX_OCTETS >> 20));
        let end = (0..=MAX_OCTETS).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.get(..end).unwrap_or_default()
    }

    fn sorted(mut self) -> Vec<Remark> {
        if self.more > 0 {
            let remark =
                Remark { file: None, line: 0, grade: Grade::Lost, text: String::new(), reason: format!("{} remarks more", self.more) };
            self.remarks.push((Place { file: u16::MAX, line: u32::MAX }, remark));
        }
        self.remarks.sort_by_key(|(place, _)| *place);
        self.remarks.into_iter().map(|(_, remark)| remark).collect()
    }
}

/// On one line, and not long.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 60 { line } else { line.chars().take(57).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests;
