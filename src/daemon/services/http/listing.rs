//! How answers are written: one thing as JSON, and lists page by page while they are sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;

use super::super::api::{Pages, RouterApi, answers};
use super::super::clients::{Activity, Answering};
use crate::api::{Answer, Question};

/// What a long answer is watched by.
pub(super) type Watch = Option<axum::Extension<Arc<Activity>>>;

/// One object, or the rows of a list while they come.
pub(super) async fn ask<A: RouterApi>(api: A, watch: Watch, question: Question) -> Response {
    let mut pages = answers(api, question);
    match pages.next().await {
        None => ending(),
        Some(Answer::Refused(why)) => problem(StatusCode::NOT_FOUND, &why),
        Some(Answer::Peer(peer)) => json(StatusCode::OK, &peer),
        Some(Answer::Why(explanation)) => json(StatusCode::OK, &explanation),
        Some(Answer::Bfd(report)) => json(StatusCode::OK, &report),
        Some(Answer::Rpki(report)) => json(StatusCode::OK, &report),
        Some(Answer::Forwarding(report)) => json(StatusCode::OK, &report),
        Some(first) => sent(Listing { page: Some(first), pages, questions: VecDeque::new() }, Form::array(), watch),
    }
}

/// The rows of a page, each with a comma before it unless it is the very first.
fn rows(answer: &Answer, begun: &mut bool) -> serde_json::Result<Vec<u8>> {
    fn all<T: Serialize>(rows: &[T], begun: &mut bool) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        for row in rows {
            if *begun {
                text.extend_from_slice(b",\n");
            }
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

/// How a list is written: what stands before its rows, the rows of an answer, what stands behind.
pub(super) struct Form {
    pub head: Vec<u8>,
    pub rows: Box<Rows>,
    pub tail: &'static [u8],
}

/// The second is whether a row was written already.
pub(super) type Rows = dyn Fn(&Answer, &mut bool) -> serde_json::Result<Vec<u8>> + Send;

impl Form {
    fn array() -> Form {
        Form { head: b"[".to_vec(), rows: Box::new(rows), tail: b"]\n" }
    }
}

/// Answers to some questions, one after the other, page by page.
struct Listing<A> {
    page: Option<Answer>,
    pages: Pages<A>,
    questions: VecDeque<Question>,
}

impl<A: RouterApi> Listing<A> {
    /// `None`: that was all.
    async fn next(&mut self) -> Option<Answer> {
        if let Some(page) = self.page.take() {
            return Some(page);
        }
        loop {
            if let Some(page) = self.pages.next().await {
                return Some(page);
            }
            self.pages = answers(self.pages.api(), self.questions.pop_front()?);
        }
    }
}

/// The answers to these questions as one list.
pub(super) fn list<A: RouterApi>(api: A, mut questions: VecDeque<Question>, form: Form, watch: Watch) -> Response {
    let Some(first) = questions.pop_front() else {
        return respond(StatusCode::OK, "application/json", Body::from([form.head.as_slice(), form.tail].concat()));
    };
    sent(Listing { page: None, pages: answers(api, first), questions }, form, watch)
}

/// A list of JSON whose next page is asked for when the one before has been taken.
fn sent<A: RouterApi>(listing: Listing<A>, form: Form, watch: Watch) -> Response {
    struct Sending<A> {
        listing: Listing<A>,
        form: Form,
        begun: bool,
        over: bool,
        _answering: Option<Answering>,
    }
    let answering = watch.map(|axum::Extension(activity)| activity.answer());
    let state = Sending { listing, form, begun: false, over: false, _answering: answering };
    let frames = stream::unfold(state, |mut s| async move {
        if s.over {
            return None;
        }
        let mut text = std::mem::take(&mut s.form.head);
        let nothing = text.len();
        // A page whose rows are all left out makes no frame of its own.
        while text.len() == nothing {
            match s.listing.next().await {
                Some(page) => text.extend((s.form.rows)(&page, &mut s.begun).unwrap_or_else(|error| format!("\"{error}\"").into_bytes())),
                None => {
                    s.over = true;
                    text.extend_from_slice(s.form.tail);
                }
            }
        }
        Some((Ok::<_, Infallible>(Bytes::from(text)), s))
    });
    respond(StatusCode::OK, "application/json", Body::from_stream(frames))
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response {
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}

pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    respond(status, kind, body.into())
}

pub(super) fn text(status: StatusCode, body: String) -> Response {
    whole(status, "text/plain; charset=utf-8", body)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            whole(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

pub(super) fn problem(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

pub(super) fn ending() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending")
}
