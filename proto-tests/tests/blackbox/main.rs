//! The real daemon seen from outside, over TCP and its control socket.

mod faults;
mod load;
mod operator;
mod sessions;
mod shell;
mod updates;
