//! Hashing with a secret: tables of what peers choose are not to be foreseen by them.
//!
//! In: the seed of the router, drawn at its start (a laboratory fixes it). Out: a hasher in which every operand of every multiplication is
//! mixed with a number that follows from the seed. With one of them a public constant, a peer can choose prefixes or attributes that cancel
//! it, and all of them have one hash: a few megabytes of UPDATEs then cost a minute. foldhash's `FixedState` is that, whatever its seed.

use std::hash::BuildHasher;

use foldhash::SharedSeed;
pub use foldhash::fast::SeedableRandomState as Keyed;

/// A keyed hasher. The 48 octets of its multiplicands live as long as the process, which calls this once for each router.
pub fn keyed(seed: u64) -> Keyed {
    let multiplicands = SharedSeed::from_u64(seed ^ 0x6361_7462_6972_6421);
    Keyed::with_seed(seed.rotate_left(32), Box::leak(Box::new(multiplicands)))
}

/// 32 bits of a hash.
pub(super) fn tag(hasher: &Keyed, what: impl std::hash::Hash) -> u32 {
    let hash = hasher.hash_one(what);
    (hash ^ (hash >> 32)) as u32
}
