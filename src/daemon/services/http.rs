//! HTTP: metrics and health for machines, and the read-only answers as JSON for everybody.
//!
//! In: GET requests. Out: `/metrics`, `/livez`, `/readyz`, and what `catbird` shows under `/v1/`. Nothing here changes anything: commands are
//! taken on the unix socket alone. Lists are made page by page while they are sent.
//!
//! The looking glass has a listener of its own ([`looking_glass`]).
//!
//! A client that does not finish its request or does not read the answer is let go after a bounded time, and at once when somebody else wants
//! its place ([`super::clients`]); so a probe is answered whatever other clients do. A core that does not answer makes `/livez` fail.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::api::RouterApi;
use super::clients::{Clients, Limits, Place, Watched};
use super::readiness::{Readiness, readiness};
use super::{metrics, neighbours};
use crate::api::{Answer, Question, Snapshot};
use crate::daemon::counters::DaemonMetrics;
use listing::{ending, json, problem, text, whole};

/// Connections that are served at one time, in all and from one address (of IPv6: from one /64).
pub const CONNECTIONS: Limits = Limits { total: 128, per_origin: 32 };
/// Pause before the address is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// A client that does not finish its request's head is let go after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer is let go after this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served where: for machines and operators, or for everybody who may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// `[metrics] listen`
    Metrics,
    /// `[looking_glass] listen`
    LookingGlass,
}

impl Site {
    fn routes<A: RouterApi>(self, api: A) -> Router {
        match self {
            Site::Metrics => routes(api),
            Site::LookingGlass => looking_glass::routes(api),
        }
    }

    /// Of its task.
    pub fn name(self) -> &'static str {
        match self {
            Site::Metrics => "http",
            Site::LookingGlass => "looking glass",
        }
    }

    /// Of its warnings.
    fn topic(self) -> &'static str {
        match self {
            Site::Metrics => "metrics",
            Site::LookingGlass => "looking glass",
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            Site::Metrics => "no metrics are served",
            Site::LookingGlass => "the looking glass is not served",
        }
    }
}

/// Listens there, and serves until the task is dropped. An address that cannot be had is said, and tried again.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A, site: Site, address: SocketAddr) -> io::Result<()> {
    let listener = listen(site, address, api.counters()).await;
    serve_on(&listener, site.routes(api.clone()), &api).await
}

async fn listen(site: Site, address: SocketAddr, counters: &DaemonMetrics) -> TcpListener {
    let refusal = Refusal(counters, site);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => refusal.report(&format!("{} on {address}: {error}", site.refusal())),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Is over when it is dropped, also with a task that is called off.
struct Refusal<'a>(&'a DaemonMetrics, Site);

impl Refusal<'_> {
    fn report(&self, text: &str) {
        tracing::error!("{text}; tried again in {RETRY_INTERVAL:?}");
        self.0.warn(self.1.topic(), vec![text.to_owned()]);
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        self.0.warn(self.1.topic(), Vec::new());
    }
}

async fn serve_on<A: RouterApi>(listener: &TcpListener, routes: Router, api: &A) -> io::Result<()> {
    let clients = Clients::new(limits(api.counters().descriptors));
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

/// What is served for machines and operators.
fn routes<A: RouterApi>(api: A) -> Router {
    let all = answers::routes()
        .merge(answers::machine())
        .route("/", get(|| async { text(StatusCode::OK, INDEX.to_owned()) }))
        .route("/metrics", get(metrics::<A>))
        .route("/livez", get(live::<A>))
        .route("/readyz", get(ready::<A>))
        .route("/v1/events", get(looking_glass::events::<A>));
    answers::finished(all).with_state(api)
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
/v1/events                    as they happen, as server-sent events
";

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

mod answers;
mod birdwatcher;
mod listing;
mod looking_glass;
#[cfg(test)]
mod tests;
