//! The read-only answers under `/v1/`: paths and what stands behind `?`, as questions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::super::api::{RouterApi, full_status};
use super::super::clients::Activity;
use super::listing::{Watch, ask, ending, json, problem};
use crate::api::{Question, RouteFilter};
use crate::num::Asn;

/// A core that does not answer within this time is not alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions, routes, and why they are as they are.
pub(super) fn routes<A: RouterApi>() -> Router<A> {
    Router::new()
        .route("/v1/status", get(status::<A>))
        .route("/v1/peers", get(peers::<A>))
        .route("/v1/peers/{peer}", get(peer::<A>))
        .route("/v1/peers/{peer}/received", get(received::<A>))
        .route("/v1/peers/{peer}/advertised", get(advertised::<A>))
        .route("/v1/routes", get(routes_of::<A>))
        .route("/v1/why", get(why::<A>))
        .route("/v1/blocks", get(blocks::<A>))
        .route("/v1/rpki", get(rpki::<A>))
        .route("/v1/bfd", get(bfd::<A>))
        .route("/v1/bfd/{peer}", get(bfd_of::<A>))
}

/// With an answer for what is not there or not allowed, each within a bounded time.
pub(super) fn finished<A: RouterApi>(routes: Router<A>) -> Router<A> {
    routes.fallback(nowhere).method_not_allowed_fallback(read_only).layer(axum::middleware::from_fn(bounded))
}

/// What concerns the machine.
pub(super) fn machine<A: RouterApi>() -> Router<A> {
    Router::new()
        .route("/v1/forwarding", get(forwarding::<A>))
        .route("/v1/fib", get(fib::<A>))
        .route("/v1/nexthops", get(nexthops::<A>))
        .route("/v1/bmp", get(bmp::<A>))
}

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
