//! The configuration as JSON Schema, for editors: `docs/configuration.schema.json`.
//!
//! It is made of what the reader does: which settings it asks for in which section, and what it says about a value of each type that it finds there.
//! So nobody keeps it by hand. What a setting is for, and its default, stand in `configs/reference.toml`. `CATBIRD_MANUAL=write` writes it anew.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::check_text;
use super::super::report::Problem;
use super::{REFERENCE, SHIPPED, with_examples};

const FILE: &str = "docs/configuration.schema.json";
const ROOT: &str = "the file";

/// One value of each type, as TOML has it.
const TYPES: [(&str, &str); 4] = [("integer", "7"), ("string", "\"zz\""), ("boolean", "true"), ("number", "0.5")];

type Settings = BTreeSet<(String, &'static str)>;

/// What the reader says about a value.
#[derive(Default)]
struct Said {
    /// It has the wrong type.
    refused: bool,
    /// What belongs there, in words.
    expected: Option<String>,
    /// The words that are known there.
    words: Vec<String>,
}

impl Said {
    fn is_silent(&self) -> bool {
        !self.refused && self.expected.is_none() && self.words.is_empty()
    }

    /// A list or a table that is none of the words is refused, too.
    fn takes_several(&self) -> bool {
        !self.refused && self.words.is_empty()
    }
}

fn probe(title: &str, key: &str, value: &str) -> Said {
    let before = format!("{}\n{key} = ", title.replace("NAME", "x"));
    let report = check_text("probe", &format!("{before}{value}\n")).report;
    let place = before.len()..before.len() + value.len();
    let mut said = Said::default();
    for finding in report.diagnostics().iter().filter(|f| f.span.as_ref().is_some_and(|s| s.start >= place.start && s.end <= place.end)) {
        match &finding.problem {
            Problem::WrongType { expected, .. } => {
                said.refused = true;
                said.expected.get_or_insert((*expected).to_owned());
            }
            Problem::BadValue { expected, .. } => drop(said.expected.get_or_insert(expected.clone())),
            Problem::UnknownKeyword { accepted, .. } => said.words.extend(accepted.iter().map(|word| word.trim_matches('"').to_owned())),
            _ => {}
        }
    }
    said
}

/// The schema of a value, `around` which brackets stand or do not.
fn one(title: &str, key: &str, around: (&str, &str)) -> Vec<Value> {
    let is_word =
        |word: &&String| !["true", "false"].contains(&word.as_str()) && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let mut accepted = Vec::new();
    for (name, value) in TYPES {
        let said = probe(title, key, &format!("{}{value}{}", around.0, around.1));
        if said.refused || (name != "string" && !said.words.is_empty()) {
            continue;
        }
        let words: Vec<&String> = said.words.iter().filter(is_word).collect();
        if name == "string" && !words.is_empty() && probe(title, key, &format!("{}\"65001\"{}", around.0, around.1)).is_silent() {
            accepted.push(json!({ "type": "string", "pattern": "^[0-9.]+$" }));
        }
        accepted.push(if name == "string" && !words.is_empty() { json!({ "enum": words }) } else { json!({ "type": name }) });
    }
    // Whole numbers are numbers.
    if accepted.contains(&json!({ "type": "number" })) {
        accepted.retain(|one| *one != json!({ "type": "integer" }));
    }
    accepted
}

fn any(mut of: Vec<Value>) -> Value {
    if of.len() == 1 { of.remove(0) } else { json!({ "anyOf": of }) }
}

fn setting(title: &str, key: &str, told: &Told) -> Value {
    let mut accepted = one(title, key, ("", ""));
    if probe(title, key, "[]").takes_several() {
        accepted.push(json!({ "type": "array", "items": any(one(title, key, ("[", "]"))) }));
    }
    if probe(title, key, "{}").takes_several() {
        accepted.push(json!({ "type": "object" }));
    }
    assert!(!accepted.is_empty(), "{title} {key} takes nothing");
    let mut schema = any(accepted);
    let expected = TYPES.iter().find_map(|(_, value)| probe(title, key, value).expected).filter(|words| words != "a word");
    let same = if title == "[cluster]" || title == "[[peer_group]]" { "[[peer]]" } else { title };
    let told = told.get(&(title.to_owned(), key.to_owned())).or_else(|| told.get(&(same.to_owned(), key.to_owned())));
    let words: Vec<String> = told
        .map(|(words, _)| words.clone())
        .into_iter()
        .filter(|w| !w.is_empty())
        .chain(expected.map(|e| format!("Accepted: {e}.")))
        .collect();
    if !words.is_empty() {
        schema["description"] = words.join("\n").into();
    }
    if let Some((words, Some(default))) = told
        && !words.starts_with("needed")
    {
        schema["default"] = default.clone();
    }
    schema
}

/// A section, with those below it.
fn section(title: &str, settings: &Settings, told: &Told) -> Value {
    let outer = title.trim_matches(['[', ']']);
    let path = |key: &str| if title == ROOT { key.to_owned() } else { format!("{outer}.{key}") };
    let known = |title: &str| settings.iter().any(|(other, _)| other == title);
    let mut properties = Map::new();
    for (_, key) in settings.iter().filter(|(other, _)| other == title) {
        let (one, many, named) = (format!("[{}]", path(key)), format!("[[{}]]", path(key)), format!("[{}.NAME]", path(key)));
        let schema = if known(&many) {
            json!({ "type": "array", "items": section(&many, settings, told) })
        } else if known(&named) {
            json!({ "type": "object", "additionalProperties": section(&named, settings, told) })
        } else if known(&one) {
            section(&one, settings, told)
        } else {
            setting(title, key, told)
        };
        properties.insert((*key).to_owned(), schema);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// Section and setting: what the reference says of it, and its default.
type Told = BTreeMap<(String, String), (String, Option<Value>)>;

/// The title that the reader has for a header of the reference.
fn title_of(header: &str, settings: &Settings) -> String {
    let steps = |title: &str| title.trim_matches(['[', ']']).split('.').map(str::to_owned).collect::<Vec<_>>();
    let wanted = steps(header);
    let fits = |title: &str| {
        let known = steps(title);
        title.starts_with("[[") == header.starts_with("[[")
            && known.len() == wanted.len()
            && known.iter().zip(&wanted).all(|(k, w)| k == "NAME" || k == w)
    };
    settings.iter().map(|(title, _)| title).find(|title| fits(title)).cloned().unwrap_or_else(|| header.to_owned())
}

fn told(settings: &Settings) -> Told {
    let (mut told, mut title, mut last) = (Told::new(), String::new(), None);
    for line in REFERENCE.lines() {
        let (bare, commented) = line.strip_prefix('#').map_or((line, false), |rest| (rest, true));
        if bare.starts_with('[') && bare.split('#').next().is_some_and(|header| header.trim_end().ends_with(']')) {
            title = title_of(bare.split('#').next().unwrap_or_default().trim_end(), settings);
            last = None;
            continue;
        }
        let setting = bare
            .split_once(" = ")
            .filter(|(key, _)| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        if let Some((key, rest)) = setting {
            let (value, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
            let default = toml::from_str::<Map<String, Value>>(&format!("v = {value}")).ok().and_then(|mut table| table.remove("v"));
            let place = (title.clone(), key.to_owned());
            told.insert(place.clone(), (comment.trim().to_owned(), default.filter(|_| !commented)));
            last = Some(place);
        } else if let (Some(place), Some(more)) = (&last, line.trim_start().strip_prefix("# ").filter(|_| line.starts_with("        "))) {
            let words = told.get_mut(place).expect("inserted above");
            words.0 = format!("{} {}", words.0, more.trim()).trim().to_owned();
        } else {
            last = None;
        }
    }
    told
}

fn document() -> &'static Value {
    static DOCUMENT: std::sync::LazyLock<Value> = std::sync::LazyLock::new(make);
    &DOCUMENT
}

fn make() -> Value {
    let settings = check_text("reference.toml", &with_examples()).report.settings().clone();
    let told = told(&settings);
    let mut schema = section(ROOT, &settings, &told);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Configuration of catbird".into();
    schema["description"] =
        "What each section may hold. References between sections, and what goes with what, are for `catbird check`, which names place, cause and cure.".into();
    schema
}

#[test]
fn the_published_schema_is_what_the_reader_does() {
    let made = format!("{}\n", serde_json::to_string_pretty(document()).expect("JSON"));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var("CATBIRD_MANUAL").is_ok_and(|what| what == "write") {
        std::fs::write(&path, &made).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{FILE} is not what the reader does: CATBIRD_MANUAL=write writes it anew");
}

/// As far as our schema goes.
fn refused(schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(all) = schema["anyOf"].as_array() {
        return all.iter().all(|one| refused(one, value, at).is_some()).then(|| format!("{at}: {value} is none of {all:?}"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return (!words.contains(value)).then(|| format!("{at}: {value} is none of {words:?}"));
    }
    let fits = match schema["type"].as_str().unwrap_or_default() {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    if !fits {
        return Some(format!("{at}: {value} is no {}", schema["type"]));
    }
    let items = value.as_array().into_iter().flatten().find_map(|item| refused(&schema["items"], item, at));
    let below = value.as_object().into_iter().flatten().find_map(|(key, value)| {
        let inner = schema["properties"].get(key).or_else(|| Some(&schema["additionalProperties"]).filter(|more| more.is_object()));
        match inner {
            Some(inner) => refused(inner, value, &format!("{at}.{key}")),
            None => (schema["additionalProperties"] == false).then(|| format!("{at}.{key} is unknown")),
        }
    });
    items.or(below)
}

fn refusal(text: &str) -> Option<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    refused(document(), &value, "")
}

#[test]
fn every_shipped_configuration_fits_the_schema_and_mistakes_do_not() {
    for (name, text) in SHIPPED.iter().map(|(name, text)| (*name, (*text).to_owned())).chain([("the examples", with_examples())]) {
        assert_eq!(refusal(&text), None, "{name}");
    }
    for mistake in [
        "[nod]\nasn = 64512\n",
        "[node]\nans = 64512\n",
        "[node]\nasn = true\n",
        "[node]\non_term = \"explode\"\n",
        "[[peer]]\nhold_time = false\n",
        "[cluster]\nmode = \"fullmesh\"\n",
        "[cluster]\nnodes = [{ name = 7 }]\n",
        "[policy.p]\nrules = [{ than = \"accept\" }]\n",
        "[pods]\nblocks = [10]\n",
        "[ready]\nshare = \"all\"\n",
    ] {
        assert!(refusal(mistake).is_some(), "{mistake}");
        assert!(check_text("mistake", mistake).report.errors() > 0, "the schema is no stricter than the reader: {mistake}");
    }
}
