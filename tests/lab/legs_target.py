"""The targets behind a proxy of legs.py: each port fails in a way of its own; all log what they were asked.

    python3 legs_target.py LOG

Each line of the log is one request: which port was asked from which port of the proxy, as which request of
that connection, with which X-Lab header, and what was done.
"""

import json
import random
import socket
import struct
import sys
import threading
import time

GOOD, REFUSING, RESETTING, BUSY, SILENT, CLOSING, GOOD_TOO = 9001, 9002, 9003, 9004, 9005, 9006, 9008
PORTS = {GOOD: "ok", GOOD_TOO: "ok", RESETTING: "rst", BUSY: "503", SILENT: "silence", CLOSING: "fin"}
LOCK = threading.Lock()


def answer(status, target):
    """A small answer; the same for the same target."""
    body = f"{target.split('?')[0]} says hello\n".encode() * 3
    return (f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nETag: \"{len(target)}\"\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def serve(sock, peer, port, log):
    """Answer the requests of one connection."""
    buffer, number, way = b"", 0, PORTS[port]
    with sock:
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            length = int(headers.get("content-length", 0))
            while len(buffer) < length:
                buffer += sock.recv(65536)
            buffer = buffer[length:]
            number += 1
            method, target, _ = line.split(" ")
            if "x-lab" in headers:
                with LOCK:
                    print(json.dumps({"lab": headers["x-lab"], "port": port, "peer": peer[1], "number": number,
                                      "target": target, "way": way, "time": time.time()}), file=log, flush=True)
            if way == "rst":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if way == "fin":
                return
            if way == "silence":
                sock.settimeout(10)
                sock.recv(1)
                return
            if way == "ok":
                time.sleep(random.uniform(0, 0.03))
            data = answer("503 Service Unavailable" if way == "503" else "200 OK", target)
            sock.sendall(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else data)
            if headers.get("connection", "").lower() == "close" or line.endswith("HTTP/1.0"):
                return


def accept(listener, port, log):
    """Accept connections."""
    def work(sock, peer):
        try:
            serve(sock, peer, port, log)
        except OSError:
            pass

    while True:
        sock, peer = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=work, args=(sock, peer), daemon=True).start()


def main():
    """Serve until stdin ends."""
    with open(sys.argv[1], "w", encoding="utf-8") as log:
        for port in PORTS:
            listener = socket.create_server(("", port), backlog=256)
            threading.Thread(target=accept, args=(listener, port, log), daemon=True).start()
        print("ok", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
