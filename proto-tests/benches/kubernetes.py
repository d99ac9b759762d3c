#!/usr/bin/env python3
"""What following a cluster's API costs a daemon: memory, octets from the API, CPU time an event, and the size of the binary.

    proto-tests/kubernetes/parts build        # once
    proto-tests/benches/kubernetes.py [--nodes 5000] [--mesh 1000]

A real kube-apiserver with so many Nodes of 15 kB each, of which three are reflectors. Nodes say that they live every five minutes, as kubelets do; here each says it
once, quicker, and octets are those of five minutes. Each daemon is measured against one that has the same neighbours from a file. All addresses are on loopback,
and nobody dials. The binary is target/release/catbird unless CATBIRD names another. Prints rows for the README, with the machine.
"""

import argparse
import http.client
import ipaddress
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = os.path.join(HERE, "..", "kubernetes", "parts")
HEARTBEAT = 300
REFLECTORS = 3
# Nobody dials: what a thousand refused connections cost is another matter.
PASSIVE = "passive = true\n"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def address(i):
    return str(ipaddress.ip_address("127.64.0.1") + i)


def node(i):
    """As a kubelet and a controller leave it, with fifty images."""
    r = random.Random(i)
    digits = lambda n: "%0*x" % (n, r.getrandbits(4 * n))
    image = lambda k: f"registry.example.net/team-{k % 7}/service-{k:02d}-with-a-name"
    images = [{"names": [f"{image(k)}@sha256:{digits(64)}", f"{image(k)}:v1.{k}.{i % 10}-{digits(8)}"], "sizeBytes": r.randrange(10**7, 10**9)} for k in range(50)]
    condition = lambda kind, status: {"type": kind, "status": status, "reason": "Kubelet" + kind, "message": "kubelet says " + kind, "lastHeartbeatTime": "2026-11-01T00:00:00Z"}
    labels = {"kubernetes.io/hostname": f"node-{i:05d}", "topology.kubernetes.io/zone": "abc"[i % 3]} | ({"rr": "true"} if i < REFLECTORS else {})
    block = f"{ipaddress.ip_address('100.64.0.0') + i * 256}/24"
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{i:05d}", "labels": labels},
        "spec": {"podCIDR": block, "podCIDRs": [block]},
        "status": {"addresses": [{"type": "InternalIP", "address": address(i)}], "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"}, "images": images,
                   "conditions": [condition(kind, "False") for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")] + [condition("Ready", "True")]},
    }


class Api:
    """kube-apiserver and etcd, with the nodes in them."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        # etcd's own peers are at the next port.
        subprocess.run([PARTS, "up", folder, str(self.port), str(random.randrange(20000, 30000, 2))], check=True, stdout=subprocess.DEVNULL)
        self.tls = ssl.create_default_context(cafile=f"{folder}/pki/trust.crt")
        self.tls.load_cert_chain(f"{folder}/pki/admin.crt", f"{folder}/pki/admin.key")

    def each(self, numbers, request, rate=None):
        """Over four connections; at a rate, if one is asked for."""
        began = time.time()

        def work(worker):
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls)
            for k, i in enumerate(numbers[worker::4]):
                if rate:
                    time.sleep(max(0, began + (k * 4 + worker) / rate - time.time()))
                method, path, body, kind = request(i)
                connection.request(method, path, json.dumps(body), {"Content-Type": kind})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status not in (200, 201):
                    sys.exit(f"{method} {path}: {answer.status} {said[:300]}")

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    def create(self, numbers):
        self.each(numbers, lambda i: ("POST", "/api/v1/nodes", node(i), "application/json"))

    def heartbeats(self, count, rate):
        now = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = lambda: {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now()}]}}
        request = lambda i: ("PATCH", f"/api/v1/nodes/node-{i:05d}/status", ready(), "application/strategic-merge-patch+json")
        self.each(list(range(count)), request, rate)

    def down(self):
        subprocess.run([PARTS, "down", self.folder], check=False, stdout=subprocess.DEVNULL)


class Daemon:
    running = []

    def __init__(self, binary, folder, name, settings):
        self.binary, self.socket, self.log = binary, f"{folder}/{name}.sock", open(f"{folder}/{name}.log", "w")
        config = f"{folder}/{name}.toml"
        with open(config, "w") as f:
            f.write(f"[node]\nname = \"node-00100\"\nasn = 64512\n[listen]\naddresses = [\"{address(100)}\"]\nport = {free_port()}\n[fib]\nenabled = false\n"
                    f"[metrics]\nlisten = \"\"\n[control]\nsocket = \"{self.socket}\"\n{settings}")
        self.process = subprocess.Popen([binary, "run", "-c", config], stdout=self.log, stderr=self.log)
        Daemon.running.append(self)

    def ask(self, *words):
        out = subprocess.run([self.binary, "--socket", self.socket, "--json", *words], capture_output=True, text=True)
        return json.loads(out.stdout) if out.returncode == 0 and out.stdout else {}

    def until_peers(self, count):
        limit = time.time() + 300
        while self.ask("status").get("peers_configured", self.ask("status").get("peers", -1)) != count:
            if time.time() > limit or self.process.poll() is not None:
                sys.exit(f"not {count} neighbours: {self.ask('status')}; see {self.log.name}")
            time.sleep(0.5)
        time.sleep(10)

    def memory(self):
        """Resident, its peak, and the anonymous part: how many pages of the program itself are resident depends on how it lies in the page cache."""
        with open(f"/proc/{self.process.pid}/status") as f:
            lines = dict(line.split(":", 1) for line in f)
        return [int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM", "RssAnon")]

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def api(self):
        """Octets and events of all watches."""
        rows = self.ask("status").get("sources") or []
        return sum(row["octets"] for row in rows), sum(row["events"] for row in rows)

    def end(self):
        self.process.terminate()
        self.process.wait()


def measured(api, daemon, nodes):
    """Octets a second at the pace of kubelets, and CPU time an event: each node says once that it lives, quicker than it would."""
    idle = daemon.cpu()
    time.sleep(10)
    idle = (daemon.cpu() - idle) / 10
    (octets, events), cpu, began = daemon.api(), daemon.cpu(), time.time()
    api.heartbeats(nodes, 300)
    time.sleep(2)
    cpu = daemon.cpu() - cpu - idle * (time.time() - began)
    octets, events = (now - before for now, before in zip(daemon.api(), (octets, events)))
    return octets / HEARTBEAT, cpu / events * 1e6 if events >= 100 else None


def listed(numbers, mode):
    own = {i: ", cluster_id = \"10.0.0.1\"" for i in range(REFLECTORS)} if mode else {}
    nodes = ",\n".join(f"{{ name = \"node-{i:05d}\", addresses = [\"{address(i)}\"]{own.get(i, '')} }}" for i in numbers)
    return f"[cluster]\n{PASSIVE}{mode}nodes = [{nodes}]\n"


def stripped(binary, folder):
    copy = f"{folder}/catbird"
    shutil.copy(binary, copy)
    subprocess.run(["strip", copy], check=True)
    return copy, os.path.getsize(copy) / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--mesh", type=int, default=1000, help="of a mesh whose octets are counted")
    asked = parser.parse_args()
    # So that nothing outlives it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    binary = os.environ.get("CATBIRD", os.path.join(HERE, "..", "..", "target", "release", "catbird"))
    folder = tempfile.mkdtemp(prefix="catbird-bench-")
    binary, size = stripped(binary, folder)
    print(f"binary, stripped: {size:.1f} MiB")
    print("| nodes | mode | neighbours | RSS, MiB | peak | the same from a file | anonymous | the same from a file | API, octets a second | CPU an event, µs |\n|---|---|---|---|---|---|---|---|---|---|")
    reflector = "mode = \"route-reflector\"\n"
    api = Api(f"{folder}/api")
    try:
        created = 0
        for count in sorted({asked.mesh, asked.nodes}):
            api.create(list(range(created, count)))
            created = count
            kubernetes = f"[kubernetes]\nflavour = \"nodes\"\nkubeconfig = \"{folder}/api/admin.kubeconfig\"\nstate_file = \"{folder}/state-{count}\"\n"
            for mode, settings, neighbours, file in (
                ("mesh", kubernetes + f"[cluster]\n{PASSIVE}", count - 1, listed(range(count), "")),
                ("reflectors", kubernetes + f"reflectors = \"rr=true\"\n[cluster]\n{PASSIVE}{reflector}", REFLECTORS, listed([*range(REFLECTORS), 100], reflector)),
            ):
                plain = Daemon(binary, folder, f"file-{mode}-{count}", file)
                plain.until_peers(neighbours)
                base, _, base_own = plain.memory()
                plain.end()
                daemon = Daemon(binary, folder, f"api-{mode}-{count}", settings)
                daemon.until_peers(neighbours)
                rate, event = measured(api, daemon, count)
                rss, peak, own = daemon.memory()
                daemon.end()
                print(f"| {count} | {mode} | {neighbours} | {rss:.1f} | {peak:.1f} | {base:.1f} ({rss - base:+.1f}) | {own:.1f} | {base_own:.1f} ({own - base_own:+.1f}) | {rate:,.0f} | {'-' if event is None else f'{event:.0f}'} |", flush=True)
    finally:
        for daemon in Daemon.running:
            daemon.end()
        api.down()
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}")


if __name__ == "__main__":
    main()
