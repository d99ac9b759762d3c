#!/usr/bin/env python3
"""How long after the first IPv4 route was deleted here the first one is written again: milliseconds, into FILE.

  ip netns exec NS first_repair.py FILE &

Waits at most a minute for each. Hears deletions until the first, then only new routes, and ends with the first of those.
"""
import ctypes
import select
import socket
import struct
import sys
import time

NEWROUTE, DELROUTE = 24, 25


def only(sock, kind):
    """A classic BPF filter: messages of this type, and no others."""
    code = [(0x28, 0, 0, 4), (0x15, 0, 1, socket.htons(kind)), (6, 0, 0, 0xffffffff), (6, 0, 0, 0)]
    program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *c) for c in code))
    sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HxxxxxxP', len(code), ctypes.addressof(program)))


def first(sock, kind):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([sock], [], [], end - time.monotonic())[0]:
            try:
                if struct.unpack_from('H', sock.recv(65536), 4)[0] == kind:
                    return time.monotonic()
            except OSError:     # ENOBUFS: there was more of it
                pass
    return None


sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
only(sock, DELROUTE)
sock.bind((0, 1 << 6))          # RTMGRP_IPV4_ROUTE
begun = first(sock, DELROUTE)
only(sock, NEWROUTE)
again = first(sock, NEWROUTE) if begun else None
with open(sys.argv[1], 'w') as f:
    f.write(f'{(again - begun) * 1000:.1f}' if again else 'never')
