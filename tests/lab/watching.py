"""Real health checkers, and how their own word on each check is got.

HAProxy logs a check only when it changes something, so its statistics are read all the time: each time a check
stops to be in progress there is one more result.  Its server is in maintenance until we watch.  Envoy writes an
event for each check.
"""

import datetime
import json
import threading
import time

from probing import Group
from world import LB, PORT, TARGET

POLL = 0.01
# HAProxy's check status -> outcome.  L7RSP is an answer that ended early, or one that is no HTTP; L6RSP may be an end
# before the ClientHello.
HAPROXY = {"L4OK": "hc-pass", "L6OK": "hc-pass", "L7OK": "hc-pass", "L4CON": "hc-refused",
           "L4TOUT": "hc-connect-timeout", "L6TOUT": "hc-tls-timeout", "L6RSP": ["hc-tls-failed", "hc-closed"],
           "L7TOUT": "hc-timeout", "L7STS": "hc-status-mismatch", "L7RSP": "hc-closed", "SOCKERR": "hc-closed"}


class Watched:
    """What probers have in common whose checks somebody else makes: one node, results as they come."""

    late, deadline = None, 0.0

    def __init__(self):
        self.node, self.checks, self.transitions = LB, [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.state = "initial"

    def start(self):
        """Begin to watch."""
        self.thread.start()

    def stop(self):
        """End."""
        self.over.set()
        self.thread.join(5)

    def note(self, end, took, outcome, status, log, state):
        """Take down a result and the state after it; `took` is None if the prober does not tell."""
        self.checks.append({"number": len(self.checks) + 1, "node": self.node, "time": end - (took or 0.0),
                            "end": end, "source": {"ip": self.node, "port": None}, "outcome": outcome,
                            "status": status, "latency_s": took, "log": log})
        if state != self.state:
            self.state = state
            self.transitions.append({"time": end, "node": self.node, "check": len(self.checks), "state": state,
                                     "reason": None})


class HAProxyWatch(Watched):
    """The results of HAProxy's checks of a server of backend `back`, from its statistics."""

    def __init__(self, lab, name="t1"):
        super().__init__()
        self.lab, self.name = lab, name

    def row(self):
        """The server's statistics."""
        names, *rows = self.lab.proxy.admin("show stat back 4 -1").lstrip("# ").splitlines()
        rows = [dict(zip(names.split(","), values.split(","), strict=False)) for values in rows if values]
        return next(row for row in rows if row["svname"] == self.name)

    def run(self):
        """Ask again and again; a check that is no longer in progress has a result."""
        self.lab.proxy.admin(f"enable server back/{self.name}")
        busy = False
        while busy or not self.over.wait(POLL):
            time.sleep(POLL if busy else 0)
            row = self.row()
            was_busy, busy = busy, row["check_status"].startswith("*")
            if was_busy and not busy:
                self.result(row)
        self.lab.proxy.admin(f"disable health back/{self.name}")

    def result(self, row):
        """One finished check."""
        outcome = HAPROXY[row["check_status"]]
        text = f"{row['check_status']} {row['last_chk']}"
        if outcome == "hc-refused" and "reset" in text.lower():
            outcome = "hc-closed"  # a reset while the answer was awaited; HAProxy counts that to layer 4 as well
        if outcome == "hc-closed" and self.lab.spoils == "hc-malformed":
            outcome = "hc-malformed"
        status = int(row["check_code"]) if row["check_code"] else None
        took = int(row["check_duration"] or 0) / 1000
        self.note(time.time(), took, outcome, status, f"{text} code={row['check_code'] or '-'} "
                  f"{row['check_duration']}ms {row['status']}", "healthy" if "UP" in row["status"] else "unhealthy")


class EnvoyWatch(Watched):
    """The results of Envoy's checks, from its event log, which has the time of each result but not of its start."""

    def __init__(self, lab):
        super().__init__()
        self.lab, self.read, self.ejected = lab, 0, False

    def run(self):
        """Read the events as they are written."""
        while not self.over.wait(POLL):
            lines = self.lab.proxy.whole_lines("events.json")
            for line in lines[self.read:]:
                self.event(json.loads(line), line)
            self.read = len(lines)

    def event(self, event, line):
        """One event.  A pass that makes healthy is told by that alone, a failure that makes unhealthy by two."""
        end = datetime.datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()
        if "eject_unhealthy_event" in event:
            self.ejected = True
        elif "add_healthy_event" in event:
            self.note(end, None, "hc-pass", 200, line, "healthy")
        elif "successful_health_check_event" in event:
            self.note(end, None, "hc-pass", 200, line, self.state)
        elif "health_check_failure_event" in event:
            failure = event["health_check_failure_event"]
            outcome = "hc-status-mismatch" if failure["failure_type"] == "ACTIVE" else self.lab.spoils or "hc-closed"
            if failure["failure_type"] == "NETWORK_TIMEOUT" and outcome != "hc-connect-timeout":
                outcome = "hc-timeout"
            self.note(end, None, outcome, failure["http_status_code"] or None, line,
                      "unhealthy" if self.ejected else self.state)
            self.ejected = False


def watch(lab, ids, settings, kind, port=PORT, **options):
    """The group of the one real prober that this scenario's proxy is, at one port of the target."""
    group = Group(ids, (TARGET, port), settings.truth(), [kind(lab, **options)])
    lab.probers.append(group)
    return group
