//! HTTP: metrics and health for machines, and the read-only answers as JSON for everybody.
//!
//! In: GET requests. Out: `/metrics`, `/livez`, `/readyz`, and what `catbird` shows under `/v1/`. Nothing here changes anything: commands are
//! taken on the unix socket alone. Lists are made page by page while they are sent.
//!
//! A client that does not finish its request or does not read the answer is let go after a bounded time, and at once when somebody else wants
//! its place ([`super::clients`]); so a probe is answered whatever other clients do. A core that does not answer makes `/livez` fail.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::api::{Pages, RouterApi, answers, full_status};
use super::clients::{Activity, Answering, Clients, Limits, Place, Watched};
use super::readiness::{Readiness, readiness};
use super::{metrics, neighbours};
use crate::api::{Answer, Question, RouteFilter, Snapshot};
use crate::config::Config;
use crate::daemon::counters::DaemonMetrics;
use crate::num::Asn;

/// Connections that are served at one time, in all and from one address (of IPv6: from one /64).
pub const CONNECTIONS: Limits = Limits { total: 128, per_origin: 32 };
/// Pause before the address is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// A client that does not finish its request's head is let go after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer is let go after this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A core that does not answer within this time is not alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens where the configuration says, and serves until the task is dropped. An address that cannot be had is said, and tried again.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A, config: Arc<Config>) -> io::Result<()> {
    let Some(address) = config.metrics.listen else { return std::future::pending().await };
    let listener = listen(address, api.counters()).await;
    serve_on(&listener, &api).await
}

async fn listen(address: SocketAddr, counters: &DaemonMetrics) -> TcpListener {
    let refusal = Refusal(counters);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => refusal.report(&format!("no metrics are served on {address}: {error}")),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Is over when it is dropped, also with a task that is called off.
struct Refusal<'a>(&'a DaemonMetrics);

impl Refusal<'_> {
    fn report(&self, text: &str) {
        tracing::error!("{text}; tried again in {RETRY_INTERVAL:?}");
        self.0.warn("metrics", vec![text.to_owned()]);
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        self.0.warn("metrics", Vec::new());
    }
}

async fn serve_on<A: RouterApi>(listener: &TcpListener, api: &A) -> io::Result<()> {
    let clients = Clients::new(limits(api.counters().descriptors));
    let routes = routes(api.clone());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match clients.enter(origin(from.ip())) {
                Some(place) => admit(stream, from, place, &routes),
                None => tracing::warn!(%from, "HTTP: all places are taken by clients that are being served"),
            },
            Err(error) => {
                tracing::warn!(%error, "HTTP: a connection could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A process with few descriptors needs most of them for BGP.
fn limits(descriptors: u64) -> Limits {
    let share = usize::try_from(descriptors / 8).unwrap_or(usize::MAX);
    let total = if descriptors == 0 { CONNECTIONS.total } else { CONNECTIONS.total.min(share.max(4)) };
    Limits { total, per_origin: CONNECTIONS.per_origin.min(total) }
}

/// Whoever has a /64 has all addresses in it.
fn origin(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn admit(stream: TcpStream, from: SocketAddr, place: Place<IpAddr>, routes: &Router) {
    let activity = place.activity.clone();
    // Each request carries what its answer is watched by.
    let routes = routes.clone().layer(axum::Extension(activity.clone()));
    let (started, start) = tokio::sync::oneshot::channel::<Place<IpAddr>>();
    let task = tokio::spawn(async move {
        let Ok(_place) = start.await else { return };
        let stream = Watched::new(stream, activity, WRITE_TIMEOUT);
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await {
            tracing::debug!(%error, %from, "HTTP: a connection ended early");
        }
    });
    place.serve_by(task.abort_handle());
    if started.send(place).is_err() {
        tracing::debug!(%from, "HTTP: a connection ended before it began");
    }
}

/// What is served.
fn routes<A: RouterApi>(api: A) -> Router {
    Router::new()
        .route("/", get(|| async { text(StatusCode::OK, INDEX.to_owned()) }))
        .route("/metrics", get(metrics::<A>))
        .route("/livez", get(live::<A>))
        .route("/readyz", get(ready::<A>))
        .route("/v1/status", get(status::<A>))
        .route("/v1/peers", get(peers::<A>))
        .route("/v1/peers/{peer}", get(peer::<A>))
        .route("/v1/peers/{peer}/received", get(received::<A>))
        .route("/v1/peers/{peer}/advertised", get(advertised::<A>))
        .route("/v1/routes", get(routes_of::<A>))
        .route("/v1/why", get(why::<A>))
        .route("/v1/forwarding", get(forwarding::<A>))
        .route("/v1/fib", get(fib::<A>))
        .route("/v1/nexthops", get(nexthops::<A>))
        .route("/v1/blocks", get(blocks::<A>))
        .route("/v1/bmp", get(bmp::<A>))
        .route("/v1/rpki", get(rpki::<A>))
        .route("/v1/bfd", get(bfd::<A>))
        .route("/v1/bfd/{peer}", get(bfd_of::<A>))
        .fallback(nowhere)
        .method_not_allowed_fallback(read_only)
        .layer(axum::middleware::from_fn(bounded))
        .with_state(api)
}

const INDEX: &str = "\
catbird, read only. What changes something is said on the control socket.
/metrics                      for Prometheus
/livez /readyz                200 or 503
/v1/status
/v1/peers                     /v1/peers/PEER  (name or address)
/v1/peers/PEER/received       ?rejected=true
/v1/peers/PEER/advertised
/v1/routes                    ?prefix=P ?longer=true ?address=A ?peer=PEER ?best=true ?community=C ?as_path=N
/v1/why                       ?prefix=P ?address=A
/v1/forwarding                ?to=A ?from=A ?at=A ?mark=N  (what this machine does with a packet)
/v1/fib                       ?prefix=P
/v1/nexthops /v1/blocks /v1/bmp
/v1/rpki                      ?prefix=P ?asn=N
/v1/bfd                       /v1/bfd/PEER
";

async fn read_only() -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "read only: commands are taken on the control socket");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

async fn nowhere(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => problem(StatusCode::NOT_FOUND, "there is nothing here; / tells what there is"),
        _ => read_only().await,
    }
}

/// Until its answer begins, a request is being served; and it is answered, or the core is not alive.
async fn bounded(request: Request, next: axum::middleware::Next) -> Response {
    let _answering = request.extensions().get::<Arc<Activity>>().map(Activity::answer);
    let answer = timeout(ANSWER_TIMEOUT, next.run(request)).await;
    let late = || problem(StatusCode::SERVICE_UNAVAILABLE, &format!("the router has not answered for {ANSWER_TIMEOUT:?}"));
    let mut response = answer.unwrap_or_else(|_| late());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Alive is who answers: the core, not merely this task.
async fn live<A: RouterApi>(State(api): State<A>) -> Response {
    match api.query(Question::Status).await {
        Some(_) => text(StatusCode::OK, "ok\n".to_owned()),
        None => ending(),
    }
}

async fn snapshot<A: RouterApi>(api: &A) -> Option<Snapshot> {
    match api.query(Question::Metrics).await? {
        Answer::Metrics(snapshot) => Some(*snapshot),
        _ => None,
    }
}

fn judge<A: RouterApi>(api: &A, snapshot: &Snapshot) -> Readiness {
    let peers = snapshot.peers.iter().map(|peer| &peer.row);
    let (status, config) = (&snapshot.status, api.config());
    let of_peers = readiness(peers, config.ready.share, status.draining);
    let of_kernel = of_peers.with_obstacles(&api.counters().obstacles()).with_kernel(&status.fib_tables);
    config.unlisted_warning().into_iter().fold(of_kernel.with_sources(status.waiting.as_ref()), Readiness::without)
}

async fn ready<A: RouterApi>(State(api): State<A>) -> Response {
    let Some(snapshot) = snapshot(&api).await else { return ending() };
    let readiness = judge(&api, &snapshot);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

async fn metrics<A: RouterApi>(State(api): State<A>) -> Response {
    let Some(snapshot) = snapshot(&api).await else { return ending() };
    let (config, reload) = (api.config(), api.last_reload());
    let around = metrics::Surroundings {
        per_peer: Some(config.metrics.per_peer),
        ready: judge(&api, &snapshot).ready,
        started: unix(api.counters().started()),
        neighbours: neighbours::read(),
        reload_successful: reload.successful,
        reloaded: unix(reload.at),
    };
    match metrics::expose(&snapshot, api.counters(), &around) {
        Ok(body) => whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

async fn status<A: RouterApi>(State(api): State<A>) -> Response {
    match full_status(&api).await {
        Some(status) => json(StatusCode::OK, &status),
        None => ending(),
    }
}

/// What may stand behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    #[serde(deserialize_with = "flag")]
    rejected: bool,
    #[serde(deserialize_with = "flag")]
    longer: bool,
    prefix: Option<IpNet>,
    address: Option<IpAddr>,
    asn: Option<u32>,
    peer: Option<String>,
    #[serde(deserialize_with = "flag")]
    best: bool,
    community: Option<String>,
    as_path: Option<String>,
}

/// `?rejected` alone is `?rejected=true`.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(true) } else { text.parse().map_err(|_| serde::de::Error::custom("true or false")) }
}

type Asked = Result<Query<Options>, QueryRejection>;

impl Options {
    fn filter(self) -> RouteFilter {
        RouteFilter {
            net: self.prefix.map(|net| net.trunc()),
            longer: self.longer,
            address: self.address,
            peer: self.peer,
            best: self.best,
            community: self.community,
            as_path: self.as_path,
            count: false,
        }
    }
}

/// Asks what the options make of them.
async fn with<A: RouterApi>(api: A, watched: Watch, options: Asked, question: impl FnOnce(Options) -> Option<Question>) -> Response {
    match options.map(|Query(options)| question(options)) {
        Ok(Some(question)) => ask(api, watched, question).await,
        Ok(None) => problem(StatusCode::BAD_REQUEST, "?prefix=P or ?address=A is needed"),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.body_text()),
    }
}

/// What a long answer is watched by.
type Watch = Option<axum::Extension<Arc<Activity>>>;

async fn peers<A: RouterApi>(State(api): State<A>, watch: Watch) -> Response {
    ask(api, watch, Question::Peers { cursor: 0 }).await
}

async fn peer<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    ask(api, watch, Question::Peer { peer }).await
}

async fn received<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch, options: Asked) -> Response {
    with(api, watch, options, |options| Some(Question::Received { peer, rejected: options.rejected, cursor: 0 })).await
}

async fn advertised<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    ask(api, watch, Question::Advertised { peer, cursor: 0 }).await
}

async fn routes_of<A: RouterApi>(State(api): State<A>, watch: Watch, options: Asked) -> Response {
    with(api, watch, options, |options| Some(Question::Routes { filter: options.filter(), cursor: 0 })).await
}

async fn why<A: RouterApi>(State(api): State<A>, watch: Watch, options: Asked) -> Response {
    let question = |options: Options| match (options.address, options.prefix) {
        (Some(addr), _) => Some(Question::Why { net: addr.into(), longest: true }),
        (None, prefix) => prefix.map(|net| Question::Why { net: net.trunc(), longest: false }),
    };
    with(api, watch, options, question).await
}

/// A packet, as `?` says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PacketOptions {
    to: IpAddr,
    from: Option<IpAddr>,
    at: Option<IpAddr>,
    #[serde(default)]
    mark: u32,
}

async fn forwarding<A: RouterApi>(State(api): State<A>, watch: Watch, options: Result<Query<PacketOptions>, QueryRejection>) -> Response {
    match options {
        Ok(Query(PacketOptions { to, from, at, mark })) => ask(api, watch, Question::Forwarding { to, from, at, mark }).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.body_text()),
    }
}

async fn fib<A: RouterApi>(State(api): State<A>, watch: Watch, options: Asked) -> Response {
    with(api, watch, options, |options| Some(Question::Fib { net: options.prefix.map(|net| net.trunc()), cursor: 0 })).await
}

async fn nexthops<A: RouterApi>(State(api): State<A>, watch: Watch) -> Response {
    ask(api, watch, Question::Nexthops { cursor: 0 }).await
}

async fn blocks<A: RouterApi>(State(api): State<A>, watch: Watch) -> Response {
    ask(api, watch, Question::Blocks).await
}

async fn bmp<A: RouterApi>(State(api): State<A>, watch: Watch) -> Response {
    ask(api, watch, Question::Bmp).await
}

async fn rpki<A: RouterApi>(State(api): State<A>, watch: Watch, options: Asked) -> Response {
    let question = |options: Options| Some(Question::Rpki { net: options.prefix.map(|net| net.trunc()), asn: options.asn.map(Asn) });
    with(api, watch, options, question).await
}

async fn bfd<A: RouterApi>(State(api): State<A>, watch: Watch) -> Response {
    ask(api, watch, Question::Bfd { peer: None }).await
}

async fn bfd_of<A: RouterApi>(State(api): State<A>, Path(peer): Path<String>, watch: Watch) -> Response {
    ask(api, watch, Question::Bfd { peer: Some(peer) }).await
}

/// One object, or the rows of a list while they come.
async fn ask<A: RouterApi>(api: A, watch: Watch, question: Question) -> Response {
    let mut pages = answers(api, question);
    match pages.next().await {
        None => ending(),
        Some(Answer::Refused(why)) => problem(StatusCode::NOT_FOUND, &why),
        Some(Answer::Peer(peer)) => json(StatusCode::OK, &peer),
        Some(Answer::Why(explanation)) => json(StatusCode::OK, &explanation),
        Some(Answer::Bfd(report)) => json(StatusCode::OK, &report),
        Some(Answer::Rpki(report)) => json(StatusCode::OK, &report),
        Some(Answer::Forwarding(report)) => json(StatusCode::OK, &report),
        Some(first) => list(first, pages, watch.map(|axum::Extension(activity)| activity.answer())),
    }
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
        Answer::Bmp(stations) => all(stations, begun),
        other => all(std::slice::from_ref(other), begun),
    }
}

/// A list of JSON whose next page is asked for when the one before has been taken.
fn list<A: RouterApi>(first: Answer, pages: Pages<A>, answering: Option<Answering>) -> Response {
    struct Sending<A> {
        page: Option<Answer>,
        pages: Pages<A>,
        begun: bool,
        over: bool,
        _answering: Option<Answering>,
    }
    let state = Sending { page: Some(first), pages, begun: false, over: false, _answering: answering };
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
        Some((Ok::<_, Infallible>(Bytes::from(text)), s))
    });
    respond(StatusCode::OK, "application/json", Body::from_stream(frames))
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response {
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}

fn whole(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    respond(status, kind, body.into())
}

fn text(status: StatusCode, body: String) -> Response {
    whole(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            whole(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn problem(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

fn ending() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending")
}

#[cfg(test)]
mod tests;
