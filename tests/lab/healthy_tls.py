"""Scenarios over TLS in which nothing fails."""

import os
import subprocess
import time

from client import Client, together
from health import DIRECT
from healthy import chat, crowd, visit
from scenario import BOTH, FOUR, SCENARIOS, STATUS, Scenario, scenario
from sealed import VERSIONS
from servers import FRONT, serving
from tls_client import TlsClient
from world import TARGET, LabError, run

OLD, NEW = VERSIONS["tls12"], VERSIONS["tls13"]
ONE_SHOT = ("close", "length", "until-close", "http10", "close")


def healthy(name, text, play, target, lb=None, **options):
    """Define a healthy scenario over TLS."""
    options.setdefault("proxies", BOTH)
    options.setdefault("keys", True)
    SCENARIOS[name] = Scenario(name, play, description=text, healthy=True, tls={"target": target, "lb": lb or {}},
                               **options)


def mixed(lab):
    """Healthy requests of all shapes through a keep-alive pool."""
    crowd(lab, 3, 12, seed=12)


def idle(lab):
    """Requests with pauses in which one side ends its idle connections."""
    for _ in range(3):
        together([lambda: visit(lab, "length"), lambda: visit(lab, "chunked"), lambda: visit(lab, "drip")])
        time.sleep(1.0)


def one_shot(lab):
    """Requests whose answers end their connections, so that the next connection may resume a session."""
    for shape in ONE_SHOT:
        visit(lab, shape)


def big(lab):
    """Large bodies in both directions."""
    for _ in range(2):
        visit(lab, "huge")
        lab.ask("length", method="POST", body=b"0123456789abcdef" * 6000)
    visit(lab, "length")


def slow(lab):
    """Slow answers, long polls and a WebSocket."""
    together([lambda: visit(lab, "poll"), lambda: visit(lab, "slow"), lambda: visit(lab, "two-parts"),
              lambda: visit(lab, "drip"), lambda: chat(lab)])


def lossy(lab):
    """A path that loses, doubles and reorders a few packets."""
    for way in ("to-lb", "to-target"):
        lab.world.rule(do="drop", way=way, what="data", every=41)
        lab.world.rule(do="twice", way=way, what="data", every=29)
        lab.world.rule(do="hold", way=way, what="data", every=13, extra=0.006)
    crowd(lab, 3, 12, seed=13)


for _name, _version in VERSIONS.items():
    _word = f"TLS 1.{_name[-1]}: "
    healthy(f"healthy-{_name}", _word + "healthy requests of all shapes through a keep-alive pool.", mixed, _version,
            {"name": "shop.example", "verify": True}, proxies=FOUR, proxy={"server": 10.0})
    healthy(f"healthy-{_name}-idle", _word + "idle connections that the backend closes in peace, with close_notify.",
            idle, _version, backend=("--idle", "0.5"))
    healthy(f"healthy-{_name}-idle-bare", _word + "idle connections that the backend closes without close_notify.",
            idle, {**_version, "no_notify": True}, backend=("--idle", "0.5"))
    healthy(f"healthy-{_name}-lb-idle", _word + "idle connections that the balancer closes.", idle, _version,
            proxies=("nginx",), proxy={"upstream": "keepalive_timeout 400ms;"})
    healthy(f"healthy-{_name}-one-shot", _word + "one request per connection; sessions are resumed by tickets.",
            one_shot, _version, quick=_name == "tls13")
    healthy(f"healthy-{_name}-one-shot-bare", _word + "answers that end with the connection, without close_notify.",
            one_shot, {**_version, "no_notify": True}, {"reuse": False})
    healthy(f"healthy-{_name}-huge", _word + "large bodies in both directions.", big, _version)
    healthy(f"healthy-{_name}-slow", _word + "slow answers, long polls and a WebSocket.", slow, _version,
            proxy={"server": 10.0})
    healthy(f"healthy-{_name}-mutual", _word + "the target demands a certificate and gets one.", one_shot,
            {**_version, "client_ca": "ca"}, {"client": "client"}, proxies=FOUR)
    healthy(f"healthy-{_name}-lossy", _word + "a path that loses, doubles and reorders a few packets.", lossy, _version,
            proxy={"server": 10.0})

healthy("healthy-tls12-session-id", "TLS 1.2: one request per connection; sessions are resumed by their ids.", one_shot,
        {**OLD, "tickets": 0})
healthy("healthy-tls13-no-tickets", "TLS 1.3: the target gives no session tickets.", mixed, {**NEW, "tickets": 0})
healthy("healthy-tls13-retry", "TLS 1.3: the target asks with HelloRetryRequest for another group.", one_shot,
        {**NEW, "group": "secp384r1"}, {"reuse": False}, proxies=("nginx", "haproxy", "apache"))
healthy("healthy-tls-long-certificate", "A certificate of 4 kB, which takes several packets.", one_shot,
        {**OLD, "certificate": "many-names"}, {"reuse": False})
healthy("healthy-tls12-cbc", "TLS 1.2 with a CBC cipher, RSA key exchange and a certificate without elliptic curve.",
        mixed, {**OLD, "certificate": "rsa", "ciphers": "AES128-SHA256"}, {"ciphers": "AES128-SHA256"})
for _cipher, _words in (("ECDHE-ECDSA-AES128-GCM-SHA256", "AES-128-GCM"), ("ECDHE-ECDSA-CHACHA20-POLY1305", "ChaCha20"),
                        ("ECDHE-ECDSA-AES256-CCM8", "AES-256-CCM with a short tag")):
    _short = _words.partition(" ")[0].lower()
    healthy(f"healthy-tls12-{_short}", f"TLS 1.2 with {_words}.", mixed, {**OLD, "ciphers": _cipher},
            {"ciphers": _cipher}, proxies=("nginx",))
for _suite, _words in (("TLS_AES_128_GCM_SHA256", "AES-128-GCM"), ("TLS_CHACHA20_POLY1305_SHA256", "ChaCha20")):
    healthy(f"healthy-tls13-{_words.lower()}", f"TLS 1.3 with {_words}.", mixed, {**NEW, "suites": _suite},
            {"suites": _suite}, proxies=("nginx",))


@scenario("healthy-tls-handshakes", healthy=True, keys=True, tls={"target": {}}, backend=("--idle", "0.8"), **DIRECT)
def handshakes(lab):
    """A client that connects, completes the handshake and leaves, as one that tests a TLS listener does: with
    close_notify and without, by FIN and by RST; one stays until the backend closes; one sends nothing at all."""
    for version in ("1.2", "1.3"):
        for how in ("notify", "fin", "rst"):
            TlsClient((TARGET, 8080), version).leave(how)
            time.sleep(0.1)
    stays = [TlsClient((TARGET, 8080), version) for version in ("1.2", "1.3")]
    Client((TARGET, 8080)).close()
    time.sleep(1.2)
    for client in stays:
        client.leave("fin")


@scenario("healthy-tls-direct", healthy=True, keys=True, tls={"target": {}}, **DIRECT)
def direct(lab):
    """A client without proxy: several requests in one connection, pipelined ones too, with ALPN and SNI."""
    for version in ("1.2", "1.3"):
        client = TlsClient((TARGET, 8080), version, name="shop.example", alpn=["http/1.1"])
        for shape in ("length", "chunked", "204", "304", "large"):
            lab.ask(shape, client=client)
        pending = []
        for shape in ("length", "204", "chunked"):
            target = f"/h/{shape}/{lab.world.new_id()}"
            pending.append((lab.record(None, target, expected=STATUS.get(shape, 200)), target))
        client.sock.sendall(b"".join(client.request_bytes("GET", target) for _, target in pending))
        for entry, target in pending:
            entry["seen"] = client.receive(entry["id"], target)
        client.leave("notify")


@scenario("healthy-tls-h2", healthy=True, needs=("nginx", "curl", "openssl", "editcap"), port=FRONT, **DIRECT)
def h2(lab):
    """HTTP/2 over TLS: curl asks nginx for several things at once, and for one in HTTP/1.1."""
    keys = f"{lab.world.folder}/keys.log"
    with serving(lab, "nginx", "good", " http2"):
        for version in ("--http2", "--http2", "--http1.1"):
            urls = [f"https://shop.example:{FRONT}/h/{shape}/{lab.world.new_id()}"
                    for shape in ("length", "chunked", "large", "slow")]
            run("env", f"SSLKEYLOGFILE={keys}", "curl", "-sk", "-Z", version, "--resolve",
                f"shop.example:{FRONT}:{TARGET}", *[word for url in urls for word in ("-o", "/dev/null", url)])
    lab.notes["keys"] = True


@scenario("healthy-tls-early-data", healthy=True, needs=("nginx", "openssl", "editcap"), port=FRONT, **DIRECT)
def early_data(lab):
    """TLS 1.3 with early data: the request comes with the ClientHello of a resumed session."""
    folder = lab.world.folder
    common = ["openssl", "s_client", "-connect", f"{TARGET}:{FRONT}", "-servername", "shop.example", "-tls1_3",
              "-keylogfile", f"{folder}/keys.log", "-quiet"]
    with serving(lab, "nginx", "good", extra="ssl_early_data on;"):
        for number in range(3):
            target = f"/h/length/{lab.world.new_id()}"
            request = f"GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode()
            session = f"{folder}/session"
            with open(f"{folder}/early", "wb") as file:
                file.write(request)
            options = ["-sess_in", session, "-early_data", f"{folder}/early"] if number else ["-sess_out", session]
            done = subprocess.run(common + options, input=b"" if number else request, capture_output=True, timeout=10,
                                  check=False)
            if b"200 OK" not in done.stdout or not os.path.exists(session):
                raise LabError(f"no answer to early data: {done.stdout[:200]} {done.stderr[-300:]}")
    lab.notes["keys"] = True
