//! RPKI (RFC 8210, RFC 6811) with a real cache, beside the clients of FRR and BIRD on the same one.

use proto_tests::interop::{Other, rpki};

#[test]
fn frr_and_we_judge_alike_by_the_same_cache() {
    rpki::verdicts_are_the_same(Other::Frr);
}

#[test]
fn bird_and_we_judge_alike_by_the_same_cache() {
    rpki::verdicts_are_the_same(Other::Bird);
}
