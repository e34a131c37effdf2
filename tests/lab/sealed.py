"""The scenarios with faults inside TLS, and the twins: the same requests in clear, in TLS 1.2 and in TLS 1.3."""

import time

from client import together
from healthy import visit
from scenario import BOTH, FOUR, SCENARIOS, Scenario, scenario
from scenarios import IDLE, STALLS, crossing, leave, race
from world import LabError

VERSIONS = {"tls12": {"max": "1.2"}, "tls13": {"min": "1.3"}}
SHAPES = ("length", "chunked", "trailers", "204", "304", "404", "HEAD", "POST", "100", "large", "empty", "close",
          "http10", "until-close", "length")
TWIN_FAULTS = ("think-fin", "think-rst", "headers-fin", "headers-rst", "body-fin", "body-rst", "chunked-cut",
               "chunked-bad", "bad-status", "bad-name-space", "garbage", "app-500", "app-502", "app-503")
TWIN_STALLS = ("no-response", "headers-stall", "body-stall")


def play_twin(lab):
    """Healthy requests of all shapes, most ways to fail, and two keep-alive races, one after the other."""
    for shape in SHAPES:
        visit(lab, shape)
    for fault in TWIN_FAULTS:
        lab.fail(fault)
        visit(lab, "length")
    for fault in TWIN_STALLS:
        lab.fail(fault)
    for _ in range(2):
        time.sleep(IDLE + 0.3)
        seen = crossing(lab, "race-fin", 1, -0.025)
        if seen[0].status == 200:
            raise LabError("no request crossed the end of its connection")
    visit(lab, "length")


def twin(name, tls, text):
    """Define one of the twins; their request ids are the same."""
    SCENARIOS[name] = Scenario(name, play_twin, description=text, proxies=FOUR, backend=("--idle", str(IDLE)), tls=tls,
                               keys=bool(tls), ids="twin", proxy={"connect": 2.0, "server": 2.0})


SAME = "Healthy requests of all shapes, most ways to fail, and two keep-alive races"
twin("twin-plain", {}, SAME + ", in clear.")
twin("twin-tls12", {"target": VERSIONS["tls12"], "lb": {}}, SAME + ", in TLS 1.2, with keys.")
twin("twin-tls13", {"target": VERSIONS["tls13"], "lb": {}}, SAME + ", in TLS 1.3, with keys.")


def inside(name, fault, text, target, method="GET", body=b"", **options):
    """Define a scenario for a fault of the backend inside TLS."""
    def play(lab):
        lab.ask()
        if fault in STALLS:
            together([lambda wait=n * 0.15: (time.sleep(wait), lab.fail(fault)) for n in range(3)])
        else:
            for _ in range(2):
                lab.fail(fault, method, body=body)
        lab.ask()

    options.setdefault("proxies", FOUR)
    SCENARIOS[name] = Scenario(name, play, description=text, keys=True, tls={"target": target, "lb": {}}, **options)


for _name, _version in VERSIONS.items():
    _word = f"TLS 1.{_name[-1]}: "
    inside(f"{_name}-think-fin", "think-fin", _word + "the backend reads the request, thinks for 300 ms, says "
           "close_notify and closes.", _version, quick=_name == "tls13")
    inside(f"{_name}-bare-fin", "think-fin", _word + "the backend reads the request, thinks for 300 ms and closes "
           "without close_notify.", {**_version, "no_notify": True})
    inside(f"{_name}-think-rst", "think-rst", _word + "the backend reads the request, thinks for 300 ms and aborts.",
           _version)
    inside(f"{_name}-no-response", "no-response", _word + "no answer at all; the balancer gives up after 3 s.",
           _version, quick=_name == "tls12")
    inside(f"{_name}-headers-fin", "headers-fin", _word + "the answer ends in the header section.", _version)
    inside(f"{_name}-body-fin", "body-fin", _word + "the body is shorter than its Content-Length, close.", _version)
    inside(f"{_name}-body-rst", "body-rst", _word + "the body is shorter than its Content-Length, RST.", _version)
    inside(f"{_name}-body-stall", "body-stall", _word + "the body stops half-way; the balancer gives up.", _version)
    inside(f"{_name}-app-502", "app-502", _word + "the backend's own complete 502.", _version)
    inside(f"{_name}-bad-status", "bad-status", _word + "a status line with the status 2x0.", _version)
    inside(f"{_name}-early-413", "early-413", _word + "a complete 413 and a close while the body is still coming.",
           _version, "POST", b"x" * 200_000)

    @scenario(f"{_name}-race", backend=("--idle", str(IDLE)), proxies=FOUR, quick=True, keys=True,
              description=_word + "the keep-alive race: the backend's close_notify and FIN cross the next request.",
              tls={"target": _version, "lb": {}})
    def race_fin(lab):
        """The keep-alive race."""
        race(lab, "race-fin")

    @scenario(f"{_name}-race-bare", backend=("--idle", str(IDLE)), keys=True,
              description=_word + "the keep-alive race: the backend's FIN, without close_notify, crosses a request.",
              tls={"target": {**_version, "no_notify": True}, "lb": {}})
    def race_bare(lab):
        """The keep-alive race without close_notify."""
        race(lab, "race-fin")

    @scenario(f"{_name}-race-rst", backend=("--idle", str(IDLE), "--idle-action", "rst"), keys=True,
              description=_word + "the keep-alive race with a RST: the backend aborts idle connections.",
              tls={"target": _version, "lb": {}})
    def race_rst(lab):
        """The keep-alive race with a RST."""
        race(lab, "race-rst")

    @scenario(f"{_name}-stale-rst", keys=True, tls={"target": _version, "lb": {}},
              description=_word + "a middlebox forgot the idle connection and resets it; the target sees nothing.")
    def stale_rst(lab):
        """A middlebox forgot the connection."""
        lab.world.rule(do="rst", way="to-target", what="data", idle=0.8)
        for _ in range(2):
            together([lab.ask, lab.ask])
            time.sleep(1.2)
            together([lambda: lab.ask(fault="stale-rst")] * 2)
        lab.ask()

    @scenario(f"{_name}-client-abort", proxy={"server": 10.0}, keys=True, tls={"target": _version, "lb": {}},
              description=_word + "clients go away while the backend is thinking, each after another time.")
    def client_abort(lab):
        """Clients go away."""
        lab.ask()
        together([lambda t=t: leave(lab, t) for t in (1.37, 0.83, 2.11)])
        lab.ask()

    @scenario(f"{_name}-unacked", keys=True, tls={"target": _version, "lb": {}}, proxies=BOTH,
              description=_word + "the handshake works, then the network loses all that the load balancer sends.")
    def unacked(lab):
        """The network loses requests."""
        lab.ask()
        time.sleep(0.3)  # the answer's acknowledgment arrives
        lab.world.rule(do="cut", way="to-target", what="data", larger=700)
        together([lambda: lab.ask(fault="large-unacked", headers=("X-Fill: " + "f" * 900,))] * 3)


@scenario("tls13-silent", proxies=FOUR, tls={"target": {"min": "1.3", "how": "stall@1"}, "lb": {}},
          description="TLS 1.3: the target sends its whole part of the handshake and then says nothing any more.")
def tls13_silent(lab):
    """Silence after the target's Finished."""
    for _ in range(2):
        lab.ask(fault="tls13-silent")
