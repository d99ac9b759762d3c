//! Octets and messages: what is read, what is refused and how, what is written. No session, no table.

mod bgpkit_differential;
mod failures;
mod fuzz_corpus;
// `catbird decode` is the daemon program's.
#[cfg(feature = "kernel")]
mod fuzz_files;
mod properties;
mod rfc4271_messages;
mod rfc5492_open;
mod rfc6793_as4;
mod rfc7606_errors;
mod rfc9003_notification;
