from .base import Base, Ctx, find, here, out


class Daemon(Base):
    name = 'catbird'
    fib = True
    proto = 186

    def binary(self):
        return find('CATBIRD', here('target/release/catbird'))

    def version(self):
        return out([self.binary(), '--version'])

    def config(self, c: Ctx):
        t = ['[node]', 'name = "bench"', f'asn = {c.asn}', f'router_id = "{c.rid}"', f'addresses = ["{c.addr}"]',
             '[listen]', f'addresses = ["{c.addr}"]', f'port = {c.port}',
             '[fib]', f'enabled = {str(c.kernel).lower()}',
             '[metrics]', 'listen = ""', '[control]', f'socket = "{c.path("catbird.sock")}"', '[log]', 'level = "warn"']
        if c.own:
            t += ['[pods]', 'blocks = [%s]' % ', '.join(f'"{p}"' for p in c.own)]
        common = ['passive = true', f'hold_time = "{c.hold}s"', 'graceful_restart = false',
                  'families = ["ipv4-unicast", "ipv6-unicast"]' if c.v6 else 'families = ["ipv4-unicast"]']
        clients = [p for p in c.peers if p.rr]
        if clients:
            t += ['[cluster]', 'mode = "route-reflector"'] + common
            t += ['[[cluster.nodes]]', 'name = "bench"', f'addresses = ["{c.addr}"]', f'cluster_id = "{c.rid}"']
            for p in clients:
                t += ['[[cluster.nodes]]', f'name = "n{p.addr}"', f'addresses = ["{p.addr}"]']
        t += ['[[peer_group]]', 'name = "bench"', 'import = "all"', 'export = "all"'] + common
        for p in c.peers:
            if not p.rr:
                t += ['[[peer]]', f'name = "p{p.addr}"', 'group = "bench"', f'address = "{p.addr}"', f'asn = {p.asn}']
        return '\n'.join(t) + '\n'

    def start(self, c: Ctx):
        conf = c.write('catbird.toml', self.config(c))
        return [c.popen([self.binary(), 'run', '--config', conf])]
