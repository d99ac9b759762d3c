//! The other nodes' read-only answers, over their HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::trace::Silence;

/// For the connection: a node of a cluster is near.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
/// For the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Octets of the longest answer that is read.
const ANSWER_OCTETS: usize = 16 << 20;

/// Asks one thing after the other.
pub struct Http(Runtime);

impl Http {
    /// # Errors
    /// The system's, for want of descriptors.
    pub fn new() -> io::Result<Http> {
        Builder::new_current_thread().enable_all().build().map(Http)
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// Nobody answers there, or not with what was asked for.
    pub fn get(&self, address: SocketAddr, path: &str) -> Result<Bytes, Silence> {
        let silence = |text: &str, alive| Silence { text: format!("http://{address}: {text}"), alive };
        self.0.block_on(async {
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(|_| silence("no answer", false))?;
            let refused = |error: io::Error| silence(&said(&error), error.kind() == io::ErrorKind::ConnectionRefused);
            let exchanged = timeout(ANSWER_TIMEOUT, exchange(connected.map_err(refused)?, address, path)).await;
            exchanged.map_err(|_| silence("it is connected and does not answer", true))?.map_err(|text| silence(&text, true))
        })
    }
}

/// Without the number of the error.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

async fn exchange(stream: TcpStream, address: SocketAddr, path: &str) -> Result<Bytes, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_OCTETS).collect().await.map_err(|e| e.to_string())?.to_bytes();
    driver.abort();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::NOT_FOUND => Err("what answers there is no catbird, or an older one".to_owned()),
        other => Err(format!("it answers {other}")),
    }
}
