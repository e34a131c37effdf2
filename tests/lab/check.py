#!/usr/bin/env python3
"""Check with tshark that each capture of the lab shows the packets its label claims.

    python3 tests/lab/check.py DIR...

Each DIR is searched for truth files (`truth.json` next to `lb.pcap` and `target.pcap`, or `X.json` next to
`X-lb.pcap` and `X-target.pcap`).  The exit code is 1 if a label has no support in the packets.
"""

import json
import os
import subprocess
import sys

import check_probers
import check_tls

FIELDS = ["frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport",
          "ip.ttl", "tcp.flags", "tcp.seq_raw", "tcp.ack_raw", "tcp.len", "tcp.window_size_value", "icmp.type",
          "tcp.payload"]
FIN, SYN, RST, ACK = 1, 2, 4, 16
HELLO = b"\x16"


class Segment:
    """One packet, as tshark reads it."""

    def __init__(self, row, target_ip):
        number, moment, stream, src, dst, sport, dport, ttl, flags, seq, ack, length, window, icmp, payload = row
        self.number, self.time = int(number), float(moment)
        self.icmp = icmp != ""
        self.stream = int(stream.split(",")[0]) if stream else -1
        self.source, self.target = (src, int(sport or 0)), (dst, int(dport or 0))
        self.ttl = int(ttl.split(",")[0])
        self.from_target = src.split(",")[0] == target_ip
        self.flags = 0 if self.icmp or not flags else int(flags, 16)
        self.seq, self.ack, self.length, self.window = (
            int(text.split(",")[0]) if text else 0 for text in (seq, ack, length, window))
        self.payload = bytes.fromhex(payload.replace(":", "")) if payload else b""


def after(one, other):
    """Whether sequence number `one` is at or behind `other` in the stream."""
    return (one - other) & 0xFFFFFFFF < 0x80000000


class Exchange:
    """A request in a capture: its connection's packets, and what happened after it."""

    def __init__(self, segments, request):
        self.all = [s for s in segments if s.stream == request.stream]
        self.request = request
        whole = [s for s in self.all if not s.from_target and s.length]
        self.later = [s for s in self.all if s.number > request.number]
        nexts = [s for s in whole if after(s.seq, request.seq + 1) and b" HTTP/1.1\r\n" in s.payload]
        self.end = max((s.seq + s.length for s in whole if not nexts or s.seq < nexts[0].seq), default=0)
        self.answer = b"".join(s.payload for s in self.later if s.from_target)
        self.endings = [s for s in self.all if s.flags & (FIN | RST)]
        self.target_endings = [s for s in self.endings if s.from_target]
        self.closer = self.endings[0] if self.endings else None

    def covered(self, segment):
        """Whether a segment of the target acknowledges the whole of the request's first segment."""
        return bool(segment.flags & ACK) and after(segment.ack, self.request.seq + self.request.length)

    def acked(self):
        """Whether the target acknowledged the first segment of the request."""
        return any(s.from_target and self.covered(s) for s in self.later)

    def times_sent(self):
        """How often the first segment of the request is in the capture."""
        return sum(s.seq == self.request.seq and s.length > 0 for s in self.all if not s.from_target)


def race(x, side):
    """FIN or RST that does not cover the request; the order depends on the vantage."""
    end = x.target_endings[0]
    return not x.covered(end) and (end.number > x.request.number) == (side == "lb")


def ended_by_target(x, what):
    """The target ended it with this flag, covering the request."""
    return bool(x.closer and x.closer.from_target and x.closer.flags & what and x.covered(x.closer))


def closed_unused(x):
    """The target's FIN does not cover the request, which is the first on its connection."""
    used = any(s.length and not s.from_target and s.number < x.request.number for s in x.all)
    return not used and x.closer.from_target and bool(x.closer.flags & FIN)


def alien(x):
    """A RST whose TTL is not that of its alleged sender's other packets."""
    usual = {side: {s.ttl for s in x.all if s.from_target == side and not s.flags & RST} for side in (True, False)}
    return any(s.flags & RST and s.ttl not in usual[s.from_target] for s in x.all)


def unsolicited(x, side):
    """An answer that left the target before the request reached it."""
    stray = [s for s in x.all if s.from_target and s.length and after(x.request.seq, s.ack)]
    return any((s.number < x.request.number) == (side == "target") for s in stray)


def cut_by_lb(x):
    """The load balancer ended it while no byte of an answer had come."""
    return bool(x.closer and not x.closer.from_target) and not any(
        s.from_target and s.length for s in x.later if s.number < x.closer.number)


REQUEST_CHECKS = {
    "keepalive-race": race,
    "target-fin-no-response": lambda x, _: not x.answer and (ended_by_target(x, FIN) or closed_unused(x)),
    "target-rst-no-response": lambda x, _: ended_by_target(x, RST) and not x.answer,
    "response-header-truncated": lambda x, _: x.answer and b"\r\n\r\n" not in x.answer and x.closer.from_target,
    "response-body-truncated": lambda x, _: b"\r\n\r\n" in x.answer and x.closer.from_target,
    "response-stalled": lambda x, _: x.answer and x.acked() and not x.closer.from_target,
    "response-timeout": lambda x, _: not x.answer and x.acked() and not x.closer.from_target,
    "request-unacked": lambda x, _: not x.acked() and x.times_sent() > 1,
    "return-path-blocked": lambda x, _: x.answer and x.times_sent() > 1,
    "stale-flow-reset": lambda x, _: x.target_endings[0].flags & (RST | ACK) == RST and not x.answer,
    "injected-reset": lambda x, _: alien(x),
    "target-not-reading": lambda x, _: any(s.from_target and s.window == 0 and not s.flags & RST for s in x.later),
    "target-closed-during-request": lambda x, _: x.closer.from_target and not after(x.closer.ack, x.end),
    "response-malformed": lambda x, _: x.answer,
    "protocol-mismatch": lambda x, _: x.answer and (
        not x.answer.startswith(b"HTTP") or b"plain HTTP request was sent to HTTPS port" in x.answer),
    "response-header-too-large": lambda x, _: len(x.answer.partition(b"\r\n\r\n")[0]) > 4000,
    "target-own-5xx": lambda x, _: x.answer.startswith(b"HTTP/1.1 5"),
    "unsolicited-response": unsolicited,
    "client-abort": lambda x, _: cut_by_lb(x),
    "lb-cut": lambda x, _: cut_by_lb(x),
    "mtu-blackhole": lambda x, _: max(s.length for s in x.all) > 900,
}


def as_list(label):
    """A label as the list of the ids it accepts."""
    return label if isinstance(label, list) else [label]


def fits(cause, exchange, side):
    """Whether the packets show a cause."""
    try:
        return cause in REQUEST_CHECKS and bool(REQUEST_CHECKS[cause](exchange, side))
    except (AttributeError, IndexError):
        return False  # an ending or packet it needs is not there


def attempts(segments):
    """The packets of each connection on which no request was sent: no data, or only a TLS handshake."""
    flows = {}
    for segment in (s for s in segments if not s.icmp):
        flows.setdefault(segment.stream, []).append(segment)
    return [flow for stream, flow in flows.items() if stream >= 0
            and flow[0].flags & SYN and all(s.payload[:1] in (b"", HELLO) for s in flow if not s.from_target)]


# Causes inside TLS that show in the packets around it; what an answer looked like, keys have to tell
AROUND = {"keepalive-race", "target-fin-no-response", "target-rst-no-response", "stale-flow-reset", "request-unacked"}


def fits_around(cause, segments, request, answer, side):
    """Whether the packets around TLS show a cause, given what was answered inside."""
    exchange = Exchange(segments, request)
    exchange.answer = answer
    alerts = [s.number for s in exchange.later if s.from_target and s.length]
    if not answer and alerts and exchange.target_endings and alerts[0] < exchange.closer.number:
        exchange.closer = exchange.target_endings[0]  # announced by close_notify, which the balancer may answer first
    return cause not in AROUND or fits(cause, exchange, side)


CONNECT_CHECKS = {
    "connect-refused": lambda flow, icmp: any(s.from_target and s.flags & RST for s in flow),
    "connect-unreachable": lambda flow, icmp: icmp and not any(s.from_target for s in flow),
    "connect-timeout": lambda flow, icmp: len(flow) > 1 and not any(s.from_target for s in flow),
    "connect-timeout-host": lambda flow, icmp: len(flow) > 1 and not any(s.from_target for s in flow),
    "return-path-blocked": lambda flow, icmp: sum(s.from_target and bool(s.flags & SYN) for s in flow) > 1,
    "tuple-collision": lambda flow, icmp: any(s.from_target and not s.flags & SYN for s in flow),
}


def read(path, target_ip):
    """All packets of a capture."""
    command = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=\t"]
    for field in FIELDS:
        command += ["-e", field]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [Segment(line.split("\t"), target_ip) for line in text.splitlines()]


def check_side(truth, side, path):
    """What is wrong with the labels of one capture."""
    wrong = []
    segments = read(path, truth["target"]["ip"])
    carriers = [s for s in segments if s.length and not s.from_target]
    inside = [row for row in truth["requests"] if "sealed" in row and not any(row["visible"].values())]
    keys = f"{path.removesuffix(f'{side}.pcap')}keys.log"
    if inside and os.path.exists(keys):
        wrong += check_tls.check_requests(truth | {"requests": inside}, side, path, segments, keys,
                                          lambda *found: fits_around(found[0], segments, *found[1:], side))
    for row in truth["requests"]:
        if row in inside:
            continue
        causes = as_list(row["cause"][side])
        request = next((s for s in carriers if row["id"].encode() in s.payload), None)
        where = f"{path}: {row['target']}"
        if request is None:
            if None not in causes or row["visible"][side]:
                wrong.append(f"{where}: the request is not in the capture, label {causes}")
        elif causes != [None]:
            exchange = Exchange(segments, request)
            if not any(fits(cause, exchange, side) for cause in causes):
                wrong.append(f"{where}: frame {request.number}, stream {request.stream} does not look like {causes}")
        elif not row["ok"] and row["status"] is not None and row["log"] and truth["proxy"] != "direct":
            wrong.append(f"{where}: failed, label null, but the request is here in frame {request.number}")
    icmp = any(s.icmp for s in segments)
    for connection in truth["connections"]:
        cause = as_list(connection["cause"][side])[0]
        if cause and "tls" not in connection:
            found = [flow for flow in attempts(segments) if CONNECT_CHECKS[cause](flow, icmp)]
            # Health checks fail in the same way.
            own = sum(check["outcome"][side] == "hc-refused" for group in truth.get("probers", [])
                      for check in group["checks"]) if cause == "connect-refused" else 0
            if len(found) != connection["count"] + own:
                wrong.append(f"{path}: {len(found)} connections look like {cause}, the log has {connection['count']} "
                             f"and {own} checks")
    wrong += check_tls.check_connections(truth, path, segments)
    return wrong + check_probers.check(truth, side, path, segments)


def main():
    """Check all folders."""
    wrong, count = [], 0
    for top in sys.argv[1:]:
        for folder, _, files in sorted(os.walk(top)):
            for name in sorted(files):
                stem = "" if name == "truth.json" else name[:-5] + "-"
                if not name.endswith(".json") or name == "events.json" or not os.path.exists(f"{folder}/{stem}lb.pcap"):
                    continue
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    truth = json.load(file)
                count += 1
                for side in ("lb", "target"):
                    wrong += check_side(truth, side, f"{folder}/{stem}{side}.pcap")
    print("\n".join(wrong + [f"{count} captures of both sides checked, {len(wrong)} labels without support"]))
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
