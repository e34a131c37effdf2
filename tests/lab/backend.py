#!/usr/bin/env python3
"""A misbehaving HTTP/1.1 backend: it fails on request.  See faults.py for what it can do.

A connection without a request for `--idle` seconds gets the `--idle-action`.  Lines on stdin steer
it, each answered with "ok"; the end of stdin ends the program:
    unlisten, listen      close and open the listening socket
    clog, unclog          listen without accepting, with a full queue; and accept again
    mode NAME             treat requests whose target names no action in this way, until `mode ok`
    mode-all NAME         treat all requests in this way, until `mode-all -`
"""

import argparse
import json
import socket
import sys
import threading
import time

import secure
from connection import Connection

class Backend:
    """The listening socket and its threads."""

    def __init__(self, args):
        self.args, self.listener, self.context, self.fillers = args, None, None, []
        if "certificate" in args.tls_options:
            self.context = secure.context(args.tls_options)

    def listen(self):
        """Open the listening socket."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.args.rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.args.rcvbuf)
        self.listener.bind(("", self.args.port))
        self.listener.listen(0 if self.fillers else self.args.backlog)
        if self.args.on_accept != "never" and not self.fillers:
            threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        """Accept connections until the listening socket is closed."""
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if self.args.on_accept == "late-close":
                time.sleep(0.2)
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.welcome, args=(sock,), daemon=True).start()

    def welcome(self, sock):
        """Serve an accepted connection, in TLS if asked for."""
        if self.args.tls not in ("off", "serve"):
            secure.spoil(sock, self.args.tls, self.context)
            return
        made = secure.welcome(sock, self.args, self.context) if self.context else Connection(sock, self.args)
        if made:
            made.serve()

    def unlisten(self):
        """Close the listening socket, also for the thread that waits in accept()."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def clog(self):
        """Listen without accepting, and fill the queue with connections of our own over the loopback."""
        self.unlisten()
        self.fillers = [socket.socket() for _ in range(3)]
        self.listen()
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.args.port))

    def unclog(self):
        """Accept again."""
        self.unlisten()
        for filler in self.fillers:
            filler.close()
        self.fillers = []
        self.listen()

    def obey(self, line):
        """Obey one line from stdin."""
        word, _, name = line.strip().partition(" ")
        if word == "mode":
            self.args.mode = name
        elif word == "mode-all":
            self.args.mode_all = "" if name == "-" else name
        else:
            {"listen": self.listen, "unlisten": self.unlisten, "clog": self.clog, "unclog": self.unclog}[word]()


def main():
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds until the idle action")
    parser.add_argument("--idle-action", choices=["fin", "rst", "408", "stray"], default="fin")
    parser.add_argument("--on-accept", choices=["serve", "close", "late-close", "never"], default="serve")
    parser.add_argument("--backlog", type=int, default=128)
    parser.add_argument("--rcvbuf", type=int, default=0)
    parser.add_argument("--tls", default="off", help="off, serve, or how to spoil the handshake, see secure.py")
    parser.add_argument("--tls-options", type=json.loads, default={}, help="JSON, see secure.py")
    parser.add_argument("--patience", type=float, default=20.0, help="longest wait for the peer, in seconds")
    args = parser.parse_args()
    args.mode, args.mode_all = "ok", ""
    backend = Backend(args)
    backend.listen()
    print("ok", flush=True)
    for line in sys.stdin:
        backend.obey(line)
        print("ok", flush=True)


if __name__ == "__main__":
    sys.exit(main())
