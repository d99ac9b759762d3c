# Two daemons in two subnets with a router between; pods that speak through IPIP. Run by: proto-tests/qemu/boot proto-tests/qemu/ipip.sh
set -u

fail() {
    echo "FAILED: $*"
    ip -n n1 route
    ip -n n1 -d link show type ipip
    cat /tmp/n1.log
    ip netns exec n1 catbird --socket /tmp/n1.sock nexthops
    exit 1
}

# until SECONDS WHAT COMMAND...: waits until the command succeeds.
until_so() {
    limit=$1 what=$2
    shift 2
    started=$(date +%s)
    while ! eval "$@" >/dev/null 2>&1; do
        [ $(($(date +%s) - started)) -lt "$limit" ] || fail "$what"
        sleep 0.1
    done
    echo "ok: $what ($(($(date +%s) - started)) s)"
}

# Tunnels of the kernel's own (tunl0) shall be in every namespace, as on a node.
echo 0 >/proc/sys/net/core/fb_tunnels_only_for_init_net

ip netns add router
ip -n router link set lo up
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
for n in 1 2; do
    ip netns add n$n
    ip netns add pod$n
    for ns in n$n pod$n; do ip -n $ns link set lo up; done
    ip link add eth0 netns n$n type veth peer name eth$n netns router
    ip -n router addr add 10.0.$n.254/24 dev eth$n
    ip -n router link set eth$n up
    ip -n n$n addr add 10.0.$n.1/24 dev eth0
    ip -n n$n link set eth0 up
    ip -n n$n route add default via 10.0.$n.254
    ip netns exec n$n sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    ip link add cali1 netns n$n type veth peer name eth0 netns pod$n
    ip -n n$n link set cali1 up
    ip -n n$n route add 10.244.$n.2 dev cali1
    ip netns exec n$n sh -c 'echo 1 >/proc/sys/net/ipv4/conf/cali1/proxy_arp'
    ip -n pod$n addr add 10.244.$n.2/32 dev eth0
    ip -n pod$n link set eth0 up
    ip -n pod$n route add 169.254.1.1 dev eth0
    ip -n pod$n route add default via 169.254.1.1
    cat >/tmp/n$n.toml <<TOML
[node]
name = "n$n"
asn = 64512
[cluster]
connect_retry = "1s"
nodes = [{ name = "n1", addresses = ["10.0.1.1"] }, { name = "n2", addresses = ["10.0.2.1"] }]
[pods]
blocks = ["10.244.$n.0/26"]
[fib.overlay]
mode = "cross-subnet"
kind = "ipip"
${DEVICE:-}
[control]
socket = "/tmp/n$n.sock"
TOML
    ip netns exec n$n catbird run -c /tmp/n$n.toml >/tmp/n$n.log 2>&1 &
done

route() { ip -n n1 route show 10.244.2.0/26; }
until_so 60 "the route leads through tunl0" 'route | grep -q "via 10.0.2.1 dev tunl0 proto bgp metric 1024 onlink"'
route
until_so 30 "pod to pod through IPIP" 'ip netns exec pod1 ping -c 1 -W 1 10.244.2.2'
ip -n n1 -d link show tunl0
ip -n n1 link show tunl0 | grep -q "mtu 1480" || fail "the MTU of tunl0 is not 1480"

# Somebody takes it down: it comes up again, and the route with it.
ip -n n1 link set tunl0 down
until_so 20 "tunl0 is up again and the route is back" 'route | grep -q "dev tunl0"'
until_so 20 "pod to pod again" 'ip netns exec pod1 ping -c 1 -W 1 10.244.2.2'

# The node's subnet becomes wide enough for both, and narrow again, with a ping running. (The router answers for the others' addresses.)
for n in 1 2; do
    ip netns exec router sh -c "echo 1 >/proc/sys/net/ipv4/conf/eth$n/proxy_arp"
done
ip -n router route add 10.244.1.0/26 via 10.0.1.1
ip -n router route add 10.244.2.0/26 via 10.0.2.1
ip netns exec pod1 ping -i 0.2 -c 60 -W 2 10.244.2.2 >/tmp/ping.log 2>&1 &
pinging=$!
for round in 1 2; do
    for n in 1 2; do
        ip -n n$n addr add 10.0.$n.1/16 dev eth0
        ip -n n$n addr del 10.0.$n.1/24 dev eth0
    done
    until_so 20 "wide: direct" 'route | grep -q "via 10.0.2.1 dev eth0"'
    for n in 1 2; do
        ip -n n$n addr add 10.0.$n.1/24 dev eth0
        ip -n n$n route replace default via 10.0.$n.254
        ip -n n$n addr del 10.0.$n.1/16 dev eth0
    done
    until_so 20 "narrow: through tunl0" 'route | grep -q "dev tunl0"'
done
wait $pinging
grep "packets transmitted" /tmp/ping.log

# A device of our own: tunl0 stays, "ov" comes; deleted, it comes back.
sed -i 's/^kind = "ipip"/kind = "ipip"\ndevice = "ov"/' /tmp/n1.toml
ip netns exec n1 catbird --socket /tmp/n1.sock reload || fail "the reload"
until_so 30 "the route leads through a device of our own" 'route | grep -q "dev ov"'
ip -n n1 -d link show ov
ip -n n1 link del ov
until_so 20 "deleted, it is back" 'route | grep -q "dev ov"'
until_so 20 "pod to pod through it" 'ip netns exec pod1 ping -c 1 -W 1 10.244.2.2'
echo "IPIP: all is well"
