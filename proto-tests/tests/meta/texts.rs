//! Cuts the requirements out of the text of an RFC: each sentence that has a keyword of RFC 2119 in capitals.
//!
//! In: the text as the RFC Editor publishes it. Out: for each sentence its section, its number among those of the section, the
//! keywords, and a hash of its words. The texts themselves are not ours to keep; `CATBIRD_RFCS` names a folder that has them.

use regex::Regex;

/// One sentence that requires something.
#[derive(Debug, PartialEq, Eq)]
pub struct Sentence {
    /// `4.2-3`: the third in section 4.2. Section 0 is what stands under no number.
    pub at: String,
    /// `MUST` or `SHOULD, MAY`, in the order of the text.
    pub level: String,
    /// FNV-1a of 64 bits over the words with single spaces between, as 16 hexadecimal digits.
    pub hash: String,
    pub words: String,
}

/// All of them, in the order of the text.
pub fn sentences(text: &str) -> Vec<Sentence> {
    let keyword =
        Regex::new(r"\b(MUST NOT|MUST|SHALL NOT|SHALL|SHOULD NOT|SHOULD|REQUIRED|NOT RECOMMENDED|RECOMMENDED|MAY)\b").expect("a pattern");
    let mut found: Vec<Sentence> = Vec::new();
    let mut count = std::collections::BTreeMap::new();
    for (section, paragraph) in paragraphs(text) {
        for words in split(&paragraph) {
            let mut level: Vec<&str> = Vec::new();
            keyword.find_iter(words).map(|m| m.as_str()).for_each(|word| {
                if !level.contains(&word) {
                    level.push(word)
                }
            });
            // The paragraph that explains the keywords themselves.
            if level.is_empty() || words.contains("to be interpreted as") {
                continue;
            }
            let n = count.entry(section.clone()).or_insert(0);
            *n += 1;
            found.push(Sentence { at: format!("{section}-{n}"), level: level.join(", "), hash: hash(words), words: words.to_string() });
        }
    }
    found
}

/// Paragraphs with the number of their section, without the heads and feet of pages.
fn paragraphs(text: &str) -> Vec<(String, String)> {
    let heading = Regex::new(r#"^(?:Appendix )?([0-9]+(?:\.[0-9]+)*|[A-Z](?:\.[0-9]+)*)\.?  ?\s*[A-Z"]"#).expect("a pattern");
    let (mut found, mut section, mut open) = (Vec::new(), "0".to_string(), Vec::new());
    let text = unpaged(text);
    for line in text.iter().map(String::as_str).chain([""]) {
        let number = heading.captures(line).filter(|_| !line.contains("....")).map(|found| found[1].to_string());
        if line.trim().is_empty() || number.is_some() {
            if !open.is_empty() {
                found.push((section.clone(), open.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")));
                open.clear();
            }
            section = number.unwrap_or(section);
        } else {
            open.push(line);
        }
    }
    found
}

/// The lines without page breaks: a paragraph may go on on the next page.
fn unpaged(text: &str) -> Vec<String> {
    let foot = Regex::new(r"\[Page \d+\]$").expect("a pattern");
    let (mut kept, mut between): (Vec<String>, bool) = (Vec::new(), false);
    for line in text.lines().map(str::trim_end) {
        if foot.is_match(line) {
            while kept.last().is_some_and(String::is_empty) {
                kept.pop();
            }
            between = true;
        } else if !(between && (line.is_empty() || line.trim_start_matches('\u{c}').starts_with("RFC "))) {
            between = false;
            kept.push(line.to_string());
        }
    }
    kept
}

/// The sentences of a paragraph.
fn split(paragraph: &str) -> Vec<&str> {
    let end = Regex::new(r#"[.!?]["')]* ([A-Z0-9("\[]|[a-z]\. |o )"#).expect("a pattern");
    let enumerator = Regex::new(r"^([0-9]+|[A-Za-z])\.$").expect("a pattern");
    let (mut found, mut start, mut from) = (Vec::new(), 0, 0);
    while let Some(at) = end.captures_at(paragraph, from) {
        let next = at.get(1).expect("a group that is always there").start();
        let piece = &paragraph[start..next - 1];
        let goes_on =
            ["...", "e.g.", "i.e.", "etc.", "cf.", "vs."].iter().any(|short| piece.ends_with(short)) || enumerator.is_match(piece);
        if !goes_on {
            found.push(piece);
            start = next;
        }
        from = next;
    }
    found.push(&paragraph[start..]);
    found
}

pub fn hash(words: &str) -> String {
    let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[test]
fn sentences_are_cut_where_they_end_and_numbered_by_section() {
    let text = "\
Preface

   A house MUST have a door.

Table of Contents

   1. Doors ......................................................2

1.  Doors

   A door SHOULD be closed (e.g., at night).  It has a handle, and
   the handle MUST NOT



Builder                      Informational                      [Page 1]
\u{c}
RFC 0                       Houses                          January 1970


   be hot.  Nobody says more.

1.1.  Windows

   o  A window MAY be open.  The key words \"MUST\" are to be interpreted as
      described elsewhere.

   1. A window MUST have glass, and SHOULD have two panes; glass MUST be clear.
";
    let found: Vec<(String, String)> = sentences(text).into_iter().map(|sentence| (sentence.at, sentence.level)).collect();
    let expected = [("0-1", "MUST"), ("1-1", "SHOULD"), ("1-2", "MUST NOT"), ("1.1-1", "MAY"), ("1.1-2", "MUST, SHOULD")];
    assert_eq!(found, expected.map(|(at, level)| (at.to_string(), level.to_string())));
    assert_eq!(sentences(text)[2].words, "It has a handle, and the handle MUST NOT be hot.");
    assert_eq!(hash("a"), "af63dc4c8601ec8c", "FNV-1a");
}
