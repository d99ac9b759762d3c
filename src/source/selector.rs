//! Selectors of labels: Calico's language, and that of `kubectl -l`.
//!
//! In: text. Out: a [`Selector`] that is asked about the labels of an object. Both languages are one tree, so that `nodes` and `calico` ask alike.

use super::object::Words;

/// Terms inside one another at most; nobody writes so many by hand.
const DEPTH: usize = 32;

/// Which labels an object must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every object.
    All,
    /// `key in {..}`; holds for no object without the label.
    In(String, Vec<String>),
    /// The label's value has this in it.
    Contains(String, String),
    /// The label's value begins so.
    StartsWith(String, String),
    /// The label's value ends so.
    EndsWith(String, String),
    /// The label is there.
    Has(String),
    /// It does not hold.
    Not(Box<Selector>),
    /// All of them hold.
    And(Vec<Selector>),
    /// One of them holds.
    Or(Vec<Selector>),
}

impl Selector {
    /// Calico's: `has(rack) && zone in {'a', 'b'} && !(edge == 'true')`. Empty is everything.
    ///
    /// # Errors
    /// Where it ceases to be one, and what stands there.
    pub fn calico(text: &str) -> Result<Selector, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        if parser.tokens.is_empty() {
            return Ok(Selector::All);
        }
        let selector = parser.or(0)?;
        parser.end()?;
        Ok(selector)
    }

    /// As after `kubectl -l`: `rack=1,zone in (a,b),!edge`. Empty is everything.
    ///
    /// # Errors
    /// As [`Selector::calico`].
    pub fn labels(text: &str) -> Result<Selector, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut all = Vec::new();
        while parser.at < parser.tokens.len() {
            all.push(parser.requirement()?);
            if parser.at < parser.tokens.len() {
                parser.expect(",")?;
            }
        }
        Ok(if all.is_empty() { Selector::All } else { Selector::And(all) })
    }

    /// Does it mean an object with these labels?
    pub fn matches(&self, labels: &Words) -> bool {
        match self {
            Selector::All => true,
            Selector::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Selector::Contains(key, part) => labels.get(key).is_some_and(|value| value.contains(part.as_str())),
            Selector::StartsWith(key, part) => labels.get(key).is_some_and(|value| value.starts_with(part.as_str())),
            Selector::EndsWith(key, part) => labels.get(key).is_some_and(|value| value.ends_with(part.as_str())),
            Selector::Has(key) => labels.contains_key(key),
            Selector::Not(inner) => !inner.matches(labels),
            Selector::And(all) => all.iter().all(|inner| inner.matches(labels)),
            Selector::Or(any) => any.iter().any(|inner| inner.matches(labels)),
        }
    }
}

/// A sign, a bare word, or a word in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Sign(&'static str),
    Word(String),
    Quoted(String),
}

/// Longer ones first.
const SIGNS: [&str; 12] = ["&&", "||", "==", "!=", "!", "=", "(", ")", "{", "}", ",", "&"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), rest.strip_prefix(sign).unwrap_or_default())
        } else if first == '\'' || first == '"' {
            let inside = rest.strip_prefix(first).unwrap_or_default();
            let (word, after) = inside.split_once(first).ok_or_else(|| format!("the quote before `{inside}` has no end"))?;
            (Token::Quoted(word.to_owned()), after)
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "_./-:".contains(c))).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() {
                return Err(format!("`{rest}` begins with no word and no sign of a selector"));
            }
            (Token::Word(word.to_owned()), after)
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at = self.at.saturating_add(1);
        token
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at = self.at.saturating_add(usize::from(there));
        there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at = self.at.saturating_add(usize::from(there));
        there
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.instead_of(sign)) }
    }

    fn instead_of(&self, what: &str) -> String {
        match self.peek() {
            Some(Token::Sign(sign)) => format!("`{sign}` where {what} belongs"),
            Some(Token::Word(word) | Token::Quoted(word)) => format!("`{word}` where {what} belongs"),
            None => format!("it ends where {what} belongs"),
        }
    }

    fn end(&self) -> Result<(), String> {
        if self.at < self.tokens.len() { Err(self.instead_of("its end")) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Quoted(value) | Token::Word(value)) => Ok(value),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.instead_of("a value"))
            }
        }
    }

    fn values(&mut self, open: &'static str, close: &'static str) -> Result<Vec<String>, String> {
        self.expect(open)?;
        let mut values = Vec::new();
        while !self.take_sign(close) {
            values.push(self.value()?);
            if !self.take_sign(",") && !matches!(self.peek(), Some(Token::Sign(sign)) if *sign == close) {
                return Err(self.instead_of(close));
            }
        }
        Ok(values)
    }

    fn or(&mut self, depth: usize) -> Result<Selector, String> {
        let mut any = vec![self.and(depth)?];
        while self.take_sign("||") {
            any.push(self.and(depth)?);
        }
        Ok(one_or(any, Selector::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Selector, String> {
        let mut all = vec![self.term(depth)?];
        while self.take_sign("&&") {
            all.push(self.term(depth)?);
        }
        Ok(one_or(all, Selector::And))
    }

    fn term(&mut self, depth: usize) -> Result<Selector, String> {
        if depth > DEPTH {
            return Err(format!("more than {DEPTH} terms inside one another"));
        }
        let deeper = depth.saturating_add(1);
        if self.take_sign("!") {
            return Ok(Selector::Not(Box::new(self.term(deeper)?)));
        }
        if self.take_sign("(") {
            let inner = self.or(deeper)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let Some(Token::Word(word)) = self.peek().cloned() else { return Err(self.instead_of("a label")) };
        self.at = self.at.saturating_add(1);
        if matches!(word.as_str(), "all" | "global") && self.take_sign("(") {
            self.expect(")")?;
            return Ok(Selector::All);
        }
        if word == "has" && self.take_sign("(") {
            let key = self.value()?;
            self.expect(")")?;
            return Ok(Selector::Has(key));
        }
        self.comparison(word)
    }

    fn comparison(&mut self, key: String) -> Result<Selector, String> {
        if self.take_sign("==") || self.take_sign("=") {
            return Ok(Selector::In(key, vec![self.value()?]));
        }
        if self.take_sign("!=") {
            return Ok(Selector::Not(Box::new(Selector::In(key, vec![self.value()?]))));
        }
        if self.take_word("in") {
            return Ok(Selector::In(key, self.values("{", "}")?));
        }
        if self.take_word("not") && self.take_word("in") {
            return Ok(Selector::Not(Box::new(Selector::In(key, self.values("{", "}")?))));
        }
        if self.take_word("contains") {
            return Ok(Selector::Contains(key, self.value()?));
        }
        if self.take_word("starts") && self.take_word("with") {
            return Ok(Selector::StartsWith(key, self.value()?));
        }
        if self.take_word("ends") && self.take_word("with") {
            return Ok(Selector::EndsWith(key, self.value()?));
        }
        Err(self.instead_of("a comparison (==, !=, in, not in, contains, starts with, ends with)"))
    }

    /// One of `kubectl`'s.
    fn requirement(&mut self) -> Result<Selector, String> {
        if self.take_sign("!") {
            return Ok(Selector::Not(Box::new(Selector::Has(self.value()?))));
        }
        let key = self.value()?;
        if self.take_sign("==") || self.take_sign("=") {
            return Ok(Selector::In(key, vec![self.value()?]));
        }
        if self.take_sign("!=") {
            return Ok(Selector::Not(Box::new(Selector::In(key, vec![self.value()?]))));
        }
        if self.take_word("in") {
            return Ok(Selector::In(key, self.values("(", ")")?));
        }
        if self.take_word("notin") {
            return Ok(Selector::Not(Box::new(Selector::In(key, self.values("(", ")")?))));
        }
        Ok(Selector::Has(key))
    }
}

fn one_or(mut list: Vec<Selector>, several: impl Fn(Vec<Selector>) -> Selector) -> Selector {
    match (list.len(), list.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            list.extend(last);
            several(list)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> Words {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn calico_s_language_is_understood() {
        let node = labels(&[("rack", "r1"), ("zone", "eu-a"), ("example.com/edge", "true")]);
        for (text, holds) in [
            ("", true),
            ("all()", true),
            ("global()", true),
            ("has(rack)", true),
            ("!has(rack)", false),
            ("has(other)", false),
            ("rack == 'r1'", true),
            ("rack == \"r2\"", false),
            ("rack != 'r2'", true),
            ("other != 'x'", true),
            ("rack in {'r1', 'r2'}", true),
            ("rack in {}", false),
            ("rack not in {'r1'}", false),
            ("other not in {'r1'}", true),
            ("zone starts with 'eu'", true),
            ("zone ends with '-b'", false),
            ("zone contains 'u-'", true),
            ("example.com/edge == 'true' && rack == 'r1'", true),
            ("has(other) || rack == 'r1' && zone == 'x'", false),
            ("(has(other) || rack == 'r1') && !(zone == 'x')", true),
        ] {
            assert_eq!(Selector::calico(text).map(|s| s.matches(&node)), Ok(holds), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_place() {
        for (text, said) in [
            ("rack ==", "it ends where a value belongs"),
            ("rack", "it ends where a comparison"),
            ("has(rack", "it ends where ) belongs"),
            ("rack == 'a' zone == 'b'", "`zone` where its end belongs"),
            ("rack == 'a", "has no end"),
            ("rack in {'a' 'b'}", "`b` where } belongs"),
            ("; drop", "begins with no word"),
            (&"!".repeat(1000), "more than 32 terms"),
            (&"(".repeat(100_000), "more than 32 terms"),
        ] {
            let error = Selector::calico(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn kubectl_s_language_is_understood() {
        let node = labels(&[("rack", "1"), ("catbird.dev/reflector", "true")]);
        for (text, holds) in [
            ("", true),
            ("catbird.dev/reflector", true),
            ("!catbird.dev/reflector", false),
            ("rack=1", true),
            ("rack==1,catbird.dev/reflector=true", true),
            ("rack!=1", false),
            ("rack in (1, 2),other notin (x)", true),
        ] {
            assert_eq!(Selector::labels(text).map(|s| s.matches(&node)), Ok(holds), "{text}");
        }
        assert!(Selector::labels("rack=1 zone=2").is_err());
    }
}
