"""The scenarios in which a TLS handshake between load balancer and target fails, or the two do not speak TLS both."""

from connecting import asks
from scenario import ALL, FOUR, SCENARIOS, Scenario, scenario
from servers import FRONT, serving

OLD, NEW = {"max": "1.2"}, {"min": "1.3"}
NAME = "shop.example"
VERIFY = {"verify": True, "name": NAME}


def handshake(name, text, target, lb, connect=True, **options):
    """Define a scenario in which two requests are wanted and no handshake succeeds."""
    options.setdefault("proxies", FOUR)
    SCENARIOS[name] = Scenario(name, lambda lab: asks(lab, name, connect=connect), description=text,
                               tls={"target": target, "lb": lb}, **options)


handshake("tls-old-target", "The balancer offers only TLS 1.3, the target speaks only TLS 1.2.", OLD, NEW, quick=True)
handshake("tls-new-target", "The balancer offers only TLS 1.2, the target speaks only TLS 1.3.", NEW, OLD)
handshake("tls-old-answer", "The target speaks only TLS 1.1 and says so; the balancer wants TLS 1.2 and refuses.",
          {"min": "1.0", "max": "1.1", "ciphers": "ALL:@SECLEVEL=0"}, OLD, proxies=ALL)
handshake("tls-no-cipher", "The balancer's only cipher needs an RSA certificate, the target has an ECDSA one.",
          {}, {**OLD, "ciphers": "ECDHE-RSA-AES256-GCM-SHA384"})
handshake("tls12-rst-hello", "TLS 1.2: the target resets when it has sent ServerHello to ServerHelloDone.",
          {**OLD, "how": "rst@1"}, {})
handshake("tls12-rst-key", "TLS 1.2: the target resets when it has the balancer's key exchange.",
          {**OLD, "how": "rst@1+"}, {})
handshake("tls12-fin-hello", "TLS 1.2: the target closes when it has sent ServerHello to ServerHelloDone.",
          {**OLD, "how": "fin@1"}, {})
handshake("tls12-stall-hello", "TLS 1.2: the target stays silent when it has sent ServerHello to ServerHelloDone.",
          {**OLD, "how": "stall@1"}, {})
handshake("tls13-rst-hello", "TLS 1.3: the target resets when it has sent ServerHello to Finished; this crosses the "
          "request.", {**NEW, "how": "rst@1"}, {}, connect=False)
handshake("tls13-fin-hello", "TLS 1.3: the target closes when it has sent ServerHello to Finished; this crosses the "
          "request.", {**NEW, "how": "fin@1"}, {}, connect=False)
handshake("tls12-not-yet-valid", "TLS 1.2: the target's certificate is not valid yet, the balancer verifies.",
          {**OLD, "certificate": "early"}, VERIFY, proxies=("haproxy",))
handshake("tls12-client-certificate", "TLS 1.2: the target demands a certificate, the balancer has none.",
          {**OLD, "client_ca": "ca"}, {})
handshake("tls13-client-certificate", "TLS 1.3: the target demands a certificate, the balancer has none; it learns "
          "this only when it has sent the request.", {**NEW, "client_ca": "ca"}, {}, connect=False)

for _version, _target in (("12", OLD), ("13", NEW)):
    _word = f"TLS 1.{_version[1]}: "
    handshake(f"tls{_version}-expired", _word + "the target's certificate has expired, the balancer verifies.",
              {**_target, "certificate": "expired"}, VERIFY, quick=_version == "12")
    handshake(f"tls{_version}-unknown-ca", _word + "the target's certificate is of an authority that the balancer does "
              "not know.", {**_target, "certificate": "other-issuer"}, VERIFY)
    handshake(f"tls{_version}-self-signed", _word + "the target's certificate is signed by itself, the balancer "
              "verifies.", {**_target, "certificate": "self-signed"}, VERIFY)
    handshake(f"tls{_version}-wrong-host", _word + "the target's certificate is for another host name.",
              {**_target, "certificate": "othername"}, {"verify": True, "verify_name": NAME})
    handshake(f"tls{_version}-name", _word + "the balancer asks for a name that the target does not know.",
              {**_target, "names": ["other.example"]}, {"name": NAME})


def fronted(name, text, kind, connect, lb=None, proxies=ALL, **settings):
    """Define a scenario with a real server as the target."""
    def play(lab):
        with serving(lab, kind, **settings):
            asks(lab, name, connect=connect)

    SCENARIOS[name] = Scenario(name, play, description=text, proxy={"port": FRONT}, proxies=proxies, port=FRONT,
                               tls={"lb": lb} if lb is not None else {}, needs=(PROGRAMS[kind],))


PROGRAMS = {"nginx": "nginx", "apache": "apache2", "haproxy": "haproxy", "python": "python3"}
REJECT = "ssl_reject_handshake on;"
fronted("nginx-name", "nginx as the target has no server for the name and rejects the handshake.", "nginx", True,
        {"name": NAME}, certificate="good", extra=REJECT)
fronted("tls-no-suite", "TLS 1.3: the balancer's only suite is not among the target's.", "nginx", True,
        {**NEW, "suites": "TLS_AES_256_GCM_SHA384"}, ("nginx", "haproxy"), certificate="good",
        extra="ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;")
for _kind in ("nginx", "apache", "python"):
    fronted(f"plain-port-{_kind}", f"The balancer speaks TLS to a port of {_kind} in clear.", _kind, True, {})
for _kind in ("nginx", "apache", "haproxy"):
    fronted(f"tls-port-{_kind}", f"The balancer speaks plain HTTP to a TLS port of {_kind}.", _kind, False,
            certificate="good")


@scenario("tls-port-python", proxies=ALL, tls={"target": {}})
def tls_port_python(lab):
    """The balancer speaks plain HTTP to a TLS port of Python's ssl module, that is OpenSSL."""
    asks(lab, "tls-port-python", connect=False)


@scenario("nginx-client-certificate", proxy={"port": FRONT}, port=FRONT, tls={"lb": {}})
def nginx_client_certificate(lab):
    """nginx as the target demands a certificate: it completes the handshake and answers the request with 400."""
    with serving(lab, "nginx", "good", extra="ssl_client_certificate {ca}; ssl_verify_client on;"):
        asks(lab, "nginx-client-certificate", connect=False)
