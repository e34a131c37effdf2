"""An access log in the format of an Application Load Balancer, written from what nginx logs in its place.

The fields are those of "Access logs for your Application Load Balancer" in the user guide. nginx gives its targets the
trace id as the balancer does; its own times, addresses and statuses become the line.
"""

import json
import random
from datetime import datetime, timezone

from client import together
from healthy import visit
from scenario import scenario

SHIFT = 3.2  # the log's clock is so many seconds behind
DAMAGED = 0.01
FIELDS = ('{"msec":$msec,"client":"$remote_addr:$remote_port","status":"$status","target":"$upstream_addr",'
          '"target_status":"$upstream_status","time":$request_time,"connect":"$upstream_connect_time",'
          '"header":"$upstream_header_time","received":$request_length,"sent":$bytes_sent,"request":"$request",'
          '"agent":"$http_user_agent","trace":"$sent_trace"}')
LOCATION = """
            set $sent_trace "";
            if ($request_id ~ "^(?<trace>.{24})") { set $sent_trace "Root=1-6a20c001-$trace"; }
            proxy_set_header X-Amzn-Trace-Id $sent_trace;
            access_log access.log lab;
            access_log alb.json alb;
"""
SHAPES = ("length", "length", "empty", "chunked", "204", "304", "404", "drip", "HEAD", "POST")
FAULTS = ("think-fin", "think-rst", "app-502", "app-503", "headers-fin", "no-response")


def iso(seconds):
    """A time as the balancer writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def elapsed(value):
    """Seconds of an nginx variable, or None."""
    return None if value in ("", "-") else float(value)


def line(entry, shift=SHIFT):
    """The balancer's line for a request that nginx logged."""
    ended = entry["msec"] - shift
    began = ended - entry["time"]
    connect, header = elapsed(entry["connect"]), elapsed(entry["header"])
    sent = connect is not None
    # nginx makes up a status where its target gave none
    answered = header is not None and entry["status"] == entry["target_status"]
    times = [f"{connect:.3f}" if sent else "-1",
             f"{max(0, header - connect):.3f}" if sent and answered else "-1",
             f"{max(0, entry['time'] - header):.3f}" if sent and answered else "-1"]
    method, target, version = entry["request"].split(" ")
    target_status = entry["target_status"] if answered else "-"
    group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/lab/0123456789abcdef"
    return " ".join((
        "http", iso(ended), "app/lab/0123456789abcdef", entry["client"], entry["target"], *times, entry["status"],
        target_status, str(entry["received"]), str(entry["sent"]),
        f'"{method} http://shop.example:80{target} {version}"', f'"{entry["agent"]}"', "-", "-", group,
        f'"{entry["trace"]}"', '"-"', '"-"', "0", iso(began), '"forward"', '"-"', '"-"', f'"{entry["target"]}"',
        f'"{target_status}"', '"-"', '"-"', "TID_0123456789abcdef0123456789abcdef", '"-"', '"-"', '"-"', "192.0.2.10"))


def damage(text, dice):
    """A line as a broken disk or shipper leaves it."""
    at = dice.randrange(10, len(text) // 3)
    return dice.choice((text[:at], text[at:], text[:at] + "\\x00\\xff" * 3 + text[at + 40:]))


@scenario("alb-log", proxies=("nginx",),
          proxy={"server": 2.0, "location": LOCATION, "http": f"log_format alb escape=json '{FIELDS}';"})
def alb_log(lab):
    """Users of a balancer that gives each request a trace id, some of whose requests fail; the log in the balancer's
    format has a clock that is 3.2 s behind and one line in a hundred damaged."""
    def user(number):
        dice = random.Random(number)
        for _ in range(65):
            if dice.random() < 0.05:
                lab.fail(dice.choice(FAULTS))
            else:
                visit(lab, dice.choice(SHAPES))

    together([lambda n=n: user(n) for n in range(10)])
    with open(f"{lab.proxy.folder}/alb.json", encoding="utf-8") as file:
        lines = [line(json.loads(text)) for text in file]
    dice = random.Random(7)
    for at in dice.sample(range(len(lines)), round(len(lines) * DAMAGED)):
        lines[at] = damage(lines[at], dice)
    lab.notes["alb_log"] = lines
