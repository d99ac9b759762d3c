//! Who is at the other end of a link: neighbour discovery (RFC 4861), as far as a peer needs it that is configured by its interface.
//!
//! In: what was heard on the link, with the time. Out: the neighbour to have a session with ([`Finder`]), and when to advertise ourselves or
//! to ask ([`Advertiser`]). The octets are [`packet`]'s. Sockets, and what the kernel knows of neighbours, are the shell's; the session with
//! the neighbour that was found is `speaker`'s.
//!
//! A link of this kind joins two routers. Whoever is on it can name itself, as whoever is on a link can take an address: what protects the
//! session is its password.

mod advertiser;
mod finder;
pub mod packet;

pub use advertiser::{Advertiser, Due};
pub use finder::{Finder, Found, Sign};
