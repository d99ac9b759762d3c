//! A simulation as one page of HTML: nothing is loaded from anywhere, pictures are SVG.
//!
//! In: reports. Out: text. Names come from files, so they are escaped.

use std::fmt::Write;

use super::super::output::octets;
use super::show::{number, seconds};
use crate::simulate::{Point, Report, RoleRow, Window};

const STYLE: &str = "\
:root{--bg:#fff;--fg:#1b2733;--dim:#5d6b79;--line:#d5dce3;--none:#c2410c;--wrong:#6d28d9;--a:#0f766e;--b:#94a3b8}
@media(prefers-color-scheme:dark){:root{--bg:#12181f;--fg:#dfe6ec;--dim:#91a0ae;--line:#2c3843;--none:#fb923c;--wrong:#a78bfa;--a:#2dd4bf;--b:#64748b}}
body{background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif;max-width:78rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .4rem}p{color:var(--dim);margin:.3rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
td,th{padding:.25rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}th{color:var(--dim);font-weight:600}
svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font:11px system-ui,sans-serif}
.axis{stroke:var(--line)}.none{stroke:var(--none);fill:var(--none)}.wrong{stroke:var(--wrong);fill:var(--wrong)}
.area{fill-opacity:.15;stroke:none}.curve{fill:none;stroke-width:1.8}.mark{stroke:var(--dim);stroke-dasharray:3 3}
.sent{fill:var(--a)}.got{fill:var(--b)}.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;border-radius:2px}";

/// Width and height of a picture, and what is left free around it.
const WIDE: f64 = 900.0;
const HIGH: f64 = 190.0;
const LEFT: f64 = 64.0;
const BELOW: f64 = 26.0;
const ABOVE: f64 = 20.0;

/// The whole page.
pub fn page(title: &str, runs: &[Report]) -> String {
    let mut page = String::new();
    let title = escaped(title);
    // Writing to a string does not fail.
    let _ =
        write!(page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">");
    let _ = write!(page, "<title>catbird simulate: {title}</title><style>{STYLE}</style><h1>{title}</h1>");
    for run in runs {
        one(&mut page, run, runs.len() > 1);
    }
    page + "</html>\n"
}

fn one(page: &mut String, run: &Report, several: bool) {
    let thin = run.machines - run.whole;
    let thin = if thin > 0 { format!(" ({} whole, {thin} thin)", run.whole) } else { String::new() };
    let seed = if several { format!("seed {}: ", run.seed) } else { String::new() };
    let cut = if run.complete { "" } else { "; interrupted, this is what was known then" };
    let _ = write!(
        page,
        "<p>{seed}{} machines{thin}, {} of {} sessions up, {} blocks, {} of cluster time{cut}.</p>",
        run.machines,
        run.established,
        run.sessions,
        run.blocks,
        seconds(run.seconds)
    );
    for note in &run.notes {
        let _ = write!(page, "<p>Not simulated: {}.</p>", escaped(note));
    }
    let _ = write!(page, "<h2>What happened</h2><div class=\"wide\">{}</div>", windows(&run.windows));
    let _ = write!(
        page,
        "<p>Prefixes &times; seconds are summed over all nodes; the times are those of the last change of a node's kernel routes.</p>"
    );
    for window in &run.windows {
        let _ = write!(page, "<h2>{}</h2>", escaped(&window.what));
        if window.nodes_touched == 0 {
            let _ = write!(page, "<p>Every packet had its route.</p>");
            continue;
        }
        let _ = write!(
            page,
            "<p>Pairs of node and block<span class=\"key\" style=\"background:var(--none)\"></span>without a route\
             <span class=\"key\" style=\"background:var(--wrong)\"></span>with a wrong one</p>{}",
            curve(window)
        );
    }
    let _ = write!(page, "<h2>Each machine, from start to end</h2><div class=\"wide\">{}</div>", roles(&run.roles));
    let _ = write!(
        page,
        "<p>Messages<span class=\"key\" style=\"background:var(--a)\"></span>sent\
         <span class=\"key\" style=\"background:var(--b)\"></span>received, logarithmic</p>{}",
        bars(&run.roles)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn row(cells: &[String], tag: &str) -> String {
    let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
    format!("<tr>{cells}</tr>")
}

fn titles(titles: &[&str]) -> String {
    row(&titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>(), "th")
}

fn windows(windows: &[Window]) -> String {
    let head = titles(&[
        "event",
        "at",
        "sessions lost",
        "messages",
        "octets",
        "no route",
        "wrong route",
        "nodes",
        "blocks",
        "first",
        "p50",
        "p99",
        "last",
    ]);
    let body = windows.iter().map(|w| {
        let at = |pick: fn(&crate::simulate::Convergence) -> f64| w.convergence.as_ref().map_or("-".to_owned(), |c| seconds(pick(c)));
        let cells = [
            w.what.clone(),
            seconds(w.at_seconds),
            w.sessions_lost.to_string(),
            w.messages.to_string(),
            octets(w.octets),
            number(w.black_hole_prefix_seconds),
            number(w.wrong_route_prefix_seconds),
            w.nodes_touched.to_string(),
            w.blocks_touched.to_string(),
            at(|c| c.first_seconds),
            at(|c| c.p50_seconds),
            at(|c| c.p99_seconds),
            at(|c| c.last_seconds),
        ];
        row(&cells, "td")
    });
    format!("<table>{head}{}</table>", body.collect::<String>())
}

fn roles(roles: &[RoleRow]) -> String {
    let head = titles(&["each", "machines", "sessions", "messages sent", "received", "octets sent", "received", "tables", "processor"]);
    let body = roles.iter().map(|r| {
        let cells = [
            r.role.name().to_owned(),
            r.machines.to_string(),
            number(r.sessions),
            number(r.messages_sent),
            number(r.messages_received),
            octets(r.octets_sent as u64),
            octets(r.octets_received as u64),
            r.memory_bytes.map_or("-".to_owned(), octets),
            seconds(r.busy_seconds),
        ];
        row(&cells, "td")
    });
    format!("<table>{head}{}</table>", body.collect::<String>())
}

/// Where things stand in a picture.
struct Scale {
    seconds: f64,
    most: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDE - LEFT - 10.0) * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        HIGH - BELOW - (HIGH - BELOW - ABOVE) * (value / self.most).clamp(0.0, 1.0)
    }
}

/// What is seen of a window: until a little after the last that happened.
fn interesting(window: &Window) -> f64 {
    let last = window.curve.last().map_or(0.0, |point| point.seconds);
    let changed = window.convergence.map_or(0.0, |c| c.last_seconds);
    (last.max(changed) * 1.15).clamp(0.1_f64.min(window.seconds), window.seconds.max(0.1))
}

fn curve(window: &Window) -> String {
    let most = window.curve.iter().map(|point| point.no_route.max(point.wrong)).max().unwrap_or(0).max(1);
    let scale = Scale { seconds: interesting(window), most: most as f64 };
    let mut svg = format!("<svg viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\">");
    axes(&mut svg, &scale);
    steps(&mut svg, "none", window, &scale, |point| point.no_route);
    steps(&mut svg, "wrong", window, &scale, |point| point.wrong);
    if let Some(c) = window.convergence {
        // Two that are near each other cannot be read.
        let near = (c.last_seconds - c.p50_seconds) < scale.seconds / 8.0;
        for (word, at) in [("p50", c.p50_seconds), ("last", c.last_seconds)].into_iter().skip(usize::from(near)) {
            let x = scale.x(at);
            let _ = write!(svg, "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{ABOVE}\" y2=\"{:.1}\"/>", HIGH - BELOW);
            let anchor = if x > WIDE - 120.0 { "end" } else { "start" };
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{word} {}</text>", 12.0, seconds(at));
        }
    }
    svg + "</svg>"
}

fn axes(svg: &mut String, scale: &Scale) {
    for part in [0.0, 0.5, 1.0] {
        let (value, y) = (scale.most * part, scale.y(scale.most * part));
        let _ = write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", WIDE - 10.0);
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, y + 4.0, number(value));
    }
    for part in 0..=4 {
        let at = scale.seconds * f64::from(part) / 4.0;
        let anchor = if part == 4 { "end" } else { "middle" };
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>", scale.x(at), HIGH - 8.0, seconds(at));
    }
}

fn steps(svg: &mut String, class: &str, window: &Window, scale: &Scale, value: impl Fn(&Point) -> u64) {
    if window.curve.iter().all(|point| value(point) == 0) {
        return;
    }
    let (mut path, mut y) = (String::new(), scale.y(0.0));
    for point in &window.curve {
        let x = scale.x(point.seconds);
        let next = scale.y(value(point) as f64);
        let _ = if path.is_empty() { write!(path, "M{x:.1} {next:.1}") } else { write!(path, "L{x:.1} {y:.1}L{x:.1} {next:.1}") };
        y = next;
    }
    let (start, end, zero) = (scale.x(0.0), scale.x(scale.seconds), scale.y(0.0));
    let _ = write!(path, "L{end:.1} {y:.1}");
    let _ = write!(svg, "<path class=\"{class} area\" d=\"{path}L{end:.1} {zero:.1}L{start:.1} {zero:.1}Z\"/>");
    let _ = write!(svg, "<path class=\"{class} curve\" style=\"fill:none\" d=\"{path}\"/>");
}

/// Messages of one machine of each role.
fn bars(roles: &[RoleRow]) -> String {
    let most = roles.iter().map(|r| r.messages_sent.max(r.messages_received)).fold(10.0, f64::max).log10();
    let high = roles.len() as f64 * 46.0 + 6.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDE} {high}\" role=\"img\">");
    for (n, role) in roles.iter().enumerate() {
        let top = n as f64 * 46.0 + 4.0;
        let _ = write!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, top + 22.0, role.role.name());
        for (value, class, down) in [(role.messages_sent, "sent", 0.0), (role.messages_received, "got", 18.0)] {
            let wide = (WIDE - LEFT - 110.0) * value.max(1.0).log10() / most;
            let y = top + down;
            let _ = write!(svg, "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{wide:.1}\" height=\"16\" rx=\"2\"/>");
            let _ = write!(svg, "<text x=\"{:.1}\" y=\"{}\">{}</text>", LEFT + wide + 6.0, y + 12.0, number(value));
        }
    }
    svg + "</svg>"
}
