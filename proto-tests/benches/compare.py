#!/usr/bin/env python3
"""The README's table: every scenario over every installed daemon, in one run on one machine.

  sudo proto-tests/benches/compare.py                       # all, medians of 3
  sudo proto-tests/benches/compare.py --only S1,S4 --repeat 1 --daemons catbird,bird2
  sudo BIRD1=/path/to/bird proto-tests/benches/compare.py --only S6    # the kernel's table

Each scenario is run round by round (all daemons once, then again), so that a
disturbance of the machine meets all alike. Progress goes to standard error, each
run's JSON line to --log, the table to standard output.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DAEMONS = ['catbird', 'bird1', 'bird2', 'frr', 'gobgp', 'openbgpd', 'nullrr']

WRITERS = ['ipbatch', 'raw']     # they take part in S6
S6 = [('CPU', 'cpu_s', 's', 2), ('withdraw CPU', 'down_cpu_s', 's', 2), ('repair begins', 'repair_start_ms', 'ms', 0),
      ('all back', 'repair_s', 's', 1), ('repair CPU', 'repair_cpu_s', 's', 2)]

# name, scenario, n, more arguments, the columns (title, key, unit, digits), daemons that cannot take it
SCENARIOS = [
    ('S1 full table, 989 k routes in and out', 'S1', 0, [], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0)], ['gobgp']),
    ('S1one, one prefix an UPDATE', 'S1one', 0, [], [('CPU', 'cpu_s', 's', 2)], ['gobgp', 'openbgpd']),
    ('S2a 30 eBGP peers x 10 k, all to all', 'S2a', 0, [], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0)], []),
    ('S2b 100 eBGP peers x 1 k, all to all', 'S2b', 0, [], [('CPU', 'cpu_s', 's', 2)], []),
    ('S3 node of a 1,000-node mesh, boot', 'S3', 1000, ['--idle', '60'], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0),
                                                                         ('idle CPU a minute', 'idle_cpu_fine_per_min', 's', 3)], []),
    ('S4 reflector, 1,000 clients x 4', 'S4', 1000, [], [('CPU', 'cpu_s', 's', 2), ('set-up', 'est_cpu_s', 's', 2),
                                                        ('RSS', 'rss_mb', 'MB', 0)], ['gobgp']),
    ('S5 1,000 blocks flap, 500 clients', 'S5', 500, [], [('CPU', 'flap_cpu_fine', 's', 2), ('p99', 'ann_p99_ms', 'ms', 0)], ['gobgp']),
    ('S5one 1 block flaps, 500 clients', 'S5one', 500, [], [('CPU', 'flap_cpu_fine', 's', 2), ('p99', 'ann_p99_ms', 'ms', 1)], []),
    ('S6 100 k routes into the kernel', 'S6', 100000, [], S6, ['gobgp', 'openbgpd', 'nullrr']),
    ('S6 1 M routes into the kernel', 'S6', 1000000, [], S6, ['gobgp', 'openbgpd', 'nullrr']),
]


def run(daemon, scenario, n, more, limit):
    cmd = [sys.executable, os.path.join(HERE, 'run.py'), '--daemon', daemon, '--scenario', scenario, '--n', str(n), '--limit', str(limit)]
    try:
        p = subprocess.run(cmd + more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit + 60)
        return json.loads(p.stdout.decode().strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as e:
        return dict(daemon=daemon, scenario=scenario, n=n, ok=False, why=f'run.py: {e}')


def cell(runs, columns):
    good = [r for r in runs if r.get('ok')]
    if not runs:
        return '-'
    if not good:
        return 'fails: ' + str(runs[0].get('why', '?'))[:60].replace('|', '/')
    text = []
    for _, key, unit, digits in columns:
        if key == 'repair_s' and any(r.get('repair_ok') is False for r in good):
            text.append(f'stays at {good[0].get("repair_count", 0) // 1000} k')
            continue
        values = [r[key] for r in good if isinstance(r.get(key), (int, float))]
        text.append(f'{statistics.median(values):.{digits}f} {unit}' if values else '-')
    return ', '.join(text)


def machine():
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), '?')
    return f'{os.cpu_count()} x {cpu}, Linux {platform.release()}'


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--only', default='', help='scenarios, with commas between them')
    ap.add_argument('--daemons', default=','.join(DAEMONS + WRITERS))
    ap.add_argument('--n', type=int, default=0, help='only scenarios of this size')
    ap.add_argument('--repeat', type=int, default=3)
    ap.add_argument('--limit', type=int, default=300, help='seconds for one run')
    ap.add_argument('--log', default='/tmp/catbird-compare.jsonl')
    a = ap.parse_args()
    installed = subprocess.run([sys.executable, os.path.join(HERE, 'run.py'), '--list'], stdout=subprocess.PIPE, check=True).stdout.decode()
    versions = dict(l.split(' ', 1) for l in installed.splitlines())
    daemons = [d for d in a.daemons.split(',') if 'not installed' not in versions.get(d, 'not installed')]
    wanted = [s for s in SCENARIOS if (not a.only or s[1] in a.only.split(',')) and a.n in (0, s[2])]
    rows = []
    with open(a.log, 'a') as log:
        for title, scenario, n, more, columns, without in wanted:
            runs = {d: [] for d in daemons}
            without = without if scenario == 'S6' else without + WRITERS
            for turn in range(a.repeat):
                for d in (d for d in daemons if d not in without):
                    r = run(d, scenario, n, more, max(a.limit, n // 1000))
                    runs[d].append(r)
                    log.write(json.dumps(r) + '\n')
                    log.flush()
                    print(f'{scenario} {d} {turn + 1}/{a.repeat}: {cell([r], columns)}', file=sys.stderr, flush=True)
            heads = ', '.join(c[0] for c in columns)
            rows.append(f'| {title}: {heads} | ' + ' | '.join(cell(runs[d], columns) for d in daemons) + ' |')
    print(f'{machine()}; medians of {a.repeat}; {"; ".join(f"{d}: {versions[d]}" for d in daemons)}\n')
    print('| scenario | ' + ' | '.join(daemons) + ' |')
    print('|---' * (len(daemons) + 1) + '|')
    print('\n'.join(rows))


if __name__ == '__main__':
    main()
