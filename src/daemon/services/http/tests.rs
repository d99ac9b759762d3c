use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::api::mock::{MockApi, ROWS};
use super::*;
use crate::api::RouteFilter;
use crate::daemon::event_log::Stamped;
use crate::stats::Notice;

#[tokio::test]
async fn paths_lead_to_questions() {
    let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a prefix");
    let filter = RouteFilter { net: Some(net("10.0.0.0/8")), longer: true, ..RouteFilter::default() };
    let received = |rejected| Question::Received { peer: "b".into(), rejected, cursor: 0 };
    let asked = [
        ("/v1/why?prefix=10.1.0.0%2F26", Question::Why { net: net("10.1.0.0/26"), longest: false }),
        ("/v1/why?address=10.1.0.7", Question::Why { net: net("10.1.0.7/32"), longest: true }),
        ("/v1/fib", Question::Fib { net: None, cursor: 0 }),
        ("/v1/peers/fe80::1%25eth0", Question::Peer { peer: "fe80::1%eth0".into() }),
        ("/v1/peers/b/received?rejected", received(true)),
        ("/v1/peers/b/received?rejected=false", received(false)),
        ("/v1/routes?prefix=10.0.0.1/8&longer=true", Question::Routes { filter, cursor: 0 }),
    ];
    let (address, api, task) = start().await;
    for (path, question) in asked {
        get(address, &format!("GET {path}")).await;
        assert_eq!(api.heard.lock().expect("fine").pop(), Some(format!("{question:?}")), "{path}");
    }
    for unclear in ["/v1/why", "/v1/fib?prefix=ten", "/v1/routes?longer=perhaps", "/v1/routes?address=here"] {
        let (head, body) = get(address, &format!("GET {unclear}")).await;
        assert!(head.starts_with("HTTP/1.1 400") && body.contains("\"error\""), "{unclear}: {head} {body}");
    }
    task.abort();
}

#[tokio::test]
async fn clients_that_read_nothing_keep_nobody_from_being_answered() {
    let (address, api, task) = start().await;
    let mut stalled = Vec::new();
    for n in 0..CONNECTIONS.per_origin + 8 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("small");
        let mut stream = socket.connect(address).await.expect("connected");
        // Long enough that it does not fit into the buffers between us.
        let request = format!("GET /v1/nexthops HTTP/1.1\r\nHost: x{n}\r\n\r\n").repeat(40);
        // Who is turned away for want of a place does not matter here.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            stalled.push(stream);
        }
    }
    // They take what fits into the buffers first, and stop.
    while api.heard.lock().expect("fine").len() <= CONNECTIONS.per_origin {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), get(address, "GET /livez"));
    assert!(answer.await.expect("in time").0.starts_with("HTTP/1.1 200"));
    task.abort();
}

#[tokio::test]
async fn a_core_that_does_not_answer_is_not_alive() {
    let (address, api, task) = start().await;
    api.freeze();
    let (head, body) = get(address, "GET /livez").await;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("has not answered"), "{head} {body}");
    task.abort();
}

/// Status line, headers and body of one request.
async fn get(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

async fn start() -> (SocketAddr, MockApi, tokio::task::JoinHandle<io::Result<()>>) {
    start_site(Site::Metrics).await
}

async fn start_site(site: Site) -> (SocketAddr, MockApi, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, api) = (listener.local_addr().expect("bound"), MockApi::new());
    let served = api.clone();
    (address, api, tokio::spawn(async move { serve_on(&listener, site.routes(served.clone()), &served).await }))
}

#[tokio::test]
async fn the_looking_glass_is_one_page_that_may_ask_this_server_alone() {
    let (address, _, task) = start_site(Site::LookingGlass).await;
    for (path, kind) in [("/", "text/html"), ("/style.css", "text/css"), ("/script.js", "text/javascript")] {
        let (head, body) = get(address, &format!("GET {path}")).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains(kind), "{head}");
        assert!(head.contains("content-security-policy: default-src 'none'") && head.contains("x-frame-options: DENY"), "{head}");
        assert!(!body.contains("http://") && !body.contains("https://"), "{path} asks for nothing from elsewhere");
    }
    let (_, page) = get(address, "GET /").await;
    assert!(!page.contains("<style") && !page.contains("onclick"), "the headers forbid style and script in the page itself");
    assert!(get(address, "GET /v1/status").await.1.contains("\"router_id\": \"10.0.0.1\""));
    task.abort();
}

#[tokio::test]
async fn the_looking_glass_shows_routes_and_not_the_machine_and_changes_nothing() {
    let (address, _, task) = start_site(Site::LookingGlass).await;
    for path in ["/metrics", "/livez", "/readyz", "/v1/forwarding?to=10.0.0.1", "/v1/fib", "/v1/nexthops", "/v1/bmp"] {
        assert!(get(address, &format!("GET {path}")).await.0.starts_with("HTTP/1.1 404"), "{path}");
    }
    for path in ["/", "/v1/status", "/birdwatcher/status"] {
        assert!(get(address, &format!("POST {path}")).await.0.starts_with("HTTP/1.1 405"), "{path}");
    }
    task.abort();
}

/// The first events that a client is sent, until `enough` of the text is there.
async fn events(stream: &mut TcpStream, enough: &str) -> String {
    let mut text = String::new();
    while !text.contains(enough) {
        let mut octets = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut octets)).await.expect("in time").expect("read");
        assert!(read > 0, "it ended after {text}");
        text.push_str(std::str::from_utf8(&octets[..read]).expect("text"));
    }
    text
}

#[tokio::test]
async fn events_are_sent_as_they_happen_and_who_is_behind_hears_how_many_were_missed() {
    let (address, api, task) = start_site(Site::LookingGlass).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let head = events(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let said = |peer: &str| {
        let notice = Notice::PeerFailed { peer: peer.to_owned(), reason: "no\nanswer".to_owned() };
        let _heard = api.notices.send(std::sync::Arc::new(Stamped { at: SystemTime::UNIX_EPOCH, notice }));
    };
    said("tor");
    let text = events(&mut stream, "}\n").await;
    assert!(text.contains("data: {\"time\":\"1970-01-01T00:00:00.000000Z\"") && text.contains("\"event\":\"peer_failed\""), "{text}");
    // The mock keeps four, and the task that sends has no turn in between.
    (0..9).for_each(|n| said(&n.to_string()));
    let text = events(&mut stream, "\"peer\":\"8\"").await;
    assert!(text.contains("event: missed\ndata: 5\n"), "{text}");
    task.abort();
}

#[tokio::test]
async fn alice_finds_what_birdwatcher_says_of_itself() {
    let (address, _, task) = start_site(Site::LookingGlass).await;
    let (head, body) = get(address, "GET /birdwatcher/status").await;
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert!(
        head.starts_with("HTTP/1.1 200") && answer["api"]["Version"].is_string() && answer["api"]["result_from_cache"] == false,
        "{body}"
    );
    assert_eq!(answer["status"]["router_id"], "10.0.0.1");
    assert_eq!(answer["status"]["current_server"].as_str().map(str::len), Some("2006-01-02 15:04:05".len()), "{body}");
    assert!(get(address, "GET /birdwatcher/routes/protocol/nobody").await.0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "GET /birdwatcher/routes/table/moon").await.0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "GET /birdwatcher/routes/prefix?prefix=ten").await.0.starts_with("HTTP/1.1 400"));
    task.abort();
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let (address, _, task) = start().await;
    let (head, body) = get(address, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("catbird_config_last_reload_successful 0\n") && body.contains("catbird_ready 1\n"), "{body}");
    assert!(get(address, "GET /livez").await.0.starts_with("HTTP/1.1 200"));
    let (head, body) = get(address, "GET /readyz").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("\"peers_expected\": 0"), "{head}\n{body}");
    task.abort();
}

#[tokio::test]
async fn a_long_list_is_one_array_and_was_asked_for_page_by_page() {
    let (address, api, task) = start().await;
    let (head, body) = get(address, "GET /v1/nexthops").await;
    assert!(head.contains("chunked"), "{head}");
    // the test's own reading of chunks: a length in hexadecimal, that many octets, an empty line
    let mut rest = body.as_str();
    let mut whole = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a chunk");
        whole.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&whole).expect("an array");
    assert_eq!(rows.len(), ROWS);
    assert_eq!(api.heard.lock().expect("fine").len(), 16);
    let (_, body) = get(address, "GET /v1/blocks").await;
    assert!(body.contains("[]"), "{body}");
    task.abort();
}

#[tokio::test]
async fn nothing_is_changed_over_http_and_nonsense_is_told() {
    let (address, api, task) = start().await;
    for method in ["POST", "PUT", "DELETE"] {
        assert!(get(address, &format!("{method} /v1/drain")).await.0.starts_with("HTTP/1.1 405"));
    }
    assert!(get(address, "GET /v1/moon").await.0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "GET /v1/why?prefix=x").await.0.starts_with("HTTP/1.1 400"));
    assert!(get(address, "GET /v1/peers/nobody").await.0.starts_with("HTTP/1.1 404"));
    assert_eq!(api.heard.lock().expect("fine").len(), 1, "only the peer was asked for");
    task.abort();
}
