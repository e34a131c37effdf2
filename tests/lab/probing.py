"""Groups of checks in a scenario: who checks, what happens to the target meanwhile, and what becomes truth."""

import contextlib
import time

from prober import Prober
from world import LB, PORT, TARGET, LabError

# How far a prober's clock reading may be from the packet that it sent then, in seconds
SLACK = 0.08
# Longest time that a check takes whose prober tells only its end, in seconds; less than the pause between two
LONGEST = 0.45
# Outcome of a check while the target is out in this way: of an HTTP check, and of one that only connects
OUTAGES = {
    "refused": ("hc-refused", "hc-refused"),
    "net-drop": ("hc-connect-timeout", "hc-connect-timeout"),
    "host-drop": ("hc-connect-timeout", "hc-connect-timeout"),
    "synack-lost": ("hc-connect-timeout", "hc-connect-timeout"),
    "clogged": ("hc-connect-timeout", "hc-connect-timeout"),
    "app-503": ("hc-status-mismatch", "hc-pass"),
    "redirect": ("hc-status-mismatch", "hc-pass"),
    "slow": ("hc-timeout", "hc-pass"),
    "hung": ("hc-timeout", "hc-pass"),
    "read-rst": ("hc-closed", "hc-pass"),
    "read-fin": ("hc-closed", "hc-pass"),
    "garbage": ("hc-malformed", "hc-pass"),
    "bad-status": ("hc-malformed", "hc-pass"),
    "sluggish": ("hc-pass", "hc-pass"),
}
# Outcomes of a check over TLS that only those can tell who read the answer; a pass too is one that was read
READ = ("hc-pass", "hc-status-mismatch", "hc-malformed")


class Group:
    """The nodes that check one target in the same way, and what their log became."""

    def __init__(self, ids, server, settings, probers):
        self.ids, self.server, self.settings, self.probers = ids, server, settings, probers

    def start(self):
        """Let all nodes begin."""
        for prober in self.probers:
            prober.start()
        return self

    def stop(self):
        """Let all nodes end."""
        for prober in self.probers:
            prober.over.set()
        for prober in self.probers:
            prober.stop()

    def rows(self):
        """All checks in the order of their start."""
        return sorted((row for prober in self.probers for row in prober.checks), key=lambda row: row["time"])

    def verify(self, name, begin, end):
        """Whether the checks made while the target was out fit the outage; what is wrong, in words."""
        protocol = self.settings["protocol"]
        wanted = OUTAGES[name][1 if protocol in ("tcp", "tls") else 0]
        if name == "hung" and protocol in ("tls", "https"):
            wanted = "hc-tls-timeout"
        if name == "redirect" and self.settings["matcher"] and "399" in self.settings["matcher"]:
            wanted = "hc-pass"
        inside = [row for row in self.rows() if begin + SLACK < row["time"] and row["end"] < end - SLACK]
        if not inside:
            return f"no check of {self.ids} during {name}"
        found = sorted({str(row["outcome"]) for row in inside if row["outcome"] != wanted})
        return f"{self.ids} logged {found} during {name}" if found else None

    def truth(self, flights, problems):
        """The group's part of the truth file; checks get their packets' place in both captures."""
        rows = self.rows()
        for row in rows:
            for side in ("lb", "target"):
                self.place(row, flights[side])
        for row in rows:
            outcome = row["outcome"]
            label = "hc-probe-no-data" if self.settings["protocol"] == "none" else outcome
            row["outcome"] = {side: label if self.seen(row, flights[side]) else None for side in ("lb", "target")}
            if self.settings["protocol"] == "https":
                row["sealed"] = {side: "undecided" if word in READ else word for side, word in row["outcome"].items()}
        for row in rows:
            if row["source"]["port"] is None:
                problems.append(f"a check of {self.ids} has no packets: {row['log']}")
            late = self.settings["protocol"] == "http" and row["outcome"]["lb"] == "hc-timeout"
            if late and self.answered(row, flights["lb"]):
                problems.append(f"the answer to a check of {self.ids} had come, but was not read: {row['log']}")
        common = {"prober": self.ids, "server": {"ip": self.server[0], "port": self.server[1]},
                  "nodes": sorted({row["node"] for row in rows}), "settings": self.settings, "checks": rows}
        if self.settings["protocol"] == "none":
            return {**common, "transitions": [], "whole": []}
        transitions = sorted((row for prober in self.probers for row in prober.transitions),
                             key=lambda row: row["time"])
        return {**common, "transitions": transitions, "whole": self.whole(transitions)}

    def place(self, row, flights):
        """Find the source port of a check whose prober does not log it: its SYN, or on a kept connection its
        request, is the one next to the logged start."""
        if row["source"]["port"] is not None:
            return
        ours = [flight for flight in flights if flight.source == row["node"]
                and (flight.target, flight.dport) == self.server and (flight.opens() or flight.payload)]
        if row["latency_s"] is None:  # only the end is known: the first packet of the time before it is the start
            near = [flight for flight in ours if row["end"] - LONGEST < flight.time < row["end"]]
            if near:
                row["time"], row["source"]["port"] = near[0].time, near[0].sport
            return
        late = self.probers[0].late
        if late:
            near = [flight for flight in ours if flight.opens() and -0.001 < flight.time - row["time"] < late][:1]
        else:
            near = [flight for flight in ours if abs(flight.time - row["time"]) < SLACK]
        if near:
            row["source"]["port"] = min(near, key=lambda flight: abs(flight.time - row["time"])).sport

    def seen(self, row, flights):
        """Whether a packet of this check is in a capture."""
        return any(flight.sport == row["source"]["port"] and flight.source == row["node"]
                   and (flight.target, flight.dport) == self.server and (flight.opens() or flight.payload)
                   and row["time"] - SLACK <= flight.time <= row["end"] + SLACK for flight in flights)

    def answered(self, row, flights):
        """Whether an answer had reached the prober before it gave up: a busy machine did not let it run."""
        return any(flight.source == self.server[0] and flight.sport == self.server[1] and flight.target == row["node"]
                   and flight.dport == row["source"]["port"] and flight.payload
                   and row["time"] <= flight.time < row["end"] for flight in flights)

    def whole(self, transitions):
        """The target's state over all nodes: each row says when the first and the last node came to it."""
        states, rows, first = {}, [], {}
        nodes = {prober.node for prober in self.probers}
        for change in transitions:
            states[change["node"]] = change["state"]
            first.setdefault(change["state"], change["time"])
            if len(states) == len(nodes) and len(set(states.values())) == 1:
                if not rows or rows[-1]["state"] != change["state"]:
                    rows.append({"state": change["state"], "first": first[change["state"]], "last": change["time"]})
                first = {}
        return rows


def fleet(lab, ids, settings, nodes=(LB,), server=(TARGET, PORT), kind=Prober, spread=True):
    """Let these nodes check the target, each in its own phase; return the group."""
    step = settings.interval / len(nodes) if spread else 0.0
    probers = [kind(settings, node, server, 0.1 + number * step) for number, node in enumerate(nodes)]
    group = Group(ids, server, settings.truth(), probers)
    lab.probers.append(group)
    return group


BEGIN = {"refused": lambda world: world.backend.tell("unlisten"),
         "clogged": lambda world: world.backend.tell("clog"),
         "hung": lambda world: world.hang(),
         "net-drop": lambda world: world.rule(do="drop", way="to-target", what="syn"),
         "synack-lost": lambda world: world.rule(do="drop", way="to-lb", what="syn-ack"),
         "host-drop": lambda world: world.firewall("target", "tcp dport 8080 drop")}
END = {"refused": lambda world: world.backend.tell("listen"),
       "clogged": lambda world: world.backend.tell("unclog"),
       "hung": lambda world: world.wake(),
       "net-drop": lambda world: world.clear_rules(),
       "synack-lost": lambda world: world.clear_rules(),
       "host-drop": lambda world: world.firewall("target")}


def away_from_deadlines(lab):
    """Wait for a moment at which no prober gives up: an answer that crosses its FIN is seen at the target only."""
    probers = [prober for group in lab.probers for prober in group.probers]
    for _ in range(100):
        if all(abs(prober.deadline - time.monotonic()) > SLACK for prober in probers):
            return
        time.sleep(0.01)


@contextlib.contextmanager
def outage(lab, name):
    """The target is out in this way."""
    BEGIN.get(name, lambda world: world.backend.tell("mode " + name))(lab.world)
    begin = time.time()
    lab.spoils = OUTAGES[name][0]
    yield
    if name == "hung":
        away_from_deadlines(lab)
    end = time.time()
    END.get(name, lambda world: world.backend.tell("mode ok"))(lab.world)
    lab.outages.append({"what": name, "begin": begin, "end": end})
    time.sleep(SLACK)  # results that were on their way
    lab.spoils = None


def play(lab, names, out=1.8, well=2.0):
    """Let the groups of `lab` check a target that is out in several ways, one after the other."""
    for group in lab.probers:
        group.start()
    time.sleep(well)
    for name in names:
        with outage(lab, name):
            time.sleep(out)
        time.sleep(well)
    finish(lab)


def finish(lab):
    """Stop the groups, and raise LabError if what they logged does not fit the outages."""
    for group in lab.probers:
        group.stop()
    wrong = [group.verify(row["what"], row["begin"], row["end"]) for group in lab.probers for row in lab.outages
             if group.settings["protocol"] != "none"]
    if any(wrong):
        raise LabError("; ".join(text for text in wrong if text))
