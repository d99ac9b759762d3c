"""S6 without BGP: the same routes written and removed by `ip -batch`, and by a writer that does nothing else (`loadgen nl`).

What they cost is what the kernel costs; a daemon can only add to it."""
import json
import os
import resource
import subprocess
import tempfile
import time

NAMES = ['ipbatch', 'raw']


def routes(n):
    for i in range(n):
        a = 0x14000000 + i * 64
        yield f'{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/26'


def timed(argv):
    """CPU and wall seconds of a child."""
    a, t = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    b = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime, 2), round(time.monotonic() - t, 2)


def ipbatch(ns, n, tmp):
    add, remove = (tempfile.NamedTemporaryFile('w', dir=tmp, suffix='.batch') for _ in range(2))
    with add, remove:
        for net in routes(n):
            add.write(f'route add {net} via 10.99.1.10 dev d0 proto 12\n')
            remove.write(f'route del {net}\n')
        add.flush(), remove.flush()
        cpu, wall = timed(['ip', '-n', ns, '-batch', add.name])
        down_cpu, down = timed(['ip', '-n', ns, '-batch', remove.name])
    version = subprocess.run(['ip', '-V'], stdout=subprocess.PIPE).stdout.decode().strip()
    return dict(version=version, cpu_s=cpu, wall_s=wall, down_cpu_s=down_cpu, down_s=down)


def raw(ns, n, loadgen):
    link = subprocess.run(['ip', '-n', ns, '-o', 'link', 'show', 'd0'], stdout=subprocess.PIPE, check=True).stdout.decode()
    argv = ['ip', 'netns', 'exec', ns, loadgen, 'nl', '--count', str(n), '--plen', '26', '--oif', link.split(':')[0], '--batch', '256']
    r = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()[-1])
    return dict(version='loadgen nl, 256 a send, in order', cpu_s=r['add_cpu_s'], wall_s=r['add_s'], down_cpu_s=r['del_cpu_s'], down_s=r['del_s'],
                errors=r['add_errs'] + r['del_errs'])


def one(name, n, a, net, loadgen):
    n = n or 100_000
    with net(1) as namespaces:
        r = ipbatch(namespaces.d, n, a.tmp) if name == 'ipbatch' else raw(namespaces.d, n, loadgen())
    return dict(dict(daemon=name, scenario='S6', n=n, ok=not r.get('errors')), **r, load1=round(os.getloadavg()[0], 1))
