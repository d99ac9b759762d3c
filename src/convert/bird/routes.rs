//! What brings routes of this machine into BIRD and takes routes out of it: `static`, `direct`, `kernel`, and `bfd`.
//!
//! In: bodies of protocols. Out: blocks, `[[redistribute]]`, `[fib]` and `[bfd.default]`. BIRD's blackholes are catbird's blocks: both announce
//! them and keep them in the kernel. A static route with a next hop is written by another program here, and learned from the kernel.

use ipnet::IpNet;

use super::super::program::{Policy, Range, Step, Stmt, compile};
use super::super::sketch::{Pass, Sketch};
use super::super::value::Table;
use super::super::{Place, Report};
use super::cursor::{Cursor, statements};
use super::filter;
use super::lex::{Token, shown};
use super::{Bird, Named};

/// What one `protocol static` originates.
#[derive(Clone, Debug, Default)]
pub struct Static {
    /// As blackholes.
    pub blocks: Vec<IpNet>,
    /// With a next hop.
    pub via: Vec<IpNet>,
}

/// What all kernel protocols say together.
#[derive(Default)]
struct Kernels {
    exports: bool,
    merges: bool,
}

pub(super) fn convert<'a, 't>(bird: &mut Bird<'a, 't>, sketch: &mut Sketch, report: &mut Report) {
    let others = std::mem::take(&mut bird.others);
    let learns =
        others.iter().any(|(kind, named)| *kind == "kernel" && statements(named.body).iter().any(|s| Cursor::new(s).word("learn")));
    for (_, named) in others.iter().filter(|(kind, _)| *kind == "static") {
        let found = statics(named, sketch, report);
        bird.statics.insert(named.name, found);
    }
    let mut kernels = Kernels::default();
    for (kind, named) in &others {
        match *kind {
            "direct" => direct(named, learns, sketch, report),
            "kernel" => kernel(bird, named, &mut kernels, sketch, report),
            "bfd" => bfd(named, sketch, report),
            _ => {}
        }
    }
    if kernels.exports {
        sketch.fib.set("allow_default", true);
        sketch.fib.set("adopt", vec!["bird".to_owned()]);
    } else {
        sketch.fib.set("enabled", false);
    }
    if !kernels.merges {
        sketch.best_path.set("multipath_external", false);
        sketch.best_path.set("multipath_internal", false);
    }
}

fn is_disabled(body: &[Token<'_>]) -> bool {
    statements(body).iter().any(|statement| {
        let mut at = Cursor::new(statement);
        at.word("disabled") && at.switch()
    })
}

fn statics(named: &Named<'_, '_>, sketch: &mut Sketch, report: &mut Report) -> Static {
    let mut found = Static::default();
    if is_disabled(named.body) {
        report.note(named.place, named.name, "disabled, and left out");
        return found;
    }
    for statement in statements(named.body) {
        let mut at = Cursor::new(statement);
        let (place, told) = (at.place(), shown(statement));
        if !at.word("route") {
            let known = ["ipv4", "ipv6", "import", "export", "debug", "scan", "description", "vrf"];
            if !known.iter().any(|word| at.word(word)) {
                report.lost(place, &told, "not understood");
            }
            continue;
        }
        let Some(net) = at.net().or_else(|| at.addr().map(IpNet::from)) else {
            report.lost(place, &told, "no prefix of IPv4 or IPv6");
            continue;
        };
        let net = net.trunc();
        if ["blackhole", "unreachable", "prohibit", "reject", "drop"].iter().any(|word| at.word(word)) {
            sketch.originate(net, place);
            found.blocks.push(net);
        } else {
            let rest = shown(at.rest).replace(['"', ';'], "");
            let reason =
                format!("catbird writes no static routes: `ip route add {net} {rest} proto static` does, and it is announced from there");
            report.lost(place, &told, reason);
            sketch.learn(vec![net.to_string()], &["static", "boot"], "network");
            found.via.push(net);
        }
    }
    found
}

const EVERYTHING: [&str; 2] = ["0.0.0.0/0+", "::/0+"];

fn everything() -> Vec<String> {
    EVERYTHING.map(str::to_owned).to_vec()
}

/// Subnets of our links are the kernel's own routes.
fn direct(named: &Named<'_, '_>, learns: bool, sketch: &mut Sketch, report: &mut Report) {
    if is_disabled(named.body) {
        return;
    }
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for statement in statements(named.body) {
        let mut at = Cursor::new(statement);
        let (place, told) = (at.place(), shown(statement));
        if at.word("interface") {
            while !at.at_end() {
                let negative = at.sign("-");
                match at.text() {
                    Some(name) if negative => unwanted.push(name.to_owned()),
                    Some(name) => wanted.push(name.to_owned()),
                    None => {
                        report.lost(place, &told, "only names of interfaces are converted");
                        break;
                    }
                }
                let _ = at.sign(",");
            }
        } else if !["ipv4", "ipv6", "debug", "disabled", "check", "description"].iter().any(|word| at.word(word)) {
            report.lost(place, &told, "not understood");
        }
    }
    let mut rule = Table::default();
    rule.set("prefixes", everything());
    rule.set("protocols", vec!["kernel".to_owned()]);
    if !wanted.is_empty() && !wanted.iter().any(|name| name == "*") {
        rule.set("interfaces", wanted);
    }
    sketch.redistribute.push(rule);
    if !unwanted.is_empty() && learns {
        let reason = format!(
            "subnets of {} are learned, too: `ignore_interfaces` would leave out what is learned of the kernel as well",
            unwanted.join(", ")
        );
        report.lost(named.place, "interface", reason);
    } else if !unwanted.is_empty() {
        sketch.fib.set("ignore_interfaces", unwanted);
    }
}

fn kernel<'t>(bird: &Bird<'_, 't>, named: &Named<'_, 't>, kernels: &mut Kernels, sketch: &mut Sketch, report: &mut Report) {
    if is_disabled(named.body) {
        return;
    }
    for statement in statements(named.body) {
        kernel_statement(bird, statement, kernels, sketch, report);
    }
}

fn kernel_statement<'t>(bird: &Bird<'_, 't>, statement: &[Token<'t>], kernels: &mut Kernels, sketch: &mut Sketch, report: &mut Report) {
    let mut at = Cursor::new(statement);
    let (place, told) = (at.place(), shown(statement));
    let Some(word) = at.any_word() else { return report.lost(place, &told, "not understood") };
    match word {
        "ipv4" | "ipv6" => {
            for inner in at.block().map(statements).unwrap_or_default() {
                kernel_statement(bird, inner, kernels, sketch, report);
            }
        }
        "export" => {
            let pass = filter::pass(bird, &mut at, filter::Where::Kernel, report);
            kernels.exports |= pass != Pass::None;
            if let Pass::Program(program) = pass {
                kernel_filter(program, place, &told, sketch, report);
            }
        }
        "learn" if at.switch() || !at.at_end() => sketch.learn(everything(), &["boot", "static", "dhcp"], "pod"),
        "merge" if at.word("paths") => {
            kernels.merges |= at.switch();
            if let Some(limit) = at.word("limit").then(|| at.number()).flatten().and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0) {
                sketch.fib.set("ecmp_width", limit);
            }
        }
        "kernel" if at.word("table") => match at.number() {
            Some(table) if table > 0 => sketch.fib.set("table", table),
            _ => report.lost(place, &told, "not understood"),
        },
        "metric" => match at.number() {
            Some(metric) => {
                sketch.fib.set("metric", metric);
                sketch.fib.set("block_metric", metric);
            }
            None => report.lost(place, &told, "not understood"),
        },
        "table" if super::default_table(at) => {}
        "table" => report.lost(place, &told, "catbird has one table of a family"),
        "persist" | "scan" | "device" | "debug" | "graceful" | "import" | "learn" | "description" | "preference" | "netlink" => {}
        _ => report.lost(place, &told, "not understood"),
    }
}

/// Of what the kernel is told: prefixes that are not, and the source address.
fn kernel_filter(program: Vec<Stmt>, place: Place, told: &str, sketch: &mut Sketch, report: &mut Report) {
    let policy = match compile(&program) {
        Ok(policy) => policy,
        Err(why) => return report.lost(place, told, format!("{why}: all routes are written to the kernel")),
    };
    for source in policy.rules.iter().filter_map(|rule| rule.edits.source.as_deref()) {
        sketch.fib.set(if source.contains(':') { "source_ipv6" } else { "source_ipv4" }, source);
    }
    if let Some((key, nets)) = bounds(&policy) {
        sketch.fib.set(key, nets);
    } else if policy.rules.iter().any(|rule| rule.matches.prefixes.is_some()) {
        report.lost(place, told, "[fib] takes `exclude` or `pools`, lists of prefixes: all routes are written to the kernel");
    }
}

/// `exclude` or `pools`, if that is all.
fn bounds(policy: &Policy) -> Option<(&'static str, Vec<String>)> {
    let wide = |range: &Range| range.min == range.net.prefix_len();
    let (key, then) = if policy.default == Step::Accept { ("exclude", Step::Reject) } else { ("pools", Step::Accept) };
    let mut nets = Vec::new();
    for rule in policy.rules.iter().filter(|rule| rule.then != Step::Next && (rule.then != policy.default || rule.edits.source.is_none())) {
        let ranges = rule.matches.prefixes.as_ref().filter(|ranges| rule.then == then && ranges.iter().all(wide))?;
        nets.extend(ranges.iter().map(|range| range.net.to_string()));
    }
    (!nets.is_empty()).then_some((key, nets))
}

/// The profile of all sessions: of the interfaces, and of `multihop` where there are none.
fn bfd(named: &Named<'_, '_>, sketch: &mut Sketch, report: &mut Report) {
    let mut profile = Table::default();
    for statement in statements(named.body) {
        let mut at = Cursor::new(statement);
        let (place, told) = (at.place(), shown(statement));
        let is_group = at.word("interface") || at.word("multihop");
        if is_group {
            while !at.at_end() && !at.rest.first().is_some_and(|token| token.is("{")) {
                at.next();
            }
            let mut own = Table::default();
            at.block().map(statements).unwrap_or_default().iter().for_each(|inner| bfd_setting(inner, &mut own, report));
            if profile.is_empty() {
                profile = own;
            } else if profile != own {
                report.lost(
                    place,
                    &told,
                    "one profile is made of the first group: others are [bfd.NAME], named by `bfd = \"NAME\"` of a peer",
                );
            }
        } else if at.word("neighbor") {
            report.note(place, &told, "sessions of BFD follow from `bfd` of a peer");
        } else if !["accept", "strict", "debug", "description", "disabled"].iter().any(|word| at.word(word)) {
            bfd_setting(statement, &mut profile, report);
        }
    }
    if !profile.is_empty() {
        sketch.bfd.insert("default".to_owned(), profile);
    }
}

/// One setting of a session of BFD.
pub(super) fn bfd_setting(statement: &[Token<'_>], profile: &mut Table, report: &mut Report) {
    let mut at = Cursor::new(statement);
    let (place, told) = (at.place(), shown(statement));
    let time = |at: &mut Cursor<'_, '_>| at.time().filter(|ms| (5..=60_000).contains(ms)).map(|ms| format!("{ms}ms"));
    let found = if at.words(&["min", "rx", "interval"]) {
        time(&mut at).map(|time| profile.set("min_rx", time))
    } else if at.words(&["min", "tx", "interval"]) {
        time(&mut at).map(|time| profile.set("min_tx", time))
    } else if at.word("interval") {
        time(&mut at).map(|time| {
            profile.set("min_rx", time.clone());
            profile.set("min_tx", time);
        })
    } else if at.word("multiplier") {
        at.number().and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0).map(|n| profile.set("multiplier", n))
    } else if at.word("passive") {
        profile.set("passive", at.switch());
        Some(())
    } else if at.words(&["idle", "tx", "interval"]) {
        Some(())
    } else {
        None
    };
    if found.is_none() {
        report.lost(place, &told, "not understood, or out of what catbird takes (5 ms to 60 s)");
    }
}
