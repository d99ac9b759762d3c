//! `check` and `diff`: what concerns configuration files alone, and works without a daemon.

use std::io;
use std::path::Path;

use serde_json::json;

use super::Exit;
use super::client::ClientError;
use super::output::{Output, Style, colour_on, styled};
use super::tables;
use crate::config::{self, Checked, Config, Report, Severity};
use crate::daemon::protocol::Reloaded;
use crate::speaker::reload_plan::{self, NotRunning};

/// Every finding with its picture on standard error (JSON on standard output).
pub fn check(out: &mut Output, file: &Path, strict: bool, node: Option<&str>) -> Result<Exit, ClientError> {
    let Some(checked) = read(file, node) else { return Ok(Exit::Unreadable) };
    if out.json {
        out.object(&findings(&checked))?;
    } else {
        show(&checked.report);
        if let Some(config) = &checked.config {
            let sum = summary(config);
            out.line(out.paint(&styled(format!("{}: fine: {sum}", file.display()), Style::Good)))?;
        }
    }
    let refused = checked.config.is_none() || (strict && checked.report.warnings() > 0);
    Ok(if refused { Exit::Refused } else { Exit::Fine })
}

/// What the daemon is to run with; its findings go to standard error. A node that is not in the cluster's list yet waits there for it.
pub fn to_run(file: &Path) -> Result<Config, Exit> {
    let checked = read(file, None).ok_or(Exit::Unreadable)?;
    show(&checked.report);
    let config = checked.config.or(checked.unlisted).ok_or(Exit::Refused)?;
    config::params::can_be_run(&config).map_err(|why| {
        eprintln!("catbird: {why}");
        Exit::Refused
    })?;
    Ok(config)
}

/// What a reload from one file to the other would change; no daemon is asked.
pub fn diff(out: &mut Output, from: &Path, to: &Path, node: Option<&str>) -> Result<Exit, ClientError> {
    let (Some(old), Some(new)) = (read(from, node), read(to, node)) else { return Ok(Exit::Unreadable) };
    let (Some(old_config), Some(new_config)) = (&old.config, &new.config) else {
        for checked in [&old, &new] {
            show(&checked.report);
        }
        return Ok(Exit::Refused);
    };
    let changes = reload_plan::diff(&config::params::speaker(old_config), &config::params::speaker(new_config), &NotRunning).into_changes();
    let plan = Reloaded { changes, ..Reloaded::default() };
    if out.json {
        out.object(&plan)?;
    } else {
        tables::reloaded(out, &plan)?;
    }
    Ok(Exit::Fine)
}

/// `None` where the file cannot be read, after a line about it. `-` is standard input.
fn read(file: &Path, node: Option<&str>) -> Option<Checked> {
    let read =
        if file == Path::new("-") { config::read_as(io::stdin().lock(), "standard input", node) } else { config::load_as(file, node) };
    match read {
        Ok(checked) => Some(checked),
        Err(error) => {
            eprintln!("catbird: cannot read {}: {error}", file.display());
            None
        }
    }
}

pub(super) fn show(report: &Report) {
    if report.diagnostics().is_empty() {
        return;
    }
    eprintln!("{}", report.render(colour_on(&std::io::stderr())));
    let count = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    eprintln!("{}, {}", count(report.errors(), "error"), count(report.warnings(), "warning"));
}

fn findings(checked: &Checked) -> serde_json::Value {
    let report = &checked.report;
    let one = |finding: &config::Diagnostic| {
        let position = finding.span.as_ref().map(|span| report.position(span.start));
        json!({
            "grade": if finding.severity == Severity::Error { "error" } else { "warning" },
            "line": position.map(|p| p.0),
            "column": position.map(|p| p.1),
            "text": finding.problem.to_string(),
            "help": report.advice(finding),
        })
    };
    json!({
        "ok": checked.config.is_some(),
        "errors": report.errors(),
        "warnings": report.warnings(),
        "findings": report.diagnostics().iter().map(one).collect::<Vec<_>>(),
    })
}

fn summary(config: &Config) -> String {
    let mode = config.cluster.as_ref().map_or_else(String::new, |c| format!("{} of {} nodes, ", c.mode, c.members.len()));
    let node = &config.node;
    let (sessions, blocks) = (config.sessions.len(), config.pods.blocks.len());
    format!("{} (AS {}, router id {}), {mode}{sessions} sessions, {blocks} blocks", node.name, node.asn, node.router_id)
}
