//! `catbird doctor`: what this machine gives, and what of it will hurt. No daemon is asked.
//!
//! In: the kernel's settings ([`crate::daemon::doctor`]), and the firewall's policy as its own tools print it. Out: a list, worst first.

use std::process::{Command, Stdio};

use super::Exit;
use super::client::ClientError;
use super::output::{Cell, Columns, Listing, Output, Style, cell, styled};
use crate::daemon::doctor::{Finding, Severity, look};

const COLUMNS: Columns = Columns { titles: &["", "WHAT", "FOUND", "CURE"], legend: "" };

/// Exit code 1 if something is bad.
pub fn run(out: &mut Output) -> Result<Exit, ClientError> {
    let mut findings = look();
    findings.extend(firewalls());
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut listing = Listing::new(COLUMNS);
    listing.page(out, &findings, cells)?;
    listing.end(out, "nothing could be looked at")?;
    let bad = findings.iter().any(|finding| finding.severity == Severity::Bad);
    Ok(if bad { Exit::Refused } else { Exit::Fine })
}

fn cells(finding: &Finding) -> Vec<Cell> {
    let (word, style) = match finding.severity {
        Severity::Fine => ("fine", Style::Good),
        Severity::Hint => ("hint", Style::Warn),
        Severity::Bad => ("bad", Style::Bad),
    };
    vec![styled(word, style), cell(&finding.subject), cell(&finding.text), cell(&finding.cure)]
}

/// A policy of DROP for what is forwarded, as container runtimes like to set it, takes the pods' packets.
fn firewalls() -> Vec<Finding> {
    ["iptables", "ip6tables"].into_iter().filter_map(firewall).collect()
}

fn firewall(tool: &str) -> Option<Finding> {
    let out = Command::new(tool).args(["-S", "FORWARD"]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| policy(tool, &String::from_utf8_lossy(&out.stdout)))
}

fn policy(tool: &str, rules: &str) -> Finding {
    let subject = format!("{tool}, FORWARD");
    let drops = rules.lines().any(|line| line.trim() == "-P FORWARD DROP");
    let accepts = rules.lines().filter(|line| line.starts_with("-A")).count();
    match (drops, accepts) {
        (false, _) => Finding::new(Severity::Fine, &subject, "policy ACCEPT".to_owned(), ""),
        (true, 0) => {
            let text = "policy DROP, and no rule: packets of pods are dropped".to_owned();
            Finding::new(Severity::Bad, &subject, text, &format!("{tool} -P FORWARD ACCEPT, or rules for the pods' networks"))
        }
        (true, n) => {
            let text = format!("policy DROP with {n} rules: packets of pods that none of them accepts are dropped");
            Finding::new(Severity::Hint, &subject, text, &format!("look for the pods' networks in `{tool} -S FORWARD`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_drop_is_found() {
        assert_eq!(policy("iptables", "-P FORWARD ACCEPT\n").severity, Severity::Fine);
        assert_eq!(policy("iptables", "-P FORWARD DROP\n").severity, Severity::Bad);
        let ruled = policy("iptables", "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n");
        assert!(ruled.severity == Severity::Hint && ruled.text.contains("1 rules"), "{ruled:?}");
    }
}
