//! Whole networks from `containerlab/`, with real kernels and real time. One at a time: each takes `netlab::alone`.

mod alerts;
mod frr_bird;
mod full_mesh;
mod manual;
mod migration;
mod path;
mod questions;
mod route_reflector;
