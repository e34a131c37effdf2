"""Scenarios with HAProxy's health checks that fail, and the outcome that the packets should show.

Their truth has no requests; `checks` says for each phase what HAProxy logged and which outcome is right.
"""

import re
import time

from scenario import scenario
from world import LabError

SETTINGS = "check inter 300ms fall 2 rise 1"
# What HAProxy calls an outcome in its log
WORDS = {"hc-pass": "check passed", "hc-refused": "Layer4 connection problem", "hc-connect-timeout": "Layer4 timeout",
         "hc-closed": "Layer7 invalid response|Connection reset by peer", "hc-timeout": "Layer7 timeout",
         "hc-status-mismatch": "Layer7 wrong status", "hc-malformed": "Layer7 invalid response"}


def options(uri):
    """HAProxy's configuration for HTTP checks of this path."""
    return {"check": SETTINGS, "main": "", "location": "option httpchk GET " + uri
            + "\n    option log-health-checks\n    timeout check 400ms"}


def phase(lab, outcome, seconds, arrives=True):
    """Let checks run for a while; note the outcome that all of them should have and what HAProxy logged."""
    before = len(lab.proxy.lines("haproxy.log"))
    time.sleep(seconds)
    lines = [line for line in lab.proxy.lines("haproxy.log")[before:] if "Health check for" in line]
    if not any(re.search(WORDS[outcome], line) for line in lines):
        raise LabError(f"HAProxy logged no {outcome}: {lines}")
    lab.checks.append({"outcome": {"lb": outcome, "target": outcome if arrives else None}, "log": lines})


def define(name, uri, outcome, description):
    """A scenario in which the backend spoils every check."""
    def play(lab):
        phase(lab, outcome, 2.2)

    play.__doc__ = description
    scenario(name, proxies=("haproxy",), proxy=options(uri))(play)


define("check-status", "/f/app-503/check", "hc-status-mismatch", "Checks are answered by 503.")
define("check-closed", "/f/read-fin/check", "hc-closed", "Checks are answered by a close.")
define("check-reset", "/f/think-rst/check", "hc-closed", "Checks are answered by a reset.")
define("check-timeout", "/f/no-response/check", "hc-timeout", "Checks get no answer.")
define("check-garbage", "/f/garbage/check", "hc-malformed", "Checks are answered by garbage.")


@scenario("check-flap", proxies=("haproxy",), proxy=options("/health"))
def check_flap(lab):
    """Checks pass, then the backend is gone for a while, then packets are lost, then all is well again."""
    phase(lab, "hc-pass", 1.0)
    lab.world.backend.tell("unlisten")
    phase(lab, "hc-refused", 1.2)
    lab.world.backend.tell("listen")
    phase(lab, "hc-pass", 1.0)
    lab.world.rule(do="drop", way="to-target", what="syn")
    phase(lab, "hc-connect-timeout", 1.8, arrives=False)
    lab.world.clear_rules()
    phase(lab, "hc-pass", 1.2)
