//! The words of a `bird.conf`.
//!
//! In: text. Out: [`Token`]s with their places, comments gone, what `define` says put in where it is named, and included files read. Both are
//! bounded: a file that includes itself ends at [`MAX_INCLUDES`], and one whose constants grow without end at [`MAX_TOKENS`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_until, take_while, take_while1};
use nom::character::complete::{anychar, char, digit1, hex_digit1, multispace1};
use nom::combinator::{map, map_opt, opt, recognize, value, verify};
use nom::multi::many0_count;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::super::{Include, MAX_OCTETS, Place, Report};

const MAX_TOKENS: usize = 1 << 20;
const MAX_INCLUDES: usize = 64;
/// Files within files.
const MAX_NESTED: usize = 8;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub enum Tok<'t> {
    Word(&'t str),
    Number(u32),
    Text(&'t str),
    Addr(IpAddr),
    Net(IpNet),
    /// One or two characters.
    Sign(&'t str),
}

/// A word and where it stands.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    pub tok: Tok<'t>,
    pub place: Place,
}

impl Token<'_> {
    pub fn is(&self, sign: &str) -> bool {
        matches!(self.tok, Tok::Sign(found) if found == sign)
    }

    pub fn is_word(&self, word: &str) -> bool {
        matches!(self.tok, Tok::Word(found) if found == word)
    }
}

/// As it may be shown to people.
pub fn shown(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    for token in tokens.iter().take(24) {
        let tight = matches!(token.tok, Tok::Sign(";" | "," | "." | ")" | "]" | "}")) || out.ends_with(['(', '[', '.']);
        if !tight && !out.is_empty() {
            out.push(' ');
        }
        match &token.tok {
            Tok::Word(word) | Tok::Sign(word) => out.push_str(word),
            Tok::Number(number) => out.push_str(&number.to_string()),
            Tok::Text(text) => out.push_str(&format!("\"{text}\"")),
            Tok::Addr(addr) => out.push_str(&addr.to_string()),
            Tok::Net(net) => out.push_str(&net.to_string()),
        }
    }
    out
}

/// The texts of the file and of those that it includes: they outlive the tokens.
pub struct Texts(Vec<(u16, String)>);

impl Texts {
    /// Reads what is included; the order is kept by `tokens`.
    pub fn gather(text: &str, include: Include<'_>, report: &mut Report) -> Texts {
        let mut texts = Texts(vec![(0, text.to_owned())]);
        let mut octets = text.len();
        let mut at = 0;
        let mut depth = vec![0_usize];
        while let Some((file, text)) = texts.0.get(at).cloned() {
            let level = depth.get(at).copied().unwrap_or(MAX_NESTED);
            for (place, name) in includes(&text, file) {
                let told = format!("include \"{name}\"");
                if level >= MAX_NESTED || texts.0.len() >= MAX_INCLUDES {
                    report.lost(place, &told, "too many files, or one that includes itself");
                    continue;
                }
                match include(&name) {
                    Ok(found) if octets.saturating_add(found.len()) > MAX_OCTETS => {
                        report.lost(place, &told, format!("more than {} MiB in all", MAX_OCTETS >> 20));
                    }
                    Ok(found) => {
                        octets = octets.saturating_add(found.len());
                        texts.0.push((report.file(&name), found));
                        depth.push(level.saturating_add(1));
                    }
                    Err(why) => report.lost(place, &told, format!("cannot be read: {why}")),
                }
            }
            at = at.saturating_add(1);
        }
        texts
    }

    /// Included files behind each other, in front of the one that asks for them: what they define is known to it.
    pub fn tokens(&self, report: &mut Report) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        for (file, text) in self.0.iter().rev() {
            scan(text, *file, &mut tokens);
        }
        constants(tokens, report)
    }
}

/// The names after `include`, of a whole file.
fn includes(text: &str, file: u16) -> Vec<(Place, String)> {
    let mut tokens = Vec::new();
    scan(text, file, &mut tokens);
    let pairs = tokens.windows(2).filter_map(|pair| match pair {
        [word, name] if word.is_word("include") => match name.tok {
            Tok::Text(text) => Some((word.place, text.to_owned())),
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}

fn scan<'t>(text: &'t str, file: u16, tokens: &mut Vec<Token<'t>>) {
    let (mut rest, mut line) = (text, 1_u32);
    while !rest.is_empty() && tokens.len() < MAX_TOKENS {
        let (behind, found) = match space(rest) {
            Ok((behind, ())) => (behind, None),
            Err(_) => match token(rest) {
                Ok((behind, tok)) => (behind, Some(tok)),
                Err(_) => return,
            },
        };
        tokens.extend(found.map(|tok| Token { tok, place: Place { file, line } }));
        let eaten = rest.len().saturating_sub(behind.len());
        let lines = rest.as_bytes().iter().take(eaten).filter(|octet| **octet == b'\n').count();
        line = line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        rest = behind;
    }
}

type Read<'t, T> = IResult<&'t str, T>;

fn space(text: &str) -> Read<'_, ()> {
    let comment = value((), (char('#'), opt(is_not("\n"))));
    let block = value((), (tag("/*"), alt((value((), (take_until("*/"), tag("*/"))), value((), take_while(|_| true))))));
    alt((value((), multispace1), comment, block)).parse_complete(text)
}

fn token(text: &str) -> Read<'_, Tok<'_>> {
    let quoted = map(delimited(char('"'), take_while(|c| c != '"' && c != '\n'), opt(char('"'))), Tok::Text);
    let named = map(delimited(char('\''), take_while1(|c| c != '\'' && c != '\n'), opt(char('\''))), Tok::Word);
    let two = ["..", "!=", "!~", "<=", ">=", "&&", "||", "->", "::"];
    let sign = map(alt((alt(two.map(tag)), recognize(anychar))), Tok::Sign);
    alt((quoted, named, net_or_address, word, number, sign)).parse_complete(text)
}

fn word(text: &str) -> Read<'_, Tok<'_>> {
    let begins = verify(anychar, |c: &char| c.is_ascii_alphabetic() || *c == '_');
    let goes_on = take_while(|c: char| c.is_ascii_alphanumeric() || c == '_');
    map(recognize((begins, goes_on)), Tok::Word).parse_complete(text)
}

fn number(text: &str) -> Read<'_, Tok<'_>> {
    let hex = map_opt(preceded(tag("0x"), hex_digit1), |digits| u32::from_str_radix(digits, 16).ok());
    alt((hex, map_opt(digit1, |digits: &str| digits.parse().ok()))).map(Tok::Number).parse_complete(text)
}

fn net_or_address(text: &str) -> Read<'_, Tok<'_>> {
    let v4 = recognize((digit1, many0_count((char('.'), digit1))));
    let v6 = take_while1(|c: char| c.is_ascii_hexdigit() || c == ':' || c == '.');
    let (rest, addr) = alt((map_opt(v6, no_word), map_opt(v4, no_word))).parse_complete(text)?;
    let length = map_opt(preceded(char('/'), digit1::<&str, nom::error::Error<&str>>), |digits: &str| digits.parse().ok());
    match opt(length).parse_complete(rest) {
        Ok((behind, Some(length))) => match IpNet::new(addr, length) {
            Ok(net) => Ok((behind, Tok::Net(net))),
            Err(_) => Ok((rest, Tok::Addr(addr))),
        },
        _ => Ok((rest, Tok::Addr(addr))),
    }
}

/// `dead`, `10` and `2..3` are no addresses.
fn no_word(text: &str) -> Option<IpAddr> {
    let dots = text.matches('.').count();
    (dots == 3 || text.matches(':').count() >= 2).then(|| text.parse().ok()).flatten()
}

/// `define NAME = ...;` goes, and NAME is what stands there.
fn constants<'t>(tokens: Vec<Token<'t>>, report: &mut Report) -> Vec<Token<'t>> {
    let mut known: BTreeMap<&'t str, Vec<Token<'t>>> = BTreeMap::new();
    let mut out: Vec<Token<'t>> = Vec::with_capacity(tokens.len());
    let (mut tokens, mut kept) = (tokens.into_iter(), 0_usize);
    while let Some(token) = tokens.next() {
        if out.len() >= MAX_TOKENS || kept >= MAX_TOKENS {
            report.lost(token.place, "", "too much to read: what follows is left out");
            break;
        }
        match token.tok {
            Tok::Word("define") => {
                let said: Vec<Token<'t>> = tokens.by_ref().take_while(|token| !token.is(";")).collect();
                let said: Vec<Token<'t>> = said.into_iter().flat_map(|token| replaced(token, &known)).take(MAX_TOKENS).collect();
                kept = kept.saturating_add(said.len());
                if let Some((Token { tok: Tok::Word(name), .. }, [_, meant @ ..])) = said.split_first() {
                    known.insert(name, meant.to_vec());
                }
            }
            _ => out.extend(replaced(token, &known)),
        }
    }
    out
}

fn replaced<'t>(token: Token<'t>, known: &BTreeMap<&'t str, Vec<Token<'t>>>) -> Vec<Token<'t>> {
    match &token.tok {
        Tok::Word(word) => match known.get(word) {
            Some(meant) => meant.iter().map(|one| Token { tok: one.tok.clone(), place: token.place }).collect(),
            None => vec![token],
        },
        _ => vec![token],
    }
}
