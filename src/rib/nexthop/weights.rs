//! The ways of several equal paths as one route's, each with its share of the load.
//!
//! In: how the next hops of the paths resolve, and what bandwidth each path promises, if that counts. Out: [`Hops`] as the kernel takes
//! them: in address order, each way once, weights from 1 to 256. Which paths share is decided in `rib::decide`.
//!
//! Without bandwidths every way weighs the same. With them a path's share is its bandwidth (draft-ietf-idr-link-bandwidth), spread evenly
//! over the ways that its next hop resolves to; paths that come out at the same way add up there. The weights are the smallest whole
//! numbers in the same proportion: 10 and 30 Gbit/s are 1 and 3. Where these do not fit, the heaviest is 256 and none is less than 1.

use smallvec::SmallVec;

use super::Resolution;
use crate::kernel::{Hop, Hops, Weight, in_order};

/// Divided by any number of ways up to 16 it leaves no rest.
const WHOLE: u128 = 720_720;

/// The ways of several equal paths, at most `width`, of one weight.
pub fn combine<'a>(resolutions: impl IntoIterator<Item = &'a Resolution>, width: usize) -> Hops {
    let mut hops: Hops = resolutions.into_iter().filter_map(Resolution::hops).flatten().copied().collect();
    hops.sort_unstable();
    hops.dedup();
    hops.truncate(width);
    hops
}

/// The same, weighed by what each path promises (bits a second).
pub fn combine_weighted<'a>(paths: impl IntoIterator<Item = (&'a Resolution, u64)>, width: usize) -> Hops {
    let mut shares: SmallVec<[(Hop, u128); 8]> = SmallVec::new();
    for (resolution, bandwidth) in paths {
        let Some(hops) = resolution.hops().filter(|hops| !hops.is_empty()) else { continue };
        let each = u128::from(bandwidth) * WHOLE / hops.len() as u128;
        shares.extend(hops.iter().map(|hop| (hop.way(), each)));
    }
    shares.sort_unstable_by_key(|(hop, _)| *hop);
    shares.dedup_by(|later, first| {
        let same = later.0 == first.0;
        first.1 += if same { later.1 } else { 0 };
        same
    });
    shares.truncate(width);
    let mut hops = weighed(&shares);
    in_order(&mut hops);
    hops
}

fn weighed(shares: &[(Hop, u128)]) -> Hops {
    let most = shares.iter().map(|(_, share)| *share).max().unwrap_or(0).max(1);
    let unit = shares.iter().fold(0, |unit, (_, share)| common_divisor(unit, *share)).max(1);
    let fits = most / unit <= u128::from(Weight::MOST);
    let weight = |share: u128| if fits { share / unit } else { (share * u128::from(Weight::MOST) + most / 2) / most };
    let whole = |share: u128| Weight::new(u64::try_from(weight(share)).unwrap_or(u64::MAX));
    shares.iter().map(|(hop, share)| Hop { weight: whole(*share), ..*hop }).collect()
}

fn common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::IfIndex;

    fn by(gateways: &[u8]) -> Resolution {
        let hop = |n: &u8| Hop { gateway: Some([192, 0, 2, *n].into()), ifindex: IfIndex(2), onlink: false, weight: Weight::ONE };
        Resolution::Via { hops: gateways.iter().map(hop).collect(), metric: 0, connected: true }
    }

    /// Bandwidth and gateways of each path; the weight of each way, by its gateway.
    fn weights(paths: &[(u64, &[u8])], width: usize) -> Vec<(u8, u16)> {
        let paths: Vec<(Resolution, u64)> = paths.iter().map(|(bandwidth, gateways)| (by(gateways), *bandwidth)).collect();
        let hops = combine_weighted(paths.iter().map(|(resolution, bandwidth)| (resolution, *bandwidth)), width);
        let last = |hop: &Hop| if let Some(std::net::IpAddr::V4(a)) = hop.gateway { a.octets()[3] } else { 0 };
        hops.iter().map(|hop| (last(hop), hop.weight.get())).collect()
    }

    #[test]
    fn weights_are_the_smallest_numbers_in_proportion() {
        const G: u64 = 1_000_000_000;
        assert_eq!(weights(&[(10 * G, &[1]), (30 * G, &[2])], 16), [(1, 1), (2, 3)]);
        assert_eq!(weights(&[(30 * G, &[2]), (10 * G, &[1])], 16), [(1, 1), (2, 3)], "in address order");
        assert_eq!(weights(&[(25 * G, &[1]), (40 * G, &[2]), (100 * G, &[3])], 16), [(1, 5), (2, 8), (3, 20)]);
        assert_eq!(weights(&[(7, &[1]), (7, &[2])], 16), [(1, 1), (2, 1)]);
        assert_eq!(weights(&[(7, &[1])], 16), [(1, 1)], "alone");
        assert_eq!(weights(&[(10, &[1]), (30, &[2]), (60, &[3])], 2), [(1, 1), (2, 3)], "of those that are left");
    }

    #[test]
    fn a_path_spreads_over_its_ways_and_ways_add_up() {
        assert_eq!(weights(&[(10, &[1, 2]), (30, &[3])], 16), [(1, 1), (2, 1), (3, 6)]);
        assert_eq!(weights(&[(10, &[1]), (20, &[1]), (30, &[2])], 16), [(1, 1), (2, 1)]);
        assert_eq!(weights(&[(10, &[]), (20, &[1]), (40, &[2])], 16), [(1, 1), (2, 2)], "whose next hop is gone carries nothing");
        assert_eq!(weights(&[], 16), []);
    }

    #[test]
    fn what_does_not_fit_is_scaled_and_nothing_falls_to_zero() {
        assert_eq!(weights(&[(1, &[1]), (1_000_000, &[2])], 16), [(1, 1), (2, 256)]);
        assert_eq!(weights(&[(1009, &[1]), (2003, &[2])], 16), [(1, 129), (2, 256)]);
        assert_eq!(weights(&[(u64::MAX, &[1]), (u64::MAX, &[1]), (u64::MAX, &[2])], 16), [(1, 2), (2, 1)]);
        assert_eq!(weights(&[(256, &[1]), (1, &[2])], 16), [(1, 256), (2, 1)]);
    }
}
