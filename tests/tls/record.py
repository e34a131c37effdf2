#!/usr/bin/env python3
"""Records real TLS connections with their keys, for the tests of src/tls.

    tests/tls/record.py DIRECTORY

OpenSSL's s_client talks to its s_server on the loopback interface through a relay that writes down
every record. One text file per connection: a comment, the lines of the key log, then the records in
the order in which they passed, one per line, with who sent it.
"""

import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REQUEST = b"GET /health HTTP/1.1\r\nHost: target.example\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"

WEAK = "DEFAULT:@SECLEVEL=0"
TLS12 = [
    "AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-AES256-CCM8",
]
TLS13 = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
]


def certificate(directory, name, *key):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "1", "-subj", "/CN=target.example",
         "-keyout", f"{name}.key", "-out", f"{name}.pem"],
        cwd=directory, check=True, capture_output=True)


class Relay:
    """Passes bytes on between one client at a time and the server, and keeps the records of the last."""

    def __init__(self, server):
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.records = []

    def connection(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.server))
        self.records = []
        ways = [(client, server, "client"), (server, client, "server")]
        threads = [threading.Thread(target=self.carry, args=way) for way in ways]
        for thread in threads:
            thread.start()
        return threads

    def carry(self, source, sink, who):
        held = b""
        try:
            while piece := source.recv(65536):
                held += piece
                while len(held) >= 5 and len(held) >= (end := 5 + int.from_bytes(held[3:5], "big")):
                    self.records.append((who, held[:end]))
                    held = held[end:]
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def start_server(directory, key, options):
    """A server and its port."""
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", f"{key}.key", "-cert", f"{key}.pem", *options],
        cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in server.stdout:
        if line.startswith(b"ACCEPT"):
            threading.Thread(target=server.stdout.read, daemon=True).start()
            return server, int(line.rsplit(b":", 1)[1])
    raise SystemExit("s_server did not start: " + " ".join(options))


def talk(directory, relay, options, pieces):
    """Runs a client that sends pieces with pauses between them."""
    carriers = []
    accepting = threading.Thread(target=lambda: carriers.extend(relay.connection()))
    accepting.start()
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{relay.port}", *options],
        cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        threading.Thread(target=client.stdout.read, daemon=True).start()
        for piece in pieces:
            time.sleep(0.4)
            client.stdin.write(piece)
            client.stdin.flush()
        time.sleep(0.4)
        client.stdin.close()
        client.wait(10)
    finally:
        client.kill()
    accepting.join(10)
    for carrier in carriers:
        carrier.join(10)


def record(into, name, key, server_options, client_options, pieces, first=None):
    with tempfile.TemporaryDirectory() as directory:
        certificate(directory, "ec", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        certificate(directory, "rsa", "rsa:2048")
        Path(directory, "health").write_bytes(RESPONSE)
        Path(directory, "early").write_bytes(REQUEST)
        server, port = start_server(directory, key, server_options)
        try:
            relay = Relay(port)
            if first:
                talk(directory, relay, [*client_options, *first], [b""])
                client_options = [*client_options, "-sess_in", "session", "-early_data", "early"]
            talk(directory, relay, [*client_options, "-keylogfile", "keys"], pieces)
        finally:
            server.kill()
            server.wait()
        version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.split()[1]
        keys = [line for line in Path(directory, "keys").read_text().splitlines() if not line.startswith("#")]
    lines = [f"# {name}, OpenSSL {version}, made by record.py", *keys]
    lines += [f"{who} {record.hex()}" for who, record in relay.records]
    Path(into, f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(name, len(relay.records), "records")


def main():
    into = sys.argv[1]
    http = ["-HTTP"]
    for suite in TLS12:
        key = "ec" if "ECDSA" in suite else "rsa"
        cipher = ["-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"]
        record(into, f"tls12-{suite.lower()}", key, [*http, *cipher], cipher, [REQUEST])
    for suite in TLS13:
        cipher = ["-tls1_3", "-cipher", WEAK, "-ciphersuites", suite]
        record(into, f"tls13-{suite.lower().removeprefix('tls_').replace('_', '-')}", "ec", [*http, *cipher], cipher,
               [REQUEST])
    tls13 = ["-tls1_3"]
    record(into, "tls13-key-update", "ec", ["-rev", *tls13], [*tls13, "-ciphersuites", TLS13[1]],
           [b"first\n", b"K\n", b"second\n", b"k\n", b"third\n"])
    padded = ["-record_padding", "128"]
    record(into, "tls13-padding", "ec", [*http, *tls13, *padded],
           [*tls13, *padded, "-ciphersuites", TLS13[2]], [REQUEST])
    record(into, "tls13-early-data", "ec", ["-early_data", *tls13], tls13, [b"later\n"],
           first=["-sess_out", "session"])


main()
