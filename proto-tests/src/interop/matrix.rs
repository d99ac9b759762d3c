//! Which option was tried with which daemon, in which role, and how it must come out: `interop.toml` as the table in the README.
//!
//! In: the file. Out: the table, and what is wrong with the file. Leaves to others: whether the tests that it names pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::netlab::proc::{frr_program, program, workspace};

const DAEMONS: [(&str, &str); 4] = [("frr", "FRR"), ("bird", "BIRD"), ("gobgp", "GoBGP"), ("openbgpd", "OpenBGPD")];

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    row: Vec<Row>,
    /// Tests that are in no row, with the reason.
    apart: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    option: String,
    role: String,
    /// Tests, by `FILE::NAME`.
    frr: Option<String>,
    bird: Option<String>,
    gobgp: Option<String>,
    openbgpd: Option<String>,
    #[serde(default)]
    refused: Vec<String>,
    /// The row that shows that the daemons of `refused` can do what is refused here.
    guard: Option<String>,
}

impl Row {
    fn test(&self, daemon: &str) -> Option<&String> {
        match daemon {
            "frr" => self.frr.as_ref(),
            "bird" => self.bird.as_ref(),
            "gobgp" => self.gobgp.as_ref(),
            "openbgpd" => self.openbgpd.as_ref(),
            _ => None,
        }
    }

    fn is_refused(&self, daemon: &str) -> bool {
        self.refused.iter().any(|refused| refused == daemon)
    }

    fn works(&self, daemon: &str) -> bool {
        self.test(daemon).is_some() && !self.is_refused(daemon)
    }
}

impl Matrix {
    /// # Errors
    /// A file that is not one.
    pub fn read() -> Result<Self, String> {
        let text = fs::read_to_string(workspace().join("proto-tests/interop.toml")).map_err(|e| e.to_string())?;
        toml::from_str(&text).map_err(|e| e.to_string())
    }

    /// What is wrong with it, measured by the tests that there are.
    pub fn faults(&self, tests: &BTreeSet<String>) -> Vec<String> {
        let cells = self.row.iter().flat_map(|row| DAEMONS.iter().filter_map(|(daemon, _)| row.test(daemon)));
        let named: BTreeSet<&String> = cells.chain(self.apart.keys()).collect();
        let mut faults: Vec<String> = named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("no test {name}")).collect();
        faults.extend(tests.iter().filter(|test| !named.contains(test)).map(|test| format!("{test} is in no row, and not apart")));
        for row in &self.row {
            faults.extend(row.refused.iter().filter_map(|daemon| self.unguarded(row, daemon)));
        }
        faults
    }

    /// A refusal by whom nothing is ever taken would say nothing.
    fn unguarded(&self, row: &Row, daemon: &str) -> Option<String> {
        if row.test(daemon).is_none() {
            return Some(format!("{}: {daemon} is refused, and not tried", row.id));
        }
        let guard = row.guard.as_ref().and_then(|guard| self.row.iter().find(|other| other.id == *guard));
        (!guard.is_some_and(|guard| guard.works(daemon)))
            .then(|| format!("{}: nothing shows that {daemon} could, were it not for that", row.id))
    }

    /// As the README has it.
    pub fn table(&self) -> String {
        let mut text = "| option | role |".to_owned();
        DAEMONS.iter().for_each(|(_, name)| {
            let _ = write!(text, " {name} |");
        });
        text += "\n|---|---|---|---|---|---|\n";
        for row in &self.row {
            let _ = write!(text, "| {} | {} |", row.option, row.role);
            for (daemon, _) in DAEMONS {
                let cell = match (row.test(daemon).is_some(), row.is_refused(daemon)) {
                    (false, _) => "-",
                    (true, false) => "yes",
                    (true, true) => "refused",
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }
}

/// The daemons that are installed here, with their versions.
pub fn versions() -> String {
    let of = |name: &str, path: Option<std::path::PathBuf>, flag: &str| {
        let said = Command::new(path?).arg(flag).output().ok()?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        let number = text.split_whitespace().find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(format!("{name} {}", number.trim_end_matches(',')))
    };
    let all = [
        of("FRR", frr_program("bgpd"), "--version"),
        of("BIRD", program("bird"), "--version"),
        of("GoBGP", program("gobgpd"), "--version"),
        of("OpenBGPD", program("bgpd"), "-V"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
