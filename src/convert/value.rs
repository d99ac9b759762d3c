//! Values of a TOML file, and tables of settings in the order in which they are to be written.
//!
//! In: settings one by one. Out: their text.

use std::fmt::Write as _;

/// What may stand behind `key =`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    Texts(Vec<String>),
    Numbers(Vec<u64>),
}

impl Value {
    /// As TOML has it.
    pub fn written(&self) -> String {
        match self {
            Value::Text(text) => quoted(text),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Texts(texts) => list(texts.iter().map(|text| quoted(text)).collect()),
            Value::Numbers(numbers) => list(numbers.iter().map(u64::to_string).collect()),
        }
    }
}

/// One line while it is short.
fn list(items: Vec<String>) -> String {
    let line = format!("[{}]", items.join(", "));
    if line.len() <= 120 { line } else { format!("[\n    {},\n]", items.join(",\n    ")) }
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name as the part of a section's head.
pub fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

macro_rules! from {
    ($($ty:ty => |$v:ident| $made:expr;)*) => {$(
        impl From<$ty> for Value {
            fn from($v: $ty) -> Value {
                $made
            }
        }
    )*};
}
from! {
    &str => |v| Value::Text(v.to_owned());
    String => |v| Value::Text(v);
    u8 => |v| Value::Number(v.into());
    u16 => |v| Value::Number(v.into());
    u32 => |v| Value::Number(v.into());
    u64 => |v| Value::Number(v);
    bool => |v| Value::Flag(v);
    Vec<String> => |v| Value::Texts(v);
    Vec<u64> => |v| Value::Numbers(v);
}

/// Settings of one section, each once, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(Vec<(&'static str, Value)>);

impl Table {
    /// Sets it, or sets it anew.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(there, _)| *there == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(there, _)| *there == key).map(|(_, value)| value)
    }

    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(there, _)| *there != key);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the other says goes before what is said here.
    pub fn overlay(&mut self, other: &Table) {
        other.0.iter().for_each(|(key, value)| self.set(key, value.clone()));
    }

    /// Without what the other says just so.
    #[must_use]
    pub fn beyond(&self, other: &Table) -> Table {
        Table(self.0.iter().filter(|(key, value)| other.get(key) != Some(value)).cloned().collect())
    }

    pub fn write(&self, out: &mut String) {
        for (key, value) in &self.0 {
            let _ = writeln!(out, "{key} = {}", value.written());
        }
    }
}
