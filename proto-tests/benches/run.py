#!/usr/bin/env python3
"""Side-by-side BGP daemon benchmark. One call = one run = one JSON line.

  run.py --daemon bird2 --scenario S4 --n 500
  run.py --daemon frr --scenario S6 --n 100000 --repeat 3
  run.py --list

Needs root (network namespaces). The daemon runs in one netns, the load
generator in another, joined by a veth pair: 10.99.0.1/16 <-> 10.99.1.10 ...
`compare.py` runs the scenarios over all daemons and prints the README's table.
Environment: BENCH_DATA (folder of table4.bin, made by gen_table.py), BENCH_TARGET
(cargo target), <NAME> (path of a daemon's binary, see daemons/*.py).
"""
import argparse
import importlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import writers  # noqa: E402
sys.modules.setdefault('run', sys.modules[__name__])
ROOT = os.path.normpath(os.path.join(HERE, '..', '..'))
TARGET = os.environ.get('BENCH_TARGET', os.path.join(ROOT, 'target'))
DATA = os.environ.get('BENCH_DATA', '/tmp/bgpbench-data')
DAEMONS = ['catbird', 'bird1', 'bird2', 'frr', 'gobgp', 'openbgpd', 'nullrr']
AS = 65000


def loadgen():
    p = os.path.join(TARGET, 'release', 'examples', 'loadgen')
    if not os.path.exists(p):
        subprocess.run(['cargo', 'build', '--release', '-q', '-p', 'proto-tests', '--example', 'loadgen'], cwd=ROOT, check=True,
                       env=dict(os.environ, CARGO_TARGET_DIR=TARGET))
    return p


def peer_ip(i):
    return f'10.99.{1 + i // 200}.{10 + i % 200}'


def sh(*a, check=True, inp=None, quiet=True):
    return subprocess.run(a, check=check, input=inp, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL if quiet else None)


class Net:
    """Two namespaces and a veth pair, gone at exit."""

    def __init__(self, n):
        k = os.getpid()
        self.d, self.l = f'bbd{k}', f'bbl{k}'
        sh('ip', 'netns', 'add', self.d)
        sh('ip', 'netns', 'add', self.l)
        sh('ip', 'link', 'add', 'd0', 'netns', self.d, 'type', 'veth', 'peer', 'name', 'l0', 'netns', self.l)
        # one neighbour entry per peer: the default table (1024, machine-wide) is too small for N=1000
        for f, v in (('gc_thresh3', 16384), ('gc_thresh2', 8192), ('gc_thresh1', 4096)):
            p = f'/proc/sys/net/ipv4/neigh/default/{f}'
            try:
                if int(open(p).read()) < v:
                    open(p, 'w').write(str(v))
            except OSError:
                pass
        for ns, dev in ((self.d, 'd0'), (self.l, 'l0')):
            sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
            # one queue, segmentation offload left on: large writes cross in 64 kB pieces
            sh('ip', '-n', ns, 'link', 'set', dev, 'up')
        for ns in (self.d, self.l):
            subprocess.run(['ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0',
                            'net.ipv6.conf.d0.accept_dad=0', 'net.ipv6.conf.l0.accept_dad=0'],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sh('ip', '-n', self.d, 'addr', 'add', '10.99.0.1/16', 'dev', 'd0')
        sh('ip', '-n', self.d, 'addr', 'add', 'fd99::1/64', 'dev', 'd0', 'nodad', check=False)
        sh('ip', '-n', self.l, 'addr', 'add', 'fd99::1:10/64', 'dev', 'l0', 'nodad', check=False)
        b = '\n'.join(f'addr add {peer_ip(i)}/16 dev l0' for i in range(n)) + '\n'
        sh('ip', '-n', self.l, '-batch', '-', inp=b.encode())

    def __enter__(self):
        return self

    def __exit__(self, *a):
        for ns in (self.d, self.l):
            sh('ip', 'netns', 'del', ns, check=False)


def tree(pid):
    """pid and all its descendants."""
    kids = {}
    for d in os.listdir('/proc'):
        if d.isdigit():
            try:
                s = open(f'/proc/{d}/stat').read()
                kids.setdefault(int(s[s.rfind(')') + 2:].split()[1]), []).append(int(d))
            except OSError:
                pass
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def listening(ns, port):
    r = subprocess.run(['ip', 'netns', 'exec', ns, 'ss', '-Hltn', f'sport = :{port}'], stdout=subprocess.PIPE)
    return bool(r.stdout.strip())


def fib_count(pid):
    n = 0
    for l in open(f'/proc/{pid}/net/fib_triestat'):
        if l.strip().startswith('Prefixes:'):
            n = max(n, int(l.split(':')[1]))
    return n


def scenario(s, n, a):
    """-> (number of peers, ctx settings, loadgen arguments)"""
    lg = ['--hold', '90']
    ibgp = lambda i, rr=False: (peer_ip(i), AS, rr)
    if s in ('S1', 'S1v6', 'S1one'):
        size = n or 1_000_000
        peers = [(peer_ip(0), 65001, False), (peer_ip(1), 65002, False)]
        lg += ['--mode', 'table', '--n', '2', '--asn-base', '65001', '--table4', str(size), '--data', DATA]
        if s == 'S1v6':
            lg += ['--table6', '220000']
        if s == 'S1one':
            lg += ['--pack', '1']
        return peers, dict(v6=s == 'S1v6'), lg + ['--timeout', '300']
    if s in ('S2a', 'S2b'):
        np, per = (30, 10000) if s == 'S2a' else (100, 1000)
        np = n or np
        peers = [(peer_ip(i), 65001 + i, False) for i in range(np)]
        return peers, {}, lg + ['--mode', 'all', '--n', str(np), '--asn-base', '65001', '--per-peer', str(per), '--plen', '24']
    if s == 'S3':
        np = n or 100
        blocks = 4
        # the daemon's own blocks lie in loadgen's universe right after those of the peers
        base = 0x14000000 + np * blocks * 64
        own = ['%d.%d.%d.%d/26' % tuple((base + k * 64).to_bytes(4, 'big')) for k in range(4)]
        peers = [ibgp(i) for i in range(np)] + [(peer_ip(np), 64999, False)]
        return peers, dict(own=own), lg + ['--mode', 'mesh', '--n', str(np), '--per-peer', str(blocks), '--own', '4',
                                           '--monitor-asn', '64999', '--eager', '--idle', str(a.idle)]
    if s == 'S4':
        np = n or 100
        return [ibgp(i, True) for i in range(np)], {}, lg + ['--mode', 'all', '--n', str(np), '--per-peer', '4']
    if s in ('S5', 'S5one'):
        np = n or 500
        m, k = (1000, 20) if s == 'S5' else (1, 100)
        return [ibgp(i, True) for i in range(np)], {}, lg + ['--mode', 'all', '--n', str(np), '--per-peer', '1', '--flap', str(k),
                                                             '--flap-blocks', str(m)]
    if s == 'S6':
        size = n or 100_000
        return [ibgp(0)], dict(kernel=True), lg + ['--mode', 'sink', '--n', '1', '--per-peer', str(size), '--plen', '26',
                                                   '--fib-want', str(size), '--timeout', str(max(400, size // 1000)), '--stall', '90']
    raise SystemExit(f'unknown scenario {s}')


def one(name, s, n, a):
    from daemons.base import Ctx, Peer
    if name in writers.NAMES:
        if s != 'S6':
            return dict(daemon=name, scenario=s, n=n, ok=False, why='writes routes and does nothing else')
        return writers.one(name, n, a, Net, loadgen)
    d = importlib.import_module(f'daemons.{name}').Daemon()
    r = dict(daemon=name, scenario=s, n=n)
    if not d.available():
        return dict(r, ok=False, why='not installed')
    if s.startswith('S6') and not d.fib:
        return dict(r, ok=False, why='no kernel FIB support on Linux')
    peers, kw, lg = scenario(s, n, a)
    if kw.get('own') and not d.originate:
        kw['own'] = []
        lg[lg.index('--own') + 1] = '0'
        r['note'] = 'originates nothing: learning only'
    r['version'] = d.version()
    work = tempfile.mkdtemp(prefix=f'bb-{name}-', dir=a.tmp)
    os.chmod(work, 0o755)
    procs = []
    with Net(len(peers)) as net:
        try:
            c = Ctx(work=work, ns=net.d, peers=[Peer(*p) for p in peers], **kw)
            t0 = time.time()
            procs = d.start(c)
            while not listening(net.d, c.port):
                if any(p.poll() is not None for p in procs):
                    raise RuntimeError('daemon ended: ' + tail(work))
                if time.time() - t0 > 60:
                    raise RuntimeError('does not listen: ' + tail(work))
                time.sleep(0.05)
            time.sleep(0.5 + len(peers) / 1000)
            r['start_s'] = round(time.time() - t0, 2)
            d.after_up(c)
            pids = [q for p in procs for q in tree(p.pid)]
            cmd = [loadgen(), 'play'] + lg + ['--pids', ','.join(map(str, pids))]
            if s == 'S6':
                # quick look, so that the base count is that of the idle daemon
                cmd += ['--fib-pid', str(procs[0].pid), '--fib-base', str(fib_count(procs[0].pid))]
                # `ip route flush proto X` fails on routes that use nexthop objects (FRR), so a
                # writer of our own deletes them by destination only
                first = os.path.join(work, 'first')
                cmd += ['--fib-timeout', str(max(120, (n or 0) // 4000)), '--fib-flush',
                        f'ip netns exec {net.d} {HERE}/first_repair.py {first} & sleep 0.3; '
                        f'ip netns exec {net.d} {loadgen()} nl --only-del --batch 512 --plen 26 --count {n or 100_000} >/dev/null']
            if a.lg:
                cmd += a.lg.split()
            p = subprocess.run(['ip', 'netns', 'exec', net.l] + cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               timeout=a.limit)
            try:
                r.update(json.loads(p.stdout.decode().strip().splitlines()[-1]))
            except (ValueError, IndexError):
                r.update(ok=False, why='loadgen: ' + p.stderr.decode()[-400:])
            if s == 'S6' and os.path.exists(first):
                ms = open(first).read()
                r['repair_start_ms'] = float(ms) if ms != 'never' else None
            if any(q.poll() is not None for q in procs):
                r.update(ok=False, died=True, log=tail(work))
            elif not r.get('ok'):
                r['log'] = tail(work)
        except subprocess.TimeoutExpired:
            r.update(ok=False, why=f'over the {a.limit} s limit')
        except RuntimeError as e:
            r.update(ok=False, why=str(e))
        finally:
            pids = [q for p in procs for q in tree(p.pid)]
            for sig in (signal.SIGTERM, signal.SIGKILL):
                for q in pids:
                    try:
                        os.kill(q, sig)
                    except OSError:
                        pass
                for p in procs:
                    try:
                        p.wait(3)
                    except subprocess.TimeoutExpired:
                        pass
            if not a.keep:
                shutil.rmtree(work, ignore_errors=True)
    r['load1'] = round(os.getloadavg()[0], 1)
    return r


def tail(work):
    t = []
    for f in sorted(os.listdir(work)):
        if f.endswith('.log') or f.endswith('.out'):
            s = open(os.path.join(work, f), errors='replace').read().strip()
            if s:
                t.append(f'{f}: {s[-300:]}')
    return ' | '.join(t)[-700:]


def _term(*_):
    raise SystemExit(1)


def main():
    signal.signal(signal.SIGTERM, _term)   # so that netns and daemon are cleaned up
    ap = argparse.ArgumentParser()
    ap.add_argument('--daemon')
    ap.add_argument('--scenario')
    ap.add_argument('--n', type=int, default=0)
    ap.add_argument('--repeat', type=int, default=1)
    ap.add_argument('--idle', type=int, default=60, help='S3: seconds of idle watching')
    ap.add_argument('--limit', type=int, default=600, help='seconds for one run')
    ap.add_argument('--tmp', default=None)
    ap.add_argument('--keep', action='store_true')
    ap.add_argument('--lg', default='', help='more loadgen arguments')
    ap.add_argument('--list', action='store_true')
    a = ap.parse_args()
    if a.list:
        for n in DAEMONS:
            d = importlib.import_module(f'daemons.{n}').Daemon()
            print(n, d.version() if d.available() else 'not installed')
        for n in writers.NAMES:
            print(n, 'S6 only')
        return
    runs = []
    for _ in range(a.repeat):
        r = one(a.daemon, a.scenario, a.n, a)
        runs.append(r)
        if not r.get('ok'):
            break
    if len(runs) > 1:
        med = dict(runs[0])
        for k in runs[0]:
            v = [x[k] for x in runs if isinstance(x.get(k), (int, float)) and not isinstance(x.get(k), bool)]
            if len(v) == len(runs):
                med[k] = statistics.median(v)
        bad = [x for x in runs if not x.get('ok')]
        if bad:
            med.update(ok=False, why=bad[0].get('why'))
        med['runs'] = len(runs)
        if 'wall_s' in runs[0]:
            med['wall_all'] = [x.get('wall_s') for x in runs]
            med['cpu_all'] = [x.get('cpu_s') for x in runs]
        runs = [med]
    print(json.dumps(runs[0]))


if __name__ == '__main__':
    main()
