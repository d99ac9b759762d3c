//! Reads settings out of parsed TOML one by one, and reports everything that does not fit instead of stopping at the first.
//!
//! In: a table with spans. Out: typed values, each with its place, or `None` and a finding. A section knows which settings were asked of
//! it, so what is left over at its end is unknown, and what is accepted needs no list of its own.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw::List;
use super::report::{At, Diagnostics, Problem, Span};

/// Something that a TOML value can be read as.
pub trait Value: Sized {
    /// Reports what is wrong and answers `None`.
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Self>;
}

/// Reports a wrong type.
pub fn wrong_type(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics, expected: &'static str) {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    diagnostics.report(span.clone(), Problem::WrongType { expected, found });
}

/// A string, or a finding.
pub fn text<'v>(value: &'v DeValue<'_>, span: &Span, diagnostics: &Diagnostics, expected: &'static str) -> Option<&'v str> {
    let found = value.as_str();
    if found.is_none() {
        wrong_type(value, span, diagnostics, expected);
    }
    found
}

/// An integer, or a finding.
pub fn integer(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics, expected: &'static str) -> Option<i64> {
    let Some(found) = value.as_integer() else {
        wrong_type(value, span, diagnostics, expected);
        return None;
    };
    let number = i64::from_str_radix(found.as_str(), found.radix()).ok();
    if number.is_none() {
        diagnostics.report(span.clone(), Problem::BadValue { found: found.to_string(), expected: expected.to_owned() });
    }
    number
}

/// One table of the file, being read.
pub struct Section<'a> {
    /// As in the file: `[node]`, `[[peer]]`.
    title: String,
    table: &'a DeTable<'a>,
    span: Span,
    asked: BTreeSet<&'static str>,
    diagnostics: &'a Diagnostics,
}

impl<'a> Section<'a> {
    pub fn root(table: &'a Spanned<DeTable<'a>>, diagnostics: &'a Diagnostics) -> Section<'a> {
        Section::new("the file".to_owned(), table.get_ref(), 0..0, diagnostics)
    }

    fn new(title: String, table: &'a DeTable<'a>, span: Span, diagnostics: &'a Diagnostics) -> Section<'a> {
        Section { title, table, span, asked: BTreeSet::new(), diagnostics }
    }

    /// Where the section begins.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Whether the setting is there at all, legal or not.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.insert(key);
        self.diagnostics.asked_for(&self.title, key);
        self.table.get(key)
    }

    /// The setting `key`, if it is there and fits.
    pub fn take<T: Value>(&mut self, key: &'static str) -> Option<At<T>> {
        let found = self.ask(key)?;
        let span = found.span();
        T::read(found.get_ref(), &span, self.diagnostics).map(|value| At { value, span })
    }

    /// A list that says which of several things is meant: an empty one means none of them, which nobody wants.
    pub fn some<T: Value>(&mut self, key: &'static str) -> List<T> {
        self.not_empty(key, "leave it out where it does not matter");
        self.take(key)
    }

    /// The same, and a finding if it is not there at all.
    pub fn need_some<T: Value>(&mut self, key: &'static str, why: &'static str) -> List<T> {
        self.not_empty(key, why);
        self.need(key, why)
    }

    fn not_empty(&self, key: &'static str, help: &str) {
        let empty = |found: &&Spanned<DeValue<'_>>| found.get_ref().as_array().is_some_and(|array| array.is_empty());
        if let Some(found) = self.table.get(key).filter(empty) {
            let what = format!("`{key}` is empty, and nothing is in an empty list");
            self.diagnostics.report(found.span(), Problem::Conflict { what, help: help.to_owned() });
        }
    }

    /// The same, and a finding if it is not there at all.
    pub fn need<T: Value>(&mut self, key: &'static str, why: &'static str) -> Option<At<T>> {
        let there = self.has(key);
        let found = self.take(key);
        if !there {
            self.diagnostics.report(self.span.clone(), Problem::Missing { key, section: self.title.clone(), why });
        }
        found
    }

    /// The table `[key]`; without one, an empty section, so that its settings are known all the same.
    pub fn table(&mut self, key: &'static str) -> Section<'a> {
        let title = self.title_of(key, false);
        match self.ask(key) {
            Some(found) => match found.get_ref() {
                DeValue::Table(table) => Section::new(title, table, found.span(), self.diagnostics),
                other => {
                    wrong_type(other, &found.span(), self.diagnostics, "a table");
                    Section::new(title, empty(), found.span(), self.diagnostics)
                }
            },
            None => Section::new(title, empty(), self.span.clone(), self.diagnostics),
        }
    }

    /// The tables `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let title = self.title_of(key, true);
        let Some(found) = self.ask(key) else { return Vec::new() };
        let DeValue::Array(array) = found.get_ref() else {
            wrong_type(found.get_ref(), &found.span(), self.diagnostics, "an array of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref() {
                DeValue::Table(table) => sections.push(Section::new(title.clone(), table, item.span(), self.diagnostics)),
                other => wrong_type(other, &item.span(), self.diagnostics, "a table"),
            }
        }
        sections
    }

    /// The tables that a former release called `[[key]]`.
    pub fn former_tables(&mut self, key: &'static str, now: &str) -> Vec<Section<'a>> {
        let Some(found) = self.table.get(key) else { return Vec::new() };
        let old = self.title_of(key, true);
        self.diagnostics.report(found.span(), Problem::Renamed { old: format!("`{old}`"), new: format!("`{now}`") });
        self.tables(key)
    }

    /// The tables `[key.NAME]`, each with its name.
    pub fn named_tables(&mut self, key: &'static str) -> Vec<(At<String>, Section<'a>)> {
        let title = format!("[{key}.NAME]");
        let Some(found) = self.ask(key) else { return Vec::new() };
        let DeValue::Table(outer) = found.get_ref() else {
            wrong_type(found.get_ref(), &found.span(), self.diagnostics, "a table of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, item) in outer.iter() {
            if name.get_ref().trim().is_empty() || name.get_ref().chars().any(char::is_control) {
                let found = name.get_ref().escape_debug().to_string();
                let expected = "a name: not empty, without control characters".to_owned();
                self.diagnostics.report(name.span(), Problem::BadValue { found, expected });
            }
            match item.get_ref() {
                DeValue::Table(table) => sections.push((
                    At { value: name.get_ref().clone().into_owned(), span: name.span() },
                    Section::new(title.clone(), table, item.span(), self.diagnostics),
                )),
                other => wrong_type(other, &item.span(), self.diagnostics, "a table"),
            }
        }
        sections
    }

    fn title_of(&self, key: &str, many: bool) -> String {
        let path = match self.title.trim_matches(['[', ']']) {
            "the file" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        };
        if many { format!("[[{path}]]") } else { format!("[{path}]") }
    }

    /// Whatever was not asked for is unknown.
    pub fn finish(self) {
        for (key, _) in self.table.iter() {
            if !self.asked.contains(key.get_ref().as_ref()) {
                let accepted = self.asked.iter().copied().collect();
                let key_text = key.get_ref().clone().into_owned();
                self.diagnostics.report(key.span(), Problem::UnknownKey { key: key_text, section: self.title.clone(), accepted });
            }
        }
    }
}

/// A table with nothing in it that lives long enough for everybody.
fn empty() -> &'static DeTable<'static> {
    static EMPTY: std::sync::OnceLock<DeTable<'static>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(DeTable::new)
}
