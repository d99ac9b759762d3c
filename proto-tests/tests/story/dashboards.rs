//! Both dashboards beside a real Prometheus that scrapes real nodes (containerlab/monitored): every expression is one, and has something to show.

use std::fs;
use std::time::Duration;

use proto_tests::netlab::{Story, alone, proc::workspace, skip, until};
use regex::Regex;
use serde_json::Value;

/// What no node of the lab has: a cluster's API, a neighbour that sends rubbish, one that is found by its interface.
const ELSEWHERE: [&str; 3] = ["catbird_source_", "catbird_malformed_", "catbird_neighbours_"];

/// What a node has besides in some places: limits, BFD, a monitoring station and an RPKI cache (which nobody is).
const BESIDES: &str = r#"
[[peer]]
name = "limited"
address = "10.12.22.77"
asn = 65077
import = "all"
export = "none"
bfd = true
[[bmp]]
address = "10.12.22.78"
port = 1790
[[rpki]]
address = "10.12.22.79"
"#;

/// (dashboard and panel, expression)
fn expressions(file: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(workspace().join("configs/grafana").join(file)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = format!("{file}, {}", panel["title"].as_str().unwrap());
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    panels.iter().flat_map(of).collect()
}

/// As Grafana sends it, with everything chosen.
fn filled_in(expression: &str) -> String {
    expression.replace("$__rate_interval", "10s").replace("$instance", ".*").replace("$job", ".*")
}

fn ask(story: &Story, expression: &str) -> Result<String, String> {
    let done =
        story.run("prometheus", &format!("promtool query instant http://localhost:9090 '{expression}'")).map_err(|e| e.to_string())?;
    if !done.status.success() {
        return Err(format!("{expression}: {}", String::from_utf8_lossy(&done.stderr)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[test]
fn every_expression_of_both_dashboards_has_something_to_show() {
    if let Some(obstacle) = Story::obstacle("monitored").unwrap() {
        return skip("dashboards", &obstacle);
    }
    let _alone = alone();
    let mut story = Story::up("monitored").unwrap_or_else(|why| panic!("{why}"));
    story.reach("converged").unwrap_or_else(|why| panic!("{why}"));
    let append = format!("sh -c 'echo \"$0\" >> /etc/catbird/catbird.toml' '{BESIDES}'");
    for line in [append.as_str(), "catbird reload", "catbird peer tor clear"] {
        let done = story.run("node1", line).unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    // What shows nothing in health is asked without its threshold.
    let threshold = Regex::new(" (> 0|== [01])").unwrap();
    let asked: Vec<_> = ["node.json", "cluster.json"].into_iter().flat_map(expressions).collect();
    assert!(asked.len() > 80, "{}", asked.len());
    let mut empty = Vec::new();
    for (panel, expression) in &asked {
        let expression = filled_in(expression);
        ask(&story, &expression).unwrap_or_else(|why| panic!("{panel}: {why}"));
        if ELSEWHERE.iter().any(|elsewhere| expression.contains(elsewhere)) {
            continue;
        }
        let whole = threshold.replace_all(&expression, "");
        let shown =
            until(Duration::from_secs(20), || ask(&story, &whole).and_then(|rows| if rows.is_empty() { Err(rows) } else { Ok(rows) }));
        empty.extend(shown.is_err().then(|| format!("{panel}: {whole}")));
    }
    assert!(empty.is_empty(), "nothing to show: {empty:#?}");
    println!("{} expressions", asked.len());
    // It does notice: a metric that is not there, and words that are no expression.
    assert_eq!(ask(&story, "catbird_nonsense").as_deref(), Ok(""));
    assert!(ask(&story, "sum(catbird_peers").is_err());
}
