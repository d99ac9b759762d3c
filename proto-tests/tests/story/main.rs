//! Whole networks from `containerlab/`, with real kernels and real time. One at a time: each takes `netlab::alone`.

mod alerts;
mod frr_bird;
mod full_mesh;
<<<<<<< HEAD
mod migration;
=======
mod path;
>>>>>>> 82d346f (cli: path follows a packet over all nodes; mcp: the answers as tools; netlink: nexthop objects go with the carrier)
mod questions;
mod route_reflector;
