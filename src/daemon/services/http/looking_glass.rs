//! The looking glass: a page for people, the read-only answers that it asks for, and birdwatcher's answers for Alice-LG.
//!
//! In: GET requests on a listener of its own (`[looking_glass] listen`; off without one). Out: one page from this binary, with nothing from
//! elsewhere; sessions, routes and their reasons as under `/v1/` of the daemon's other HTTP; events as they happen (server-sent events). What
//! concerns the machine and not its routes (metrics, probes, how it forwards a packet) is not served here. Nothing can be changed.
//!
//! The page writes names and texts of others as text alone, and its headers forbid it everything but asking this server.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::listing::whole;
use super::{answers, birdwatcher};
use crate::daemon::event_log::{Stamped, rfc3339};
use crate::daemon::services::api::RouterApi;
use crate::stats::{Level, Notice};

const PAGE: &str = include_str!("looking_glass/index.html");
const STYLE: &str = include_str!("looking_glass/style.css");
const SCRIPT: &str = include_str!("looking_glass/script.js");

/// A connection on which nothing happens says so this often, so that both ends know that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a browser is told of the page.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
];

/// What is served.
pub fn routes<A: RouterApi>(api: A) -> Router {
    let page = Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", PAGE)))
        .route("/style.css", get(|| file("text/css; charset=utf-8", STYLE)))
        .route("/script.js", get(|| file("text/javascript; charset=utf-8", SCRIPT)));
    let all = page.merge(answers::routes()).route("/v1/events", get(events::<A>)).nest("/birdwatcher", birdwatcher::routes());
    answers::finished(all).with_state(api)
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = whole(StatusCode::OK, kind, text);
    response.headers_mut().extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// One event, as `catbird monitor --json` has it, with its words.
#[derive(Serialize)]
struct Happened<'a> {
    time: String,
    level: Level,
    stream: &'static str,
    text: String,
    notice: &'a Notice,
}

impl Happened<'_> {
    fn of(stamped: &Stamped) -> Happened<'_> {
        let notice = &stamped.notice;
        Happened { time: rfc3339(stamped.at), level: notice.level(), stream: notice.stream(), text: notice.to_string(), notice }
    }
}

/// Events until the client goes, or somebody else wants its place: it waits for nothing that was asked.
pub async fn events<A: RouterApi>(State(api): State<A>) -> Response {
    let happened = stream::unfold(api.monitor(), |mut notices| async move {
        let event = match notices.recv().await {
            Ok(stamped) => Event::default().json_data(Happened::of(&stamped)).unwrap_or_default(),
            Err(RecvError::Lagged(n)) => Event::default().event("missed").data(n.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(event), notices))
    });
    Sse::new(happened).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
