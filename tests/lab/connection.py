"""One connection of the misbehaving backend (backend.py), with the moves that faults are made of."""

import re
import select
import socket
import struct
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
        return self.idle_end()

    def idle_end(self):
        """Do what is to be done at the end of the idle time; True if there may be more requests."""
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
