"""A bounded HTTP client on raw sockets, which tells what a client of the proxy really sees."""

import socket
import threading
import time


class Seen:
    """What the client saw of one answer."""

    def __init__(self, request_id, target, method):
        self.id, self.target, self.method = request_id, target, method
        self.status, self.body, self.end = None, b"", "complete"

    def text(self):
        """One line for people."""
        status = self.status if self.status is not None else "no answer"
        return f"client: {self.method} {self.target}: {status}, {len(self.body)} bytes of body, {self.end}"


class Client:
    """One client connection."""

    def __init__(self, address, timeout=15.0, source=None):
        self.sock = socket.create_connection(address, timeout=timeout, source_address=source)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self):
        """End the connection."""
        self.sock.close()

    def request_bytes(self, method, target, body=b"", headers=()):
        """A request as bytes."""
        lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", "User-Agent: lab-client", *headers]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def ask(self, request_id, target, method="GET", body=b"", headers=(), pause=0.0):
        """Send a request, if wanted with a pause before the body, and read its answer."""
        data = self.request_bytes(method, target, body, headers)
        head = len(data) - len(body) if pause else len(data)
        try:
            self.sock.sendall(data[:head])
            time.sleep(pause)
            self.sock.sendall(data[head:])
        except OSError:
            pass  # an early answer may still be readable
        return self.read(Seen(request_id, target, method))

    def more(self):
        """Read more bytes; False at the end of the stream."""
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read(self, seen):
        """Read one answer into `seen`."""
        try:
            self.read_answer(seen)
        except ConnectionError as error:
            seen.end = f"reset ({error.strerror})"
        except TimeoutError:
            seen.end = "silence until the client gave up"
        except EOFError:
            seen.end = "connection closed early"
        except ValueError:
            seen.end = "not HTTP"
        return seen

    def need(self):
        """Read more bytes or raise EOFError."""
        if not self.more():
            raise EOFError

    def read_answer(self, seen):
        """Parse status line, header and body."""
        while True:
            while b"\r\n\r\n" not in self.buffer:
                self.need()
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            seen.status = int(line.split(" ")[1])
            if seen.status >= 200 or seen.status == 101:
                break
        headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        if seen.method == "HEAD" or seen.status in (101, 204, 304):
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self.read_chunks(seen)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            while len(self.buffer) < length:
                seen.body = self.buffer
                self.need()
            seen.body, self.buffer = self.buffer[:length], self.buffer[length:]
        else:
            while self.more():
                pass
            seen.body, self.buffer = self.buffer, b""

    def read_chunks(self, seen):
        """Read a chunked body and its trailer section."""
        while True:
            while b"\r\n" not in self.buffer:
                self.need()
            size = int(self.buffer.partition(b"\r\n")[0], 16)
            self.buffer = self.buffer.partition(b"\r\n")[2]
            if size == 0:
                break
            while len(self.buffer) < size + 2:
                self.need()
            seen.body, self.buffer = seen.body + self.buffer[:size], self.buffer[size + 2:]
        while True:
            while b"\r\n" not in self.buffer:
                self.need()
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            if not line:
                return


def together(calls):
    """Run functions in parallel, each in a thread; return their results in order."""
    results = [None] * len(calls)

    def work(index):
        results[index] = calls[index]()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def sleep_until(moment):
    """Sleep until a moment of time.monotonic(), exactly."""
    while (rest := moment - time.monotonic()) > 0:
        time.sleep(rest if rest > 0.003 else rest / 2)
