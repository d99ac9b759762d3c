//! A simulation as people read it in a terminal.
//!
//! In: reports. Out: lines and tables.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::super::output::{Cell, Columns, Listing, Output, Style, cell, duration, maybe, octets, styled};
use crate::simulate::{Report, RoleRow, Window};

const ROLES: Columns = Columns {
    titles: &[
        "EACH",
        "MACHINES",
        "SESSIONS",
        "MSGS SENT",
        "RECEIVED",
        "UPDATES SENT",
        "RECEIVED",
        "OCTETS SENT",
        "RECEIVED",
        "TABLES",
        "CPU",
    ],
    legend: "mean of all machines of a kind; TABLES: the largest, of those that were run whole; CPU: the busiest, by assumed costs",
};

const WINDOWS: Columns = Columns {
    titles: &[
        "WHAT",
        "AT",
        "LOST",
        "MSGS",
        "UPDATES",
        "OCTETS",
        "NO ROUTE",
        "WRONG ROUTE",
        "NODES",
        "BLOCKS",
        "FIRST",
        "P50",
        "P99",
        "LAST",
        "LEFT",
    ],
    legend: "LOST: sessions  NO ROUTE, WRONG ROUTE: prefixes x seconds  NODES, BLOCKS: touched by that  FIRST to LAST: the last change of a node's kernel  LEFT: pairs of node and block still without a right route",
};

/// The runs of all seeds.
pub fn all(out: &mut Output, title: &str, runs: &[Report], took: Duration) -> io::Result<()> {
    let Some(first) = runs.first() else { return out.line("interrupted before anything was known") };
    out.line(out.paint(&styled(title, Style::Bold)))?;
    let thin = first.machines - first.whole;
    let thin = if thin > 0 { format!(", {} of them whole and {thin} thin", first.whole) } else { String::new() };
    out.line(format!(
        "{} machines{thin}, {} sessions ({} up), {} blocks; {} of cluster time in {}",
        first.machines,
        first.sessions,
        first.established,
        first.blocks,
        duration(first.seconds),
        duration(took.as_secs_f64())
    ))?;
    for note in &first.notes {
        out.line(out.paint(&styled(format!("not simulated: {note}"), Style::Warn)))?;
    }
    for run in runs {
        out.line("")?;
        if runs.len() > 1 || !run.complete {
            let cut = if run.complete { "" } else { ", interrupted: what was known then" };
            out.line(out.paint(&styled(format!("seed {}{cut}", run.seed), Style::Bold)))?;
        }
        table(out, ROLES, &run.roles, role)?;
        out.line("")?;
        table(out, WINDOWS, &run.windows, window)?;
    }
    Ok(())
}

pub fn windows(out: &mut Output, windows: &[Window]) -> io::Result<()> {
    table(out, WINDOWS, windows, window)
}

fn table<T: Serialize>(out: &mut Output, columns: Columns, rows: &[T], cells: impl Fn(&T) -> Vec<Cell>) -> io::Result<()> {
    let mut listing = Listing::new(columns);
    listing.page(out, rows, cells)?;
    listing.end(out, "nothing")
}

fn role(row: &RoleRow) -> Vec<Cell> {
    vec![
        cell(row.role.name()),
        cell(row.machines),
        cell(number(row.sessions)),
        cell(number(row.messages_sent)),
        cell(number(row.messages_received)),
        cell(number(row.updates_sent)),
        cell(number(row.updates_received)),
        cell(octets(row.octets_sent as u64)),
        cell(octets(row.octets_received as u64)),
        maybe(row.memory_bytes.map(octets)),
        cell(seconds(row.busy_seconds)),
    ]
}

fn window(row: &Window) -> Vec<Cell> {
    let bad = |sum: f64| styled(number(sum), if sum > 0.0 && row.at_seconds > 0.0 { Style::Warn } else { Style::Plain });
    let left = row.no_route_at_end + row.wrong_at_end;
    let at = |pick: fn(&crate::simulate::Convergence) -> f64| maybe(row.convergence.as_ref().map(|c| seconds(pick(c))));
    vec![
        cell(&row.what),
        cell(duration(row.at_seconds)),
        cell(row.sessions_lost),
        cell(number(row.messages as f64)),
        cell(number(row.updates as f64)),
        cell(octets(row.octets)),
        bad(row.black_hole_prefix_seconds),
        bad(row.wrong_route_prefix_seconds),
        cell(row.nodes_touched),
        cell(row.blocks_touched),
        at(|c| c.first_seconds),
        at(|c| c.p50_seconds),
        at(|c| c.p99_seconds),
        at(|c| c.last_seconds),
        styled(left, if left > 0 { Style::Bad } else { Style::Plain }),
    ]
}

/// Whole where it is large, and with as many digits as mean something where it is not.
pub fn number(value: f64) -> String {
    match value {
        v if v == v.trunc() || v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// `12ms`, `3.42s`, `95.1s`.
pub fn seconds(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{:.0}ms", v * 1000.0),
        v if v < 10.0 => format!("{v:.2}s"),
        v => format!("{v:.1}s"),
    }
}
