"""What logs cost beside a capture: nginx's own access log, and that of a load balancer in front of it."""

import datetime

import measure
from measure import ALL_CORES, ONE_CORE
from record import Recorder
from table import duration, megabytes, table, thousands, times

# Bytes of a body with which a capture of 1 GB has some 300 000 requests.
BODY = 2900
CAPTURE, NGINX, BALANCER = "traffic.pcap", "access.log", "alb.log"


def record(directory, size):
    """Records nginx with its logs, of which one is written anew as an Application Load Balancer would have it: all
    requests but the health checks, with the times, statuses and trace ids that nginx saw."""
    with Recorder(directory, BODY, logs=True) as recorder:
        recorder.record(directory / CAPTURE, size, 64, 16)
        (recorder.directory / "access.log").rename(directory / NGINX)
        with open(recorder.directory / "balancer.log") as seen, open(directory / BALANCER, "w") as out:
            for number, line in enumerate(seen):
                if "/health" not in line:
                    out.write(balancer(number, line))


def balancer(number, line):
    facts, request, _ = line.split('"')
    ended, took, _, status, received, sent, trace = facts.split()
    method, path, version = request.split()
    began = iso(float(ended) - float(took))
    return (f'https {iso(float(ended))} app/shop/50dc6c495c0c9188 203.0.113.7:{10000 + number % 50000} 127.0.0.1:8080 '
            f'0.000 {took} 0.000 {status} {status} {received} {sent} '
            f'"{method} https://shop.example:443{path} {version}" "Mozilla/5.0 (X11; Linux x86_64)" '
            'ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 '
            'arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop/73e2d6bc24d8a067 '
            f'"{trace}" "shop.example" "-" 0 {began} "forward" "-" "-" "127.0.0.1:8080" "{status}" "-" "-" '
            f'TID_{number:032x}\n')


def iso(seconds):
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def beside(built, directory, count):
    """A table of the capture without a log and with each."""
    capture = directory / CAPTURE
    logs = {name: directory / log for name, log in [("ALB, with ids", BALANCER), ("nginx, in seconds", NGINX)]}
    commands = {"no log": built.analysis(capture)}
    commands |= {name: built.analysis(capture, "--log", log) for name, log in logs.items()}
    measure.rounds(commands, 1, ALL_CORES)  # Into the page cache.
    took = {cores: measure.rounds(commands, count, on) for cores, on in [(1, ONE_CORE), (2, ALL_CORES)]}
    rows = []
    for name, command in commands.items():
        log = logs.get(name)
        lines = thousands(sum(1 for _ in open(log))) if log else ""
        row = [name, lines, megabytes(log.stat().st_size) if log else ""]
        for runs in took.values():
            row += [duration(runs[name].fastest()), times(runs[name].ratio(runs["no log"]))]
        rows.append(row + [megabytes(measure.memory(command).peak)])
    head = ["", "lines", "size", "1 core, fastest", "to no log", f"{len(ALL_CORES)} cores, fastest", "to no log",
            "peak memory"]
    return table(head, rows)
