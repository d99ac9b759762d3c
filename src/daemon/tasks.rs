//! Tasks that are looked after: none of them ends or panics without a word.
//!
//! In: futures of the shell. Out: their end, as a value or as a line in the log. It leaves restarting to nobody: a connection whose reader
//! panicked is closed, a service that ended is missing until the next start and says so at level error.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// A task ended by a panic, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(pub String);

/// The future's value, or the panic that took its place.
///
/// # Errors
/// [`Panicked`]: what the future held is dropped, and nothing else of the daemon has seen it.
pub async fn caught<F: Future>(task: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| Panicked(words(panic.as_ref())))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// Runs something that should last as long as the daemon.
pub fn service(name: &'static str, task: impl Future<Output = io::Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        match caught(task).await {
            Ok(Ok(())) => tracing::debug!(service = name, "ended"),
            Ok(Err(error)) => tracing::error!(service = name, %error, "ended, and is missing from here on"),
            Err(Panicked(text)) => tracing::error!(service = name, panic = text, "ended, and is missing from here on"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let task = async { panic!("at {}", "night") };
        assert_eq!(caught::<std::pin::Pin<Box<dyn Future<Output = ()>>>>(Box::pin(task)).await, Err(Panicked("at night".to_owned())));
    }
}
