"""Do the packets show what the truth of health checks says?  Used by check.py; needs tshark's packets."""

FIN, SYN, RST, ACK = 1, 2, 4, 16
SLACK = 0.08  # how far a prober's clock may be from its packets, in seconds; as in probing.py
AFTER = 0.2  # how long after the end of a check its last packets may come
CROSSING = 0.06  # what the target sends this long after the prober gave up is still on its way to it


class Check:
    """The packets of one check, and what each side sent."""

    def __init__(self, segments, row, group, delay):
        prober, server = (row["source"]["ip"], row["source"]["port"]), (group["server"]["ip"], group["server"]["port"])
        begin, end = row["time"] - SLACK, row["end"] + AFTER
        self.sent = [s for s in segments if s.source == prober and s.target == server and begin <= s.time <= end]
        self.got = [s for s in segments if s.source == server and s.target == prober
                    and begin <= s.time <= row["end"] + delay]
        self.alert = any(s.payload[:1] == b"\x15" for s in self.sent)
        self.asked = any(s.length for s in self.sent)
        self.open = any(s.flags & SYN and s.flags & ACK for s in self.got) or not any(s.flags & SYN for s in self.sent)
        self.reset = any(s.flags & RST for s in self.got)
        self.ended = self.reset or any(s.flags & FIN for s in self.got)
        self.answer = b"".join(s.payload for s in self.got)
        self.protocol = group["settings"]["protocol"]

    def fits(self, outcome, status):
        """Whether the packets show an outcome."""
        http = self.answer.startswith(b"HTTP/1.")
        code = self.answer[9:12] if status is None else b"%d" % status
        return {
            "hc-pass": self.open and (self.protocol != "http" or http and self.answer[9:12] == code),
            "hc-refused": self.reset and not self.open,
            "hc-connect-timeout": not self.asked and not self.reset,
            "hc-tls-failed": self.answer[:1] == b"\x15" or self.reset or self.alert
            or self.protocol == "https" and http,
            "hc-tls-timeout": self.asked and not self.answer,
            "hc-closed": self.ended and not self.answer,
            "hc-timeout": self.asked and not http,
            "hc-status-mismatch": http and self.answer[9:12] == code,
            "hc-malformed": bool(self.answer),
            "hc-probe-no-data": self.open and not self.asked,
        }[outcome]


def check(truth, side, path, segments):
    """What is wrong with the labels of the checks in one capture."""
    wrong, known = [], set()
    for group in truth.get("probers", []):
        for row in group["checks"]:
            outcome = row["outcome"][side]
            found = Check(segments, row, group, CROSSING if side == "lb" else 0.0)
            where = f"{path}: check {row['number']} of {row['node']} at {row['time']:.3f}"
            known.add((row["source"]["ip"], row["source"]["port"]))
            if outcome is None:
                if found.sent:
                    wrong.append(f"{where}: packets, but no outcome")
            elif not any(found.fits(one, row["status"])
                         for one in (outcome if isinstance(outcome, list) else [outcome])):
                wrong.append(f"{where}: does not look like {outcome}: {row['log']}")
    nodes = {node for group in truth.get("probers", []) for node in group["nodes"]}
    if not truth["requests"] and not truth["connections"]:
        wrong += [f"{path}: frame {s.number}: a connection of {s.source} that no prober's log has" for s in segments
                  if s.flags & (SYN | ACK) == SYN and s.source[0] in nodes and s.source not in known]
    return wrong
