//! `catbird mcp`: the read-only answers as tools of the Model Context Protocol, on standard input and output.
//!
//! In: a line of JSON-RPC 2.0 for each request. Out: a line for each answer. A tool is a question of the control socket, so nothing can be
//! ordered through it; its answer is what the same command prints with `--json`, and its schema that of `catbird schema`. Of a list the first
//! [`ROWS`] rows are given, and whether there are more: an assistant reads no million routes.
//!
//! Five methods are all that a server of tools has, so they are written here, without a runtime.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::args::Target;
use super::client::{ClientError, ask};
use super::{Exit, path, schema, stamped};
use crate::api::{Answer, Question, RouteFilter};
use crate::daemon::protocol::{Reply, Request, VERSION};

/// Rows of a list.
const ROWS: usize = 200;
/// Seconds for which events are listened to: unless it is said, and at most.
const LISTENED: u64 = 5;
const LONGEST: u64 = 30;
/// Octets of a request.
const REQUEST_OCTETS: u64 = 1 << 20;
/// Protocol versions that are spoken, the newest first: what differs between them does not concern tools.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];

/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i64 = -32700;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// One tool: its name, which is also that of its answer's schema; what it is for; its arguments (name, meaning, whether it is needed).
struct Tool {
    name: &'static str,
    answer: &'static str,
    about: &'static str,
    arguments: &'static [(&'static str, &'static str, bool)],
}

const PEER: (&str, &str, bool) = ("peer", "name or address of a peer", true);
const TARGET: (&str, &str, bool) = ("target", "a prefix (10.244.2.0/26), or an address for the prefix that its packets follow", true);

const TOOLS: [Tool; 16] = [
    Tool { name: "status", answer: "status", about: "Identity and health of the router: begin here", arguments: &[] },
    Tool { name: "peers", answer: "peers", about: "All BGP peers: state, routes, and why those that are down are down", arguments: &[] },
    Tool {
        name: "peer",
        answer: "peer",
        about: "Everything about one peer: timers, capabilities, counters, last events",
        arguments: &[PEER],
    },
    Tool { name: "received", answer: "received", about: "Routes that a peer announced, with the verdict of import", arguments: &[PEER] },
    Tool { name: "advertised", answer: "advertised", about: "Routes that are announced to a peer", arguments: &[PEER] },
    Tool {
        name: "routes",
        answer: "routes",
        about: "The routes in use (Loc-RIB): all, those of a prefix and inside it, or the longest match of an address",
        arguments: &[("target", "a prefix or an address; none: all", false)],
    },
    Tool {
        name: "why",
        answer: "why",
        about: "The story of a prefix: who announced it, what decided, what the kernel does with a packet, to whom it is announced",
        arguments: &[TARGET],
    },
    Tool {
        name: "path",
        answer: "path",
        about: "The journey of a packet over all nodes and back, and the first hop that disagrees with BGP",
        arguments: &[("from", "address of a pod or node", true), ("to", "address of a pod, node or anything else", true)],
    },
    Tool {
        name: "fib",
        answer: "fib",
        about: "Kernel routes: wanted, installed, failed, another's",
        arguments: &[("target", "one prefix; none: all", false)],
    },
    Tool { name: "nexthops", answer: "nexthops", about: "Next hops and how they are resolved", arguments: &[] },
    Tool { name: "blocks", answer: "blocks", about: "The prefixes that this node originates, and where each comes from", arguments: &[] },
    Tool { name: "bfd", answer: "bfd", about: "BFD sessions", arguments: &[] },
    Tool { name: "bmp", answer: "bmp", about: "Monitoring stations (BMP), and how far behind each is", arguments: &[] },
    Tool { name: "rpki", answer: "rpki", about: "RPKI caches, and what they have", arguments: &[] },
    Tool {
        name: "events",
        answer: "monitor",
        about: "What happens from now on, for some seconds: sessions, routes, kernel, reloads",
        arguments: &[("seconds", "how long to listen, 1 to 30 (default 5)", false)],
    },
    Tool {
        name: "diff",
        answer: "reload",
        about: "What a reload of the configuration file would change against what runs",
        arguments: &[],
    },
];

/// Serves until standard input ends.
///
/// # Errors
/// Standard output cannot be written.
pub fn serve(socket: &Path) -> Result<Exit, ClientError> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let server = Server { socket };
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(REQUEST_OCTETS).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Exit::Fine);
        }
        if let Some(answer) = server.answer(&line) {
            serde_json::to_writer(&mut output, &answer).map_err(io::Error::from)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
    }
}

struct Server<'a> {
    socket: &'a Path,
}

/// Why a request is refused as such; a question that leads nowhere is an answer.
type Refusal = (i64, String);

impl Server<'_> {
    /// `None`: it was a notification, which is not answered.
    fn answer(&self, line: &[u8]) -> Option<Value> {
        let request: Value = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => return Some(refused(&Value::Null, PARSE_ERROR, &error.to_string())),
        };
        let id = request.get("id").filter(|id| !id.is_null())?;
        let (method, params) = (request["method"].as_str().unwrap_or_default(), &request["params"]);
        Some(match self.call(method, params) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, why)) => refused(id, code, &why),
        })
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, Refusal> {
        match method {
            "initialize" => Ok(initialized(params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": TOOLS.iter().map(described).collect::<Vec<_>>() })),
            "tools/call" => self.tool(params),
            other => Err((METHOD_NOT_FOUND, format!("no method {other}"))),
        }
    }

    fn tool(&self, params: &Value) -> Result<Value, Refusal> {
        let name = params["name"].as_str().unwrap_or_default();
        let tool = TOOLS.iter().find(|tool| tool.name == name).ok_or_else(|| (INVALID_PARAMS, format!("no tool {name}")))?;
        let arguments = params["arguments"].as_object().cloned().unwrap_or_default();
        check(tool, &arguments).map_err(|why| (INVALID_PARAMS, why))?;
        Ok(match self.ask(tool.name, &arguments) {
            Ok(answer) => {
                let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
                json!({ "content": [{ "type": "text", "text": text }], "structuredContent": answer, "isError": false })
            }
            Err(error) => json!({ "content": [{ "type": "text", "text": error.to_string() }], "isError": true }),
        })
    }

    fn ask(&self, tool: &str, arguments: &Map<String, Value>) -> Result<Value, ClientError> {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let peer = text("peer");
        let target: Option<Target> = parsed(&text("target"))?;
        let question = match tool {
            "status" => return self.one(&Request::Status),
            "diff" => return self.one(&Request::Diff { name: String::new(), text: None }),
            "events" => return self.events(&text("seconds")),
            "path" => return self.path(&text("from"), &text("to")),
            "peers" => Question::Peers { cursor: 0 },
            "peer" => Question::Peer { peer },
            "received" => Question::Received { peer, rejected: false, cursor: 0 },
            "advertised" => Question::Advertised { peer, cursor: 0 },
            "routes" => Question::Routes { filter: filter(target), cursor: 0 },
            "why" => match target {
                Some(Target::Address(address)) => Question::Why { net: address.into(), longest: true },
                Some(Target::Net(net)) => Question::Why { net: net.trunc(), longest: false },
                None => return Err(ClientError::Failed("target is needed".to_owned())),
            },
            "fib" => Question::Fib { net: target.map(net_of), cursor: 0 },
            "nexthops" => Question::Nexthops { cursor: 0 },
            "bfd" => Question::Bfd { peer: None },
            "bmp" => Question::Bmp,
            "rpki" => Question::Rpki { net: None, asn: None },
            _ => Question::Blocks,
        };
        self.one(&Request::Query(question))
    }

    fn path(&self, from: &str, to: &str) -> Result<Value, ClientError> {
        let asked = path::Asked { socket: self.socket, from, to, mark: 0, port: None, nodes: &[] };
        value(&path::trace_both(&asked)?)
    }

    /// As `catbird monitor --json` has them.
    fn events(&self, seconds: &str) -> Result<Value, ClientError> {
        let wanted = if seconds.is_empty() { Some(LISTENED) } else { seconds.parse().ok().filter(|n| (1..=LONGEST).contains(n)) };
        let seconds = wanted.ok_or_else(|| ClientError::Failed(format!("seconds: {seconds} is not a number from 1 to {LONGEST}")))?;
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let heard = ask(self.socket, &Request::Monitor { streams: Vec::new() })?.until(deadline, ROWS + 1)?;
        let event = |reply: &Reply| match reply {
            Reply::Event { notice, time, .. } => Some(stamped(notice, time)),
            Reply::Missed(n) => Some(json!({ "event": "missed", "count": n })),
            _ => None,
        };
        let rows: Vec<Value> = heard.iter().take(ROWS).filter_map(event).collect();
        Ok(json!({ "rows": rows, "more": heard.len() > ROWS }))
    }

    /// One object, or the first rows of a list.
    fn one(&self, request: &Request) -> Result<Value, ClientError> {
        let mut rows = Vec::new();
        for reply in ask(self.socket, request)? {
            match reply? {
                Reply::Status(status) => return value(&status),
                Reply::Reloaded(plan) => return value(&plan),
                Reply::Answer(Answer::Refused(why)) => return Err(ClientError::Failed(why)),
                Reply::Answer(Answer::Peer(peer)) => return value(&peer),
                Reply::Answer(Answer::Why(story)) => return value(&story),
                Reply::Answer(Answer::Bfd(report)) => return value(&report),
                Reply::Answer(Answer::Rpki(report)) => return value(&report),
                Reply::Answer(Answer::Peers(page)) => extend(&mut rows, &page.rows)?,
                Reply::Answer(Answer::Received(page) | Answer::Advertised(page) | Answer::Routes(page)) => extend(&mut rows, &page.rows)?,
                Reply::Answer(Answer::Fib(page)) => extend(&mut rows, &page.rows)?,
                Reply::Answer(Answer::Nexthops(page)) => extend(&mut rows, &page.rows)?,
                Reply::Answer(Answer::Blocks(blocks)) => extend(&mut rows, &blocks)?,
                Reply::Answer(Answer::Bmp(stations)) => extend(&mut rows, &stations)?,
                Reply::Note(_) => {}
                other => return Err(ClientError::Strange(format!("{other:?}"))),
            }
            if rows.len() > ROWS {
                break;
            }
        }
        let more = rows.len() > ROWS;
        rows.truncate(ROWS);
        Ok(json!({ "rows": rows, "more": more }))
    }
}

fn refused(id: &Value, code: i64, why: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": why } })
}

/// In the client's version of the protocol, if we speak it.
fn initialized(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = VERSIONS.iter().find(|version| **version == asked).unwrap_or(&VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "catbird", "version": VERSION },
        "instructions": "Answers about one BGP router. Everything is read only. Begin with status; `why` explains a prefix, `path` a packet's journey.",
    })
}

fn described(tool: &Tool) -> Value {
    let properties: Map<String, Value> =
        tool.arguments.iter().map(|(name, about, _)| ((*name).to_owned(), json!({ "type": "string", "description": about }))).collect();
    let required: Vec<&str> = tool.arguments.iter().filter(|(_, _, needed)| *needed).map(|(name, ..)| *name).collect();
    json!({
        "name": tool.name,
        "description": tool.about,
        "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
        "outputSchema": schema::answer(tool.answer),
        "annotations": { "readOnlyHint": true, "openWorldHint": false },
    })
}

/// # Errors
/// In words: one is missing, unknown, or no text.
fn check(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), String> {
    if let Some((name, ..)) = tool.arguments.iter().find(|(name, _, needed)| *needed && !arguments.contains_key(*name)) {
        return Err(format!("{} needs the argument {name}", tool.name));
    }
    let known = |name: &String| tool.arguments.iter().any(|(argument, ..)| argument == name);
    match arguments.iter().find(|(name, value)| !known(name) || !value.is_string()) {
        Some((name, _)) if known(name) => Err(format!("{name} is not a string")),
        Some((name, _)) => Err(format!("{} has no argument {name}", tool.name)),
        None => Ok(()),
    }
}

fn parsed<T: std::str::FromStr<Err = String>>(text: &str) -> Result<Option<T>, ClientError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|why| ClientError::Failed(format!("{text}: {why}"))) }
}

fn filter(target: Option<Target>) -> RouteFilter {
    match target {
        None => RouteFilter::default(),
        Some(Target::Address(address)) => RouteFilter { address: Some(address), ..RouteFilter::default() },
        Some(Target::Net(net)) => RouteFilter { net: Some(net.trunc()), longer: true, ..RouteFilter::default() },
    }
}

fn net_of(target: Target) -> IpNet {
    match target {
        Target::Address(address) => address.into(),
        Target::Net(net) => net.trunc(),
    }
}

fn value(of: &impl Serialize) -> Result<Value, ClientError> {
    serde_json::to_value(of).map_err(|error| ClientError::Strange(error.to_string()))
}

fn extend<T: Serialize>(rows: &mut Vec<Value>, page: &[T]) -> Result<(), ClientError> {
    for row in page.iter().take(ROWS + 1) {
        rows.push(value(row)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<Value> {
        Server { socket: Path::new("/nonexistent/catbird.sock") }.answer(line.as_bytes())
    }

    #[test]
    fn the_handshake_is_in_the_clients_version_or_in_our_newest() {
        for (asked, spoken) in [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("1999-01-01", VERSIONS[0])] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{asked}"}}}}"#);
            let answer = said(&line).unwrap();
            assert_eq!(answer["result"]["protocolVersion"], spoken);
            assert_eq!(answer["result"]["serverInfo"]["name"], "catbird");
        }
        assert_eq!(said(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
        assert_eq!(said(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap()["result"], json!({}));
    }

    #[test]
    fn every_tool_says_what_it_takes_and_gives_and_orders_nothing() {
        let list = said(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).unwrap();
        let tools = list["result"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), TOOLS.len());
        for tool in tools {
            assert_eq!((&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]), (&json!("object"), &json!("object")), "{tool:#}");
            assert_eq!(tool["annotations"]["readOnlyHint"], true);
        }
        let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert!(!["drain", "reload", "down", "clear", "add", "remove"].iter().any(|order| names.contains(order)), "{names:?}");
    }

    #[test]
    fn what_is_asked_wrongly_is_an_error_and_what_cannot_be_answered_an_answer() {
        let call = |params: &str| said(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)).unwrap();
        let cases = [
            (r#"{"name":"reboot"}"#, "no tool reboot"),
            (r#"{"name":"why"}"#, "why needs the argument target"),
            (r#"{"name":"why","arguments":{"target":7}}"#, "target is not a string"),
            (r#"{"name":"status","arguments":{"force":"yes"}}"#, "status has no argument force"),
        ];
        for (params, why) in cases {
            assert_eq!(call(params)["error"]["message"], why);
        }
        assert_eq!(said("{").unwrap()["error"]["code"], PARSE_ERROR);
        assert_eq!(said(r#"{"jsonrpc":"2.0","id":1,"method":"tools/order"}"#).unwrap()["error"]["code"], METHOD_NOT_FOUND);
        let cases = [
            (r#"{"name":"why","arguments":{"target":"10.0"}}"#, "neither a prefix"),
            (r#"{"name":"status"}"#, "the daemon is not running"),
        ];
        for (params, why) in cases {
            let answer = call(params);
            let text = answer["result"]["content"][0]["text"].as_str().unwrap();
            assert!(answer["result"]["isError"] == true && text.contains(why), "{answer:#}");
        }
    }
}
