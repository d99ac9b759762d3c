#!/usr/bin/env bash
# How many flows move when one of four ways goes: a multipath route, a nexthop group, a resilient nexthop group. The kernel is asked for the way of
# each of 400 flows (`ip route get`), before and after. Run as root: unshare -n proto-tests/benches/ecmp.sh
set -u
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
ip link set lo up
for i in 1 2 3 4 5; do ip link add v$i type veth peer name w$i; ip link set v$i up; ip link set w$i up; ip addr add 10.0.$i.1/24 dev v$i; done
sysctl -qw net.ipv4.fib_multipath_hash_policy=1 net.ipv4.ip_forward=1; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done; ip route add 172.16.0.0/16 dev v5
flows() { for p in $(seq 1 400); do ip route get 10.99.0.1 from 172.16.0.9 iif v5 ipproto udp sport $((10000+p)) dport 80 2>/dev/null | grep -o "dev v[1-4]" | head -1; done; }
cmpf() { paste $1 $2 | awk -v gone="$3" '{n++; a=$2; b=$4; if (a==gone) g++; else if (a!=b) m++} END {printf "%d flows, %d were on the one that went, of the other %d moved %d (%.0f %%)\n", n, g, n-g, m, 100*m/(n-g)}'; }
ip route add 10.99.0.0/24 nexthop via 10.0.1.2 nexthop via 10.0.2.2 nexthop via 10.0.3.2 nexthop via 10.0.4.2
flows > "$T/1"; ip route replace 10.99.0.0/24 nexthop via 10.0.1.2 nexthop via 10.0.3.2 nexthop via 10.0.4.2; flows > "$T/2"
echo -n "RTA_MULTIPATH: "; cmpf "$T/1" "$T/2" v2
ip route del 10.99.0.0/24
for i in 1 2 3 4; do ip nexthop add id $i via 10.0.$i.2 dev v$i; done
ip nexthop add id 10 group 1/2/3/4; ip route add 10.99.0.0/24 nhid 10; flows > "$T/1"; ip nexthop replace id 10 group 1/3/4; flows > "$T/2"
echo -n "group (mpath): "; cmpf "$T/1" "$T/2" v2
ip route del 10.99.0.0/24; 
ip nexthop add id 11 group 1/2/3/4 type resilient buckets 128 idle_timer 60 && ip route add 10.99.0.0/24 nhid 11 && flows > "$T/1" && ip nexthop replace id 11 group 1/3/4 type resilient && flows > "$T/2" && { echo -n "group (resilient): "; cmpf "$T/1" "$T/2" v2; }
uname -r
