//! The answers of birdwatcher that Alice-LG asks for, so that it shows this router beside others.
//!
//! In: GET requests below `/birdwatcher/`, as Alice-LG's source of type birdwatcher sends them. Out: JSON with birdwatcher's keys; routes come
//! page by page. Times are UTC (`timezone = UTC` there). What a peer is called here is its protocol there, and the tables are `master`
//! (both families), `master4` and `master6`. Nothing is cached: `ttl` is now.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::listing::{Form, Watch, ending, json as answer, list, problem};
use crate::api::{Answer, FamilyRow, Page, PeerRow, Question, RouteFilter, RouteRow};
use crate::config::model::Session;
use crate::daemon::protocol::VERSION;
use crate::daemon::services::api::{RouterApi, answers};
use crate::num::{Family, utc};
use crate::wire::Community;

/// Prefixes that a peer is told and that are held while those it is not told are listed.
const TOLD: usize = 20_000;

/// What is served, without the part of the path that stands before.
pub fn routes<A: RouterApi>() -> Router<A> {
    Router::new()
        .route("/version", get(|| async { answer(StatusCode::OK, &VERSION) }))
        .route("/status", get(status::<A>))
        .route("/protocols", get(protocols::<A>))
        .route("/protocols/bgp", get(protocols::<A>))
        .route("/protocols/short", get(protocols_short::<A>))
        .route("/routes/protocol/{peer}", get(accepted::<A>))
        .route("/routes/peer/{peer}", get(accepted::<A>))
        .route("/routes/filtered/{peer}", get(filtered::<A>))
        .route("/routes/export/{peer}", get(exported::<A>))
        .route("/routes/noexport/{peer}", get(not_exported::<A>))
        .route("/routes/table/{table}", get(table::<A>))
        .route("/routes/table/{table}/filtered", get(table_filtered::<A>))
        .route("/routes/count/protocol/{peer}", get(count_of_peer::<A>))
        .route("/routes/count/table/{table}", get(count_of_table::<A>))
        .route("/routes/prefix", get(inside::<A>))
        .route("/route/net/{*net}", get(one_net::<A>))
}

/// Now and `ago`, as birdwatcher writes it.
fn short(ago: f64) -> String {
    let ago = Duration::try_from_secs_f64(ago.max(0.0)).unwrap_or_default();
    let at = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let mut text = utc(nanos);
    // without the parts of a second
    text.truncate("2006-01-02 15:04:05".len());
    text
}

/// What every answer has.
fn envelope() -> Map<String, Value> {
    let now = short(0.0).replace(' ', "T") + "Z";
    let about = json!({
        "Version": VERSION, "result_from_cache": false, "cache_status": { "cached_at": { "date": now, "timezone_type": "UTC", "timezone": "UTC" } },
    });
    Map::from_iter([("api".to_owned(), about), ("ttl".to_owned(), now.into())])
}

fn enveloped(key: &str, value: Value) -> Response {
    let mut all = envelope();
    all.insert(key.to_owned(), value);
    answer(StatusCode::OK, &all)
}

async fn status<A: RouterApi>(State(api): State<A>) -> Response {
    let Some(Answer::Status(status)) = api.query(Question::Status).await else { return ending() };
    let reload = api.last_reload();
    let reconfigured = reload.at.elapsed().map_or(0.0, |ago| ago.as_secs_f64());
    let body = json!({
        "current_server": short(0.0),
        "last_reboot": short(status.uptime_seconds),
        "last_reconfig": short(reconfigured),
        "message": if status.draining { status.phase.as_str() } else { "Daemon is up and running" },
        "router_id": status.router_id,
        "version": format!("catbird {VERSION}"),
    });
    enveloped("status", body)
}

/// All peers; `None`: the daemon is ending.
async fn peers<A: RouterApi>(api: &A) -> Option<Vec<PeerRow>> {
    let mut pages = answers(api.clone(), Question::Peers { cursor: 0 });
    let mut rows = Vec::new();
    loop {
        match pages.next().await {
            Some(Answer::Peers(page)) => {
                let over = page.next.is_none();
                rows.extend(page.rows);
                if over {
                    return Some(rows);
                }
            }
            _ => return None,
        }
    }
}

async fn protocols<A: RouterApi>(State(api): State<A>) -> Response {
    let Some(rows) = peers(&api).await else { return ending() };
    let config = api.config();
    let description = |session: &Session| Some((session.name.clone(), session.options.description.clone()?));
    let descriptions: HashMap<String, String> = config.sessions.iter().filter_map(description).collect();
    let all: Map<String, Value> =
        rows.iter().map(|row| (row.name.clone(), protocol(row, descriptions.get(&row.name).unwrap_or(&row.name)))).collect();
    enveloped("protocols", all.into())
}

async fn protocols_short<A: RouterApi>(State(api): State<A>) -> Response {
    let Some(rows) = peers(&api).await else { return ending() };
    let one = |row: &PeerRow| json!({ "proto": "BGP", "table": "master", "state": state(row), "since": short(row.state_seconds), "info": row.state });
    let all: Map<String, Value> = rows.iter().map(|row| (row.name.clone(), one(row))).collect();
    enveloped("protocols", all.into())
}

/// Of BIRD's words for a protocol.
fn state(row: &PeerRow) -> &'static str {
    match (row.state.eq_ignore_ascii_case("established"), row.admin_up) {
        (true, _) => "up",
        (false, true) => "start",
        (false, false) => "down",
    }
}

fn protocol(row: &PeerRow, description: &str) -> Value {
    let sum = |of: fn(&FamilyRow) -> u64| row.families.iter().map(of).sum::<u64>();
    json!({
        "protocol": row.name,
        "bird_protocol": "BGP",
        "table": "master",
        "state": state(row),
        "bgp_state": row.state,
        "state_changed": short(row.state_seconds),
        "neighbor_address": row.address,
        "neighbor_as": row.remote_as.map(|asn| asn.0),
        "local_as": row.local_as.0,
        "description": description,
        "last_error": row.why_down.clone().unwrap_or_default(),
        "import_limit": row.families.iter().filter_map(|family| family.max_prefix).map(u64::from).sum::<u64>(),
        "routes": {
            "imported": sum(|f| f.accepted), "filtered": sum(|f| f.rejected), "exported": sum(|f| f.advertised),
        },
    })
}

/// A route as BIRD would show it.
fn route(row: &RouteRow) -> Value {
    let hop = row.next_hop.clone().unwrap_or_default();
    let communities: Vec<[u32; 2]> =
        row.communities.iter().filter_map(|text| text.parse::<Community>().ok()).map(|Community(n)| [n >> 16, n & 0xffff]).collect();
    let large: Vec<Vec<u32>> = row.large_communities.iter().map(|text| text.split(':').filter_map(|n| n.parse().ok()).collect()).collect();
    let extended: Vec<Vec<&str>> =
        row.extended_communities.iter().map(|text| text.split(':').collect()).filter(|parts: &Vec<&str>| parts.len() == 3).collect();
    json!({
        "network": row.net,
        "from_protocol": row.peer,
        "gateway": hop,
        "interface": "",
        "learnt_from": row.peer_address,
        "metric": row.local_pref.unwrap_or(100),
        "age": short(row.age_seconds.map_or(0.0, f64::from)),
        "type": ["BGP", "univ"],
        "primary": row.best,
        "bgp": {
            "origin": row.origin,
            "as_path": row.as_path.split_whitespace().collect::<Vec<_>>(),
            "next_hop": hop,
            "local_pref": row.local_pref.unwrap_or(100).to_string(),
            "med": row.med.unwrap_or(0).to_string(),
            "communities": communities,
            "large_communities": large,
            "ext_communities": extended,
        },
    })
}

/// The rows of these questions' answers that are wanted.
fn routes_of<A: RouterApi>(
    api: A,
    watch: Watch,
    questions: Vec<Question>,
    wanted: impl Fn(&RouteRow) -> bool + Send + 'static,
) -> Response {
    let mut head = serde_json::to_vec(&envelope()).unwrap_or_default();
    // The routes are one more key of the envelope.
    head.pop();
    head.extend_from_slice(b",\"routes\":[");
    let rows = move |answer: &Answer, begun: &mut bool| {
        let mut text = Vec::new();
        let (Answer::Routes(Page { rows, .. }) | Answer::Received(Page { rows, .. }) | Answer::Advertised(Page { rows, .. })) = answer
        else {
            return Ok(text);
        };
        for row in rows.iter().filter(|row| wanted(row)) {
            if *begun {
                text.extend_from_slice(b",\n");
            }
            *begun = true;
            serde_json::to_writer(&mut text, &route(row))?;
        }
        Ok(text)
    };
    let form = Form { head, rows: Box::new(rows), tail: b"]}\n" };
    list(api, VecDeque::from(questions), form, watch)
}

/// The question is about this peer, and there is one.
async fn known<A: RouterApi>(api: &A, peer: &str) -> Result<(), Response> {
    match api.query(Question::Peer { peer: peer.to_owned() }).await {
        Some(Answer::Peer(_)) => Ok(()),
        Some(Answer::Refused(why)) => Err(problem(StatusCode::NOT_FOUND, &why)),
        _ => Err(ending()),
    }
}

async fn of_peer<A: RouterApi>(
    api: A,
    peer: String,
    watch: Watch,
    question: fn(String) -> Question,
    wanted: fn(&RouteRow) -> bool,
) -> Response {
    match known(&api, &peer).await {
        Ok(()) => routes_of(api, watch, vec![question(peer)], wanted),
        Err(response) => response,
    }
}

async fn accepted<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    of_peer(api, peer, watch, |peer| Question::Received { peer, rejected: false, cursor: 0 }, |row| row.refused.is_none()).await
}

async fn filtered<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    of_peer(api, peer, watch, |peer| Question::Received { peer, rejected: true, cursor: 0 }, |_| true).await
}

async fn exported<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    of_peer(api, peer, watch, |peer| Question::Advertised { peer, cursor: 0 }, |_| true).await
}

/// What is used, is not the peer's own, and is not told to it.
async fn not_exported<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    if let Err(response) = known(&api, &peer).await {
        return response;
    }
    let mut told = HashSet::new();
    let mut pages = answers(api.clone(), Question::Advertised { peer: peer.clone(), cursor: 0 });
    while let Some(page) = pages.next().await {
        let Answer::Advertised(page) = page else { break };
        told.extend(page.rows.iter().map(|row| row.net));
        if told.len() > TOLD {
            let why = format!("the peer is told more than {TOLD} prefixes; what it is not told is not looked for then");
            return problem(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
    }
    let questions = vec![Question::Routes { filter: RouteFilter { best: true, ..RouteFilter::default() }, cursor: 0 }];
    routes_of(api, watch, questions, move |row| row.best && row.peer != peer && !told.contains(&row.net))
}

/// Whether a table has prefixes of IPv4 (or of IPv6); `None`: there is no such table.
fn family_of(table: &str) -> Option<fn(bool) -> bool> {
    match table {
        "master" => Some(|_| true),
        "master4" => Some(|ipv4| ipv4),
        "master6" => Some(|ipv4| !ipv4),
        _ => None,
    }
}

fn is_v4(row: &RouteRow) -> bool {
    row.net.addr().is_ipv4()
}

fn no_table() -> Response {
    problem(StatusCode::NOT_FOUND, "the tables are master (both families), master4 and master6")
}

async fn table<A: RouterApi>(State(api): State<A>, Path(table): Path<String>, watch: Watch) -> Response {
    let Some(has) = family_of(&table) else { return no_table() };
    routes_of(api, watch, vec![Question::Routes { filter: RouteFilter::default(), cursor: 0 }], move |row| {
        row.refused.is_none() && has(is_v4(row))
    })
}

async fn table_filtered<A: RouterApi>(State(api): State<A>, Path(table): Path<String>, watch: Watch) -> Response {
    let Some(has) = family_of(&table) else { return no_table() };
    let Some(rows) = peers(&api).await else { return ending() };
    let questions = rows.into_iter().map(|row| Question::Received { peer: row.name, rejected: true, cursor: 0 }).collect();
    routes_of(api, watch, questions, move |row| has(is_v4(row)))
}

async fn count_of_peer<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>) -> Response {
    match api.query(Question::Peer { peer }).await {
        Some(Answer::Peer(peer)) => enveloped("routes", peer.row.families.iter().map(|family| family.accepted).sum::<u64>().into()),
        Some(Answer::Refused(why)) => problem(StatusCode::NOT_FOUND, &why),
        _ => ending(),
    }
}

async fn count_of_table<A: RouterApi>(State(api): State<A>, Path(table): Path<String>) -> Response {
    let Some(has) = family_of(&table) else { return no_table() };
    let Some(Answer::Status(status)) = api.query(Question::Status).await else { return ending() };
    let tables = status.tables.iter().filter(|table| has(table.family == Family::Ipv4Unicast));
    enveloped("routes", tables.map(|table| table.prefixes).sum::<usize>().into())
}

/// What stands behind `?`.
#[derive(Debug, Deserialize)]
struct Prefix {
    prefix: String,
}

/// A prefix, or an address, or the beginning of an IPv4 address, as people type it into a search.
fn typed(text: &str) -> Option<IpNet> {
    let whole = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    whole.or_else(|| {
        let octets: Vec<u8> = text.trim_end_matches('.').split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let mut address = [0; 4];
        address.get_mut(..octets.len()).filter(|_| octets.len() < 4)?.copy_from_slice(&octets);
        Ipv4Net::new(Ipv4Addr::from(address), u8::try_from(8 * octets.len()).ok()?).ok().map(IpNet::V4)
    })
}

async fn inside<A: RouterApi>(State(api): State<A>, watch: Watch, asked: Result<Query<Prefix>, QueryRejection>) -> Response {
    let Some(net) = asked.ok().and_then(|Query(asked)| typed(&asked.prefix)) else {
        return problem(StatusCode::BAD_REQUEST, "?prefix=P is needed: a prefix, or the first octets of one");
    };
    let filter = RouteFilter { net: Some(net.trunc()), longer: true, ..RouteFilter::default() };
    routes_of(api, watch, vec![Question::Routes { filter, cursor: 0 }], |row| row.refused.is_none())
}

/// `10.1.0.0/24`, or `10.1.0.0/24/table/master4`.
async fn one_net<A: RouterApi>(State(api): State<A>, Path(asked): Path<String>, watch: Watch) -> Response {
    let (net, table) = asked.split_once("/table/").unwrap_or((&asked, "master"));
    let Some(has) = family_of(table) else { return no_table() };
    let filter = match (net.parse::<IpNet>(), net.parse()) {
        (Ok(net), _) => RouteFilter { net: Some(net.trunc()), ..RouteFilter::default() },
        (_, Ok(address)) => RouteFilter { address: Some(address), ..RouteFilter::default() },
        _ => return problem(StatusCode::BAD_REQUEST, "a prefix or an address is needed"),
    };
    routes_of(api, watch, vec![Question::Routes { filter, cursor: 0 }], move |row| row.refused.is_none() && has(is_v4(row)))
}
