"""What an adapter has to give. To add a daemon: copy bird2.py to <name>.py,
write config() and argv(); everything else is common."""
import os
import subprocess
from dataclasses import dataclass, field


@dataclass
class Peer:
    addr: str
    asn: int
    rr: bool = False          # route-reflector client


@dataclass
class Ctx:
    work: str                 # scratch folder of this run
    ns: str                   # netns of the daemon
    asn: int = 65000
    rid: str = '10.99.0.1'
    addr: str = '10.99.0.1'
    port: int = 179
    hold: int = 90
    peers: list = field(default_factory=list)
    own: list = field(default_factory=list)      # prefixes the daemon originates
    kernel: bool = False      # program learned routes into the kernel
    v6: bool = False
    env: dict = field(default_factory=dict)

    def path(self, *p):
        return os.path.join(self.work, *p)

    def write(self, name, text):
        with open(self.path(name), 'w') as f:
            f.write(text)
        os.chmod(self.path(name), 0o600)
        return self.path(name)

    def popen(self, argv, env=None, log='daemon.log'):
        e = dict(os.environ, **self.env, **(env or {}))
        f = open(self.path(log), 'wb')
        return subprocess.Popen(['ip', 'netns', 'exec', self.ns] + argv, stdout=f, stderr=f,
                                stdin=subprocess.DEVNULL, cwd=self.work, env=e)

    def run(self, argv, **kw):
        return subprocess.run(['ip', 'netns', 'exec', self.ns] + argv, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, **kw)


def here(path):
    """A path from the top of this repository."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', path)


def find(env, *cand):
    """Binary from the environment variable, or the first candidate that exists."""
    for c in ((os.environ[env],) if env in os.environ else ()) + cand:
        if c and os.path.exists(c):
            return c
    return None


class Base:
    name = '?'
    fib = False               # can program the Linux kernel
    proto = None              # rtnetlink protocol number of its routes
    rr = True
    originate = True
    note = ''

    def binary(self):
        raise NotImplementedError

    def available(self):
        return self.binary() is not None

    def version(self):
        return ''

    def start(self, c: Ctx):
        """Start the daemon; return the list of Popen. It must listen on c.addr:c.port,
        never dial out (passive) and have no advertisement delay."""
        raise NotImplementedError

    def after_up(self, c: Ctx):
        """Called once the daemon listens (e.g. to originate c.own over an API)."""


def out(argv):
    try:
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10)
        return r.stdout.decode(errors='replace').strip().splitlines()[0]
    except Exception:
        return ''
