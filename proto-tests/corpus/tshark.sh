#!/usr/bin/env bash
# tshark.sh CAPTURE: what Wireshark's dissector sees, a line a packet with BGP in it; fields apart by `|`, values of one field by `,`.
# The columns are those that are named by number in `FIELDS` in src/cli/decode/tests.rs.
set -euo pipefail
tshark -r "$1" -Y bgp -T fields -E 'separator=|' -E 'occurrence=a' -E 'aggregator=,' \
    -e frame.number -e bgp.type -e bgp.update.path_attribute.origin -e bgp.update.path_attribute.as_path_segment.as4 \
    -e bgp.update.path_attribute.next_hop -e bgp.update.path_attribute.multi_exit_disc -e bgp.update.path_attribute.community_as \
    -e bgp.update.path_attribute.community_value -e bgp.large_communities.ga -e bgp.nlri_prefix -e bgp.withdrawn_prefix \
    -e bgp.mp_reach_nlri_ipv6_prefix -e bgp.mp_unreach_nlri_ipv6_prefix -e bgp.nlri_path_id -e bgp.notify.major_error -e bgp.notify.communication \
    -e bgp.open.myas -e bgp.cap.type -e bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv4 \
    -e bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6 -e bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6.link_local \
    -e bgp.mp_reach_nlri_ipv4_prefix -e bgp.mp_unreach_nlri_ipv4_prefix 2>/dev/null
