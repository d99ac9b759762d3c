//! catbird beside the daemons of others, over real sockets.

mod bird;
mod frr;
mod gobgp;
mod openbgpd;
mod reload;
