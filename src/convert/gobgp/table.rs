//! A TOML document that is asked for its settings; what nobody asked for is said.
//!
//! In: the parsed text. Out: values with the line that they stand in.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::{Place, Report};

/// A section.
pub struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    path: String,
    place: Place,
    asked: BTreeSet<&'static str>,
    lines: &'a Lines,
}

/// Where lines begin.
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1))).collect())
    }

    pub fn place(&self, at: usize) -> Place {
        let line = self.0.partition_point(|start| *start <= at);
        Place { file: 0, line: u32::try_from(line).unwrap_or(u32::MAX) }
    }
}

impl<'a> Section<'a> {
    pub fn root(table: &'a DeTable<'a>, lines: &'a Lines) -> Section<'a> {
        Section { table: Some(table), path: String::new(), place: Place { file: 0, line: 1 }, asked: BTreeSet::new(), lines }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.insert(key);
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn below(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Section<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let inner = value.get_ref().as_table();
        // A section without a head of its own stands where its first setting does.
        let at = inner.and_then(|table| table.keys().map(|key| key.span().start).min()).unwrap_or(value.span().start);
        Section { table: inner, path, place: self.lines.place(at), asked: BTreeSet::new(), lines: self.lines }
    }

    /// An empty one if there is none.
    pub fn table(&mut self, key: &'static str) -> Section<'a> {
        match self.value(key) {
            Some(value) => self.below(key, value),
            None => Section { table: None, path: String::new(), place: self.place, asked: BTreeSet::new(), lines: self.lines },
        }
    }

    pub fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        value.get_ref().as_array().map(|array| array.iter().map(|item| self.below(key, item)).collect()).unwrap_or_default()
    }

    pub fn text(&mut self, key: &'static str) -> Option<(String, Place)> {
        let value = self.value(key)?;
        value.get_ref().as_str().map(|text| (text.to_owned(), self.lines.place(value.span().start)))
    }

    /// GoBGP takes fractions where a number of seconds is meant.
    pub fn number(&mut self, key: &'static str) -> Option<i64> {
        match self.value(key)?.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().split('.').next().and_then(|whole| whole.parse().ok()),
            _ => None,
        }
    }

    pub fn positive<T: TryFrom<i64>>(&mut self, key: &'static str) -> Option<T> {
        self.number(key).filter(|number| *number > 0).and_then(|number| T::try_from(number).ok())
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key)?.get_ref().as_bool()
    }

    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let items =
            value.get_ref().as_array().map(|array| array.iter().filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect());
        items.unwrap_or_default()
    }

    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// These are known, and nothing follows from them.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// Says what nobody asked for.
    pub fn finish(self, report: &mut Report) {
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            if !self.asked.contains(&**key.get_ref()) {
                let path = if self.path.is_empty() { key.get_ref().to_string() } else { format!("{}.{}", self.path, key.get_ref()) };
                report.lost(self.lines.place(key.span().start), &path, "not understood, or nothing that catbird has");
            }
        }
    }
}
