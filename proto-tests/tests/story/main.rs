//! Whole networks from `containerlab/`, with real kernels and real time. One at a time: each takes `netlab::alone`.

mod alerts;
mod dashboards;
mod full_mesh;
mod journey;
mod labs;
mod manual;
mod migration;
mod path;
mod questions;
