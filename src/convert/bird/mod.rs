//! BIRD 1.6 and 2.
//!
//! In: the text of `bird.conf`, and those that it includes. Out: a [`Sketch`]. [`lex`] makes words of it and knows constants; here stands what is
//! at the top level, [`routes`] has the protocols that bring and take routes of this machine, [`bgp`] the sessions, [`filter`] the language of
//! filters. Of several tables only the default ones are converted.

mod bgp;
mod cursor;
mod expr;
mod filter;
mod lex;
mod routes;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::sketch::Sketch;
use super::{Include, Place, Report};
use cursor::{Cursor, statements};
use lex::{Texts, Token, shown};

/// Something with a name and a body.
#[derive(Clone, Copy)]
struct Named<'a, 't> {
    name: &'t str,
    from: Option<&'t str>,
    body: &'a [Token<'t>],
    place: Place,
}

/// `function NAME(...)`
#[derive(Clone)]
struct Function<'a, 't> {
    parameters: Vec<&'t str>,
    body: &'a [Token<'t>],
}

/// What the file says, before it is put together.
#[derive(Default)]
struct Bird<'a, 't> {
    templates: BTreeMap<&'t str, Named<'a, 't>>,
    filters: BTreeMap<&'t str, &'a [Token<'t>]>,
    functions: BTreeMap<&'t str, Function<'a, 't>>,
    sessions: Vec<Named<'a, 't>>,
    /// By name, what it originates.
    statics: BTreeMap<&'t str, routes::Static>,
    /// Of these kinds: `kernel`, `direct`, `static`, `bfd`.
    others: Vec<(&'t str, Named<'a, 't>)>,
}

/// Reads it all.
pub(super) fn read(text: &str, include: Include<'_>, report: &mut Report) -> Sketch {
    let texts = Texts::gather(text, include, report);
    let tokens = texts.tokens(report);
    let (mut bird, mut sketch) = (Bird::default(), Sketch::default());
    for statement in statements(&tokens) {
        bird.top(statement, &mut sketch, report);
    }
    routes::convert(&mut bird, &mut sketch, report);
    bgp::convert(&bird, &mut sketch, report);
    sketch
}

impl<'a, 't> Bird<'a, 't> {
    fn top(&mut self, statement: &'a [Token<'t>], sketch: &mut Sketch, report: &mut Report) {
        let mut at = Cursor::new(statement);
        let (place, told) = (at.place(), shown(statement));
        let Some(word) = at.any_word() else {
            return report.lost(place, &told, "not understood");
        };
        match word {
            "protocol" => self.protocol(at, &told, report),
            "template" => self.template(at, &told, report),
            "filter" => match (at.any_word(), at.block()) {
                (Some(name), Some(body)) => drop(self.filters.insert(name, body)),
                _ => report.lost(place, &told, "a filter with variables before its body: not understood"),
            },
            "function" => self.function(at, place, &told, report),
            "router" if at.word("id") => match at.addr() {
                Some(IpAddr::V4(id)) => sketch.router_id = Some(id),
                _ => report.note(place, &told, "the router id is the first IPv4 address of `addresses`, or a hash of the name"),
            },
            "listen" if at.word("bgp") => listen(at, place, &told, sketch, report),
            "graceful" if at.words(&["restart", "wait"]) => match at.time() {
                Some(time) => sketch.graceful.set("startup_deadline", format!("{}s", time / 1000)),
                None => report.lost(place, &told, "not understood"),
            },
            "include" => {}
            "log" | "debug" | "mrtdump" | "timeformat" | "watchdog" | "cli" | "eval" | "hostname" | "threads" => {
                report.note(place, &told, "no setting of routes: the log goes to standard error, see [log]")
            }
            "ipv4" | "ipv6" if at.word("table") && default_table(at) => {}
            "table" if default_table(at) => {}
            "table" | "ipv4" | "ipv6" | "vpn4" | "vpn6" | "flow4" | "flow6" | "mpls" => {
                report.lost(place, &told, "catbird has one table of a family")
            }
            "roa" | "roa4" | "roa6" => report.lost(place, &told, "catbird knows no origin validation (RPKI)"),
            _ => report.lost(place, &told, "not understood"),
        }
    }

    fn template(&mut self, mut at: Cursor<'a, 't>, told: &str, report: &mut Report) {
        let (place, kind, name) = (at.place(), at.any_word(), at.any_word());
        let from = if at.word("from") { at.any_word() } else { None };
        match (kind, name, at.block()) {
            (Some("bgp"), Some(name), Some(body)) => drop(self.templates.insert(name, Named { name, from, body, place })),
            (Some("bgp"), ..) => report.lost(place, told, "not understood"),
            _ => report.note(place, told, "a template of another protocol than BGP"),
        }
    }

    fn protocol(&mut self, mut at: Cursor<'a, 't>, told: &str, report: &mut Report) {
        let (place, kind) = (at.place(), at.any_word().unwrap_or_default());
        let version = at.any_word();
        let name = if matches!(version, Some("v2" | "v3" | "ng" | "spoke")) { at.any_word().or(version) } else { version };
        let from = if name == Some("from") || at.word("from") { at.any_word() } else { None };
        let body = at.block();
        let named = Named { name: name.filter(|name| *name != "from").unwrap_or(""), from, body: body.unwrap_or_default(), place };
        match kind {
            "bgp" => self.sessions.push(named),
            "kernel" | "direct" | "static" | "bfd" | "device" => self.others.push((kind, named)),
            "ospf" | "rip" | "babel" | "isis" | "radv" | "l3vpn" => {
                report.lost(place, told, format!("{kind}: catbird speaks BGP and nothing else"))
            }
            "pipe" => report.lost(place, told, "catbird has one table of a family, so there is nothing to connect"),
            "rpki" => report.lost(place, told, "catbird knows no origin validation (RPKI)"),
            "bmp" | "mrt" | "perf" => report.note(place, told, "no routes come of it"),
            _ => report.lost(place, told, "not understood"),
        }
    }

    fn function(&mut self, mut at: Cursor<'a, 't>, place: Place, told: &str, report: &mut Report) {
        let name = at.any_word();
        let mut parameters = Vec::new();
        if at.sign("(") {
            let mut last = None;
            while let Some(token) = at.next() {
                match token.tok {
                    lex::Tok::Word(word) => last = Some(word),
                    lex::Tok::Sign(sign) => {
                        parameters.extend(last.take());
                        if sign == ")" {
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
        if at.sign("->") {
            let _ = at.any_word();
        }
        match (name, at.block()) {
            (Some(name), Some(body)) => drop(self.functions.insert(name, Function { parameters, body })),
            _ => report.lost(place, told, "a function with variables before its body: not understood"),
        }
    }
}

/// `master`, `master4`, `master6`: those that are there anyway.
fn default_table(mut at: Cursor<'_, '_>) -> bool {
    at.any_word().is_some_and(|name| name.starts_with("master"))
}

fn listen(mut at: Cursor<'_, '_>, place: Place, told: &str, sketch: &mut Sketch, report: &mut Report) {
    while !at.at_end() {
        if at.word("address") {
            let Some(addr) = at.addr() else { return report.lost(place, told, "not understood") };
            sketch.listen.set("addresses", vec![addr.to_string()]);
        } else if at.word("port") {
            let Some(port) = at.number().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) else {
                return report.lost(place, told, "no port");
            };
            sketch.listen.set("port", port);
        } else if !at.word("v6only") && !at.word("dual") {
            return report.lost(place, told, "not understood");
        }
    }
}
