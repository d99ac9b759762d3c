#!/usr/bin/env python3
"""How soon a dead neighbour's route leaves the kernel, how often a living one is taken for dead, and what two hundred sessions cost.

    sudo proto-tests/benches/bfd.py detect [--trials 50] [--intervals 300,50,10] [--only catbird,frr,bird]
    sudo proto-tests/benches/bfd.py alarms [--seconds 120]
    sudo proto-tests/benches/bfd.py crowd [--sessions 200] [--seconds 60]

Three machines in namespaces: the daemon under test (10.66.0.1), a switch, and BIRD 2 with BFD (10.66.0.2). The cut is made at the far port of
the switch, so that no carrier is lost on our side, by an ioctl from this process; the route's end is what the kernel's own notification says.
The binary is target/release/catbird unless CATBIRD names another. Prints rows for the README, with the machine that they were measured on.
"""

import argparse
import ctypes
import fcntl
import os
import random
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROUTE = "10.88.0.0"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL("libc.so.6", use_errno=True)
FRR = "/usr/lib/frr"


def sh(line, check=True, quiet=True):
    return subprocess.run(line, shell=True, check=check, capture_output=quiet, text=True)


def inside(ns, make):
    """Something (a socket) that is made in a namespace and stays there."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    try:
        if LIBC.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        return make()
    finally:
        LIBC.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


class Net:
    """Daemon, switch, neighbour."""

    def __init__(self):
        self.names = [f"bfd{os.getpid()}{part}" for part in ("us", "sw", "them")]
        us, sw, them = self.names
        for ns in self.names:
            sh(f"ip netns add {ns}")
            sh(f"ip -n {ns} link set lo up")
        for n, ns in enumerate((us, them)):
            sh(f"ip -n {sw} link add port{n} type veth peer name eth0 netns {ns}")
        sh(f"ip -n {sw} link add name sw0 type bridge && ip -n {sw} link set sw0 up")
        for n, ns in enumerate((us, them)):
            sh(f"ip -n {sw} link set port{n} master sw0 up")
            sh(f"ip -n {ns} link set eth0 up && ip -n {ns} addr add 10.66.0.{n + 1}/16 dev eth0")
        self.us, self.sw, self.them = us, sw, them
        self.cable = inside(sw, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.events = inside(us, self._events)

    def _events(self):
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        events.bind((0, 0x40))
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        return events

    def plug(self, up):
        """The far port of the switch."""
        name = b"port1"
        flags = struct.unpack("16xH", fcntl.ioctl(self.cable, 0x8913, struct.pack("16sH14x", name, 0))[:18])[0]
        flags = flags | 1 if up else flags & ~1
        fcntl.ioctl(self.cable, 0x8914, struct.pack("16sH14x", name, flags))

    def until_route(self, there, most):
        """When the kernel said that the route is there, or gone; None if it did not."""
        end = time.monotonic() + most
        want = 24 if there else 25
        net = socket.inet_aton(ROUTE)
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.events], [], [], left)[0]:
                return None
            data = self.events.recv(1 << 16)
            now = time.monotonic()
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind == want and net in data[28:length]:
                    return now
                data = data[(length + 3) & ~3:]
        return None

    def has_route(self):
        return ROUTE in sh(f"ip -n {self.us} route show {ROUTE}/24").stdout

    def drain(self):
        while select.select([self.events], [], [], 0)[0]:
            self.events.recv(1 << 16)

    def close(self):
        for ns in self.names:
            sh(f"ip netns del {ns}", check=False)


class Programs:
    """What was started, and is ended."""

    def __init__(self):
        self.all = []
        self.dir = tempfile.mkdtemp(prefix="bfdbench")

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as out:
            out.write(text)
        os.chmod(path, 0o644)
        return path

    def start(self, ns, args, shared_run=None):
        run = shared_run or tempfile.mkdtemp(dir=self.dir)
        os.makedirs(f"{run}/frr", exist_ok=True)
        sh(f"chmod 777 {run} {run}/frr {self.dir}")
        log = open(os.path.join(self.dir, f"{os.path.basename(args[0])}.log"), "ab")
        # A /run of its own, so that sockets and pid files of two daemons do not meet.
        line = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'mount --bind {run} /run && exec "$@"', "sh", *args]
        child = subprocess.Popen(["nsenter", f"--net=/run/netns/{ns}", *line], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.all.append(child)
        return child, run

    def close(self):
        for child in reversed(self.all):
            child.send_signal(signal.SIGTERM)
        for child in self.all:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def neighbour(programs, net, ms, sessions=1):
    """BIRD 2, with as many addresses as there are sessions."""
    peers = ""
    for n in range(sessions):
        addr = f"10.66.{n // 200}.{n % 200 + 2}"
        if n:
            sh(f"ip -n {net.them} addr add {addr}/16 dev eth0")
        export = "export where source = RTS_STATIC;" if n == 0 else "export none;"
        peers += f"""protocol bgp p{n} {{ local {addr} as 65002; neighbor 10.66.0.1 as 65001; bfd on; hold time 90;
 connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 {{ import none; {export} }}; }}\n"""
    text = f"""router id 10.66.0.2;
protocol device {{ }}
protocol static own {{ ipv4; route {ROUTE}/24 blackhole; }}
protocol bfd {{ interface "*" {{ interval {ms} ms; multiplier 3; }}; }}
{peers}"""
    return programs.start(net.them, ["bird", "-f", "-s", "/run/bird.ctl", "-P", "/run/bird.pid", "-c", programs.file("them.conf", text)])[0]


def catbird(programs, net, ms, sessions=1):
    peers = "".join(
        f'[[peer]]\naddress = "10.66.{n // 200}.{n % 200 + 2}"\nasn = 65002\nimport = "all"\nexport = "none"\nconnect_retry = "1s"\nbfd = "b"\n'
        for n in range(sessions)
    )
    text = f"""[node]
name = "us"
asn = 65001
addresses = ["10.66.0.1"]
[metrics]
listen = ""
[bfd.b]
min_tx = "{ms}ms"
min_rx = "{ms}ms"
without_realtime = "keep"
{peers}"""
    binary = os.environ.get("CATBIRD", "target/release/catbird")
    return programs.start(net.us, [os.path.abspath(binary), "run", "-c", programs.file("us.toml", text)])


def frr(programs, net, ms, sessions=1):
    hello = "".join(
        f" neighbor 10.66.{n // 200}.{n % 200 + 2} remote-as 65002\n neighbor 10.66.{n // 200}.{n % 200 + 2} bfd profile b\n"
        f" neighbor 10.66.{n // 200}.{n % 200 + 2} timers connect 1\n"
        for n in range(sessions)
    )
    bgpd = programs.file("bgpd.conf", f"frr defaults traditional\nrouter bgp 65001\n bgp router-id 10.66.0.1\n no bgp ebgp-requires-policy\n{hello}")
    bfdd = programs.file("bfdd.conf", f"bfd\n profile b\n  receive-interval {ms}\n  transmit-interval {ms}\n  detect-multiplier 3\n exit\nexit\n")
    run = None
    for name, args in [("zebra", ["-A", "127.0.0.1"]), ("bfdd", ["-A", "127.0.0.1", "-f", bfdd]), ("bgpd", ["-A", "127.0.0.1", "-f", bgpd])]:
        child, run = programs.start(net.us, [f"{FRR}/{name}", *args], run)
        time.sleep(0.5)
    return child, run


def bird(programs, net, ms, sessions=1):
    peers = "".join(
        f"protocol bgp p{n} {{ local 10.66.0.1 as 65001; neighbor 10.66.{n // 200}.{n % 200 + 2} as 65002; bfd on; hold time 90;\n"
        f" connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 {{ import all; export none; }}; }}\n"
        for n in range(sessions)
    )
    text = f"""router id 10.66.0.1;
protocol device {{ }}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol bfd {{ interface "*" {{ interval {ms} ms; multiplier 3; }}; }}
{peers}"""
    return programs.start(net.us, ["bird", "-f", "-s", "/run/bird.ctl", "-P", "/run/bird.pid", "-c", programs.file("us.conf", text)])


DAEMONS = {"catbird": catbird, "frr": frr, "bird": bird}


def wait_for_route(net, most=60):
    end = time.monotonic() + most
    while not net.has_route():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f}"


def detect(options):
    print(f"| interval x 3 | {' | '.join(options.only)} |")
    print(f"|---|{'---|' * len(options.only)}")
    for ms in options.intervals:
        cells = []
        for name in options.only:
            cells.append(detect_one(DAEMONS[name], ms, options.trials))
        print(f"| {ms} ms | {' | '.join(cells)} |", flush=True)
    print(machine())


def detect_one(daemon, ms, trials):
    net, programs = Net(), Programs()
    took, failed, fallen = [], 0, 0
    try:
        neighbour(programs, net, ms)
        daemon(programs, net, ms)
        if not wait_for_route(net):
            return "no session"
        for _ in range(trials):
            # BFD comes up after BGP, at a random moment of its interval.
            time.sleep(2.5 + random.random() * ms / 1000)
            if not net.has_route():
                fallen += 1
                if not wait_for_route(net):
                    return f"not back after {len(took)} cuts"
                continue
            net.drain()
            begun = time.monotonic()
            net.plug(False)
            gone = net.until_route(False, 10)
            net.plug(True)
            if gone is None:
                failed += 1
            else:
                took.append((gone - begun) * 1000)
            if not wait_for_route(net):
                return f"not back after {len(took)} cuts"
    finally:
        programs.close()
        net.close()
    if not took:
        return "never"
    took.sort()
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    also = f", {failed} not within 10 s" if failed else ""
    also += f", {fallen} times fallen of itself before" if fallen else ""
    return f"{statistics.median(took):.0f} ms, {p99:.0f} ms (n = {len(took)}{also})"


def alarms(options):
    """Six busy processes, and routes that come and go, beside sessions of 3 x 50 ms: how often the route leaves the kernel."""
    for name in options.only:
        net, programs = Net(), Programs()
        busy = []
        try:
            neighbour(programs, net, 50)
            DAEMONS[name](programs, net, 50)
            if not wait_for_route(net):
                print(f"| {name} | no session |")
                continue
            time.sleep(5)
            net.drain()
            busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(6)]
            end, gone, n = time.monotonic() + options.seconds, 0, 0
            while time.monotonic() < end:
                # Churn in the kernel's table, which every routing daemon is told of.
                sh(f"ip -n {net.us} route add 10.200.{n % 250}.0/24 via 10.66.0.2; ip -n {net.us} route del 10.200.{n % 250}.0/24", check=False)
                n += 1
                if net.until_route(False, 0.05) is not None:
                    gone += 1
            print(f"| {name} | {gone} in {options.seconds:.0f} s, beside {n} routes that came and went |", flush=True)
        finally:
            for child in busy:
                child.kill()
                child.wait()
            programs.close()
            net.close()
    print(machine())


def cpu_of(run_dir_programs, names):
    """Seconds of all processes of these names that we started."""
    total = 0.0
    for child in run_dir_programs:
        try:
            fields = open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            pass
    return total


def crowd(options):
    for name in options.only:
        net, programs = Net(), Programs()
        try:
            them = neighbour(programs, net, 50, options.sessions)
            DAEMONS[name](programs, net, 50, options.sessions)
            if not wait_for_route(net):
                print(f"| {name} | no session |")
                continue
            time.sleep(20)
            ours = [child for child in programs.all if child is not them]
            before = cpu_of(ours, name)
            net.drain()
            time.sleep(options.seconds)
            spent = cpu_of(ours, name) - before
            lost = "" if net.has_route() else ", and the route was lost"
            print(f"| {name} | {spent / options.seconds * 100:.1f} % of a core{lost} |", flush=True)
        finally:
            programs.close()
            net.close()
    print(f"{options.sessions} sessions at 50 ms, {options.seconds:.0f} s; {machine()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["detect", "alarms", "crowd"])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--intervals", type=lambda text: [int(ms) for ms in text.split(",")], default=[300, 50, 10])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(DAEMONS))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("namespaces need root")
    {"detect": detect, "alarms": alarms, "crowd": crowd}[options.what](options)


if __name__ == "__main__":
    main()
