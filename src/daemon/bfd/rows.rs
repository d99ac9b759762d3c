//! BFD sessions in the words of the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Answer, BfdLastDown, BfdReport, BfdRow, BfdTimes};
use crate::bfd::{AuthType, Bfd, Detail, Drop as Dropped, SessionParams};
use crate::num::{Instant, PeerId};

/// All sessions, or one peer's.
pub(super) fn report(
    bfd: &Bfd,
    realtime: bool,
    refused: &BTreeMap<PeerId, Arc<SessionParams>>,
    peer: Option<&str>,
    now: Instant,
) -> Answer {
    let is_asked = |params: &SessionParams| peer.is_none_or(|who| params.peer == who || params.remote.to_string() == who);
    let rows: Vec<BfdRow> = bfd.details(now).iter().filter(|detail| is_asked(&detail.params)).map(row).collect();
    let refused: Vec<String> = refused.values().filter(|params| is_asked(params)).map(|params| params.peer.clone()).collect();
    if let Some(who) = peer.filter(|_| rows.is_empty() && refused.is_empty()) {
        return Answer::Refused(format!("no BFD session is wanted with `{who}`: is `bfd` set for it, and is it there?"));
    }
    let counters = bfd.counters();
    let dropped = Dropped::ALL.into_iter().map(|why| (why.name().to_owned(), counters.dropped(why))).filter(|(_, n)| *n > 0).collect();
    Answer::Bfd(Box::new(BfdReport { realtime, sessions: rows, refused, dropped }))
}

fn millis(micros: u32) -> f64 {
    f64::from(micros) / 1000.0
}

fn in_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn row(detail: &Detail) -> BfdRow {
    let params = &detail.params;
    BfdRow {
        peer: params.peer.clone(),
        address: params.remote.to_string(),
        path: params.path.name().to_owned(),
        state: detail.state.name().to_owned(),
        state_seconds: detail.lasted.as_secs_f64(),
        diagnostic: detail.diag.to_string(),
        remote_state: detail.remote_state.name().to_owned(),
        remote_diagnostic: detail.remote_diag.to_string(),
        local_discriminator: detail.discr,
        remote_discriminator: detail.remote_discr,
        local: BfdTimes {
            min_tx_ms: millis(detail.desired_min_tx),
            min_rx_ms: millis(detail.required_min_rx),
            multiplier: params.multiplier,
        },
        remote: BfdTimes {
            min_tx_ms: millis(detail.remote_min_tx),
            min_rx_ms: millis(detail.remote_min_rx),
            multiplier: detail.remote_multiplier,
        },
        interval_ms: in_millis(detail.tx_interval),
        detection_ms: detail.detection_time.map(in_millis),
        polling: detail.polling,
        passive: params.passive,
        auth: params.key.as_ref().map(|key| AuthType::name(key.auth).to_owned()),
        ups: detail.ups,
        downs: detail.downs,
        last_down: detail.last_down.map(|(last, ago)| BfdLastDown {
            seconds_ago: ago.as_secs_f64(),
            diagnostic: last.diag.to_string(),
            remote_diagnostic: last.remote_diag.to_string(),
        }),
        received: detail.counters.received,
        sent: detail.counters.sent,
        dropped: Dropped::ALL
            .into_iter()
            .map(|why| (why.name().to_owned(), detail.counters.dropped(why)))
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}
