use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::desk::fake::{FakeDesk, ROWS};
use super::*;

#[test]
fn paths_lead_to_questions() {
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    assert_eq!(route("/v1/why", "prefix=10.1.0.0%2F26"), Route::Ask(Question::Why { net: net("10.1.0.0/26") }));
    assert_eq!(route("/v1/fib/", ""), Route::Ask(Question::Fib { net: None, cursor: 0 }));
    assert_eq!(route("/v1/peers/fe80::1%25eth0", ""), Route::Ask(Question::Peer { peer: "fe80::1%eth0".into() }));
    let received = Question::Received { peer: "b".into(), rejected: true, cursor: 0 };
    assert_eq!(route("/v1/peers/b/received", "rejected"), Route::Ask(received));
    let filter = RouteFilter { net: Some(net("10.0.0.0/8")), longer: true, ..RouteFilter::default() };
    assert_eq!(route("/v1/routes", "prefix=10.0.0.0/8&longer=true"), Route::Ask(Question::Routes { filter, cursor: 0 }));
    assert_eq!(route("/v2/routes", ""), Route::Nowhere);
    assert!(matches!(route("/v1/why", ""), Route::Unclear(_)));
    assert!(matches!(route("/v1/fib", "prefix=ten"), Route::Unclear(_)));
    assert_eq!(unescape("100%"), "100%");
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

async fn start() -> (SocketAddr, FakeDesk, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, desk) = (listener.local_addr().expect("bound"), FakeDesk::new());
    let served = desk.clone();
    (address, desk, tokio::spawn(async move { serve_on(&listener, &served).await }))
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
    let (address, desk, task) = start().await;
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
    assert_eq!(desk.heard.lock().expect("fine").len(), 16);
    let (_, body) = get(address, "GET /v1/blocks").await;
    assert!(body.contains("[]"), "{body}");
    task.abort();
}

#[tokio::test]
async fn nothing_is_changed_over_http_and_nonsense_is_told() {
    let (address, desk, task) = start().await;
    for method in ["POST", "PUT", "DELETE"] {
        assert!(get(address, &format!("{method} /v1/drain")).await.0.starts_with("HTTP/1.1 405"));
    }
    assert!(get(address, "GET /v1/moon").await.0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "GET /v1/why?prefix=x").await.0.starts_with("HTTP/1.1 400"));
    assert!(get(address, "GET /v1/peers/nobody").await.0.starts_with("HTTP/1.1 404"));
    assert_eq!(desk.heard.lock().expect("fine").len(), 1, "only the peer was asked for");
    task.abort();
}
