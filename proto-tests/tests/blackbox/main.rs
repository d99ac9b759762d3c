//! The real daemon seen from outside, over TCP and its control socket.

mod faults;
mod kubernetes;
mod load;
mod operator;
mod sessions;
mod shell;
mod updates;
