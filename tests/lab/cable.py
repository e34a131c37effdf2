#!/usr/bin/env python3
"""A network cable in user space, between two TAP interfaces in two network namespaces.

Every frame waits `--delay` seconds and then comes out at the other end, so the two ends see the
order of crossing packets differently, as on a real path.  The queue is ordered by due time: frames
are never reordered unless a rule asks for it.  Each IPv4 packet loses `--hops` from its TTL, as if
routers stood in between.  TAP interfaces without a vnet header carry no offload: what tcpdump sees
is what a wire would carry (real checksums, segments no larger than the MTU).

Rules make the cable misbehave.  They come as JSON lines on stdin, and each is answered with "ok":
    {"do": "drop", "way": "to-target", "what": "syn"}       add a rule
    {"clear": true}                                         remove all rules, forget cut flows
Fields that select packets, all optional:
    way       "to-target" or "to-lb"
    what      "syn", "syn-ack", "data", "rst", "any" (the default)
    larger    only IP packets longer than this many bytes
    idle      only on a flow that carried nothing for this many seconds
    source    only packets from this address
    contains  only segments whose payload contains this text
    every     only each n-th of the packets that matched so far
Fields that act:
    do        drop        this packet disappears
              cut         this packet and all later ones of its flow disappear; with "cut_way" only
                          those of that direction do
              rst         as cut, and a middlebox answers the sender with a RST without ACK
              rst-both    as cut, but this packet still arrives, and both ends get a RST
              icmp        the packet disappears and a router answers "host unreachable"
              hold        the packet is late by "extra" seconds (this is what reorders)
              twice       the packet arrives twice
"""

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import select
import signal
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
CLONE_NEWNET = 0x40000000
ETHER = 14
ROUTER = bytes([203, 0, 113, 1])
FIN, SYN, RST, ACK = 1, 2, 4, 16
TO_TARGET, TO_LB = "to-target", "to-lb"


def open_tap(pid, name):
    """Create the TAP interface `name` in the network namespace of process `pid`; return its fd."""
    libc = ctypes.CDLL(None, use_errno=True)
    ns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(ns, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns to the namespace of {pid}")
    os.close(ns)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
    return fd


def checksum(data):
    """The Internet checksum of `data`."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(src, dst, proto, payload, ttl):
    """An IPv4 packet with identification 0 and don't-fragment, as stateless devices send it."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, proto, 0, src, dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def reset(src, dst, sport, dport, seq, ack, ttl):
    """A RST packet; with an ACK flag only if `ack` is given."""
    flags = RST if ack is None else RST | ACK
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, (ack or 0) & 0xFFFFFFFF, 0x50, flags, 0, 0, 0)
    total = checksum(src + dst + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
    return ipv4(src, dst, 6, tcp[:16] + struct.pack("!H", total) + tcp[18:], ttl)


class Packet:
    """A frame with the few fields of its IPv4 and TCP headers that rules look at."""

    def __init__(self, frame, way):
        self.frame, self.way, self.flow = frame, way, None
        if len(frame) < ETHER + 20 or frame[12:14] != b"\x08\x00":
            return
        self.ip = frame[ETHER:]
        self.ip_header = (self.ip[0] & 15) * 4
        self.length = struct.unpack("!H", self.ip[2:4])[0]
        self.src, self.dst = self.ip[12:16], self.ip[16:20]
        if self.ip[9] != 6:
            return
        tcp = self.ip[self.ip_header:self.length]
        self.sport, self.dport, self.seq, self.ack = struct.unpack("!HHII", tcp[:12])
        self.flags = tcp[13]
        self.payload = tcp[(tcp[12] >> 4) * 4:]
        self.flow = (self.sport, self.dport) if way == TO_TARGET else (self.dport, self.sport)

    def kind(self):
        """What the `what` field of a rule calls this packet."""
        if self.flags & RST:
            return "rst"
        if self.flags & SYN:
            return "syn-ack" if self.flags & ACK else "syn"
        return "data" if self.payload else "other"

    def aged(self, hops):
        """The frame after `hops` routers: TTL lowered, header checksum made good."""
        if self.frame[12:14] != b"\x08\x00":
            return self.frame
        head = bytearray(self.frame[ETHER:ETHER + 20])
        head[8] = max(1, head[8] - hops)
        head[10:12] = b"\0\0"
        head[10:12] = struct.pack("!H", checksum(bytes(head)))
        return self.frame[:ETHER] + bytes(head) + self.frame[ETHER + 20:]


class Cable:
    """The queue between the two interfaces, and the rules."""

    def __init__(self, lb, target, delay, hops):
        self.fds = {TO_TARGET: target, TO_LB: lb}
        self.delay, self.hops = delay, hops
        self.rules, self.cut, self.last_seen = [], {}, {}
        self.queue, self.serial = [], 0

    def put(self, frame, way, due):
        """Let `frame` come out of the cable at time `due`."""
        self.serial += 1
        heapq.heappush(self.queue, (due, self.serial, way, frame))

    def answer(self, packet, ip, way, due):
        """Queue a packet made by a device on the path, towards the side `way` leads to."""
        macs = packet.frame[:12]
        swapped = macs[6:12] + macs[0:6]
        self.put((macs if way == packet.way else swapped) + b"\x08\x00" + ip, way, due)

    def matches(self, rule, packet, quiet):
        """Whether `rule` selects this packet; `quiet` is how long its flow was silent."""
        if rule.get("way", packet.way) != packet.way:
            return False
        if rule.get("what", "any") not in ("any", packet.kind()):
            return False
        if "source" in rule and packet.src != socket.inet_aton(rule["source"]):
            return False
        if packet.length <= rule.get("larger", 0) or quiet < rule.get("idle", 0):
            return False
        if rule.get("contains", "").encode() not in packet.payload:
            return False
        rule["seen"] = rule.get("seen", 0) + 1
        return rule["seen"] % rule.get("every", 1) == 0

    def accept(self, frame, way, now):
        """Decide what becomes of a frame that entered the cable."""
        packet, due = Packet(frame, way), now + self.delay
        if packet.flow is None:
            self.put(packet.aged(self.hops), way, due)
            return
        quiet = now - self.last_seen.get(packet.flow, now)
        self.last_seen[packet.flow] = now
        if packet.flags & SYN and not packet.flags & ACK:
            self.cut.pop(packet.flow, None)
        if self.cut.get(packet.flow) in ("both", way):
            return
        for rule in self.rules:
            if self.matches(rule, packet, quiet):
                self.obey(rule, packet, now, due)
                return
        self.put(packet.aged(self.hops), way, due)

    def obey(self, rule, packet, now, due):
        """Do to `packet` what `rule` says."""
        do, back = rule["do"], TO_LB if packet.way == TO_TARGET else TO_TARGET
        after = packet.seq + len(packet.payload)
        if do in ("cut", "rst", "rst-both"):
            self.cut[packet.flow] = rule.get("cut_way", "both")
        if do == "cut" and rule.get("cut_way") == back:
            self.put(packet.aged(self.hops), packet.way, due)
        elif do == "rst":
            ip = reset(packet.dst, packet.src, packet.dport, packet.sport, packet.ack, None, 253)
            self.answer(packet, ip, back, now + 0.0001)
        elif do == "rst-both":
            self.put(packet.aged(self.hops), packet.way, due)
            ip = reset(packet.dst, packet.src, packet.dport, packet.sport, packet.ack, after, 119)
            self.answer(packet, ip, back, now + 0.004)
            ip = reset(packet.src, packet.dst, packet.sport, packet.dport, after, packet.ack, 122)
            self.answer(packet, ip, packet.way, due + 0.004)
        elif do == "icmp":
            icmp = struct.pack("!BBHI", 3, 1, 0, 0) + packet.ip[:packet.ip_header + 8]
            icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
            self.answer(packet, ipv4(ROUTER, packet.src, 1, icmp, 254), back, now + 0.002)
        elif do == "hold":
            self.put(packet.aged(self.hops), packet.way, due + rule["extra"])
        elif do == "twice":
            self.put(packet.aged(self.hops), packet.way, due)
            self.put(packet.aged(self.hops), packet.way, due + 0.0005)

    def command(self, line):
        """Obey one JSON line from stdin."""
        order = json.loads(line)
        if order.get("clear"):
            self.rules, self.cut = [], {}
        else:
            self.rules.append(order)
        print("ok", flush=True)

    def run(self):
        """Carry frames until stdin is closed."""
        ways = {self.fds[TO_LB]: TO_TARGET, self.fds[TO_TARGET]: TO_LB}
        pending = b""
        while True:
            wait = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else None
            ready, _, _ = select.select([*ways, 0], [], [], wait)
            now = time.monotonic()
            for fd in ready:
                if fd == 0:
                    chunk = os.read(0, 65536)
                    if not chunk:
                        return
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        self.command(line)
                    continue
                try:
                    while True:
                        self.accept(os.read(fd, 65536), ways[fd], now)
                except BlockingIOError:
                    pass
            now = time.monotonic()
            while self.queue and self.queue[0][0] <= now:
                _, _, way, frame = heapq.heappop(self.queue)
                try:
                    os.write(self.fds[way], frame)
                except (BlockingIOError, OSError):
                    pass  # the interface is down: as with a real cable, the frame is lost


def main():
    """Make the two interfaces and carry frames until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lb-pid", type=int, required=True, help="a process in the balancer's namespace")
    parser.add_argument("--target-pid", type=int, required=True, help="a process in the target's namespace")
    parser.add_argument("--interface", default="back0")
    parser.add_argument("--delay", type=float, default=0.025, help="one-way delay in seconds")
    parser.add_argument("--hops", type=int, default=3, help="how much TTL the path takes")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lb, target = open_tap(args.lb_pid, args.interface), open_tap(args.target_pid, args.interface)
    print("ok", flush=True)
    Cable(lb, target, args.delay, args.hops).run()


if __name__ == "__main__":
    sys.exit(main())
