//! As much of JSON schema (draft 7) as containerlab's schema uses, and loud about the rest.
//!
//! In: a schema, a value. Out: every fault, with the place where it is. (A crate for it would bring sixty others along.)

use regex::Regex;
use serde_json::{Map, Value};

/// Words that say nothing about validity.
const SILENT: &[&str] = &["$id", "$schema", "title", "description", "markdownDescription", "default", "definitions", "then", "else"];

pub struct Schema(Value);

impl Schema {
    pub fn new(root: Value) -> Self {
        Self(root)
    }

    pub fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.0, value, "", &mut faults);
        faults
    }

    fn holds(&self, schema: &Value, value: &Value) -> bool {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => faults.push(format!("{at}: nothing may stand here")),
            // Draft 7: beside a $ref nothing else counts; this schema writes `type` beside some, which does no harm to check.
            Value::Object(words) => words.iter().for_each(|(word, rule)| self.check_word(words, word, rule, value, at, faults)),
            other => panic!("not a schema: {other}"),
        }
    }

    fn check_word(&self, words: &Map<String, Value>, word: &str, rule: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let count = |list: &Value| list.as_array().unwrap().iter().filter(|schema| self.holds(schema, value)).count();
        let fine = match word {
            "$ref" => return self.check(self.target(rule), value, at, faults),
            "allOf" => return rule.as_array().unwrap().iter().for_each(|schema| self.check(schema, value, at, faults)),
            "if" => {
                let branch = words.get(if self.holds(rule, value) { "then" } else { "else" });
                return branch.into_iter().for_each(|schema| self.check(schema, value, at, faults));
            }
            "properties" | "patternProperties" | "additionalProperties" | "required" | "minProperties" => {
                return value.as_object().into_iter().for_each(|object| self.check_object(words, word, rule, object, at, faults));
            }
            "items" | "prefixItems" | "additionalItems" | "minItems" | "maxItems" | "uniqueItems" => {
                return value.as_array().into_iter().for_each(|array| self.check_array(word, rule, array, at, faults));
            }
            "anyOf" => count(rule) > 0,
            "oneOf" => count(rule) == 1,
            "not" => !self.holds(rule, value),
            "type" => is_of_type(rule, value),
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            silent if SILENT.contains(&silent) => true,
            unknown => panic!("this checker does not know {unknown:?}"),
        };
        if !fine {
            faults.push(format!("{at}: {value} is not as {word} {} says", shorten(rule)));
        }
    }

    fn check_object(
        &self,
        words: &Map<String, Value>,
        word: &str,
        rule: &Value,
        object: &Map<String, Value>,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        let listed = |key: &str| words.get("properties").is_some_and(|known| known.get(key).is_some());
        let patterns: Vec<(Regex, &Value)> = match words.get("patternProperties").and_then(Value::as_object) {
            Some(known) => known.iter().map(|(pattern, schema)| (Regex::new(pattern).unwrap(), schema)).collect(),
            None => Vec::new(),
        };
        let matching =
            |key: &str| patterns.iter().filter(|(pattern, _)| pattern.is_match(key)).map(|(_, schema)| *schema).collect::<Vec<_>>();
        for (key, value) in object {
            let at = format!("{at}/{key}");
            match word {
                "properties" => rule.get(key).into_iter().for_each(|schema| self.check(schema, value, &at, faults)),
                "patternProperties" => matching(key).into_iter().for_each(|schema| self.check(schema, value, &at, faults)),
                "additionalProperties" if !listed(key) && matching(key).is_empty() => self.check(rule, value, &at, faults),
                _ => {}
            }
        }
        if word == "required" {
            let missing = rule.as_array().unwrap().iter().filter(|key| !object.contains_key(key.as_str().unwrap()));
            faults.extend(missing.map(|key| format!("{at}: {key} is missing")));
        }
        if word == "minProperties" && (object.len() as u64) < rule.as_u64().unwrap() {
            faults.push(format!("{at}: too few entries"));
        }
    }

    fn check_array(&self, word: &str, rule: &Value, array: &[Value], at: &str, faults: &mut Vec<String>) {
        let len = array.len() as u64;
        let fine = match (word, rule) {
            ("items" | "prefixItems", Value::Array(each)) => {
                let pairs = each.iter().zip(array).enumerate();
                return pairs.for_each(|(i, (schema, value))| self.check(schema, value, &format!("{at}/{i}"), faults));
            }
            ("items", every) => {
                return array.iter().enumerate().for_each(|(i, value)| self.check(every, value, &format!("{at}/{i}"), faults));
            }
            ("minItems", least) => len >= least.as_u64().unwrap(),
            ("maxItems", most) => len <= most.as_u64().unwrap(),
            ("uniqueItems", Value::Bool(true)) => array.iter().enumerate().all(|(i, value)| !array[..i].contains(value)),
            // Says something only beside an `items` that is a list; this schema has none.
            _ => true,
        };
        if !fine {
            faults.push(format!("{at}: {len} entries are not as {word} {rule} says"));
        }
    }

    fn target(&self, reference: &Value) -> &Value {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).unwrap_or_else(|| panic!("outside reference {reference}"));
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }
}

fn is_of_type(rule: &Value, value: &Value) -> bool {
    match rule {
        Value::Array(any) => any.iter().any(|one| is_of_type(one, value)),
        one => match one.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            other => panic!("no type {other:?}"),
        },
    }
}

fn shorten(rule: &Value) -> String {
    rule.to_string().chars().take(80).collect()
}
