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
        families = '["ipv4-unicast", "ipv6-unicast"]' if c.v6 else '["ipv4-unicast"]'
        t += ['[[peer_group]]', 'name = "bench"', 'passive = true', f'hold_time = "{c.hold}s"', f'families = {families}',
              'graceful_restart = false', 'import = "all"', 'export = "all"']
        for i, p in enumerate(c.peers):
            t += ['[[peer]]', f'name = "p{i}"', 'group = "bench"', f'address = "{p.addr}"', f'asn = {p.asn}']
            t += ['rr_client = true'] if p.rr else []
        return '\n'.join(t) + '\n'

    def start(self, c: Ctx):
        conf = c.write('catbird.toml', self.config(c))
        return [c.popen([self.binary(), 'run', '-c', conf])]
