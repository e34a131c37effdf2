"""What the misbehaving backend does for each fault and each healthy shape.

A fault is chosen by the request target `/f/<fault>/<request-id>`, a healthy shape by
`/h/<shape>/<request-id>` (or `/api/...`).  Most are plain data: bytes to send, then a way to end.  The others are
functions which get the `Connection` (see backend.py) and the request.
"""

import time

TEXT = b"The quick brown fox jumps over the lazy dog. "
BODY = TEXT * 20
HEAD = b"HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Type: text/plain\r\n"


def plain(body=b"ok\n", status=b"200 OK", extra=b""):
    """A complete answer with a Content-Length."""
    return (b"HTTP/1.1 " + status + b"\r\nServer: lab\r\nContent-Type: text/plain\r\n" + extra
            + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def chunk(data):
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n" % len(data) + data + b"\r\n"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: 5000\r\n\r\n" + BODY
TLS_ALERT = bytes([0x15, 3, 3, 0, 2, 2, 70])
H2_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

# fault -> (bytes sent, what comes then); "stall" = silence until the other side gives up.
ANSWERS = {
    "read-fin": (b"", "fin"),
    "status-fin": (b"HTTP/1.1 20", "fin"),
    "status-rst": (b"HTTP/1.1 20", "rst"),
    "headers-fin": (HEAD + b"X-Cut: ye", "fin"),
    "headers-rst": (HEAD + b"X-Cut: ye", "rst"),
    "headers-stall": (HEAD + b"X-Cut: ye", "stall"),
    "no-response": (b"", "stall"),
    "body-fin": (LONG, "fin"),
    "body-rst": (LONG, "rst"),
    "body-stall": (LONG, "stall"),
    "chunked-fin": (CHUNKED + chunk(BODY), "fin"),
    "chunked-rst": (CHUNKED + chunk(BODY), "rst"),
    "chunked-cut": (CHUNKED + chunk(BODY)[:200], "fin"),
    "chunked-stall": (CHUNKED + chunk(BODY), "stall"),
    "until-close-rst": (HEAD + b"Connection: close\r\n\r\n" + BODY, "rst"),
    "bad-status": (b"HTTP/1.1 2x0 OK\r\nContent-Length: 3\r\n\r\nok\n", "fin"),
    "garbage": (bytes(range(128, 208)) * 2, "fin"),
    "http09": (b"<html><body>Hello from 1991</body></html>\n", "fin"),
    "bad-name-space": (plain(extra=b"Bad Name: x\r\n"), "fin"),
    "bad-no-colon": (plain(extra=b"NoColonHere\r\n"), "fin"),
    "bad-name-ctl": (plain(extra=b"X-\x01Ctl: x\r\n"), "fin"),
    "bad-two-lengths": (HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nok\n", "fin"),
    "bad-length": (HEAD + b"Content-Length: -3\r\n\r\nok\n", "fin"),
    "bad-te": (HEAD + b"Transfer-Encoding: sideways\r\n\r\nok\n", "fin"),
    "tls-alert": (TLS_ALERT, "fin"),
    "h2-answer": (H2_SETTINGS, "fin"),
    "app-500": (plain(b"boom\n", b"500 Internal Server Error"), "keep"),
    "app-502": (plain(b"my own upstream is broken\n", b"502 Bad Gateway"), "keep"),
    "app-503": (plain(b"busy\n", b"503 Service Unavailable", b"Retry-After: 5\r\n"), "keep"),
    "redirect": (plain(b"over there\n", b"302 Found", b"Location: /login\r\n"), "keep"),
    "app-504": (plain(b"my own upstream is slow\n", b"504 Gateway Timeout"), "keep"),
}

# Healthy shapes, in the same form.
SHAPES = {
    "length": (plain(BODY), "keep"),
    "empty": (plain(b""), "keep"),
    "ok": (plain(), "keep"),
    "chunked": (CHUNKED + chunk(BODY) + chunk(TEXT) + b"0\r\n\r\n", "keep"),
    "trailers": (HEAD + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(BODY)
                 + b"0\r\nX-Sum: 42\r\n\r\n", "keep"),
    "204": (b"HTTP/1.1 204 No Content\r\nServer: lab\r\n\r\n", "keep"),
    "304": (b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 5000\r\n\r\n", "keep"),
    "103": (b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" + plain(BODY), "keep"),
    "until-close": (HEAD + b"Connection: close\r\n\r\n" + BODY, "fin"),
    "close": (plain(BODY, extra=b"Connection: close\r\n"), "fin"),
    "http10": (b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n", "fin"),
    "large": (plain(TEXT * 250), "keep"),
    "huge": (plain(TEXT * 2500), "keep"),  # several TLS records
    "medium": (plain(TEXT * 145), "keep"),  # four full segments and a small one
    "404": (plain(b"no such thing\n", b"404 Not Found"), "keep"),
}

# The same under names as a shop might use them, for the demo.
ANSWERS["report"] = ANSWERS["no-response"]
SHAPES |= {"orders": SHAPES["length"], "products": SHAPES["chunked"], "session": SHAPES["empty"],
           "avatar": SHAPES["304"], "coupon": SHAPES["404"]}


def think_fin(conn, _request):
    """Think for a while, then close."""
    time.sleep(0.3)
    return conn.end("fin")


def think_rst(conn, _request):
    """Think for a while, then abort."""
    time.sleep(0.3)
    return conn.end("rst")


def chunked_bad(conn, _request):
    """A good chunk, and a little later something which is no chunk size."""
    conn.send(CHUNKED + chunk(BODY))
    time.sleep(0.2)
    conn.send(b"zz\r\nnot a chunk\r\n")
    return conn.end("fin")


def headers_huge(conn, _request):
    """90 kB of header fields."""
    fields = b"".join(b"X-Field-%d: %s\r\n" % (n, b"v" * 180) for n in range(450))
    conn.send(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 3\r\n\r\nok\n")
    return True


def early_413(conn, _request):
    """A complete answer while the body is still coming, then close with the body unread."""
    conn.send(plain(b"too large\n", b"413 Content Too Large", b"Connection: close\r\n"))
    return conn.end("fin")


def post_fin(conn, _request):
    """End our direction in the middle of the request body; go on reading, so no RST hides it."""
    conn.read_some(3000)
    conn.half_close()
    conn.drain(1.0)
    return conn.end("fin")


def post_rst(conn, _request):
    """Abort in the middle of the request body."""
    conn.read_some(3000)
    return conn.end("rst")


def slow(conn, _request):
    """Slow, but fine."""
    time.sleep(1.2)
    conn.send(plain(BODY))
    return True


def sluggish(conn, _request):
    """Slow, but not slow enough for a health check to give up."""
    time.sleep(0.17)
    conn.send(plain(b"ok\n"))
    return True


def poll(conn, _request):
    """A long poll of several seconds."""
    time.sleep(4.3)
    conn.send(plain(b"news\n"))
    return True


def drip(conn, _request):
    """A body that comes in small pieces."""
    conn.send(HEAD + b"Content-Length: 450\r\n\r\n")
    for _ in range(10):
        time.sleep(0.07)
        conn.send(TEXT)
    return True


def expect(conn, request):
    """100 Continue if it was asked for, then the answer."""
    if "expect" in request.headers:
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    conn.read_body(request)
    conn.send(plain(b"stored\n", b"201 Created"))
    return True


def websocket(conn, _request):
    """Switch protocols, send the opaque bytes back, close when the peer does or after a while."""
    conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    conn.echo(4)
    return conn.end("fin")


def two_parts(conn, _request):
    """The header at once, the body later: a checker that needs only the status hangs up between."""
    body = BODY * 20
    conn.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
    time.sleep(0.3)
    conn.send(body)
    return True


def never_read(conn, _request):
    """Leave the request unread until the peer gives up (its body fills the receive window)."""
    time.sleep(conn.patience)
    return conn.end("fin")


ACTIONS = {
    "think-fin": think_fin, "think-rst": think_rst, "chunked-bad": chunked_bad, "headers-huge": headers_huge,
    "early-413": early_413, "post-fin": post_fin, "post-rst": post_rst,
    "slow": slow, "sluggish": sluggish, "poll": poll, "drip": drip, "search": drip, "100": expect, "ws": websocket,
    "two-parts": two_parts,
}

# These act when the first bytes of a request are in the socket, before any is read.
UNREAD = {
    "read-rst": lambda conn, request: conn.end("fin"),  # close() with unread data makes the kernel send RST
    "zero-window": never_read,
}

# For these the request body is not read before the action starts.
BODY_UNREAD = {"early-413", "post-fin", "post-rst", "100"}
