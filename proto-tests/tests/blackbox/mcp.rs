//! `catbird mcp` beside a real daemon: an assistant's session, line by line.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use proto_tests::netlab::proc::catbird;
use proto_tests::outside::Daemon;
use serde_json::{Value, json};

#[test]
fn an_assistant_finds_the_tools_and_their_answers_are_those_of_the_commands() {
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        format!(
            "[node]\nname = \"us\"\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\n\
             port = {port}\n[pods]\nblocks = [\"10.99.0.0/26\"]\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n\
             [[peer]]\nname = \"tor\"\naddress = \"127.0.0.9\"\nasn = 65002\nimport = \"all\"\nexport = \"all\"\n",
            folder.join("sock").display()
        )
    });
    let calls = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-06-18" } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }),
        json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": { "name": "status", "arguments": {} } }),
        json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": { "name": "peers" } }),
        json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": { "name": "why", "arguments": { "target": "10.99.0.7" } } }),
        json!({ "jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": { "name": "diff" } }),
        json!({ "jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": { "name": "events", "arguments": { "seconds": "2" } } }),
        json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "peer", "arguments": { "peer": "nobody" } } }),
    ];
    let mut mcp = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    mcp.arg("--socket").arg(daemon.socket()).arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut mcp = mcp.spawn().expect("it runs");
    let lines: String = calls.iter().map(|call| format!("{call}\n")).collect();
    // Something happens while events are listened to.
    let socket = daemon.socket();
    let meanwhile = std::thread::spawn(move || {
        let block = |what: &str| {
            Command::new(catbird().expect("a binary")).arg("--socket").arg(&socket).args(["block", what, "10.98.0.0/26"]).output()
        };
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(200));
            block("add").and_then(|_| block("remove")).expect("it runs");
        }
    });
    mcp.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    let out = mcp.wait_with_output().expect("it ends with its input");
    meanwhile.join().expect("it ends");
    assert!(out.status.success());
    let answers: Vec<Value> = String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.iter().map(|answer| answer["id"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 8, 7].map(Value::from));
    let content = |n: usize| &answers[n]["result"]["structuredContent"];
    assert_eq!(content(2)["node"], daemon.json(&["status"])["node"]);
    assert_eq!((&content(3)["rows"][0]["name"], &content(3)["more"]), (&json!("tor"), &json!(false)));
    assert_eq!(content(4)["net"], "10.99.0.0/26");
    assert_eq!(content(5)["changes"], json!([]));
    let events = content(6)["rows"].as_array().expect("events");
    assert!(events.iter().any(|event| event["time"].is_string() && event.to_string().contains("10.98.0.0/26")), "{:#}", content(6));
    let text = answers[7]["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(answers[7]["result"]["isError"] == true && text.contains("nobody"), "{:#}", answers[7]);
}
