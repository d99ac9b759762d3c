//! Statements of BIRD's filters and functions.
//!
//! In: what stands behind `import` and `export`, and bodies. Out: a [`Pass`]. Functions are put in where they are called, with their arguments in
//! the place of parameters; how deep and how much is bounded ([`Depth`]).

use std::cell::Cell;
use std::rc::Rc;

use super::super::Report;
use super::super::program::{Cond, Edit, Step, Stmt};
use super::super::sketch::Pass;
use super::cursor::Cursor;
use super::expr::{Reader, Unknown, community, community_list, origin};
use super::lex::{Tok, Token, shown};
use super::{Bird, Function};

const MAX_DEPTH: usize = 40;
/// Statements of one filter, with those of the functions that it calls.
const MAX_STATEMENTS: usize = 5000;

/// Words of a function that is put in where it is called.
const MAX_BODY: usize = 5000;

/// What a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Import,
    Export,
    Kernel,
}

/// How deep we are in a filter, and how much of it there was.
#[derive(Clone, Debug, Default)]
pub struct Depth {
    level: usize,
    count: Rc<Cell<usize>>,
}

impl Depth {
    /// `None` where it is too much.
    pub fn deeper(&self) -> Option<Depth> {
        let count = self.count.get();
        self.count.set(count.saturating_add(1));
        let level = self.level.saturating_add(1);
        (level <= MAX_DEPTH && count <= MAX_STATEMENTS.saturating_mul(8)).then(|| Depth { level, count: self.count.clone() })
    }
}

/// `all`, `none`, `filter NAME`, `filter { ... }`, `where CONDITION`
pub(super) fn pass<'t>(bird: &Bird<'_, 't>, at: &mut Cursor<'_, 't>, place: Where, report: &mut Report) -> Pass {
    let start = at.place();
    let reader = Reader { bird, place, depth: Depth::default() };
    if at.word("all") {
        return Pass::All;
    }
    if at.word("none") {
        return Pass::None;
    }
    if at.word("where") {
        let told = format!("where {}", shown(at.rest));
        let cond =
            reader.condition(at).and_then(|cond| if at.at_end() { Ok(cond) } else { Err("more follows than is understood".to_owned()) });
        return match cond {
            Ok(cond) => Pass::Program(vec![Stmt::If(cond, vec![Stmt::End(Step::Accept)], Vec::new())]),
            Err(why) => {
                report.lost(start, &told, format!("{why}: nothing passes"));
                Pass::None
            }
        };
    }
    let _ = at.word("filter");
    let body = match at.block() {
        Some(body) => Some(body),
        None => at.any_word().and_then(|name| bird.filters.get(name).copied()),
    };
    match body {
        Some(body) => Pass::Program(reader.body(&mut Cursor::new(body), report)),
        None => {
            report.lost(start, &shown(at.rest), "no such filter: nothing passes");
            Pass::None
        }
    }
}

/// The body of a function with what it is called with. The cursor stands at the parenthesis.
pub(super) fn inlined<'t>(function: &Function<'_, 't>, at: &mut Cursor<'_, 't>) -> Option<Vec<Token<'t>>> {
    if !at.sign("(") {
        return None;
    }
    let mut arguments: Vec<Vec<Token<'t>>> = Vec::new();
    let (mut depth, mut one) = (0_usize, Vec::new());
    loop {
        let token = at.next()?;
        match token.tok {
            Tok::Sign(")") if depth == 0 => break,
            Tok::Sign(",") if depth == 0 => {
                arguments.push(std::mem::take(&mut one));
                continue;
            }
            Tok::Sign("(" | "[" | "{") => depth = depth.saturating_add(1),
            Tok::Sign(")" | "]" | "}") => depth = depth.saturating_sub(1),
            _ => {}
        }
        one.push(token.clone());
    }
    if !one.is_empty() || !arguments.is_empty() {
        arguments.push(one);
    }
    if arguments.len() != function.parameters.len() || arguments.iter().any(|argument| argument.len() > 64) {
        return None;
    }
    let put = |token: &Token<'t>| match token.tok {
        Tok::Word(word) => match function.parameters.iter().position(|name| *name == word).and_then(|at| arguments.get(at)) {
            Some(meant) => meant.clone(),
            None => vec![token.clone()],
        },
        _ => vec![token.clone()],
    };
    (function.body.len() <= MAX_BODY).then(|| function.body.iter().flat_map(put).collect())
}

/// What a function that is asked in a condition answers.
pub(super) fn body_condition<'t>(reader: &Reader<'_, '_, 't>, at: &mut Cursor<'_, 't>) -> Result<Cond, Unknown> {
    let inner = Reader { bird: reader.bird, place: reader.place, depth: reader.depth.deeper().ok_or("nested too deeply")? };
    while at.sign(";") {}
    if at.word("return") {
        let cond = inner.condition(at)?;
        let _ = at.sign(";");
        return Ok(cond);
    }
    if !at.word("if") {
        return Err("a function that does more than ask".to_owned());
    }
    let cond = inner.condition(at)?;
    if !at.word("then") {
        return Err("`then` is missing".to_owned());
    }
    let yes = match at.block() {
        Some(block) => body_condition(&inner, &mut Cursor::new(block))?,
        None => body_condition(&inner, at)?,
    };
    let _ = at.sign(";");
    let no = if at.word("else") {
        match at.block() {
            Some(block) => body_condition(&inner, &mut Cursor::new(block))?,
            None => body_condition(&inner, at)?,
        }
    } else {
        body_condition(&inner, at)?
    };
    Ok(Cond::Choice(Box::new((cond, yes, no))))
}

impl<'t> Reader<'_, '_, 't> {
    /// All statements up to the end.
    fn body(&self, at: &mut Cursor<'_, 't>, report: &mut Report) -> Vec<Stmt> {
        let mut program = Vec::new();
        while !at.rest.is_empty() && program.len() < MAX_STATEMENTS {
            if !at.sign(";") {
                program.extend(self.statement(at, report));
            }
        }
        program
    }

    fn statement(&self, at: &mut Cursor<'_, 't>, report: &mut Report) -> Vec<Stmt> {
        let place = at.place();
        let Some(depth) = self.depth.deeper() else {
            report.lost(place, &shown(at.rest), "nested too deeply, or too long");
            at.rest = &[];
            return vec![Stmt::End(Step::Reject)];
        };
        let inner = Reader { bird: self.bird, place: self.place, depth };
        if let Some(block) = at.block() {
            return inner.body(&mut Cursor::new(block), report);
        }
        if at.word("if") {
            return inner.choice(at, report);
        }
        if at.word("case") {
            while !at.rest.is_empty() && !at.rest.first().is_some_and(|token| token.is("{")) {
                at.next();
            }
            let _ = at.block();
            report.lost(place, "case", "catbird's rules have no `case`: it is left out; write it with `if`");
            return Vec::new();
        }
        let whole = up_to_semicolon(at);
        let mut own = Cursor::new(whole);
        match inner.simple(&mut own, report) {
            Ok(stmts) => stmts,
            Err(why) => {
                report.lost(place, &shown(whole), why);
                Vec::new()
            }
        }
    }

    /// `if CONDITION then STATEMENT else STATEMENT`; one whose condition is not understood counts as if it never held.
    fn choice(&self, at: &mut Cursor<'_, 't>, report: &mut Report) -> Vec<Stmt> {
        let (place, start) = (at.place(), at.rest);
        let cond = self.condition(at).and_then(|cond| if at.word("then") { Ok(cond) } else { Err("not understood".to_owned()) });
        if cond.is_err() {
            while !at.rest.is_empty() && !at.word("then") {
                at.next();
            }
        }
        let mut quiet = Report::default();
        let told = format!("if {}", shown(start.get(..start.len().saturating_sub(at.rest.len())).unwrap_or_default()));
        let yes = self.statement(at, if cond.is_ok() { &mut *report } else { &mut quiet });
        let _ = at.rest.get(1).is_some_and(|token| token.is_word("else")) && at.sign(";");
        let no = if at.word("else") { self.statement(at, report) } else { Vec::new() };
        match cond {
            Ok(cond) => vec![Stmt::If(cond, yes, no)],
            Err(why) => {
                let does = match yes.as_slice() {
                    [.., Stmt::End(Step::Reject)] => "what it refuses passes now",
                    [.., Stmt::End(_)] => "what it accepts has to pass elsewhere",
                    _ => "what it does is left out",
                };
                report.lost(place, &told, format!("{why}; {does}"));
                no
            }
        }
    }

    fn simple(&self, at: &mut Cursor<'_, 't>, report: &mut Report) -> Result<Vec<Stmt>, Unknown> {
        let word = at.any_word().ok_or("not understood")?;
        match word {
            "accept" => Ok(vec![Stmt::End(Step::Accept)]),
            "reject" => Ok(vec![Stmt::End(Step::Reject)]),
            "return" if at.at_end() => Ok(vec![Stmt::Return]),
            "print" | "printn" => Ok(Vec::new()),
            _ if at.sign(".") => self.method(word, at).map(|edit| vec![Stmt::Edit(edit)]),
            _ if at.sign("=") => self.assignment(word, at).map(|edit| edit.into_iter().map(Stmt::Edit).collect()),
            _ => match self.bird.functions.get(word) {
                Some(function) => {
                    let body = inlined(function, at).ok_or("arguments that are not understood")?;
                    Ok(vec![Stmt::Call(self.body(&mut Cursor::new(&body), report))])
                }
                None => Err("not understood".to_owned()),
            },
        }
    }

    /// `bgp_community.add((64512, 1))`, `bgp_path.prepend(64512)`
    fn method(&self, name: &str, at: &mut Cursor<'_, 't>) -> Result<Edit, Unknown> {
        let unknown = || format!("{name} is not changed like this in catbird");
        let method = at.any_word().ok_or_else(unknown)?;
        if method == "empty" {
            return emptied(name).ok_or_else(unknown);
        }
        if !at.sign("(") {
            return Err(unknown());
        }
        match (name, method) {
            ("bgp_path", "prepend") => at.number().map(|asn| Edit::Prepend(asn, 1)).ok_or_else(unknown),
            (name, "add") if name.ends_with("community") => community(at).map(|one| Edit::Add(vec![one])).ok_or_else(unknown),
            (name, "delete") if name.ends_with("community") => community_list(at).map(Edit::Remove).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }

    /// `NAME = VALUE`
    fn assignment(&self, name: &str, at: &mut Cursor<'_, 't>) -> Result<Option<Edit>, Unknown> {
        let unknown = || format!("{name} is not set like this in catbird");
        let old_style = ["add", "delete", "prepend"].into_iter().find(|word| at.words(&[word]));
        if let Some(method) = old_style {
            // bgp_community = add(bgp_community, (64512, 1))
            let fits = at.sign("(") && at.word(name) && at.sign(",");
            return match (fits, method) {
                (true, "prepend") => at.number().map(|asn| Some(Edit::Prepend(asn, 1))).ok_or_else(unknown),
                (true, "add") => community(at).map(|one| Some(Edit::Add(vec![one]))).ok_or_else(unknown),
                (true, _) => community_list(at).map(|list| Some(Edit::Remove(list))).ok_or_else(unknown),
                _ => Err(unknown()),
            };
        }
        let edit = match name {
            "bgp_local_pref" => at.number().map(Edit::LocalPref),
            "bgp_med" => at.number().map(Edit::Med),
            "bgp_origin" => at.any_word().and_then(origin).map(Edit::Origin),
            "bgp_next_hop" => at.addr().map(|addr| Edit::NextHop(addr.to_string())),
            "krt_prefsrc" if self.place == Where::Kernel => at.addr().map(|addr| Edit::Source(addr.to_string())),
            "bgp_community" | "bgp_large_community" | "bgp_ext_community" if at.sign("-") && at.word("empty") && at.sign("-") => {
                emptied(name)
            }
            "preference" => return Err("catbird has no preference of protocols: LOCAL_PREF decides between routes of BGP".to_owned()),
            _ => None,
        };
        if edit.is_none() || !at.at_end() { Err(unknown()) } else { Ok(edit) }
    }
}

fn emptied(name: &str) -> Option<Edit> {
    match name {
        "bgp_community" => Some(Edit::Remove(vec!["*:*".to_owned()])),
        "bgp_large_community" => Some(Edit::Remove(vec!["*:*:*".to_owned()])),
        "bgp_ext_community" => Some(Edit::Remove(vec!["0x*".to_owned()])),
        _ => None,
    }
}

/// The statement, which the cursor is behind then.
fn up_to_semicolon<'a, 't>(at: &mut Cursor<'a, 't>) -> &'a [Token<'t>] {
    let end = at.rest.iter().position(|token| token.is(";") || token.is("}")).unwrap_or(at.rest.len());
    let (whole, rest) = at.rest.split_at_checked(end).unwrap_or((at.rest, &[]));
    at.rest = rest.split_first().map_or(rest, |(_, behind)| behind);
    whole
}
