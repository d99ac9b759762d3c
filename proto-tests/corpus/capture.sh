#!/usr/bin/env bash
# Makes mesh.pcap and mesh.tshark: FRR, BIRD and GoBGP, each speaking to each, in network namespaces of their own. Root; takes half a minute.
#
#   10.9.0.1 fd00:9::1  AS 65001       FRR bgpd       two prefixes a family, communities, large communities, MED, an aggregate, prepending
#   10.9.0.2 fd00:9::2  AS 65002       BIRD 2         ADD-PATH both ways, extended next hop offered, hostname
#   10.9.0.3 fd00:9::3  AS 4200000003  GoBGP 3        a four-octet AS number, an unknown attribute would be dropped, withdrawals
#
# Everything runs below a directory of its own and ends with the script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d /tmp/catbird-capture.XXXXXX)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    sleep 1
    for ns in frr bird gobgp lan; do ip netns del "cbcap-$ns" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT

ip netns add cbcap-lan
ip -n cbcap-lan link add br0 type bridge
ip -n cbcap-lan link set br0 up
n=0
for ns in frr bird gobgp; do
    n=$((n + 1))
    ip netns add "cbcap-$ns"
    ip link add eth0 netns "cbcap-$ns" type veth peer name "$ns" netns cbcap-lan
    ip -n cbcap-lan link set "$ns" master br0 up
    ip -n "cbcap-$ns" link set lo up
    ip -n "cbcap-$ns" link set eth0 up
    ip -n "cbcap-$ns" addr add "10.9.0.$n/24" dev eth0
    ip -n "cbcap-$ns" addr add "fd00:9::$n/64" dev eth0 nodad
done

cat >"$dir/bgpd.conf" <<'CONF'
hostname frr
router bgp 65001
 bgp router-id 10.9.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 timers bgp 3 9
 neighbor 10.9.0.2 remote-as 65002
 neighbor 10.9.0.3 remote-as 4200000003
 address-family ipv4 unicast
  network 10.1.0.0/26 route-map MARK
  network 10.1.1.0/24
  aggregate-address 10.1.0.0/16 as-set
  neighbor 10.9.0.2 addpath-tx-all-paths
  neighbor 10.9.0.3 route-map LONG out
 exit-address-family
 address-family ipv6 unicast
  network fd00:1::/122 route-map MARK
  network fd00:1:1::/64
  neighbor 10.9.0.2 activate
  neighbor 10.9.0.3 activate
  neighbor 10.9.0.2 route-map V6 out
  neighbor 10.9.0.3 route-map V6 out
 exit-address-family
route-map MARK permit 10
 set community 65001:7 65001:8 additive
 set large-community 65001:1:2
 set extcommunity rt 65001:77
 set metric 50
route-map LONG permit 10
 set as-path prepend 65001 65001 65001
route-map V6 permit 10
 set ipv6 next-hop global fd00:9::1
CONF
cat >"$dir/bird.conf" <<'CONF'
router id 10.9.0.2;
protocol device { }
protocol static s4 { ipv4; route 10.2.0.0/26 blackhole; route 10.2.0.64/26 blackhole { bgp_community.add((65002, 7)); bgp_large_community.add((65002, 3, 4)); }; }
protocol static s6 { ipv6; route fd00:2::/122 blackhole; }
template bgp peer {
  local as 65002; hold time 9; graceful restart on; enable extended messages on; advertise hostname on;
  ipv4 { import all; export all; add paths on; extended next hop on; };
  ipv6 { import all; export all; add paths on; next hop address fd00:9::2; };
}
protocol bgp frr from peer { source address 10.9.0.2; neighbor 10.9.0.1 as 65001; }
protocol bgp gobgp from peer { source address 10.9.0.2; neighbor 10.9.0.3 as 4200000003; }
CONF
cat >"$dir/gobgp.toml" <<'CONF'
[global.config]
as = 4200000003
router-id = "10.9.0.3"
[[neighbors]]
[neighbors.config]
neighbor-address = "10.9.0.1"
peer-as = 65001
[neighbors.timers.config]
hold-time = 9
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
[[neighbors]]
[neighbors.config]
neighbor-address = "10.9.0.2"
peer-as = 65002
[neighbors.timers.config]
hold-time = 9
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
CONF
chmod 755 "$dir"; chmod 644 "$dir"/*; mkdir "$dir/vty"; chown frr:frr "$dir/vty"

ip netns exec cbcap-lan tcpdump -i br0 -U -w "$dir/mesh.pcap" -s 0 'tcp port 179' 2>/dev/null & pids+=($!)
sleep 1
ip netns exec cbcap-frr /usr/lib/frr/bgpd -Z -f "$dir/bgpd.conf" -i "$dir/vty/bgpd.pid" -A 127.0.0.1 --vty_socket "$dir/vty" >"$dir/frr.log" 2>&1 & pids+=($!)
ip netns exec cbcap-bird bird -f -c "$dir/bird.conf" -s "$dir/bird.ctl" -P "$dir/bird.pid" >"$dir/bird.log" 2>&1 & pids+=($!)
ip netns exec cbcap-gobgp gobgpd -f "$dir/gobgp.toml" -l warn >"$dir/gobgp.log" 2>&1 & pids+=($!)
sleep 12
gobgp() { ip netns exec cbcap-gobgp gobgp "$@"; }
gobgp global rib add 10.3.0.0/26 community 65003:1,no-advertise med 7 origin igp
gobgp global rib add 10.3.0.64/26 nexthop 10.9.0.3 large-community 1:2:3 aspath 64999,4200000009
gobgp global rib add -a ipv6 fd00:3::/122 nexthop fd00:9::3
sleep 3
gobgp global rib del 10.3.0.0/26
gobgp global rib del -a ipv6 fd00:3::/122 nexthop fd00:9::3
gobgp neighbor 10.9.0.2 softresetin || true
sleep 2
gobgp neighbor 10.9.0.1 shutdown "planned work" || true
ip netns exec cbcap-bird birdc -s "$dir/bird.ctl" 'disable gobgp "back at noon"' >/dev/null
sleep 2
cp "$dir/mesh.pcap" "$here/mesh.pcap"
"$here/tshark.sh" "$here/mesh.pcap" >"$here/mesh.tshark"
for log in frr bird gobgp; do [ -s "$dir/$log.log" ] && { echo "== $log"; head -5 "$dir/$log.log"; } || true; done
