//! `catbird schema`: what answers in JSON look like, as JSON Schema made from the very types that answer.
//!
//! In: nothing. Out: one document with a property for each command. `docs/answers.schema.json` and the table of `docs/json.md` are this
//! document, and a test holds them to it.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::path::PathReport;
use super::simulate;
use crate::api::{
    BfdReport, BlockRow, BmpRow, Explanation, FibRow, ForwardingReport, NexthopRow, PeerDetail, PeerRow, RouteRow, RpkiReport,
};
use crate::daemon::doctor::Finding;
use crate::daemon::protocol::{FullStatus, Reloaded, SCHEMA_VERSION};
use crate::daemon::services::readiness::Readiness;
use crate::stats::Notice;

type Make = fn(&mut SchemaGenerator) -> Schema;

/// What each command, or path of HTTP, answers.
const ANSWERS: [(&str, Make); 19] = [
    ("status", one::<FullStatus>),
    ("peers", one::<Vec<PeerRow>>),
    ("peer", one::<PeerDetail>),
    ("received", one::<Vec<RouteRow>>),
    ("advertised", one::<Vec<RouteRow>>),
    ("routes", one::<Vec<RouteRow>>),
    ("why", one::<Explanation>),
    ("forwarding", one::<ForwardingReport>),
    ("path", one::<PathReport>),
    ("fib", one::<Vec<FibRow>>),
    ("nexthops", one::<Vec<NexthopRow>>),
    ("blocks", one::<Vec<BlockRow>>),
    ("bfd", one::<BfdReport>),
    ("bmp", one::<Vec<BmpRow>>),
    ("rpki", one::<RpkiReport>),
    ("reload", one::<Reloaded>),
    ("doctor", one::<Vec<Finding>>),
    ("simulate", one::<simulate::Answer>),
    ("readyz", one::<Readiness>),
];

fn one<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The whole schema (draft 2020-12).
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut properties: Map<String, Value> =
        ANSWERS.iter().map(|(name, make)| ((*name).to_owned(), make(&mut generator).to_value())).collect();
    properties.insert("monitor".to_owned(), generator.subschema_for::<Notice>().to_value());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What catbird answers in JSON",
        "description": "A property for each command with --json, or path below /v1/. `diff` answers as `reload` does; a line of `monitor` has its `time` beside what stands here.",
        "version": SCHEMA_VERSION,
        "type": "object",
        "properties": properties,
        "$defs": generator.take_definitions(true),
    })
}

/// The schema of one answer, with what it refers to; a list is an object with its `rows`.
pub fn answer(name: &str) -> Value {
    let events: (&str, Make) = ("monitor", one::<Vec<Notice>>);
    let Some((_, make)) = ANSWERS.iter().chain([&events]).find(|(known, _)| *known == name) else { return json!({ "type": "object" }) };
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let own = make(&mut generator).to_value();
    let list = own["type"] == "array";
    let mut schema = if list {
        let more = json!({ "type": "boolean", "description": "There are more than are given here." });
        json!({ "type": "object", "properties": { "rows": own, "more": more }, "required": ["rows", "more"] })
    } else {
        json!({ "type": "object", "allOf": [own] })
    };
    schema["$defs"] = generator.take_definitions(true).into();
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use super::*;

    fn compare(file: &str, made: &str) {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var("CATBIRD_MANUAL").is_ok_and(|what| what == "write") {
            std::fs::write(&path, made).expect("written");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "{file} is not what the types say: CATBIRD_MANUAL=write writes it anew, and protocol::SCHEMA_VERSION may have to go up"
        );
    }

    /// One row of the table for each key, however deep.
    struct Keys<'a> {
        defs: &'a Value,
        rows: Vec<(String, String, String)>,
    }

    impl Keys<'_> {
        fn walk(&mut self, at: &str, schema: &Value, words: &str) {
            let own = schema["description"].as_str().map_or(words, |text| text).to_owned();
            let mut types = BTreeSet::new();
            let mut inner = Vec::new();
            self.open(schema, &mut types, &mut inner);
            self.rows.push((at.to_owned(), types.into_iter().collect::<Vec<_>>().join(" or "), own));
            for schema in inner {
                if let Some(items) = schema.get("items") {
                    self.walk(&format!("{at}[]"), items, "");
                }
                for (key, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    self.walk(&format!("{at}.{key}"), field, "");
                }
            }
        }

        /// What may stand there, behind references and alternatives.
        fn open(&self, schema: &Value, types: &mut BTreeSet<String>, inner: &mut Vec<Value>) {
            if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
                self.open(&self.defs[name], types, inner);
            }
            for key in ["anyOf", "oneOf", "allOf"] {
                schema[key].as_array().into_iter().flatten().for_each(|one| self.open(one, types, inner));
            }
            let name = |kind: &str| if kind == "integer" { "number".to_owned() } else { kind.to_owned() };
            match &schema["type"] {
                Value::String(kind) => drop(types.insert(name(kind))),
                Value::Array(kinds) => types.extend(kinds.iter().filter_map(Value::as_str).map(name)),
                _ => {}
            }
            if schema.get("const").is_some_and(Value::is_string) {
                types.insert("string".to_owned());
            }
            if schema.get("items").is_some() || schema.get("properties").is_some() {
                inner.push(schema.clone());
            }
        }
    }

    #[test]
    fn the_documents_are_what_the_types_say() {
        let document = document();
        let pretty = serde_json::to_string_pretty(&document).expect("JSON");
        compare("docs/answers.schema.json", &format!("{pretty}\n"));
        let mut keys = Keys { defs: &document["$defs"], rows: Vec::new() };
        for (name, schema) in document["properties"].as_object().expect("an object") {
            keys.walk(name, schema, "");
        }
        let mut text = HEAD.to_owned();
        let mut said = BTreeSet::new();
        for (key, types, words) in &keys.rows {
            if said.insert((key, types)) {
                let words = words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
                writeln!(text, "| `{key}` | {types} | {words} |").expect("a String takes everything");
            }
        }
        compare("docs/json.md", &text);
    }

    const HEAD: &str = "\
# Keys of the answers in JSON

What `catbird COMMAND --json` prints, and what the same question gets over HTTP (`/v1/`). Lists are arrays of rows; `[]` stands for each of them.
`received` and `advertised` are those of `catbird peer X received`, `reload` is also what `diff` answers, `monitor` prints one object a line.
Times are seconds, sizes octets; `null` is \"there is none\". Words that are named here are for programs and stay; other text is for people.

`status` says `process.schema_version`: it goes up when a key is renamed, removed or changes its type, and not for a new one. The same as JSON
Schema is [answers.schema.json](answers.schema.json), and `catbird schema` prints that of the version that is installed. Both are made from the
types that answer (`CATBIRD_MANUAL=write cargo test --lib schema`), and what the daemons of `proto-tests/tests/story/questions.rs` say is held against them.

| key | type | meaning |
|---|---|---|
";
}
