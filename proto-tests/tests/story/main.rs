//! Whole networks from `containerlab/`, with real kernels and real time. One at a time: each takes `netlab::alone`.

mod frr_bird;
mod full_mesh;
mod route_reflector;
