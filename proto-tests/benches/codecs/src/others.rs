//! The codecs of others.

use std::hint::black_box;

use bytes::BytesMut;
use tokio_util::codec::Decoder as _;

use super::Corpus;

pub type BgpkitMessage = bgpkit_parser::models::BgpMessage;

fn bgpkit_messages(corpus: &Corpus) -> impl Iterator<Item = BgpkitMessage> {
    use bgpkit_parser::models::AsnLength;
    use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
    corpus.slices().filter_map(|mut frame| parse_bgp_message(&mut frame, false, &AsnLength::Bits32).ok())
}

pub fn bgpkit_decode(corpus: &Corpus) -> usize {
    bgpkit_messages(corpus).map(|message| black_box(message)).count()
}

pub fn bgpkit_routes(corpus: &Corpus) -> Vec<BgpkitMessage> {
    bgpkit_messages(corpus).collect()
}

pub fn bgpkit_encode(messages: &[BgpkitMessage]) -> usize {
    messages.iter().map(|m| m.encode(bgpkit_parser::models::AsnLength::Bits32).map_or(0, |b| b.len())).sum()
}

/// All attributes owned, each prefix looked at. (routecore does not encode what it parsed.)
pub fn routecore_decode(corpus: &Corpus) -> usize {
    use routecore::bgp::message::update::{SessionConfig, UpdateMessage};
    let session = SessionConfig::modern();
    let mut nlri = 0;
    for frame in corpus.frames() {
        let Ok(update) = UpdateMessage::from_octets(frame, &session) else { continue };
        for attribute in update.path_attributes().into_iter().flatten().flatten() {
            black_box(attribute.to_owned().ok());
        }
        nlri += update.announcements().into_iter().flatten().filter(|n| n.is_ok()).count();
    }
    nlri
}

pub fn netgauze_decode(corpus: &Corpus) -> usize {
    let mut codec = netgauze_bgp_pkt::codec::BgpCodec::new(true);
    let (mut octets, mut messages) = (BytesMut::from(&corpus.data[..]), 0);
    while let Ok(Some((message, _))) = codec.decode(&mut octets) {
        black_box(&message);
        messages += 1;
    }
    messages
}

pub type ZettaUpdate = zettabgp::message::update::BgpUpdateMessage;

fn zetta_session() -> zettabgp::BgpSessionParams {
    use zettabgp::prelude::*;
    let capabilities = vec![BgpCapability::SafiIPv4u, BgpCapability::SafiIPv6u, BgpCapability::CapASN32(65000)];
    let peer = std::net::Ipv4Addr::new(1, 1, 1, 1);
    BgpSessionParams::new(65000, 90, BgpTransportMode::IPv4, peer, capabilities.into_iter().collect())
}

fn zetta_messages(corpus: &Corpus) -> impl Iterator<Item = ZettaUpdate> {
    use zettabgp::prelude::*;
    let session = zetta_session();
    corpus.frames().filter_map(move |frame| {
        let mut update = BgpUpdateMessage::new();
        update.decode_from(&session, &frame[19..]).ok().map(|()| update)
    })
}

/// (It looks at no Optional or Transitive bit, and takes an ORIGIN of two octets.)
pub fn zetta_decode(corpus: &Corpus) -> usize {
    zetta_messages(corpus).map(|update| black_box(update)).count()
}

pub fn zetta_routes(corpus: &Corpus) -> Vec<ZettaUpdate> {
    zetta_messages(corpus).collect()
}

pub fn zetta_encode(updates: &[ZettaUpdate], buffer: &mut [u8]) -> usize {
    use zettabgp::prelude::*;
    let session = zetta_session();
    updates.iter().map(|u| u.encode_to(&session, buffer).unwrap_or(0)).sum()
}
