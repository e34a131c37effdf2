"""Scenarios with health checks over TLS: what fails in the handshake anybody sees, what fails inside only who has keys.

A check of the truth has two labels: `outcome` for those who have the keys, and `sealed` for those who have not,
"undecided" where the answer would have to be read.
"""

from absence import Command
from health import ALB, DIRECT, NLB, TLS
from probing import Group, fleet, play
from prober import Settings
from real import haproxy
from scenario import SCENARIOS, Scenario, scenario
from world import NODES, PORT

HTTP_CHECK = "option httpchk GET /health"

for _version, _target in (("tls12", {"max": "1.2"}), ("tls13", {"min": "1.3"})):
    _word = f"TLS 1.{_version[-1]}: "
    haproxy(f"haproxy-https-{_version}", HTTP_CHECK, ["app-503", "refused", "hung", "read-fin", "slow"], "https",
            "/health", _word + "HAProxy's HTTPS checks of a target that answers 503, refuses, hangs, closes, is slow.",
            ids=("tls",), tls={"target": _target, "lb": {}}, keys=True)


def broken(name, text, target, lb=None):
    """HAProxy's HTTPS checks of a target whose handshakes never succeed."""
    haproxy(name, HTTP_CHECK, [], "https", "/health", text, ids=("tls",), well=8.0,
            tls={"target": target, "lb": lb or {}})


broken("haproxy-https-alert", "HAProxy's HTTPS checks of a target that answers each ClientHello with an alert.",
       {"how": "alert"})
broken("haproxy-https-rst", "HAProxy's HTTPS checks of a target that resets after each ClientHello.", {"how": "rst"})
broken("haproxy-https-fin", "HAProxy's HTTPS checks of a target that closes after each ClientHello.", {"how": "fin"})
broken("haproxy-https-stall", "HAProxy's HTTPS checks of a target that never answers a ClientHello.", {"how": "stall"})
broken("haproxy-https-plain", "HAProxy's HTTPS checks of a target that speaks plain HTTP.", {"how": "plain"})
broken("haproxy-https-expired", "HAProxy's HTTPS checks refuse the target's certificate, which has expired.",
       {"certificate": "expired", "max": "1.2"}, {"verify": True})
broken("haproxy-https-version", "HAProxy's HTTPS checks offer TLS 1.2 to a target that speaks only TLS 1.3.",
       {"min": "1.3"}, {"max": "1.2"})


def watched(name, text, ids, settings, outages, nodes=2, target=None, **timing):
    """Nodes of a load balancer check over HTTPS a target that is out in several ways."""
    def run(lab):
        fleet(lab, ids, settings, NODES[:nodes])
        play(lab, outages, **timing)

    SCENARIOS[name] = Scenario(name, run, description=text, more=NODES[1:nodes], keys=True,
                               tls={"target": target or {}}, **DIRECT)


SLOWER = {"timeout": 0.45, "interval": 0.6}
watched("alb-https", "Two ALB nodes check over HTTPS a target that refuses, answers 503, is slow, hangs and closes.",
        ALB, Settings("alb", "https", **SLOWER), ["refused", "app-503", "slow", "hung", "read-fin"])
watched("alb-https-tls12", "The same with a target that speaks only TLS 1.2.", ALB,
        Settings("alb", "https", **SLOWER), ["app-503", "garbage", "host-drop"], target={"max": "1.2"})
watched("nlb-https-answers", "Two NLB nodes check over HTTPS, in TLS 1.2, a target that answers 503, redirects, hangs.",
        NLB, Settings("nlb", "https", matcher="200-399", **SLOWER), ["app-503", "redirect", "hung"])
watched("alb-https-client-certificate", "ALB nodes check over HTTPS a target that demands a client certificate.", ALB,
        Settings("alb", "https", **SLOWER), [], target={"max": "1.2", "client_ca": "ca"}, well=3.0)

HTTPS_URL = f"https://127.0.0.1:{PORT}/health"
CURL = (["curl", "-k", "-f", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "0.6", HTTPS_URL],
        {0: "hc-pass", 7: "hc-refused", 22: "hc-status-mismatch", 28: None, 35: "hc-tls-failed", 52: "hc-closed",
         56: "hc-closed"})


@scenario("container-https", needs=("curl",), tls={"target": {}}, keys=True, capture={"interface": "any"}, **DIRECT)
def container_https(lab):
    """Checks over HTTPS from inside the target's host by curl -k; the target's capture is of all interfaces."""
    settings = Settings("container", "https", interval=1.2, matcher="200-399", healthy=1, unhealthy=3)
    prober = Command(lab, "curl", *CURL, settings, 0.1)
    lab.probers.append(Group(["tls"], prober.server, settings.truth(), [prober]))
    play(lab, ["app-503", "refused"], out=4.0, well=2.6)
