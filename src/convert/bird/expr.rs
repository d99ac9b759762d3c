//! Conditions of BIRD's filters.
//!
//! In: tokens behind an `if` or `where`. Out: a [`Cond`], or why catbird cannot ask that; the statement is left out then. Operands are read first
//! ([`Operand`]), and what the comparison of two of them means is looked up by what they are (`compare`).

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::program::{Cond, Range, Test};
use super::Bird;
use super::cursor::Cursor;
use super::filter::{Depth, Where, body_condition, inlined};
use super::lex::{Tok, Token};

/// Why a condition is not converted.
pub type Unknown = String;

/// One side of a comparison.
#[derive(Clone, Debug)]
enum Operand {
    /// `net`, `bgp_path.len`
    Attribute(String),
    Number(u32),
    Text(String),
    Addr(IpAddr),
    Net(IpNet),
    /// As catbird writes it.
    Community(String),
    Set(Vec<Item>),
    Mask(Vec<Mask>),
}

/// A member of a set.
#[derive(Clone, Debug)]
enum Item {
    Range(Range),
    Numbers(u32, u32),
    Community(String),
    Word(String),
    Addr(IpAddr),
}

/// A part of a pattern of paths.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mask {
    Asn(u32),
    Any,
    One,
}

/// Reads conditions in one place of the configuration.
pub struct Reader<'b, 'a, 't> {
    pub bird: &'b Bird<'a, 't>,
    pub place: Where,
    pub depth: Depth,
}

impl<'t> Reader<'_, '_, 't> {
    /// `a || b`
    pub fn condition(&self, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
        let inner = self.deeper()?;
        let mut any = vec![inner.all(at)?];
        while at.sign("||") {
            any.push(inner.all(at)?);
        }
        Ok(if any.len() == 1 { any.pop().unwrap_or(Cond::Always(false)) } else { Cond::Any(any) })
    }

    fn deeper(&self) -> Result<Self, Unknown> {
        let depth = self.depth.deeper().ok_or("nested too deeply")?;
        Ok(Reader { bird: self.bird, place: self.place, depth })
    }

    fn all(&self, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
        let mut all = vec![self.one(at)?];
        while at.sign("&&") {
            all.push(self.one(at)?);
        }
        Ok(if all.len() == 1 { all.pop().unwrap_or(Cond::Always(true)) } else { Cond::All(all) })
    }

    fn one(&self, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
        let inner = self.deeper()?;
        if at.sign("!") {
            return inner.one(at).map(Cond::negated);
        }
        if at.rest.first().is_some_and(|token| token.is("(")) && !begins_tuple(at.rest) {
            at.next();
            let cond = inner.condition(at)?;
            return if at.sign(")") { Ok(cond) } else { Err("a parenthesis is not closed, or arithmetic".to_owned()) };
        }
        if at.word("true") {
            return Ok(Cond::Always(true));
        }
        if at.word("false") {
            return Ok(Cond::Always(false));
        }
        inner.comparison(at)
    }

    fn comparison(&self, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
        if let [Token { tok: Tok::Word(name), .. }, open, ..] = at.rest
            && open.is("(")
        {
            at.next();
            return self.call(name, at);
        }
        let left = operand(at)?;
        let op = match at.peek() {
            Some(Tok::Sign(sign @ ("=" | "!=" | "~" | "!~" | "<" | ">" | "<=" | ">="))) => *sign,
            _ => return Err(format!("{} alone is no condition that catbird has", said(&left))),
        };
        at.next();
        let right = operand(at)?;
        match op {
            "!=" => self.compare(&left, "=", &right).map(Cond::negated),
            "!~" => self.compare(&left, "~", &right).map(Cond::negated),
            op => self.compare(&left, op, &right),
        }
    }

    fn call(&self, name: &str, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
        let function = self.bird.functions.get(name).ok_or_else(|| format!("{name}() is no condition that catbird has"))?;
        let body = inlined(function, at).ok_or("arguments that are not understood")?;
        body_condition(self, &mut Cursor::new(&body))
    }

    fn compare(&self, left: &Operand, op: &str, right: &Operand) -> Result<Cond, Unknown> {
        let found = match (left, right) {
            (Operand::Attribute(name), _) if name.starts_with("net") || name == "prefix" => nets(name, op, right),
            (Operand::Attribute(name), _) if name == "source" && matches!(op, "=" | "~") => words(right).map(|words| self.sources(&words)),
            (Operand::Attribute(name), Operand::Text(proto)) if name == "proto" && op == "=" => self.protocol(proto),
            (Operand::Attribute(name), _) if name.starts_with("bgp_path") => paths(name, op, right),
            (Operand::Attribute(name), Operand::Set(items)) if name.ends_with("community") && op == "~" => communities(items),
            (Operand::Community(one), Operand::Attribute(name)) if name.ends_with("community") && op == "~" => {
                Some(Cond::Test(Test::Communities(vec![one.clone()])))
            }
            (Operand::Attribute(name), Operand::Attribute(word)) if name == "bgp_origin" && op == "=" => {
                origin(word).map(|origin| Cond::Test(Test::Origin(origin)))
            }
            (Operand::Attribute(name), _) if name == "bgp_next_hop" => next_hops(op, right),
            (Operand::Attribute(name), Operand::Addr(addr)) if name == "from" && op == "=" && self.place == Where::Import => {
                Some(Cond::Test(Test::Peers(vec![addr.to_string()])))
            }
            _ => None,
        };
        found.ok_or_else(|| format!("a policy of catbird cannot ask whether {} {op} {}", said(left), said(right)))
    }

    fn sources(&self, words: &[String]) -> Cond {
        let one = |word: &String| match word.as_str() {
            "RTS_BGP" => Cond::Any(vec![Cond::Test(Test::Source("external")), Cond::Test(Test::Source("internal"))]),
            "RTS_DEVICE" | "RTS_STATIC_DEVICE" => self.own("network", true),
            "RTS_INHERIT" => Cond::Test(Test::OwnKinds(vec!["pod"])),
            "RTS_STATIC" => self.statics(|_| true),
            _ => Cond::Always(false),
        };
        Cond::Any(words.iter().map(one).collect())
    }

    /// Subnets of links, which share their kind with static routes that lead somewhere.
    fn own(&self, kind: &'static str, without_static: bool) -> Cond {
        let via: Vec<Range> = self.bird.statics.values().flat_map(|one| &one.via).map(|net| Range::exactly(*net)).collect();
        let kind = Cond::Test(Test::OwnKinds(vec![kind]));
        match via.is_empty() || !without_static {
            true => kind,
            false => Cond::All(vec![Cond::Test(Test::Prefixes(via)).negated(), kind]),
        }
    }

    /// What static protocols originate.
    fn statics(&self, which: impl Fn(&str) -> bool) -> Cond {
        let all = self.bird.statics.len();
        let chosen: Vec<_> = self.bird.statics.iter().filter(|(name, _)| which(name)).map(|(_, one)| one).collect();
        let mut any = Vec::new();
        let blocks: Vec<Range> = chosen.iter().flat_map(|one| &one.blocks).map(|net| Range::exactly(*net)).collect();
        if chosen.len() == all && !blocks.is_empty() {
            any.push(Cond::Test(Test::OwnKinds(vec!["block"])));
        } else if !blocks.is_empty() {
            any.push(Cond::All(vec![Cond::Test(Test::OwnKinds(vec!["block"])), Cond::Test(Test::Prefixes(blocks))]));
        }
        let via: Vec<Range> = chosen.iter().flat_map(|one| &one.via).map(|net| Range::exactly(*net)).collect();
        if !via.is_empty() {
            any.push(Cond::All(vec![Cond::Test(Test::OwnKinds(vec!["network"])), Cond::Test(Test::Prefixes(via))]));
        }
        Cond::Any(any)
    }

    fn protocol(&self, name: &str) -> Option<Cond> {
        if self.bird.statics.contains_key(name) {
            return Some(self.statics(|one| one == name));
        }
        if name.starts_with("direct") {
            return Some(self.own("network", true));
        }
        if name.starts_with("kernel") {
            return Some(Cond::Test(Test::OwnKinds(vec!["pod"])));
        }
        (self.place == Where::Import).then(|| Cond::Test(Test::Peers(vec![name.to_owned()])))
    }
}

fn said(operand: &Operand) -> String {
    match operand {
        Operand::Attribute(name) | Operand::Community(name) => name.clone(),
        Operand::Number(number) => number.to_string(),
        Operand::Text(text) => format!("\"{text}\""),
        Operand::Addr(addr) => addr.to_string(),
        Operand::Net(net) => net.to_string(),
        Operand::Set(_) => "[...]".to_owned(),
        Operand::Mask(_) => "[= ... =]".to_owned(),
    }
}

/// `(65000, 1)`, not `(a || b)`.
fn begins_tuple(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [_, Token { tok: Tok::Number(_) | Tok::Word(_) | Tok::Addr(_), .. }, comma, ..] if comma.is(","))
}

fn operand(at: &mut Cursor<'_, '_>) -> Result<Operand, Unknown> {
    let unknown = || "an expression that is not understood".to_owned();
    match at.peek().ok_or_else(unknown)? {
        Tok::Number(number) => {
            at.next();
            Ok(Operand::Number(*number))
        }
        Tok::Text(text) => {
            at.next();
            Ok(Operand::Text((*text).to_owned()))
        }
        Tok::Addr(addr) => {
            at.next();
            Ok(Operand::Addr(*addr))
        }
        Tok::Net(net) => {
            at.next();
            Ok(Operand::Net(*net))
        }
        Tok::Sign("(") => community(at).map(Operand::Community).ok_or_else(unknown),
        Tok::Sign("[") if at.rest.get(1).is_some_and(|token| token.is("=")) => mask(at).map(Operand::Mask).ok_or_else(unknown),
        Tok::Sign("[") => set(at).map(Operand::Set),
        Tok::Word(word) => {
            at.next();
            let mut name = (*word).to_owned();
            while at.sign(".") {
                name = format!("{name}.{}", at.any_word().ok_or_else(unknown)?);
            }
            Ok(Operand::Attribute(name))
        }
        Tok::Sign(_) => Err(unknown()),
    }
}

/// `(a, b)`, `(a, *)`, `(a, b, c)`, `(rt, a, b)`
pub fn community(at: &mut Cursor<'_, '_>) -> Option<String> {
    if !at.sign("(") {
        return None;
    }
    let mut parts: Vec<String> = Vec::new();
    loop {
        let token = at.next()?;
        parts.push(match &token.tok {
            Tok::Number(number) => number.to_string(),
            Tok::Addr(addr) => addr.to_string(),
            Tok::Sign("*") => "*".to_owned(),
            Tok::Word("ro") => "soo".to_owned(),
            Tok::Word("rt") => "rt".to_owned(),
            _ => return None,
        });
        if at.sign(")") {
            break;
        }
        if !at.sign(",") {
            return None;
        }
    }
    // A star stands for all that follow in catbird, too, and nowhere else in an extended one.
    let extended = matches!(parts.first().map(String::as_str), Some("rt" | "soo"));
    let fits = |part: &String| extended || parts.len() == 3 || part == "*" || part.parse::<u16>().is_ok();
    (matches!(parts.len(), 2 | 3) && parts.iter().all(fits) && (!extended || parts.get(1).is_some_and(|part| part != "*")))
        .then(|| parts.join(":"))
}

/// `[= * 65001 * =]`
fn mask(at: &mut Cursor<'_, '_>) -> Option<Vec<Mask>> {
    let _ = at.sign("[") && at.sign("=");
    let mut parts = Vec::new();
    while !at.sign("=") {
        parts.push(match &at.next()?.tok {
            Tok::Number(asn) => Mask::Asn(*asn),
            Tok::Sign("*") => Mask::Any,
            Tok::Sign("?") => Mask::One,
            _ => return None,
        });
    }
    at.sign("]").then_some(parts)
}

fn set(at: &mut Cursor<'_, '_>) -> Result<Vec<Item>, Unknown> {
    let _ = at.sign("[");
    let mut items = Vec::new();
    while !at.sign("]") {
        let unknown = || "a member of a set that is not understood".to_owned();
        match at.peek().ok_or_else(unknown)? {
            Tok::Net(net) => {
                at.next();
                items.extend(pattern(*net, at).ok_or_else(unknown)?.into_iter().map(Item::Range));
            }
            Tok::Number(from) => {
                at.next();
                let to = if at.sign("..") { at.number().ok_or_else(unknown)? } else { *from };
                items.push(Item::Numbers(*from, to));
            }
            Tok::Addr(addr) => {
                at.next();
                items.push(Item::Addr(*addr));
            }
            Tok::Word(word) => {
                at.next();
                items.push(Item::Word((*word).to_owned()));
            }
            Tok::Sign("(") => items.push(Item::Community(community(at).ok_or_else(unknown)?)),
            _ => return Err(unknown()),
        }
        let _ = at.sign(",");
    }
    Ok(items)
}

/// What follows a prefix in a set: nothing, `+`, `-` or `{24,32}`.
fn pattern(net: IpNet, at: &mut Cursor<'_, '_>) -> Option<Vec<Range>> {
    let own = net.prefix_len();
    if at.sign("+") {
        return Some(vec![Range::within(net)]);
    }
    if at.sign("-") {
        return Some(lengths(net, 0, own));
    }
    if !at.sign("{") {
        return Some(vec![Range::exactly(net)]);
    }
    let low = at.number().and_then(|low| u8::try_from(low).ok())?;
    let high = if at.sign(",") { at.number().and_then(|high| u8::try_from(high).ok())? } else { low };
    at.sign("}").then(|| lengths(net, low, high))
}

/// Prefixes of these lengths that lie in `net`, or that it lies in.
fn lengths(net: IpNet, low: u8, high: u8) -> Vec<Range> {
    let own = net.prefix_len();
    let around =
        (low..=high.min(own.saturating_sub(1))).filter(|length| *length < own).filter_map(|length| IpNet::new(net.addr(), length).ok());
    let inside = if high >= own { Range::new(net, low.max(own), high) } else { None };
    around.map(Range::exactly).chain(inside).collect()
}

fn nets(name: &str, op: &str, right: &Operand) -> Option<Cond> {
    let prefixes = |ranges| Some(Cond::Test(Test::Prefixes(ranges)));
    match (name, op, right) {
        ("net", "=", Operand::Net(net)) => prefixes(vec![Range::exactly(*net)]),
        ("net" | "net.ip", "~", Operand::Net(net)) => prefixes(vec![Range::within(*net)]),
        ("net", "~", Operand::Set(items)) => {
            let range = |item: &Item| if let Item::Range(range) = item { Some(*range) } else { None };
            prefixes(items.iter().map(range).collect::<Option<Vec<Range>>>()?)
        }
        ("net.len", op, Operand::Number(length)) => {
            let length = u8::try_from(*length).ok()?;
            let (low, high) = match op {
                "=" => (length, length),
                "<" => (0, length.checked_sub(1)?),
                "<=" => (0, length),
                ">" => (length.saturating_add(1), 128),
                ">=" => (length, 128),
                _ => return None,
            };
            let all = [true, false].map(Range::all);
            prefixes(all.into_iter().filter_map(|all| Range::new(all.net, low, high)).collect())
        }
        ("net.type", "=", Operand::Attribute(word)) => match word.as_str() {
            "NET_IP4" => Some(Cond::Test(Test::Ipv4(true))),
            "NET_IP6" => Some(Cond::Test(Test::Ipv4(false))),
            _ => Some(Cond::Always(false)),
        },
        _ => None,
    }
}

fn words(right: &Operand) -> Option<Vec<String>> {
    match right {
        Operand::Attribute(word) => Some(vec![word.clone()]),
        Operand::Set(items) => items.iter().map(|item| if let Item::Word(word) = item { Some(word.clone()) } else { None }).collect(),
        _ => None,
    }
}

/// AS numbers of a set that is not large.
fn asns(right: &Operand) -> Option<Vec<u32>> {
    match right {
        Operand::Number(asn) => Some(vec![*asn]),
        Operand::Set(items) => {
            let mut found = Vec::new();
            for item in items {
                let Item::Numbers(from, to) = item else { return None };
                if to.checked_sub(*from)? > 64 {
                    return None;
                }
                found.extend(*from..=*to);
            }
            Some(found)
        }
        _ => None,
    }
}

fn paths(name: &str, op: &str, right: &Operand) -> Option<Cond> {
    let test = |test| Some(Cond::Test(test));
    match (name, op, right) {
        ("bgp_path.len", op, Operand::Number(length)) => {
            let at_most = |length: u32| Cond::Test(Test::PathMax(length));
            let below = || length.checked_sub(1).map_or(Cond::Always(false), at_most);
            match op {
                "<=" => Some(at_most(*length)),
                "<" => Some(below()),
                ">" => Some(at_most(*length).negated()),
                ">=" => Some(below().negated()),
                "=" => Some(Cond::All(vec![at_most(*length), below().negated()])),
                _ => None,
            }
        }
        ("bgp_path.first", "=" | "~", right) => {
            Some(Cond::Any(asns(right)?.into_iter().map(|asn| Cond::Test(Test::PathFirst(asn))).collect()))
        }
        ("bgp_path.last" | "bgp_path.last_nonaggregated", "=" | "~", right) => {
            Some(Cond::Any(asns(right)?.into_iter().map(|asn| Cond::Test(Test::PathOrigin(asn))).collect()))
        }
        ("bgp_path", "~", Operand::Mask(mask)) => match mask.as_slice() {
            [] => test(Test::PathMax(0)),
            [Mask::Any] => Some(Cond::Always(true)),
            [Mask::Asn(asn)] => Some(Cond::All(vec![Cond::Test(Test::PathFirst(*asn)), Cond::Test(Test::PathMax(1))])),
            [Mask::Asn(asn), Mask::Any] => test(Test::PathFirst(*asn)),
            [Mask::Any, Mask::Asn(asn)] => test(Test::PathOrigin(*asn)),
            [Mask::Any, Mask::Asn(asn), Mask::Any] => test(Test::PathContains(vec![*asn])),
            _ => None,
        },
        ("bgp_path", "~", right) => test(Test::PathContains(asns(right)?)),
        _ => None,
    }
}

fn communities(items: &[Item]) -> Option<Cond> {
    let one = |item: &Item| if let Item::Community(text) = item { Some(text.clone()) } else { None };
    Some(Cond::Test(Test::Communities(items.iter().map(one).collect::<Option<Vec<String>>>()?)))
}

pub fn origin(word: &str) -> Option<&'static str> {
    match word {
        "ORIGIN_IGP" => Some("igp"),
        "ORIGIN_EGP" => Some("egp"),
        "ORIGIN_INCOMPLETE" => Some("incomplete"),
        _ => None,
    }
}

fn next_hops(op: &str, right: &Operand) -> Option<Cond> {
    let nets = match (op, right) {
        ("=", Operand::Addr(addr)) => vec![IpNet::from(*addr)],
        ("~", Operand::Net(net)) => vec![net.trunc()],
        ("~", Operand::Set(items)) => {
            let one = |item: &Item| match item {
                Item::Addr(addr) => Some(IpNet::from(*addr)),
                Item::Range(range) if range.min == range.net.prefix_len() => Some(range.net),
                _ => None,
            };
            items.iter().map(one).collect::<Option<Vec<IpNet>>>()?
        }
        _ => return None,
    };
    Some(Cond::Test(Test::NextHop(nets)))
}

/// For `delete`: one, or those of a set.
pub fn community_list(at: &mut Cursor<'_, '_>) -> Option<Vec<String>> {
    if at.rest.first().is_some_and(|token| token.is("[")) {
        let items = set(at).ok()?;
        return items.into_iter().map(|item| if let Item::Community(text) = item { Some(text) } else { None }).collect();
    }
    community(at).map(|one| vec![one])
}
