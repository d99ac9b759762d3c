//! What the kernel counts of TCP-MD5 (RFC 2385 §4.0 has such segments dropped without a word, so nobody else can tell).
//!
//! In: `/proc/self/net/netstat`, which is that of our network namespace. Out: segments that were refused, by reason. Whose they were the
//! kernel tells its log only; which peers may be meant is the speaker's to say (`speaker::md5`).

use std::time::Duration;
use std::{fs, io};

use crate::speaker::Input;
use crate::stats::Md5Refused;

use super::api::RouterApi;

/// Time between two looks, while peers are dialled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the core while peers are dialled, for then a key may be what is wrong. Until the daemon ends.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A) -> io::Result<()> {
    // The first counts are what was before us.
    let mut seen = None;
    loop {
        let dials = api.counters().dials.get();
        if seen.replace(dials) != Some(dials) && api.tell(Input::Md5Refused(md5_refused())).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// As of now; zeros where the kernel does not count.
pub fn md5_refused() -> Md5Refused {
    fs::read_to_string("/proc/self/net/netstat").map_or_else(|_| Md5Refused::default(), |text| parse(&text))
}

/// Lines come in pairs: names, then values.
fn parse(text: &str) -> Md5Refused {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Md5Refused::default() };
    let value = |wanted: &str| {
        let mut both = names.split_whitespace().zip(values.split_whitespace());
        both.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    Md5Refused { missing: value("TCPMD5NotFound"), unexpected: value("TCPMD5Unexpected"), wrong: value("TCPMD5Failure") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_counters_are_found_by_their_names() {
        let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure Last\nTcpExt: 9 1 2 3 4\n\
                    IpExt: InNoRoutes\nIpExt: 7\n";
        assert_eq!(parse(text), Md5Refused { missing: 1, unexpected: 2, wrong: 3 });
    }

    #[test]
    fn a_kernel_that_does_not_count_is_no_error() {
        for text in ["", "TcpExt: A\n", "TcpExt: A B\nTcpExt: 1\n", "IpExt: TCPMD5Failure\nIpExt: 5\n"] {
            assert_eq!(parse(text), Md5Refused::default(), "{text:?}");
        }
    }
}
