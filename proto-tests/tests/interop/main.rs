//! catbird beside the daemons of others, over real sockets.

mod bfd;
mod bird;
mod bmp;
mod convert;
mod frr;
mod gobgp;
mod llgr;
mod openbgpd;
mod reload;
mod roles;
mod rpki;
mod unnumbered;
