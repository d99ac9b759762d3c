//! The real daemon seen from outside, over TCP and its control socket.

mod bird_sockets;
mod bmp;
mod calico_scenarios;
mod console;
mod faults;
mod kubernetes;
mod kubernetes_many;
mod kubernetes_real;
mod load;
mod looking;
mod manifests;
mod mcp;
mod night;
mod operator;
mod packages;
mod sessions;
mod shell;
mod systemd;
mod updates;
