//! Prefix universes: which prefixes exist and how to map one back to its index.
use crate::wire::{self, Attrs};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    z ^ (z >> 31)
}

pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        mix(self.0)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Open-addressing map from a u64 key to an index.
pub struct Index {
    mask: usize,
    slots: Vec<(u64, u32)>,
}
impl Index {
    pub fn build(keys: impl ExactSizeIterator<Item = u64>) -> Self {
        let cap = (keys.len() * 2).next_power_of_two().max(16);
        let mut s = Index { mask: cap - 1, slots: vec![(u64::MAX, 0); cap] };
        for (i, k) in keys.enumerate() {
            let mut h = mix(k) as usize & s.mask;
            while s.slots[h].0 != u64::MAX && s.slots[h].0 != k {
                h = (h + 1) & s.mask;
            }
            s.slots[h] = (k, i as u32);
        }
        s
    }
    #[inline]
    pub fn get(&self, k: u64) -> Option<u32> {
        let mut h = mix(k) as usize & self.mask;
        loop {
            let s = self.slots[h];
            if s.0 == k {
                return Some(s.1);
            }
            if s.0 == u64::MAX {
                return None;
            }
            h = (h + 1) & self.mask;
        }
    }
}

pub enum Universe {
    /// consecutive blocks of one length from a base address
    Synth {
        base: u32,
        plen: u8,
        count: u32,
    },
    Table {
        v4: Vec<(u32, u8, u32)>,
        v6: Vec<(u128, u8, u32)>,
        ix4: Index,
        ix6: Index,
    },
}

#[inline]
fn key4(a: u32, l: u8) -> u64 {
    ((a as u64) << 8) | l as u64
}
#[inline]
fn key6(a: u128, l: u8) -> u64 {
    ((a >> 64) as u64) ^ ((l as u64) << 1) // blocks are /48 or shorter: low bits are free
}

impl Universe {
    pub fn load(dir: &str, n4: usize, n6: usize) -> Universe {
        let mut v4 = Vec::new();
        if n4 > 0 {
            let d = std::fs::read(format!("{dir}/table4.bin")).expect("table4.bin: run gen_table.py");
            for r in d.chunks_exact(9).take(n4) {
                v4.push((u32::from_be_bytes(r[..4].try_into().unwrap()), r[4], u32::from_be_bytes(r[5..9].try_into().unwrap())));
            }
        }
        let mut v6 = Vec::new();
        if n6 > 0 {
            let d = std::fs::read(format!("{dir}/table6.bin")).expect("table6.bin: run gen_table.py");
            for r in d.chunks_exact(21).take(n6) {
                v6.push((u128::from_be_bytes(r[..16].try_into().unwrap()), r[16], u32::from_be_bytes(r[17..21].try_into().unwrap())));
            }
        }
        let ix4 = Index::build(v4.iter().map(|x| key4(x.0, x.1)));
        let ix6 = Index::build(v6.iter().map(|x| key6(x.0, x.1)));
        Universe::Table { v4, v6, ix4, ix6 }
    }
    pub fn len(&self) -> usize {
        match self {
            Universe::Synth { count, .. } => *count as usize,
            Universe::Table { v4, v6, .. } => v4.len() + v6.len(),
        }
    }
    #[inline]
    pub fn idx4(&self, a: u32, l: u8) -> Option<u32> {
        match self {
            Universe::Synth { base, plen, count } => {
                if l != *plen {
                    return None;
                }
                let i = a.wrapping_sub(*base) >> (32 - plen);
                (i < *count).then_some(i)
            }
            Universe::Table { ix4, .. } => ix4.get(key4(a, l)),
        }
    }
    #[inline]
    pub fn idx6(&self, a: u128, l: u8) -> Option<u32> {
        match self {
            Universe::Synth { .. } => None,
            Universe::Table { v4, ix6, .. } => ix6.get(key6(a, l)).map(|i| i + v4.len() as u32),
        }
    }
    pub fn pfx4(&self, i: u32) -> (u32, u8) {
        match self {
            Universe::Synth { base, plen, .. } => (base + (i << (32 - plen)), *plen),
            Universe::Table { v4, .. } => (v4[i as usize].0, v4[i as usize].1),
        }
    }
}

const TIER1: [u32; 12] = [3356, 1299, 174, 2914, 3257, 6762, 6939, 6453, 3491, 5511, 12956, 7018];

/// Attributes of one (origin AS, variant): path length, prepending, communities
/// and MED follow the shape seen in public tables (mean path about 4.4 hops).
pub fn synth_attrs(origin: u32, variant: u32) -> Attrs {
    let mut r = Rng(mix((origin as u64) << 32 | variant as u64));
    let mut path = Vec::with_capacity(8);
    let mids = match r.below(100) {
        0..=11 => 0,
        12..=37 => 1,
        38..=71 => 2,
        72..=89 => 3,
        90..=96 => 4,
        _ => 5,
    };
    for k in 0..mids {
        if k == 0 {
            path.push(TIER1[r.below(12) as usize]);
        } else {
            path.push(4000 + (mix(r.below(1500)) % 395_000) as u32);
        }
    }
    let rep = if r.below(100) < 12 { 1 + r.below(3) } else { 0 };
    for _ in 0..=rep {
        path.push(origin);
    }
    let mut a = Attrs { path, ..Default::default() };
    if r.below(100) < 65 {
        let mut n = 1;
        while n < 16 && r.below(100) < 70 {
            n += 1;
        }
        for _ in 0..n {
            let hi = TIER1[r.below(12) as usize] & 0xffff;
            a.comms.push(hi << 16 | (r.below(600) as u32 * 10));
        }
        a.comms.sort();
        a.comms.dedup();
    }
    if r.below(100) < 10 {
        a.large.push([TIER1[r.below(12) as usize], r.below(40) as u32, r.below(9) as u32]);
    }
    if r.below(100) < 12 {
        a.med = Some(r.below(500) as u32);
    }
    if r.below(100) < 5 {
        a.aggregator = Some((origin, 0x0a000001 + r.below(200) as u32));
    }
    a
}

pub struct Encoded {
    pub bytes: Vec<u8>,
    pub updates: usize,
    pub groups: usize,
}

/// The whole table as one peer sends it. pack = prefixes per UPDATE at most;
/// pack = 1 also shuffles, so neighbours in the stream share no attributes.
pub fn encode_table(u: &Universe, first_as: Option<u32>, nh4: Ipv4Addr, nh6: Ipv6Addr, pack: usize) -> Encoded {
    let (v4, v6) = match u {
        Universe::Table { v4, v6, .. } => (v4, v6),
        _ => panic!("table wanted"),
    };
    let mut out = Vec::with_capacity(64 << 20);
    let mut updates = 0;
    let mut groups = 0;
    let variant = |n: u32, k: u32| -> u32 {
        // about n^0.55 attribute sets for an origin of n prefixes
        let v = ((n as f64).powf(0.55).ceil() as u32).max(1);
        (mix(k as u64 * 7919) % v as u64) as u32
    };
    macro_rules! pass {
        ($v:expr, $emit:expr) => {{
            let mut per: HashMap<u32, u32> = HashMap::new();
            for x in $v.iter() {
                *per.entry(x.2).or_default() += 1;
            }
            let mut g: HashMap<(u32, u32), Vec<_>> = HashMap::new();
            let mut order = Vec::new();
            let mut seq: HashMap<u32, u32> = HashMap::new();
            for x in $v.iter() {
                let k = seq.entry(x.2).or_default();
                *k += 1;
                let key = (x.2, variant(per[&x.2], *k));
                let e = g.entry(key).or_insert_with(|| {
                    order.push(key);
                    Vec::new()
                });
                e.push((x.0, x.1));
            }
            groups += order.len();
            let mut msgs: Vec<(usize, usize)> = Vec::new();
            let mut buf = Vec::new();
            for key in &order {
                let mut a = synth_attrs(key.0, key.1);
                if let Some(f) = first_as {
                    a.path.insert(0, f);
                } else {
                    a.local_pref = Some(100);
                }
                let s = buf.len();
                updates += $emit(&mut buf, &a, &g[key]);
                msgs.push((s, buf.len()));
            }
            if pack == 1 {
                let mut cut = Vec::new();
                let mut i = 0;
                while i < buf.len() {
                    let l = u16::from_be_bytes([buf[i + 16], buf[i + 17]]) as usize;
                    cut.push((i, i + l));
                    i += l;
                }
                let mut r = Rng(7);
                for i in (1..cut.len()).rev() {
                    cut.swap(i, r.below(i as u64 + 1) as usize);
                }
                msgs = cut;
            }
            for (s, e) in msgs {
                out.extend_from_slice(&buf[s..e]);
            }
        }};
    }
    if !v4.is_empty() {
        pass!(v4, |b: &mut Vec<u8>, a: &Attrs, p: &Vec<(u32, u8)>| wire::announce4(b, &a.encode(Some(nh4)), p, pack));
        out.extend_from_slice(&wire::eor4());
    }
    if !v6.is_empty() {
        pass!(v6, |b: &mut Vec<u8>, a: &Attrs, p: &Vec<(u128, u8)>| wire::announce6(b, &a.encode(None), nh6, p, pack));
        out.extend_from_slice(&wire::eor6());
    }
    Encoded { bytes: out, updates, groups }
}
