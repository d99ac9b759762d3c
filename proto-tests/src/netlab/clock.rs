//! Waiting by looking: poll until it is so or until the deadline, never sleep and hope.
//!
//! In: a question and a deadline. Out: the answer with the time it took, or the last reason why not.

use std::thread;
use std::time::{Duration, Instant};

/// Asks `look` every few milliseconds until it answers `Ok`, for at most `limit`; says how long that took.
///
/// # Errors
/// The last answer of `look`, when the deadline has passed.
pub fn until<T, E>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<(T, Duration), E> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match look() {
            Ok(found) => return Ok((found, start.elapsed())),
            Err(why) if start.elapsed() >= limit => return Err(why),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(25));
    }
}

/// [`until`] for a yes-or-no question.
pub fn patiently(limit: Duration, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    until(limit, || if is_so() { Ok(()) } else { Err(()) }).ok().map(|(_, took)| took)
}
