//! Filters of all dialects as one small language, and how it becomes a policy: rules in order, the first that decides does.
//!
//! In: statements with `if`, `else`, edits and ends. Out: a [`Policy`], or why there is none. catbird's conditions have no "not" and no
//! "or" of different kinds, so a program is taken apart into its paths: a rule for each way through it, in an order in which what came before
//! need not be said again. That may double with each `if` that goes on behind its branches; [`MAX_RULES`] bounds it.

use std::fmt;
use std::rc::Rc;

use ipnet::IpNet;

/// A policy with more is written by hand.
pub const MAX_RULES: usize = 300;
/// How much work a program may be.
const MAX_STEPS: usize = 50_000;
/// Ways through a program are not followed deeper.
const MAX_DEPTH: usize = 200;

/// Prefixes inside `net` of these lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub net: IpNet,
    pub min: u8,
    pub max: u8,
}

impl Range {
    /// `None` where no prefix is meant.
    pub fn new(net: IpNet, min: u8, max: u8) -> Option<Range> {
        let net = net.trunc();
        let (min, max) = (min.max(net.prefix_len()), max.min(net.max_prefix_len()));
        (min <= max).then_some(Range { net, min, max })
    }

    /// This one alone.
    pub fn exactly(net: IpNet) -> Range {
        let net = net.trunc();
        Range { net, min: net.prefix_len(), max: net.prefix_len() }
    }

    /// It and all inside.
    pub fn within(net: IpNet) -> Range {
        let net = net.trunc();
        Range { net, min: net.prefix_len(), max: net.max_prefix_len() }
    }

    /// Everything of a family.
    pub fn all(ipv4: bool) -> Range {
        let net = if ipv4 { IpNet::V4(ipnet::Ipv4Net::default()) } else { IpNet::V6(ipnet::Ipv6Net::default()) };
        Range::within(net)
    }

    fn and(&self, other: &Range) -> Option<Range> {
        let (wide, narrow) = if self.net.prefix_len() <= other.net.prefix_len() { (self, other) } else { (other, self) };
        let inside = wide.net.contains(&narrow.net);
        if inside { Range::new(narrow.net, wide.min.max(narrow.min), wide.max.min(narrow.max)) } else { None }
    }
}

impl fmt::Display for Range {
    /// As `prefixes = [...]` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, longest) = (self.net.prefix_len(), self.net.max_prefix_len());
        write!(f, "{}", self.net)?;
        match (self.min, self.max) {
            (min, max) if min == own && max == own => Ok(()),
            (min, max) if min == own && max == longest => f.write_str("+"),
            (min, max) if min == own => write!(f, " le {max}"),
            (min, max) if max == longest => write!(f, " ge {min}"),
            (min, max) => write!(f, " ge {min} le {max}"),
        }
    }
}

/// One question that catbird can ask of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Prefixes(Vec<Range>),
    /// IPv4, or IPv6.
    Ipv4(bool),
    OwnKinds(Vec<&'static str>),
    /// "external", "internal", "local"
    Source(&'static str),
    Peers(Vec<String>),
    Communities(Vec<String>),
    PathContains(Vec<u32>),
    PathFirst(u32),
    PathOrigin(u32),
    PathMax(u32),
    Origin(&'static str),
    NextHop(Vec<IpNet>),
}

/// Questions put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cond {
    Always(bool),
    Test(Test),
    Not(Box<Cond>),
    All(Vec<Cond>),
    Any(Vec<Cond>),
    /// Prefixes in order, each let in or not; what none means is not.
    List(Vec<(Range, bool)>),
    /// If the first holds, the second, else the third.
    Choice(Box<(Cond, Cond, Cond)>),
}

impl Cond {
    #[must_use]
    pub fn negated(self) -> Cond {
        match self {
            Cond::Always(so) => Cond::Always(!so),
            Cond::Not(inner) => *inner,
            other => Cond::Not(Box::new(other)),
        }
    }
}

/// Where a route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Accept,
    Reject,
    Next,
}

/// One change of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    LocalPref(u32),
    Med(u32),
    Origin(&'static str),
    NextHop(String),
    Prepend(u32, u8),
    Add(Vec<String>),
    Remove(Vec<String>),
    Clear,
    /// The kernel's preferred source; of what is said to the kernel alone.
    Source(String),
}

/// A program is a list of these; one that comes to its end without an [`Stmt::End`] refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stmt {
    Edit(Edit),
    If(Cond, Vec<Stmt>, Vec<Stmt>),
    End(Step),
    /// A function that may return before its end.
    Call(Vec<Stmt>),
    Return,
}

/// The conditions of a rule; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    pub prefixes: Option<Vec<Range>>,
    pub ipv4: Option<bool>,
    pub own_kinds: Option<Vec<&'static str>>,
    pub source: Option<&'static str>,
    pub peers: Option<Vec<String>>,
    pub communities: Option<Vec<String>>,
    pub path_contains: Option<Vec<u32>>,
    pub path_first: Option<u32>,
    pub path_origin: Option<u32>,
    pub path_max: Option<u32>,
    pub origin: Option<&'static str>,
    pub next_hop: Option<Vec<IpNet>>,
}

/// The changes of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub origin: Option<&'static str>,
    pub next_hop: Option<String>,
    /// As in the file: the first of these first in the path.
    pub prepend: Vec<u32>,
    pub add: Vec<String>,
    pub remove: Vec<String>,
    pub clear: bool,
    /// No setting of a policy: `[fib]` has it.
    pub source: Option<String>,
}

/// `[[policy.NAME.rules]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Matches,
    pub edits: Edits,
    pub then: Step,
}

/// `[policy.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    pub rules: Vec<Rule>,
    pub default: Step,
}

impl Policy {
    /// Everything or nothing, unchanged.
    pub fn plain(&self) -> Option<Step> {
        self.rules.is_empty().then_some(self.default)
    }
}

/// Why a program cannot be a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    TooLarge,
    /// Two conditions of this kind at once.
    Both(&'static str),
    /// An attribute is asked for after it was changed.
    Changed,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::TooLarge => write!(f, "more than {MAX_RULES} rules would come of it"),
            Unfit::Both(what) => write!(f, "a rule asks for one of a list of {what}, not for two at once"),
            Unfit::Changed => f.write_str("it asks for communities or a path after it changed them"),
        }
    }
}

/// So few that comparing each with each costs nothing.
fn few(one: &[Range], other: &[Range]) -> bool {
    one.len().saturating_mul(other.len()) <= 256
}

/// Both lists, where an empty answer is a contradiction.
fn common<T: PartialEq + Clone>(there: &mut Option<Vec<T>>, new: &[T]) -> bool {
    let both = match there.take() {
        None => new.to_vec(),
        Some(old) => old.into_iter().filter(|item| new.contains(item)).collect(),
    };
    let some = !both.is_empty();
    *there = Some(both);
    some
}

fn same<T: PartialEq + Copy>(there: &mut Option<T>, new: T) -> bool {
    there.replace(new).is_none_or(|old| old == new)
}

impl Matches {
    /// This as well; `None` where no route can be both.
    fn and(&self, test: &Test) -> Result<Option<Matches>, Unfit> {
        let mut both = self.clone();
        let possible = match test {
            Test::Prefixes(new) => both.and_prefixes(new)?,
            Test::Ipv4(v4) => {
                let fits = |range: &Range| range.net.addr().is_ipv4() == *v4;
                let some = both.prefixes.as_ref().is_none_or(|ranges| ranges.iter().any(fits));
                both.prefixes.iter_mut().for_each(|ranges| ranges.retain(fits));
                same(&mut both.ipv4, *v4) && some
            }
            Test::OwnKinds(kinds) => common(&mut both.own_kinds, kinds) && both.source.take().is_none_or(|source| source == "local"),
            Test::Source(source) if both.own_kinds.is_some() => *source == "local",
            Test::Source(source) => same(&mut both.source, *source),
            Test::Peers(peers) => common(&mut both.peers, peers),
            Test::Communities(list) => several(&mut both.communities, list, "communities")?,
            Test::PathContains(asns) => several(&mut both.path_contains, asns, "AS numbers in a path")?,
            Test::PathFirst(asn) => same(&mut both.path_first, *asn),
            Test::PathOrigin(asn) => same(&mut both.path_origin, *asn),
            Test::PathMax(max) => {
                both.path_max = Some(both.path_max.map_or(*max, |old| old.min(*max)));
                true
            }
            Test::Origin(origin) => same(&mut both.origin, *origin),
            Test::NextHop(nets) => several(&mut both.next_hop, nets, "next hops")?,
        };
        Ok(possible.then_some(both))
    }

    /// Everything that is meant here is meant there.
    fn is_within(&self, wider: &Matches) -> bool {
        fn list<T: PartialEq>(narrow: &Option<Vec<T>>, wide: &Option<Vec<T>>) -> bool {
            wide.as_ref().is_none_or(|wide| narrow.as_ref().is_some_and(|narrow| narrow.iter().all(|item| wide.contains(item))))
        }
        fn one<T: PartialEq>(narrow: Option<T>, wide: Option<T>) -> bool {
            wide.is_none() || narrow == wide
        }
        let covered = |ranges: &[Range], wide: &[Range]| {
            ranges == wide || few(ranges, wide) && ranges.iter().all(|range| wide.iter().any(|wide| range.and(wide) == Some(*range)))
        };
        let prefixes = match (&self.prefixes, &wider.prefixes) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(narrow), Some(wide)) => covered(narrow, wide),
        };
        prefixes
            && list(&self.own_kinds, &wider.own_kinds)
            && list(&self.peers, &wider.peers)
            && list(&self.communities, &wider.communities)
            && list(&self.path_contains, &wider.path_contains)
            && list(&self.next_hop, &wider.next_hop)
            && one(self.ipv4, wider.ipv4)
            && one(self.source, wider.source)
            && one(self.path_first, wider.path_first)
            && one(self.path_origin, wider.path_origin)
            && one(self.path_max, wider.path_max)
            && one(self.origin, wider.origin)
    }

    /// No route can be meant by both.
    fn excludes(&self, other: &Matches) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        let foreign = |one: &Matches, other: &Matches| one.own_kinds.is_some() && other.source.is_some_and(|source| source != "local");
        let kinds = match (&self.own_kinds, &other.own_kinds) {
            (Some(one), Some(other)) => !one.iter().any(|kind| other.contains(kind)),
            _ => foreign(self, other) || foreign(other, self),
        };
        let prefixes = match (&self.prefixes, &other.prefixes) {
            (Some(one), Some(other)) => few(one, other) && !one.iter().any(|a| other.iter().any(|b| a.and(b).is_some())),
            _ => false,
        };
        let family = |one: &Matches, other: &Matches| {
            let Some((v4, ranges)) = one.ipv4.zip(other.prefixes.as_ref()) else { return false };
            ranges.iter().all(|range| range.net.addr().is_ipv4() != v4)
        };
        kinds
            || prefixes
            || family(self, other)
            || family(other, self)
            || differ(self.ipv4, other.ipv4)
            || differ(self.source, other.source)
            || differ(self.path_first, other.path_first)
            || differ(self.path_origin, other.path_origin)
            || differ(self.origin, other.origin)
    }

    fn and_prefixes(&mut self, new: &[Range]) -> Result<bool, Unfit> {
        let fits = |range: &&Range| self.ipv4.is_none_or(|v4| range.net.addr().is_ipv4() == v4);
        let ranges: Vec<Range> = match &self.prefixes {
            None => new.iter().filter(fits).copied().collect(),
            Some(old) if old.len().saturating_mul(new.len()) > MAX_STEPS => return Err(Unfit::TooLarge),
            Some(old) => old.iter().flat_map(|a| new.iter().filter_map(|b| a.and(b))).collect(),
        };
        let some = !ranges.is_empty();
        self.prefixes = Some(ranges);
        Ok(some)
    }

    /// The lists of both, if all else is equal and one list at most differs.
    fn or(&self, other: &Matches) -> Option<Matches> {
        let mut one = self.clone();
        let lists = [
            union(&mut one.prefixes, &other.prefixes),
            union(&mut one.own_kinds, &other.own_kinds),
            union(&mut one.peers, &other.peers),
            union(&mut one.communities, &other.communities),
            union(&mut one.path_contains, &other.path_contains),
            union(&mut one.next_hop, &other.next_hop),
        ];
        let differ = lists.iter().filter(|list| **list == Some(true)).count();
        let plain = |m: &Matches| (m.ipv4, m.source, m.path_first, m.path_origin, m.path_max, m.origin);
        (differ <= 1 && lists.iter().all(Option::is_some) && plain(self) == plain(other)).then_some(one)
    }
}

/// Communities may be several at once, so both lists at once are more than a rule says, unless one of them holds with the other.
fn several<T: PartialEq + Clone>(there: &mut Option<Vec<T>>, new: &[T], what: &'static str) -> Result<bool, Unfit> {
    match there {
        None => *there = Some(new.to_vec()),
        Some(old) if old.iter().all(|item| new.contains(item)) => {}
        Some(old) if new.iter().all(|item| old.contains(item)) => *there = Some(new.to_vec()),
        Some(_) => return Err(Unfit::Both(what)),
    }
    Ok(!new.is_empty())
}

/// `None` where one of them does not care; else whether they differed.
fn union<T: PartialEq + Clone>(one: &mut Option<Vec<T>>, other: &Option<Vec<T>>) -> Option<bool> {
    match (one, other) {
        (None, None) => Some(false),
        (Some(one), Some(other)) => {
            let differ = one != other;
            let new: Vec<T> = other.iter().filter(|item| !one.contains(item)).cloned().collect();
            one.extend(new);
            Some(differ)
        }
        _ => None,
    }
}

impl Edits {
    /// One more, behind those before; `false` where the order within a rule would not have it so.
    fn push(&mut self, edit: &Edit) -> bool {
        match edit {
            Edit::LocalPref(number) => self.local_pref = Some(*number),
            Edit::Med(number) => self.med = Some(*number),
            Edit::Origin(origin) => self.origin = Some(origin),
            Edit::NextHop(hop) => self.next_hop = Some(hop.clone()),
            Edit::Prepend(asn, count) => {
                let more = std::iter::repeat_n(*asn, usize::from(*count));
                self.prepend = more.chain(self.prepend.iter().copied()).take(255).collect();
            }
            Edit::Source(addr) => self.source = Some(addr.clone()),
            Edit::Add(list) => self.add.extend(list.iter().filter(|one| !self.add.contains(one)).cloned().collect::<Vec<_>>()),
            Edit::Remove(_) if !self.add.is_empty() => return false,
            Edit::Remove(list) => self.remove.extend(list.iter().cloned()),
            Edit::Clear => {
                self.add.clear();
                self.remove.clear();
                self.clear = true;
            }
        }
        true
    }

    /// A condition may see it.
    fn touches(&self, test: &Test) -> bool {
        match test {
            Test::Communities(_) => self.clear || !self.add.is_empty() || !self.remove.is_empty(),
            Test::PathContains(_) | Test::PathFirst(_) | Test::PathMax(_) => !self.prepend.is_empty(),
            Test::Origin(_) => self.origin.is_some(),
            Test::NextHop(_) => self.next_hop.is_some(),
            _ => false,
        }
    }

    /// A rule behind these edits would ask for what is no longer so.
    fn disturbs(&self, matches: &Matches) -> bool {
        let paths = matches.path_contains.is_some() || matches.path_first.is_some() || matches.path_max.is_some();
        let communities = self.clear || !self.add.is_empty() || !self.remove.is_empty();
        (matches.communities.is_some() && communities)
            || (paths && !self.prepend.is_empty())
            || (matches.origin.is_some() && self.origin.is_some())
            || (matches.next_hop.is_some() && self.next_hop.is_some())
    }

    fn is_empty(&self) -> bool {
        *self == Edits::default()
    }
}

/// What is still to be done on a path.
enum Rest<'p> {
    End,
    Code(&'p [Stmt], Rc<Rest<'p>>),
    /// Behind the end of a function.
    Leave(Rc<Rest<'p>>),
    Branch(&'p Cond, Rc<Rest<'p>>, Rc<Rest<'p>>),
    /// All of them, or with false one of them.
    Several(&'p [Cond], bool, Rc<Rest<'p>>, Rc<Rest<'p>>),
    List(&'p [(Range, bool)], Rc<Rest<'p>>, Rc<Rest<'p>>),
}

/// What is known on a path.
#[derive(Clone, Default)]
struct Path {
    matches: Matches,
    edits: Edits,
    depth: usize,
}

#[derive(Default)]
struct Compiler {
    rules: Vec<Rule>,
    steps: usize,
}

impl Compiler {
    fn emit(&mut self, path: &Path, then: Step) -> Result<(), Unfit> {
        if self.rules.len() >= MAX_RULES.saturating_mul(2) {
            return Err(Unfit::TooLarge);
        }
        let edits = if then == Step::Reject { Edits::default() } else { path.edits.clone() };
        let rule = Rule { matches: path.matches.clone(), edits, then };
        // Two rules that both go on would both change a route that both mean.
        let alike = |last: &Rule| last.then == then && last.edits == rule.edits && then != Step::Next;
        while self.rules.last().is_some_and(|last| alike(last) && last.matches.is_within(&rule.matches)) {
            self.rules.pop();
        }
        let joined = self.rules.last().filter(|last| alike(last));
        match joined.and_then(|last| last.matches.or(&rule.matches)) {
            Some(both) => self.rules.last_mut().into_iter().for_each(|last| last.matches = both.clone()),
            None => self.rules.push(rule),
        }
        Ok(())
    }

    /// Follows one way; what branches off it is followed first.
    fn run<'p>(&mut self, mut path: Path, mut rest: Rc<Rest<'p>>) -> Result<(), Unfit> {
        loop {
            self.steps = self.steps.saturating_add(1);
            if self.steps > MAX_STEPS || path.depth > MAX_DEPTH {
                return Err(Unfit::TooLarge);
            }
            let next = match &*rest {
                Rest::End => return self.emit(&path, Step::Reject),
                Rest::Leave(behind) => Some(behind.clone()),
                Rest::Code(code, behind) => self.statement(&mut path, code, behind)?,
                Rest::Branch(Cond::Test(test), yes, no) => self.test(&path, test, yes, no)?,
                Rest::Branch(cond, yes, no) => Some(Rc::new(split(cond, yes, no))),
                Rest::Several(conds, all, yes, no) => Some(match conds.split_first() {
                    None => if *all { yes } else { no }.clone(),
                    Some((first, more)) => {
                        let others = Rc::new(Rest::Several(more, *all, yes.clone(), no.clone()));
                        Rc::new(if *all { Rest::Branch(first, others, no.clone()) } else { Rest::Branch(first, yes.clone(), others) })
                    }
                }),
                Rest::List(entries, yes, no) => {
                    let permit = entries.first().is_some_and(|(_, permit)| *permit);
                    let count = entries.iter().take_while(|(_, other)| *other == permit).count();
                    let (alike, more) = entries.split_at_checked(count).unwrap_or((entries, &[]));
                    let others = Rc::new(Rest::List(more, yes.clone(), no.clone()));
                    match alike {
                        [] => Some(no.clone()),
                        _ => {
                            let test = Test::Prefixes(alike.iter().map(|(range, _)| *range).collect());
                            self.test(&path, &test, if permit { yes } else { no }, &others)?
                        }
                    }
                }
            };
            let Some(next) = next else { return Ok(()) };
            rest = next;
        }
    }

    /// The next statement. `None`: the way is at its end.
    fn statement<'p>(&mut self, path: &mut Path, code: &'p [Stmt], behind: &Rc<Rest<'p>>) -> Result<Option<Rc<Rest<'p>>>, Unfit> {
        match code.split_first() {
            None => Ok(Some(behind.clone())),
            Some((Stmt::Return, _)) => Ok(Some(behind_the_call(behind))),
            Some((Stmt::Call(body), more)) => {
                let after = Rc::new(Rest::Leave(Rc::new(Rest::Code(more, behind.clone()))));
                Ok(Some(Rc::new(Rest::Code(body, after))))
            }
            Some((Stmt::End(step), _)) => self.emit(path, *step).map(|()| None),
            Some((Stmt::Edit(edit), more)) => {
                if !path.edits.push(edit) {
                    if path.edits.disturbs(&path.matches) {
                        return Err(Unfit::Changed);
                    }
                    self.emit(path, Step::Next)?;
                    path.edits = Edits::default();
                    path.edits.push(edit);
                }
                Ok(Some(Rc::new(Rest::Code(more, behind.clone()))))
            }
            Some((Stmt::If(cond, yes, no), more)) => {
                let behind = if more.is_empty() { behind.clone() } else { Rc::new(Rest::Code(more, behind.clone())) };
                if no.is_empty() && self.aside(path, cond, yes)? {
                    return Ok(Some(behind));
                }
                let branch = |code| Rc::new(Rest::Code(code, behind.clone()));
                Ok(Some(Rc::new(Rest::Branch(cond, branch(yes), branch(no)))))
            }
        }
    }

    /// `if TEST then EDITS` is a rule that goes on, and doubles nothing.
    fn aside(&mut self, path: &Path, cond: &Cond, code: &[Stmt]) -> Result<bool, Unfit> {
        let Cond::Test(test) = cond else { return Ok(false) };
        let mut own = Path::default();
        for stmt in code {
            let Stmt::Edit(edit) = stmt else { return Ok(false) };
            if !own.edits.push(edit) {
                return Ok(false);
            }
        }
        if !path.edits.is_empty() || own.edits.disturbs(&path.matches) {
            return Ok(false);
        }
        let Some(matches) = path.matches.and(test)? else { return Ok(true) };
        own.matches = matches;
        self.emit(&own, Step::Next)?;
        Ok(true)
    }

    /// Follows the way of those that it holds for, and answers that of the others.
    fn test<'p>(&mut self, path: &Path, test: &Test, yes: &Rc<Rest<'p>>, no: &Rc<Rest<'p>>) -> Result<Option<Rc<Rest<'p>>>, Unfit> {
        if path.edits.touches(test) {
            return Err(Unfit::Changed);
        }
        let Some(matches) = path.matches.and(test)? else { return Ok(Some(no.clone())) };
        let implied = matches == path.matches;
        self.run(Path { matches, edits: path.edits.clone(), depth: path.depth.saturating_add(1) }, yes.clone())?;
        Ok((!implied).then(|| no.clone()))
    }
}

/// Where a function goes on that returns.
fn behind_the_call<'p>(behind: &Rc<Rest<'p>>) -> Rc<Rest<'p>> {
    let mut at = behind;
    while let Rest::Code(_, next) = &**at {
        at = next;
    }
    at.clone()
}

/// A condition that is made of others.
fn split<'p>(cond: &'p Cond, yes: &Rc<Rest<'p>>, no: &Rc<Rest<'p>>) -> Rest<'p> {
    let (yes, no) = (yes.clone(), no.clone());
    match cond {
        Cond::Always(true) => Rest::Code(&[], yes),
        Cond::Always(false) => Rest::Code(&[], no),
        Cond::Not(inner) => Rest::Branch(inner, no, yes),
        Cond::All(conds) => Rest::Several(conds, true, yes, no),
        Cond::Any(conds) => Rest::Several(conds, false, yes, no),
        Cond::List(entries) => Rest::List(entries, yes, no),
        Cond::Choice(parts) => {
            let (first, second, third) = &**parts;
            let then = Rc::new(Rest::Branch(second, yes.clone(), no.clone()));
            Rest::Branch(first, then, Rc::new(Rest::Branch(third, yes, no)))
        }
        Cond::Test(_) => Rest::Branch(cond, yes, no),
    }
}

/// The rules that come to the same.
///
/// # Errors
/// A rule cannot say it, or too many would be needed.
pub fn compile(program: &[Stmt]) -> Result<Policy, Unfit> {
    let mut compiler = Compiler::default();
    compiler.run(Path::default(), Rc::new(Rest::Code(program, Rc::new(Rest::End))))?;
    let mut rules = compiler.rules;
    let mut default = Step::Reject;
    // What has no conditions ends the policy; what then does the same before it need not be said.
    if let Some(at) = rules.iter().position(|rule| rule.matches == Matches::default() && rule.then != Step::Next) {
        rules.truncate(at.saturating_add(1));
        if rules.last().is_some_and(|last| last.edits.is_empty()) {
            default = rules.pop().map_or(default, |last| last.then);
        }
    }
    let rules = needed(shadowed(rules), default);
    if rules.len() > MAX_RULES { Err(Unfit::TooLarge) } else { Ok(Policy { name: String::new(), rules, default }) }
}

/// Without rules that no route comes to, because one before them means the same and more.
fn shadowed(rules: Vec<Rule>) -> Vec<Rule> {
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        // Behind an edit a route may be another than it was.
        let mut before = kept.iter().rev().take_while(|before| before.then != Step::Next);
        if !before.any(|before| rule.matches.is_within(&before.matches)) {
            kept.push(rule);
        }
    }
    kept
}

/// Without rules for whose routes the same comes later.
fn needed(mut rules: Vec<Rule>, default: Step) -> Vec<Rule> {
    for at in (0..rules.len()).rev() {
        let (_, behind) = rules.split_at_checked(at).unwrap_or_default();
        let Some((rule, later)) = behind.split_first().filter(|(rule, _)| rule.then != Step::Next) else { continue };
        let same = |other: &Rule| other.then == rule.then && other.edits == rule.edits;
        // The first that means any of them, and does something else or all of it.
        let decides = later.iter().find(|other| {
            (same(other) && rule.matches.is_within(&other.matches)) || (!same(other) && !rule.matches.excludes(&other.matches))
        });
        let superfluous = match decides {
            Some(other) => same(other),
            None => rule.then == default && rule.edits.is_empty(),
        };
        if superfluous {
            rules.remove(at);
        }
    }
    // An edit before a refusal changes nothing.
    while default == Step::Reject && rules.last().is_some_and(|last| last.then == Step::Next) {
        rules.pop();
    }
    rules
}
