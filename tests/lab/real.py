"""Scenarios with the health checks of real programs, whose own word on each check is the truth."""

import contextlib
import random
import socket
import time

from bystanders import refused
from probing import play
from prober import Settings
from scenario import scenario
from watching import EnvoyWatch, HAProxyWatch, watch
from world import TARGET

RISE_FALL = "disabled check inter 500ms rise 3 fall 2"


def haproxy(name, location, outages, protocol="http", path="/", description="", more="", ids=("haproxy",), well=2.3,
            **options):
    """A scenario with HAProxy's checks; after the outages it has to fit what HAProxy says of each check."""
    def run(lab):
        watch(lab, list(ids), Settings("haproxy", protocol, path, timeout=0.3, matcher="200-399"), HAProxyWatch)
        play(lab, outages, 2.3, well)

    run.__doc__ = description
    scenario(name, proxies=("haproxy",), proxy={"check": RISE_FALL + more, "connect": 0.3, "location":
             location + "\n    timeout check 300ms\n    option log-health-checks"}, **options)(run)


haproxy("haproxy-tcp", "", ["refused", "app-503", "host-drop", "hung"], "tcp", quick=True,
        description="HAProxy's TCP checks: a handshake that it resets before it is complete.")
haproxy("haproxy-options", "option httpchk", ["refused", "app-503", "slow", "read-rst"],
        description="HAProxy's bare HTTP check, OPTIONS / in HTTP/1.0 without any header.")
haproxy("haproxy-get", "option httpchk\n    http-check send meth GET uri /health ver HTTP/1.1 hdr Host shop.example "
        "hdr X-Check lab", ["redirect", "net-drop", "read-fin", "garbage"], path="/health", quick=True,
        description="HAProxy's check with path, Host and a header of its own, in HTTP/1.1.")
haproxy("haproxy-send-state", "option httpchk GET /health\n    http-check send-state", ["clogged", "hung", "sluggish"],
        path="/health", description="HAProxy's check that tells the server its state.")

haproxy("haproxy-check-ssl", "", ["refused", "hung"], "tls", more=" check-ssl verify none", ids=("tls",),
        tls={"target": {}}, description="HAProxy's TLS checks: a handshake, then a reset.")

DEAD = 8081


@scenario("haproxy-down", proxies=("haproxy",), proxy={"check": RISE_FALL, "connect": 0.3, "location": f"""option httpchk
    timeout check 300ms
    option log-health-checks
    server t2 {TARGET}:{DEAD} {RISE_FALL} backup"""})
def haproxy_down(lab):
    """HAProxy checks two servers, one of which refuses every check from the start; the other serves users. From the
    same host somebody tries the dead one now and then."""
    watch(lab, ["haproxy"], Settings("haproxy", path="/", timeout=0.3, matcher="200-399"), HAProxyWatch)
    watch(lab, ["haproxy"], Settings("haproxy", path="/", port=DEAD, timeout=0.3, matcher="200-399"), HAProxyWatch,
          DEAD, name="t2")
    for group in lab.probers:
        group.start()
    time.sleep(2.3)
    dice, tries = random.Random(7), 0
    for _ in range(14):
        time.sleep(dice.uniform(0.1, 0.9))
        lab.ask("ok")
        if dice.random() < 0.4:
            tries += 1
            with contextlib.suppress(OSError):
                socket.create_connection((TARGET, DEAD), 2.0).close()
    refused(lab, tries)
    for group in lab.probers:
        group.stop()


ENVOY_CHECK = """health_checks:
    - timeout: 0.3s
      interval: 0.5s
      no_traffic_interval: 0.5s
      no_traffic_healthy_interval: 0.5s
      unhealthy_threshold: 2
      healthy_threshold: 3
      http_health_check: { path: /health }
      event_logger:
      - name: envoy.health_check.event_sink.file
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink
          event_log_path: EVENTS
      always_log_health_check_failures: true
      always_log_health_check_success: true"""


@scenario("envoy-http", proxies=("envoy",), proxy={"check": ENVOY_CHECK})
def envoy_http(lab):
    """Envoy's HTTP checks, all on one connection as long as it lasts."""
    watch(lab, ["envoy"], Settings("envoy"), EnvoyWatch)
    play(lab, ["app-503", "slow", "read-rst"], 2.3, 2.3)
