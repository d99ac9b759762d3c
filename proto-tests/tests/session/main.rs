//! Routers that run in the laboratory: sessions, tables and peers in virtual time, without a socket.

mod failures;
mod fib;
mod knobs;
mod lifecycle;
mod mesh;
mod peers;
mod ranges;
mod reload;
mod reload_property;
mod rfc4271_errors;
mod rfc4271_fsm;
mod rfc4271_lengths;
mod rfc4271_tables;
mod rfc4456;
mod rfc4486;
mod rfc4724;
mod rfc6286;
mod rfc6608;
mod rfc7313;
mod rfc7606_log;
mod rfc7911;
mod rfc8538;
mod rfc9003;
mod rfc9687;
mod steps;
mod why;
