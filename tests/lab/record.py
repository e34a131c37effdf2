"""nginx as the target, with an access log that says all about a request that packets can say too."""

import json
import subprocess
import time

from bystanders import Caller
from client import Client, together
from health import ALB, DIRECT
from probing import fleet
from prober import Settings
from scenario import scenario
from world import NODES, OFFICE, TARGET, LabError

FRONT = 8081
FIELDS = """
        "time": "$msec", "client": "$remote_addr", "client_port": $remote_port, "server": "$server_addr",
        "server_port": $server_port, "x_forwarded_for": "$http_x_forwarded_for",
        "x_forwarded_proto": "$http_x_forwarded_proto", "x_forwarded_port": "$http_x_forwarded_port",
        "host": "$http_host", "request": "$request", "status": $status, "request_length": $request_length,
        "body_bytes_sent": $body_bytes_sent, "bytes_sent": $bytes_sent, "request_time": $request_time,
        "user_agent": "$http_user_agent", "connection_header": "$http_connection", "connection": $connection,
        "connection_requests": $connection_requests, "tcpinfo_rtt": $tcpinfo_rtt, "tcpinfo_rttvar": $tcpinfo_rttvar"""
NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/target-nginx.pid;
error_log {folder}/target-error.log info;
events {{ }}
http {{
    log_format record escape=json '{{{fields}}}';
    access_log {folder}/record.log record;
    client_body_temp_path {folder}/t-body;
    proxy_temp_path {folder}/t-proxy;
    fastcgi_temp_path {folder}/t-f;
    uwsgi_temp_path {folder}/t-u;
    scgi_temp_path {folder}/t-s;
    keepalive_requests 6;
    server {{
        listen {port};
        location = /health {{ return 200 "healthy\\n"; }}
        location / {{ proxy_pass http://127.0.0.1:8080; proxy_http_version 1.1; proxy_set_header Host $http_host; }}
    }}
}}
"""
# Shapes of requests and answers; none larger than what may be in flight at once, because nginx's time ends when
# it has given the answer to the kernel
VISITS = ("length", "drip", "empty", "chunked", "HEAD", "404", "304", "POST", "204", "slow", "length", "medium")


def visit(lab, node, offset):
    """A node forwards the requests of several users on its kept connection, as long as nginx lets it."""
    client = Client((TARGET, FRONT), 15.0, (node, 0))
    for number in range(6):
        shape = VISITS[(offset + number) % len(VISITS)]
        headers = (f"X-Forwarded-For: 203.0.113.{offset + number + 1}", "X-Forwarded-Proto: https",
                   "X-Forwarded-Port: 443")
        if shape == "HEAD":
            lab.ask("length", method="HEAD", client=client, headers=headers)
        elif shape == "POST":
            lab.ask("length", method="POST", body=b"item=42&" * 400, client=client, headers=headers)
        else:
            lab.ask(shape, client=client, headers=headers)
        time.sleep(0.1)
    client.close()


@scenario("nginx-record", needs=("nginx",), more=(NODES[1], OFFICE), **DIRECT)
def nginx_record(lab):
    """nginx as the target logs of each request what its own variables say: checks of ALB nodes, requests of users
    which the nodes forward on kept connections, and a colleague's curl."""
    folder, prefix = lab.world.folder, lab.world.inside()
    fields = "".join(f"{line.strip()} " for line in FIELDS.splitlines()).strip()
    with open(f"{folder}/target-nginx.conf", "w", encoding="utf-8") as file:
        file.write(NGINX.format(folder=folder, port=FRONT, fields=fields))
    with open(f"{folder}/target-start.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([*prefix, "nginx", "-p", folder, "-c", f"{folder}/target-nginx.conf",
                                   "-e", f"{folder}/target-error.log"], stderr=log)
    try:
        time.sleep(0.7)
        group = fleet(lab, ALB, Settings("alb", port=FRONT, interval=1.0), NODES[:2], (TARGET, FRONT)).start()
        for offset in (0, 6):
            together([lambda node=node: visit(lab, node, offset) for node in NODES[:2]])
        caller = Caller(OFFICE, FRONT)
        caller.ask("GET", "/health", "User-Agent: curl/7.88.1", "Accept: */*", host=f"{TARGET}:{FRONT}")
        caller.close()
        time.sleep(1.0)
        group.stop()
        time.sleep(0.3)
    finally:
        server.terminate()
        server.wait(5)
    with open(f"{folder}/record.log", encoding="utf-8") as file:
        lab.notes["access_log"] = [json.loads(line) for line in file]
    if len(lab.notes["access_log"]) != len(lab.records) + len(group.rows()) + 1:
        raise LabError(f"nginx logged {len(lab.notes['access_log'])} requests")
