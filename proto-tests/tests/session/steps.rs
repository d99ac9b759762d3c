//! No step of the core is long: what is much is taken in piece by piece, and others are heard in between (DESIGN.md, section 9).

use std::time::Duration;

use catbird::config::params::speaker;
use catbird::num::{Instant, Nlri};
use catbird::speaker::Speaker;
use catbird::wire::{Context, Decoder, Message, NextHop, Origin, PathAttributes, encode_reach};
use proto_tests::one_router::OneRouter;
use proto_tests::random_config::read;

const LEFT: &str = "10.99.0.2";
const RIGHT: &str = "10.99.0.3";

fn router() -> OneRouter {
    let peer = |name: &str, addr: &str| {
        format!("[[peer]]\nname = \"{name}\"\naddress = \"{addr}\"\nasn = 64512\npassive = true\nimport = \"all\"\nexport = \"all\"\n")
    };
    let text = format!("[node]\nname = \"n\"\nasn = 64512\nrouter_id = \"10.99.0.1\"\n{}{}", peer("left", LEFT), peer("right", RIGHT));
    let mut router = OneRouter::new(speaker(&read(&text).expect("a configuration")));
    assert_eq!(router.established(), [LEFT, RIGHT].map(str::to_owned).into());
    router
}

/// An UPDATE that announces these many blocks from number `first` on.
fn announce(first: u32, count: u32) -> Message {
    let mut attrs = PathAttributes::builder(Origin::Igp, NextHop::V4(LEFT.parse().expect("an address")));
    let attrs = attrs.set_local_pref(Some(100)).finish();
    let net = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256).parse().expect("a prefix");
    let nlri: Vec<Nlri> = (first..first + count).map(|n| Nlri::new(net(n))).collect();
    let mut octets = bytes::BytesMut::new();
    encode_reach(&attrs, &nlri, &Context::INITIAL, &mut octets);
    let mut decoder = Decoder::new();
    decoder.set_context(Context::INITIAL);
    decoder.decode(octets.freeze()).expect("an UPDATE")
}

#[test]
fn a_read_of_a_thousand_messages_is_interrupted_for_others() {
    let mut router = router();
    let before = router.received("left").len();
    let mut heard = Vec::new();
    let updates = (0..3000).map(|n| announce(n, 1)).collect();
    let left = router.take_in(LEFT.parse().expect("an address"), updates, |router| {
        heard.push(router.received("right").len());
        router.run(Duration::ZERO);
    });
    assert!(left.len() > 5 && left.is_sorted_by(|a, b| a > b), "{left:?}");
    assert_eq!(heard, vec![2; left.len()], "the other one's routes are there, and asked for, meanwhile");
    assert_eq!(router.received("left").len(), before + 3000);
}

/// A kernel that never answers (no right to ask it, another daemon on the socket) is waited for, and then the router sleeps as others do.
#[test]
fn a_kernel_that_never_answers_keeps_nobody_awake() {
    let text = "[node]\nname = \"n\"\nasn = 64512\nrouter_id = \"10.99.0.1\"\n\
                [[peer]]\nname = \"left\"\naddress = \"10.99.0.2\"\nasn = 64512\npassive = true\nimport = \"all\"\nexport = \"all\"\n";
    let params = speaker(&read(text).expect("a configuration"));
    assert!(params.fib.enabled, "or there is nothing to wait for");
    let mut now = Instant::ZERO + Duration::from_secs(1);
    let (mut router, end) = (Speaker::new(params, now, 7), now + Duration::from_secs(60));
    let mut turns = Vec::new();
    while now < end {
        router.settle(now);
        while router.poll().is_some() {}
        turns.push(now);
        assert!(turns.len() < 1000, "{:?}", &turns[990..]);
        if !router.wants_settle() {
            let next = router.next_deadline().expect("old routes wait for their end");
            assert!(next > now, "at {now:?} it asks to be woken at {next:?}");
            now = next;
        }
    }
}

#[test]
fn few_messages_with_many_prefixes_are_many() {
    let mut router = router();
    let updates = (0..10).map(|n| announce(n * 300, 300)).collect();
    let left = router.take_in(LEFT.parse().expect("an address"), updates, |_| ());
    assert!(left.len() >= 3, "{left:?}");
}
