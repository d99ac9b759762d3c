//! What a picture of the file may show: nothing that could be a secret, whatever is wrong with the file.
//!
//! In: the text, and the settings that the code knows. Out: the same text, every octet in its place, where the values of other settings,
//! comments, and whatever is no TOML cannot be read. It has a reader of its own, for a file of which pictures are made is one that the
//! parser refused. What it does not understand it hides.

use std::collections::BTreeSet;

/// Stand for a character of one to four octets.
const FILLERS: [char; 4] = ['*', '·', '•', '\u{1D15D}'];

/// Brackets inside each other at most.
const DEPTH: usize = 32;

/// Whether the value of a setting may be shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Always,
    /// The path of a file that holds a secret, but not the secret that somebody put in its place.
    Path,
    Never,
}

/// Is this the path of a file, and not the secret itself?
pub fn is_path(text: &str) -> bool {
    text.contains('/')
}

/// The text as it may be shown.
pub fn redact(text: &str, known: &BTreeSet<&str>) -> String {
    let mut reader = Reader { text, at: 0, shown: vec![false; text.len()], known, depth: 0 };
    while reader.at < text.len() {
        reader.depth = 0;
        if reader.statement().is_none() {
            reader.skip_line();
        }
    }
    let show = |(at, c): (usize, char)| {
        let hidden = !c.is_whitespace() && !reader.shown.get(at).is_some_and(|shown| *shown);
        if hidden { FILLERS.get(c.len_utf8().saturating_sub(1)).copied().unwrap_or('*') } else { c }
    };
    text.char_indices().map(show).collect()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    shown: Vec<bool>,
    known: &'t BTreeSet<&'t str>,
    depth: usize,
}

impl<'t> Reader<'t> {
    /// One line, or those of one value. `None` where it stops making sense: the rest of that line stays hidden.
    fn statement(&mut self) -> Option<()> {
        self.take(|c| c.is_whitespace());
        match self.peek() {
            None => return Some(()),
            Some('[') => {
                let from = self.at;
                self.take(|c| is_bare(c) || matches!(c, '[' | '.' | ' '));
                self.take(|c| c == ']');
                self.show(from);
            }
            Some(_) => {
                let shown = self.key()?;
                self.value(shown)?;
            }
        }
        self.take(|c| c == ' ' || c == '\t' || c == '\r');
        matches!(self.peek(), None | Some('\n')).then_some(())
    }

    /// A key and its `=`; tells whether the value may be shown.
    fn key(&mut self) -> Option<Shown> {
        let from = self.at;
        let mut shown = Shown::Always;
        loop {
            self.take(|c| c == ' ' || c == '\t');
            let part = self.take(is_bare);
            shown = shown.max(match part {
                "" => return None,
                "password_file" | "key_file" => Shown::Path,
                part if self.known.contains(part) => Shown::Always,
                _ => Shown::Never,
            });
            self.take(|c| c == ' ' || c == '\t');
            match self.take(|c| c == '.' || c == '=') {
                "." => {}
                "=" => break,
                _ => return None,
            }
        }
        self.show(from);
        self.take(|c| c == ' ' || c == '\t');
        Some(shown)
    }

    fn value(&mut self, shown: Shown) -> Option<()> {
        match self.peek()? {
            '"' | '\'' => self.string(shown),
            '[' => self.list(']', |reader| reader.value(shown)),
            '{' => self.list('}', |reader| {
                let inner = reader.key()?;
                reader.value(inner.max(shown))
            }),
            _ => {
                let from = self.at;
                self.take(|c| is_bare(c) || matches!(c, '.' | ':' | '/' | '+'));
                if shown == Shown::Always {
                    self.show(from);
                }
                (self.at > from).then_some(())
            }
        }
    }

    /// What stands in brackets, with commas between.
    fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= DEPTH)?;
        self.show_next();
        loop {
            self.gap();
            if self.peek()? == close {
                break;
            }
            item(self)?;
            self.gap();
            match self.peek()? {
                ',' => self.show_next(),
                c if c == close => {}
                _ => return None,
            }
        }
        self.show_next();
        self.depth = self.depth.saturating_sub(1);
        Some(())
    }

    /// One on a line may be shown; one of several lines never is.
    fn string(&mut self, shown: Shown) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let quote = rest.chars().next()?;
        let from = self.at;
        let long = rest.chars().take(3).filter(|c| *c == quote).count() == 3;
        let width = if long { 3 } else { 1 };
        let (mark, body) = rest.split_at_checked(width)?;
        let end = closing(body, mark, quote == '"');
        let content = body.get(..end)?;
        if !long && content.contains('\n') {
            return None;
        }
        self.at = from.saturating_add(end).saturating_add(width.saturating_mul(2)).min(self.text.len());
        if !long && (shown == Shown::Always || shown == Shown::Path && is_path(content)) {
            self.show(from);
        }
        Some(())
    }

    /// White space, line ends and comments.
    fn gap(&mut self) {
        while self.peek().is_some_and(|c| c.is_whitespace() || c == '#') {
            self.take(|c| c.is_whitespace());
            if self.peek() == Some('#') {
                self.skip_line();
            }
        }
    }

    fn skip_line(&mut self) {
        self.take(|c| c != '\n');
        self.take(|c| c == '\n');
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or("");
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(end);
        rest.get(..end).unwrap_or("")
    }

    fn show_next(&mut self) {
        let from = self.at;
        self.at = from.saturating_add(1);
        self.show(from);
    }

    /// From there to here.
    fn show(&mut self, from: usize) {
        self.shown.get_mut(from..self.at).into_iter().flatten().for_each(|shown| *shown = true);
    }
}

/// Where the string ends: at its mark, or with the text.
fn closing(body: &str, mark: &str, escapes: bool) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if escapes && c == '\\' {
            escaped = true;
        } else if body.get(at..).is_some_and(|rest| rest.starts_with(mark)) {
            return at;
        }
    }
    body.len()
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        redact(text, &["name", "asn", "addresses", "nodes", "password_file", "hold_time"].into())
    }

    #[test]
    fn known_settings_are_shown_and_others_are_not() {
        for plain in [
            "[node]\nname = \"a\"\nasn = 64512",
            "addresses = [\n  \"10.0.0.1\",\n 'b' ]",
            "nodes = [{ name = \"a\", asn = 1 }]",
            "asn = 1O",
        ] {
            assert_eq!(redacted(plain), plain);
        }
        assert_eq!(redacted("password = \"hunter2\"\nname = 'a'"), "password = *********\nname = 'a'");
        assert_eq!(redacted("nodes = [{ pasword = \"x\", name = \"é\" }]"), "nodes = [{ pasword = ***, name = \"é\" }]");
        assert_eq!(redacted("password_file = '/etc/x'\npassword_file = 'hunter2'"), "password_file = '/etc/x'\npassword_file = *********");
        assert_eq!(redacted("key = é𝄞"), "key = ·\u{1D15D}");
    }

    #[test]
    fn what_is_not_understood_is_hidden_to_the_end_of_its_line() {
        assert_eq!(redacted("name = \"a\" password = \"b\"\nasn = 1"), "name = \"a\" ******** * ***\nasn = 1");
        assert_eq!(redacted("hunter2\nasn = 1 # hunter2"), "*******\nasn = 1 * *******");
        assert_eq!(redacted("addresses = [\npassword = \"b\"\nasn = 1"), "addresses = [\npassword * ***\nasn = 1");
        assert_eq!(redacted("name = \"\"\"a\nname = 'b'\n\"\"\"\nasn = 1"), "name = ****\n**** * ***\n***\nasn = 1");
        assert_eq!(redacted("name = \"\"\"\\\"\"\"\nname = 'b'"), "name = *******\n**** * ***");
    }
}
