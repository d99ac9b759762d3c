//! Walking over tokens: what comes next, and where a statement ends.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::Place;
use super::lex::{Tok, Token};

/// A place among tokens.
#[derive(Clone, Copy)]
pub struct Cursor<'a, 't> {
    pub rest: &'a [Token<'t>],
    last: Place,
}

impl<'a, 't> Cursor<'a, 't> {
    pub fn new(tokens: &'a [Token<'t>]) -> Cursor<'a, 't> {
        Cursor { rest: tokens, last: tokens.first().map_or_else(Place::default, |token| token.place) }
    }

    pub fn peek(&self) -> Option<&'a Tok<'t>> {
        self.rest.first().map(|token| &token.tok)
    }

    pub fn place(&self) -> Place {
        self.rest.first().map_or(self.last, |token| token.place)
    }

    pub fn next(&mut self) -> Option<&'a Token<'t>> {
        let (first, rest) = self.rest.split_first()?;
        (self.rest, self.last) = (rest, first.place);
        Some(first)
    }

    /// Nothing is left but the semicolon.
    pub fn at_end(&self) -> bool {
        self.rest.iter().all(|token| token.is(";"))
    }

    /// Eats it if it is there.
    pub fn sign(&mut self, sign: &str) -> bool {
        self.rest.first().is_some_and(|token| token.is(sign)) && self.next().is_some()
    }

    /// Eats these words if all of them are there.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let there = self.rest.len() >= words.len() && self.rest.iter().zip(words).all(|(token, word)| token.is_word(word));
        if there {
            self.rest = self.rest.get(words.len()..).unwrap_or_default();
        }
        there
    }

    pub fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    fn take<T>(&mut self, read: impl Fn(&'a Tok<'t>) -> Option<T>) -> Option<T> {
        let found = self.peek().and_then(read)?;
        self.next();
        Some(found)
    }

    pub fn any_word(&mut self) -> Option<&'t str> {
        self.take(|tok| if let Tok::Word(word) = tok { Some(*word) } else { None })
    }

    pub fn number(&mut self) -> Option<u32> {
        self.take(|tok| if let Tok::Number(number) = tok { Some(*number) } else { None })
    }

    pub fn text(&mut self) -> Option<&'t str> {
        self.take(|tok| if let Tok::Text(text) = tok { Some(*text) } else { None })
    }

    pub fn addr(&mut self) -> Option<IpAddr> {
        self.take(|tok| if let Tok::Addr(addr) = tok { Some(*addr) } else { None })
    }

    pub fn net(&mut self) -> Option<IpNet> {
        self.take(|tok| if let Tok::Net(net) = tok { Some(*net) } else { None })
    }

    /// `300 ms`, `5 s`, `5`: in milliseconds.
    pub fn time(&mut self) -> Option<u64> {
        let number = u64::from(self.number()?);
        if self.word("ms") {
            return Some(number);
        }
        if self.word("us") {
            return Some(number / 1000);
        }
        let _ = self.word("s");
        Some(number.saturating_mul(1000))
    }

    /// `on`, `yes`, nothing: true; `off`, `no`: false.
    pub fn switch(&mut self) -> bool {
        if self.word("off") || self.word("no") {
            return false;
        }
        let _ = self.word("on") || self.word("yes");
        true
    }

    /// What stands between this brace and its other, if there is one here.
    pub fn block(&mut self) -> Option<&'a [Token<'t>]> {
        if !self.rest.first().is_some_and(|token| token.is("{")) {
            return None;
        }
        let mut depth = 0_usize;
        for (at, token) in self.rest.iter().enumerate() {
            if token.is("{") {
                depth = depth.saturating_add(1);
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let inner = self.rest.get(1..at);
                    self.rest = self.rest.get(at.saturating_add(1)..).unwrap_or_default();
                    return inner;
                }
            }
        }
        let inner = self.rest.get(1..);
        self.rest = &[];
        inner
    }
}

/// The statements of a block: up to a semicolon, or to the brace that closes theirs.
pub fn statements<'a, 't>(tokens: &'a [Token<'t>]) -> Vec<&'a [Token<'t>]> {
    let (mut found, mut start, mut braces, mut brackets, mut parens) = (Vec::new(), 0_usize, 0_usize, 0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        let Tok::Sign(sign) = token.tok else { continue };
        let mut ends = false;
        match sign {
            "[" => brackets = brackets.saturating_add(1),
            "]" => brackets = brackets.saturating_sub(1),
            "(" => parens = parens.saturating_add(1),
            ")" => parens = parens.saturating_sub(1),
            "{" => braces = braces.saturating_add(1),
            "}" => {
                braces = braces.saturating_sub(1);
                ends = braces == 0 && brackets == 0 && parens == 0;
            }
            // Parameters of functions have semicolons between them.
            ";" => ends = braces == 0 && parens == 0,
            _ => {}
        }
        if ends {
            (brackets, parens) = (0, 0);
            let behind = at.saturating_add(1);
            found.extend(tokens.get(start..behind).filter(|one| one.iter().any(|token| !token.is(";"))));
            start = behind;
        }
    }
    found.extend(tokens.get(start..).filter(|one| !one.is_empty()));
    found
}
