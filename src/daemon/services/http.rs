//! HTTP: metrics and health for machines, and the read-only answers as JSON for everybody.
//!
//! In: GET requests. Out: `/metrics`, `/livez`, `/readyz`, and what `catbird` shows under `/v1/`. Nothing here changes anything: orders are
//! taken on the unix socket alone. Lists are made page by page while they are sent.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::desk::{Desk, Pages, answers, full_status};
use super::gauges::Gauges;
use super::metrics;
use super::ready::{Readiness, readiness};
use crate::config::Config;
use crate::speaker::show::{Answer, Question, RouteFilter, Snapshot};

/// Connections that are served at one time; more wait at the door.
pub const CONNECTIONS: usize = 128;
/// Pause before the address is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// A client that does not finish its request's head is let go after this.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Listens where the configuration says, and serves until the task is dropped. An address that cannot be had is said, and tried again.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<D: Desk>(desk: D, config: Arc<Config>) -> io::Result<()> {
    let Some(address) = config.metrics.listen else { return std::future::pending().await };
    let listener = listen(address, desk.gauges()).await;
    serve_on(&listener, &desk).await
}

async fn listen(address: SocketAddr, gauges: &Gauges) -> TcpListener {
    let refusal = Refusal(gauges);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => refusal.say(&format!("no metrics are served on {address}: {error}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Is over when it is dropped, also with a task that is called off.
struct Refusal<'a>(&'a Gauges);

impl Refusal<'_> {
    fn say(&self, words: &str) {
        tracing::error!("{words}; tried again in {AGAIN:?}");
        self.0.refuse("metrics", vec![words.to_owned()]);
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        self.0.refuse("metrics", Vec::new());
    }
}

async fn serve_on<D: Desk>(listener: &TcpListener, desk: &D) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, from)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    connection(stream, from, Site { desk }).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "HTTP: a connection could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<D: Desk>(stream: TcpStream, from: SocketAddr, site: Site<D>) {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(16 * 1024);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, %from, "HTTP: a connection ended early");
    }
}

/// What is served.
#[derive(Clone)]
struct Site<D> {
    desk: D,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq)]
enum Route {
    Index,
    Metrics,
    Live,
    Ready,
    Status,
    Ask(Question),
    Nowhere,
    /// The path is known, what follows is not understood.
    Unclear(String),
}

impl<D: Desk> Site<D> {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "read only: orders are taken on the control socket");
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match route(request.uri().path(), request.uri().query().unwrap_or("")) {
            Route::Index => text(StatusCode::OK, INDEX.to_owned()),
            Route::Metrics => self.metrics().await,
            Route::Live => self.live().await,
            Route::Ready => self.ready().await,
            Route::Status => match full_status(&self.desk).await {
                Some(status) => json(StatusCode::OK, &status),
                None => ending(),
            },
            Route::Ask(question) => self.ask(question).await,
            Route::Unclear(why) => problem(StatusCode::BAD_REQUEST, &why),
            Route::Nowhere => problem(StatusCode::NOT_FOUND, "there is nothing here; / tells what there is"),
        }
    }

    /// Alive is who answers: the core, not merely this task.
    async fn live(&self) -> Response<Body> {
        match self.desk.ask(Question::Status).await {
            Some(_) => text(StatusCode::OK, "ok\n".to_owned()),
            None => ending(),
        }
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        match self.desk.ask(Question::Metrics).await? {
            Answer::Metrics(snapshot) => Some(*snapshot),
            _ => None,
        }
    }

    fn readiness(&self, snapshot: &Snapshot) -> Readiness {
        let share = self.desk.config().ready.share;
        readiness(snapshot.peers.iter().map(|peer| &peer.row), share, snapshot.status.draining).with_kernel(&snapshot.status.fib_tables)
    }

    async fn ready(&self) -> Response<Body> {
        let Some(snapshot) = self.snapshot().await else { return ending() };
        let readiness = self.readiness(&snapshot);
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &readiness)
    }

    async fn metrics(&self) -> Response<Body> {
        let Some(snapshot) = self.snapshot().await else { return ending() };
        let (config, reload) = (self.desk.config(), self.desk.last_reload());
        let around = metrics::Surroundings {
            per_peer: Some(config.metrics.per_peer),
            ready: self.readiness(&snapshot).ready,
            now: unix(SystemTime::now()),
            started: unix(SystemTime::now()) - snapshot.status.uptime_seconds,
            reload_successful: reload.successful,
            reloaded: unix(reload.at),
        };
        match metrics::expose(&snapshot, self.desk.gauges(), &around) {
            Ok(body) => whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body.into()),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    /// One object, or the rows of a list while they come.
    async fn ask(&self, question: Question) -> Response<Body> {
        let mut pages = answers(self.desk.clone(), question);
        match pages.next().await {
            None => ending(),
            Some(Answer::Refused(why)) => problem(StatusCode::NOT_FOUND, &why),
            Some(Answer::Peer(peer)) => json(StatusCode::OK, &peer),
            Some(Answer::Why(story)) => json(StatusCode::OK, &story),
            Some(first) => list(first, pages),
        }
    }
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

const INDEX: &str = "\
catbird, read only. What changes something is said on the control socket.
/metrics                      for Prometheus
/livez /readyz                200 or 503
/v1/status
/v1/peers                     /v1/peers/PEER  (name or address)
/v1/peers/PEER/received       ?rejected=true
/v1/peers/PEER/advertised
/v1/routes                    ?prefix=P ?longer=true ?address=A ?peer=PEER
/v1/why                       ?prefix=P
/v1/fib                       ?prefix=P
/v1/nexthops /v1/blocks
";

/// Where a path and its query lead.
fn route(path: &str, query: &str) -> Route {
    let steps: Vec<String> = path.split('/').filter(|step| !step.is_empty()).map(unescape).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let query = Query::parse(query);
    let question = match steps.as_slice() {
        [] => return Route::Index,
        ["metrics"] => return Route::Metrics,
        ["livez"] => return Route::Live,
        ["readyz"] => return Route::Ready,
        ["v1", "status"] => return Route::Status,
        ["v1", "peers"] => Ok(Question::Peers { cursor: 0 }),
        ["v1", "peers", peer] => Ok(Question::Peer { peer: (*peer).to_owned() }),
        ["v1", "peers", peer, "received"] => {
            query.flag("rejected").map(|rejected| Question::Received { peer: (*peer).to_owned(), rejected, cursor: 0 })
        }
        ["v1", "peers", peer, "advertised"] => Ok(Question::Advertised { peer: (*peer).to_owned(), cursor: 0 }),
        ["v1", "routes"] => query.filter().map(|filter| Question::Routes { filter, cursor: 0 }),
        ["v1", "why"] => query.net("prefix").and_then(|net| net.map(|net| Question::Why { net }).ok_or("?prefix=P is needed".to_owned())),
        ["v1", "fib"] => query.net("prefix").map(|net| Question::Fib { net, cursor: 0 }),
        ["v1", "nexthops"] => Ok(Question::Nexthops { cursor: 0 }),
        ["v1", "blocks"] => Ok(Question::Blocks),
        _ => return Route::Nowhere,
    };
    question.map_or_else(Route::Unclear, Route::Ask)
}

/// `a=b&c=d`
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "true"))).map(|(k, v)| (unescape(k), unescape(v))).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        self.get(key).map_or(Ok(false), |value| value.parse().map_err(|_| format!("{key}: true or false")))
    }

    fn net(&self, key: &str) -> Result<Option<IpNet>, String> {
        let parse = |value: &str| value.parse::<IpNet>().map(|net| net.trunc()).map_err(|_| format!("{key}: {value} is not a prefix"));
        self.get(key).map(parse).transpose()
    }

    fn filter(&self) -> Result<RouteFilter, String> {
        let parse = |value: &str| value.parse::<IpAddr>().map_err(|_| format!("address: {value} is not an address"));
        Ok(RouteFilter {
            net: self.net("prefix")?,
            longer: self.flag("longer")?,
            address: self.get("address").map(parse).transpose()?,
            peer: self.get("peer").map(str::to_owned),
        })
    }
}

/// `%2F` and its like; what is no escape stays.
fn unescape(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                octets.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// The rows of a page, each with a comma before it unless it is the very first.
fn rows(answer: &Answer, begun: &mut bool) -> serde_json::Result<Vec<u8>> {
    fn all<T: Serialize>(rows: &[T], begun: &mut bool) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        for row in rows {
            text.extend_from_slice(if *begun { b",\n" } else { b"[" });
            *begun = true;
            serde_json::to_writer(&mut text, row)?;
        }
        Ok(text)
    }
    match answer {
        Answer::Peers(page) => all(&page.rows, begun),
        Answer::Received(page) | Answer::Advertised(page) | Answer::Routes(page) => all(&page.rows, begun),
        Answer::Fib(page) => all(&page.rows, begun),
        Answer::Nexthops(page) => all(&page.rows, begun),
        Answer::Blocks(blocks) => all(blocks, begun),
        other => all(std::slice::from_ref(other), begun),
    }
}

/// A list of JSON whose next page is asked for when the one before has been taken.
fn list<D: Desk>(first: Answer, pages: Pages<D>) -> Response<Body> {
    struct Sending<D> {
        page: Option<Answer>,
        pages: Pages<D>,
        begun: bool,
        over: bool,
    }
    let state = Sending { page: Some(first), pages, begun: false, over: false };
    let frames = stream::unfold(state, |mut s| async move {
        if s.over {
            return None;
        }
        let page = match s.page.take() {
            Some(page) => Some(page),
            None => s.pages.next().await,
        };
        let text = match &page {
            Some(page) => rows(page, &mut s.begun).unwrap_or_else(|error| format!("\"{error}\"").into_bytes()),
            None => {
                s.over = true;
                if s.begun { b"]\n".to_vec() } else { b"[]\n".to_vec() }
            }
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), s))
    });
    respond(StatusCode::OK, "application/json", StreamBody::new(frames).boxed_unsync())
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    respond(status, kind, Full::new(body).boxed_unsync())
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            whole(status, "application/json", body.into())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn problem(status: StatusCode, why: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": why }))
}

fn ending() -> Response<Body> {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending")
}

#[cfg(test)]
mod tests;
