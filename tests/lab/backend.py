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
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time

import faults

LINGER_0 = struct.pack("ii", 1, 0)


class Request:
    """The head of a request."""

    def __init__(self, head, args):
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = (line + "  ").split(" ", 2)
        self.headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        match = re.match(r"/(?:f|h|api)/([^/]+)/", self.target)
        self.action = args.mode_all or (match.group(1) if match else args.mode)


class Gone(Exception):
    """The peer ended the connection."""


class Connection:
    """One accepted connection, with the moves that faults are made of."""

    def __init__(self, sock, args):
        self.sock, self.args = sock, args
        self.buffer = b""
        self.patience = args.patience

    def send(self, data):
        """Send everything."""
        self.sock.sendall(data)

    def recv(self, timeout):
        """Some bytes; raises Gone at the end of the stream, TimeoutError after `timeout`."""
        self.sock.settimeout(timeout)
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        return data

    def end(self, how):
        """End the connection; False means that no further request is read from it."""
        if how == "stall":
            self.drain(self.patience)
        elif how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        return how == "keep"

    def half_close(self):
        """Send a FIN and stay able to read."""
        self.sock.shutdown(socket.SHUT_WR)

    def drain(self, seconds):
        """Read and forget until the peer ends the connection or `seconds` have gone."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self.recv(max(0.01, end - time.monotonic()))
        except (TimeoutError, Gone):
            pass

    def read_some(self, count):
        """Read about `count` bytes of a body."""
        got = len(self.buffer)
        while got < count:
            got += len(self.recv(self.patience))

    def read_body(self, request):
        """Read the whole body of `request`."""
        length = int(request.headers.get("content-length", 0))
        if "chunked" in request.headers.get("transfer-encoding", ""):
            while b"0\r\n\r\n" not in self.buffer:
                self.buffer += self.recv(self.patience)
            self.buffer = self.buffer.partition(b"0\r\n\r\n")[2]
        while len(self.buffer) < length:
            self.buffer += self.recv(self.patience)
        self.buffer = self.buffer[length:]

    def echo(self, count):
        """Send back what comes, `count` times."""
        for _ in range(count):
            self.send(self.recv(self.patience))

    def wait(self):
        """Wait for a request; False when the idle time is over or the peer has gone."""
        if self.buffer:
            return True
        if select.select([self.sock], [], [], self.args.idle)[0]:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        action = self.args.idle_action
        if action == "408":
            self.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif action == "stray":
            self.send(faults.plain(b"nobody asked for this\n", b"404 Not Found"))
            return True
        self.end("rst" if action == "rst" else "fin")
        return False

    def head(self):
        """Read the head of the next request; its first bytes may be looked at before."""
        if not self.buffer:
            peek = self.sock.recv(4096, socket.MSG_PEEK)
            early = Request(peek.partition(b"\r\n")[0], self.args)
            if early.action in faults.UNREAD:
                return early
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.recv(self.patience)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return Request(head, self.args)

    def answer(self, request):
        """Do what the request asks for; True if the connection stays open."""
        action = request.action
        if action in faults.UNREAD:
            return faults.UNREAD[action](self, request)
        if action not in faults.BODY_UNREAD:
            self.read_body(request)
        if action in faults.ACTIONS:
            return faults.ACTIONS[action](self, request)
        data, ending = faults.ANSWERS.get(action) or faults.SHAPES.get(action) or faults.SHAPES["length"]
        if request.method == "HEAD":
            data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self.send(data)
        return self.end(ending) and request.headers.get("connection", "").lower() != "close"

    def serve(self):
        """Answer requests until one side ends the connection."""
        try:
            if self.args.on_accept == "close":
                return
            while self.wait() and self.answer(self.head()):
                pass
        except (OSError, Gone, ValueError):
            pass
        finally:
            self.sock.close()


def spoil_handshake(sock, how):
    """Read a ClientHello and do something else than go on with the handshake."""
    try:
        sock.recv(65536)
        if how == "plain":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif how == "alert":
            sock.sendall(bytes([0x15, 3, 3, 0, 2, 2, 40]))  # fatal, handshake_failure
        elif how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        elif how == "stall":
            while sock.recv(65536):
                pass
    except OSError:
        pass
    finally:
        sock.close()


def relay(outer, inner):
    """Carry bytes between a TLS socket and its plain side.  One thread: OpenSSL's objects allow no second."""
    outer.setblocking(False)
    try:
        while True:
            ready = [outer] if outer.pending() else select.select([outer, inner], [], [])[0]
            for sock, other in ((outer, inner), (inner, outer)):
                if sock not in ready:
                    continue
                try:
                    data = sock.recv(65536)
                except ssl.SSLWantReadError:
                    continue
                if not data:
                    return
                other.setblocking(True)
                other.sendall(data)
                outer.setblocking(False)
    except OSError:
        pass
    finally:
        inner.close()
        try:
            outer.settimeout(1)
            outer.unwrap()
        except (OSError, ValueError):
            pass
        outer.close()


def unwrap(sock, context):
    """Terminate TLS on `sock`; return a socket with the plain text."""
    outer = context.wrap_socket(sock, server_side=True)
    inner, plain = socket.socketpair()
    threading.Thread(target=relay, args=(outer, inner), daemon=True).start()
    return plain


class Backend:
    """The listening socket and its threads."""

    def __init__(self, args):
        self.args, self.listener, self.context, self.fillers = args, None, None, []
        if args.tls == "serve":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(args.certificate)
            if args.tls13_only:
                self.context.minimum_version = ssl.TLSVersion.TLSv1_3

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
            spoil_handshake(sock, self.args.tls)
            return
        try:
            plain = unwrap(sock, self.context) if self.context else sock
        except OSError:
            return
        Connection(plain, self.args).serve()

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
    parser.add_argument("--tls", choices=["off", "serve", "fin", "rst", "plain", "alert", "stall"], default="off")
    parser.add_argument("--tls13-only", action="store_true", help="with `--tls serve`: refuse older versions")
    parser.add_argument("--certificate", help="file with certificate and key")
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
