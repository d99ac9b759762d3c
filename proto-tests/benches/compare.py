#!/usr/bin/env python3
"""The README's table: every scenario over every installed daemon, in one run on one machine.

  sudo proto-tests/benches/compare.py                       # all, medians of 3
  sudo proto-tests/benches/compare.py --quick               # as much of it as half an hour holds
  sudo proto-tests/benches/compare.py --only S1,S4 --repeat 1 --daemons catbird,bird2
  sudo BIRD1=/path/to/bird proto-tests/benches/compare.py --only S6    # the kernel's table

Everything is run round by round: each scenario over all daemons, then all again, so that
a disturbance of the machine meets all alike and a run that is cut short (--minutes) lacks
repetitions before it lacks cells. A cell is the median of its runs; what failed is not tried again. Behind the
first figure of another daemon stands how many times ours it is. Progress goes to standard
error, each run's JSON line to --log, table and goals to standard output.
BIRD 1.6 and 2 exclude each other as packages: `apt-get download bird && dpkg -x bird_1*.deb
/tmp/bird16`, and BIRD1=/tmp/bird16/usr/sbin/bird in the environment.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DAEMONS = ['catbird', 'bird1', 'bird2', 'frr', 'gobgp', 'openbgpd', 'nullrr']

WRITERS = ['ipbatch', 'raw']     # they take part in S6
S6 = [('CPU', 'cpu_s', 's', 2), ('withdraw CPU', 'down_cpu_s', 's', 2), ('repair begins', 'repair_start_ms', 'ms', 0),
      ('all back', 'repair_s', 's', 1), ('repair CPU', 'repair_cpu_s', 's', 2)]

# name, scenario, n, more arguments, the columns (title, key, unit, digits), daemons that cannot take it
SCENARIOS = [
    ('S1 full table, 989 k routes in and out', 'S1', 0, [], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0)], []),
    ('S1one, one prefix an UPDATE', 'S1one', 0, [], [('CPU', 'cpu_s', 's', 2)], ['openbgpd']),
    ('S2a 30 eBGP peers x 10 k, all to all', 'S2a', 0, [], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0)], []),
    ('S2b 100 eBGP peers x 1 k, all to all', 'S2b', 0, [], [('CPU', 'cpu_s', 's', 2)], []),
    ('S3 node of a 1,000-node mesh, boot', 'S3', 1000, ['--idle', '60'], [('CPU', 'cpu_s', 's', 2), ('RSS', 'rss_mb', 'MB', 0),
                                                                         ('idle CPU a minute', 'idle_cpu_fine_per_min', 's', 3)], []),
    ('S4 reflector, 1,000 clients x 4', 'S4', 1000, [], [('CPU', 'cpu_s', 's', 2), ('set-up', 'est_cpu_s', 's', 2),
                                                        ('RSS', 'rss_mb', 'MB', 0)], []),
    ('S5 1,000 blocks flap, 500 clients', 'S5', 500, [], [('CPU', 'flap_cpu_fine', 's', 2), ('p99', 'ann_p99_ms', 'ms', 0)], ['gobgp']),
    ('S5one 1 block flaps, 500 clients', 'S5one', 500, [], [('CPU', 'flap_cpu_fine', 's', 2), ('p99', 'ann_p99_ms', 'ms', 1)], []),
    ('S6 100 k routes into the kernel', 'S6', 100000, [], S6, ['gobgp', 'openbgpd', 'nullrr']),
    ('S6 1 M routes into the kernel', 'S6', 1000000, [], S6, ['gobgp', 'openbgpd', 'nullrr']),
]

# A daemon that does not reach the end of a scenario is shown at a size that it can do; the cell says so.
SMALLER = {('gobgp', 'S1'): 100_000, ('gobgp', 'S1one'): 100_000, ('gobgp', 'S2a'): 10, ('gobgp', 'S2b'): 20, ('gobgp', 'S4'): 100}

# scenario, what, factor, whose: ours is to be at most so many times theirs.
GOALS = [
    ('S1', 'cpu_s', .45, 'bird2'), ('S1', 'rss_mb', 1, 'bird2'), ('S1one', 'cpu_s', .4, 'bird2'), ('S2a', 'cpu_s', .5, 'frr'),
    ('S2b', 'cpu_s', .5, 'frr'), ('S3', 'cpu_s', .35, 'bird2'), ('S3', 'rss_mb', 1, 'bird1'), ('S3', 'idle_cpu_fine_per_min', 1, 'openbgpd'),
    ('S4', 'cpu_s', .3, 'frr'), ('S4', 'cpu_s+est_cpu_s', .1, 'frr'), ('S4', 'rss_mb', 2, 'bird2'), ('S5', 'flap_cpu_fine', .6, 'frr'),
    ('S5', 'ann_p99_ms', 1, 'frr'), ('S5one', 'flap_cpu_fine', 1, 'bird2'), ('S5one', 'ann_p99_ms', 1, 'bird2'),
]

# Runs of --quick: so long at most, and none begins after so many minutes.
QUICK_LIMIT, QUICK_MINUTES = 100, 27


def run(daemon, scenario, n, more, limit):
    cmd = [sys.executable, os.path.join(HERE, 'run.py'), '--daemon', daemon, '--scenario', scenario, '--n', str(n), '--limit', str(limit)]
    try:
        p = subprocess.run(cmd + more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit + 60)
        return json.loads(p.stdout.decode().strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as e:
        return dict(daemon=daemon, scenario=scenario, n=n, ok=False, why=f'run.py: {e}')


def median(runs, key):
    """Of those that went well; `a+b` adds two figures."""
    values = []
    for r in runs:
        parts = [r.get(k) for k in key.split('+')]
        if r.get('ok') and all(isinstance(v, (int, float)) for v in parts):
            values.append(sum(parts))
    return statistics.median(values) if values else None


def cell(runs, columns, ours=(), note=''):
    good = [r for r in runs if r.get('ok')]
    if not runs:
        return '-'
    if not good:
        return 'fails: ' + str(runs[0].get('why', '?'))[:60].replace('|', '/') + note
    text = []
    for _, key, unit, digits in columns:
        if key == 'repair_s' and any(r.get('repair_ok') is False for r in good):
            text.append(f'stays at {good[0].get("repair_count", 0) // 1000} k')
            continue
        value, base = median(good, key), median(ours, key)
        shown = f'{value:.{digits}f} {unit}' if value is not None else '-'
        if value and base and not text and not note:
            shown += f' ({value / base:.1f}x)'
        text.append(shown)
    return ', '.join(text) + note


def goals(runs):
    """How we stand against each goal, where both sides were measured."""
    for scenario, key, factor, rival in GOALS:
        ours, theirs = (median(runs.get((scenario, d), []), key) for d in ('catbird', rival))
        if ours is not None and theirs:
            ratio = ours / theirs
            yield f'{scenario} {key}: {ours:.3g} is {ratio:.2f} x {rival}\'s {theirs:.3g}, goal {factor}: {"met" if ratio <= factor else "MISSED"}'


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
    ap.add_argument('--minutes', type=float, default=0, help='begin no run after so many minutes')
    ap.add_argument('--quick', action='store_true', help='all scenarios but those of a million kernel routes, in half an hour')
    ap.add_argument('--log', default='/tmp/catbird-compare.jsonl')
    a = ap.parse_args()
    if a.quick:
        a.limit, a.minutes = min(a.limit, QUICK_LIMIT), a.minutes or QUICK_MINUTES
    end = time.monotonic() + a.minutes * 60 if a.minutes else float('inf')
    installed = subprocess.run([sys.executable, os.path.join(HERE, 'run.py'), '--list'], stdout=subprocess.PIPE, check=True).stdout.decode()
    versions = dict(l.split(' ', 1) for l in installed.splitlines())
    daemons = [d for d in a.daemons.split(',') if 'not installed' not in versions.get(d, 'not installed')]
    wanted = [s for s in SCENARIOS if (not a.only or s[1] in a.only.split(',')) and a.n in (0, s[2])]
    if a.quick:
        wanted = [(*s[:3], ['--idle', '30'] if s[1] == 'S3' else s[3], *s[4:]) for s in wanted if s[2] < 1_000_000]
    runs = {(s[0], d): [] for s in wanted for d in daemons}
    with open(a.log, 'a') as log:
        for turn in range(a.repeat):
            for title, scenario, n, more, columns, without in wanted:
                without = without if scenario == 'S6' else without + WRITERS
                for d in (d for d in daemons if d not in without):
                    known = runs[title, d]
                    if time.monotonic() > end or (known and not known[-1].get('ok')):
                        continue
                    r = run(d, scenario, SMALLER.get((d, scenario), n), more, max(a.limit, n // 1000))
                    known.append(r)
                    log.write(json.dumps(r) + '\n')
                    log.flush()
                    print(f'{scenario} {d} {turn + 1}/{a.repeat}: {cell([r], columns)}', file=sys.stderr, flush=True)
    rows = []
    for title, scenario, _, _, columns, _ in wanted:
        def shown(d):
            small = SMALLER.get((d, scenario))
            ours = [] if d == 'catbird' else runs.get((title, 'catbird'), [])
            return cell(runs[title, d], columns, ours, f' (n = {small:,})' if small and runs[title, d] else '')
        rows.append(f'| {title}: {", ".join(c[0] for c in columns)} | ' + ' | '.join(map(shown, daemons)) + ' |')
    most = max((len(r) for r in runs.values()), default=0)
    print(f'{machine()}; medians of up to {most} runs; {"; ".join(f"{d}: {versions[d]}" for d in daemons)}\n')
    print('| scenario | ' + ' | '.join(daemons) + ' |')
    print('|---' * (len(daemons) + 1) + '|')
    print('\n'.join(rows) + '\n')
    print('\n'.join(goals({(s[1], d): runs[s[0], d] for s in wanted if s[1] != 'S6' for d in daemons})))


if __name__ == '__main__':
    main()
