//! Real kernels in namespaces: routes, tunnels, packets that are counted. (Where tests measure time they want the machine for themselves.)

#[cfg(feature = "big")]
mod big;
mod chaos;
mod cold_start;
#[cfg(feature = "kernel")]
mod daemon;
#[cfg(feature = "kernel")]
mod faults;
#[cfg(feature = "kernel")]
mod fib;
#[cfg(feature = "kernel")]
mod hostile;
mod links;
#[cfg(feature = "kernel")]
mod mirror;
mod mtu;
mod netlab;
mod overlay;
mod ownership;
mod ready;
mod recursion;
mod restart;
mod rfc7348;
mod settings;
mod stale_ecmp;
mod underlays;
