"""TLS between the load balancer and the target: from neutral settings to the words of each program.

A scenario's `tls` has two parts.  `target` is for the backend (see secure.py; `certificate` and `client_ca` are names
of certificates.py; `how` spoils the handshake); without it the backend speaks plain HTTP.  `lb` is for the proxy;
without it the proxy is left alone:
    min, max     versions, "1.2" and "1.3"
    ciphers      of TLS 1.2 and older
    suites       of TLS 1.3
    name         the SNI; none is sent without it
    verify       check the target's certificate against the lab's authority, and against `verify_name` if given
    client       name of the client's certificate
    reuse        False: no session is resumed
    alpn         protocols, separated by commas
"""

import json

from certificates import Certificates

NGINX = {"ciphers": "proxy_ssl_ciphers {};", "suites": "proxy_ssl_conf_command Ciphersuites {};",
         "client": "proxy_ssl_certificate {0};\nproxy_ssl_certificate_key {0};"}
HAPROXY = {"ciphers": "ciphers {}", "suites": "ciphersuites {}", "client": "crt {}", "name": "sni str({})",
           "alpn": "alpn {}", "verify_name": "verifyhost {}"}
APACHE = {"ciphers": "SSLProxyCipherSuite {}", "suites": "SSLProxyCipherSuite TLSv1.3 {}",
          "client": "SSLProxyMachineCertificateFile {}"}
ALL_VERSIONS = ("1.2", "1.3")


def versions(lb):
    """The versions from `min` to `max`."""
    return [v for v in ALL_VERSIONS if lb.get("min", "1.2") <= v <= lb.get("max", "1.3")]


def words(table, lb):
    """What a table says of the settings."""
    return [text.format(lb[key]) for key, text in table.items() if key in lb]


def nginx(lb, authority):
    """nginx's words: its protocols are those listed."""
    lines = words(NGINX, lb) + ["proxy_ssl_protocols " + " ".join(f"TLSv{v}" for v in versions(lb)) + ";"]
    if "name" in lb:
        lines += ["proxy_ssl_server_name on;", f"proxy_ssl_name {lb['name']};"]
    if lb.get("verify"):
        lines += ["proxy_ssl_verify on;", f"proxy_ssl_trusted_certificate {authority};",
                  f"proxy_ssl_name {lb.get('verify_name', lb.get('name', 'shop.example'))};"]
        if "name" in lb and "verify_name" in lb:
            raise ValueError("nginx checks the name that it sends")
    if not lb.get("reuse", True):
        lines.append("proxy_ssl_session_reuse off;")
    return {"scheme": "https", "location": "\n".join(dict.fromkeys(lines))}


def haproxy(lb, authority):
    """HAProxy's words."""
    found = ["ssl", "verify required ca-file " + authority if lb.get("verify") else "verify none",
             f"ssl-min-ver TLSv{versions(lb)[0]} ssl-max-ver TLSv{versions(lb)[-1]}", *words(HAPROXY, lb)]
    return {"check": " ".join(found + ([] if lb.get("reuse", True) else ["no-ssl-reuse"]))}


def apache(lb, authority):
    """Apache httpd's words; it takes the SNI from the Host of its client."""
    lines = ["LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so", "SSLProxyEngine on",
             "SSLProxyProtocol -all " + " ".join(f"+TLSv{v}" for v in versions(lb)), *words(APACHE, lb)]
    if "name" in lb:
        lines.append("ProxyPreserveHost On")
    lines += [f"SSLProxyVerify {'require' if lb.get('verify') else 'none'}",
              f"SSLProxyCACertificateFile {authority}",
              f"SSLProxyCheckPeerName {'on' if lb.get('verify_name') else 'off'}",
              f"SSLProxyCheckPeerExpire {'on' if lb.get('verify') else 'off'}"]
    return {"scheme": "https", "main": "\n".join(lines)}


def envoy(lb, authority):
    """Envoy's words."""
    context = {"common_tls_context": {"tls_params": {
        "tls_minimum_protocol_version": "TLSv" + versions(lb)[0].replace(".", "_"),
        "tls_maximum_protocol_version": "TLSv" + versions(lb)[-1].replace(".", "_")}}}
    if "ciphers" in lb:
        context["common_tls_context"]["tls_params"]["cipher_suites"] = lb["ciphers"].split(":")
    if lb.get("verify"):
        context["common_tls_context"]["validation_context"] = {"trusted_ca": {"filename": authority}}
        if "verify_name" in lb:
            context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"] = [
                {"san_type": "DNS", "matcher": {"exact": lb["verify_name"]}}]
    if "client" in lb:
        context["common_tls_context"]["tls_certificates"] = [
            {"certificate_chain": {"filename": lb["client"]}, "private_key": {"filename": lb["client"]}}]
    if "name" in lb:
        context["sni"] = lb["name"]
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"cluster": "transport_socket: " + json.dumps({"name": "envoy.transport_sockets.tls",
                                                          "typed_config": {"@type": kind, **context}})}


SPEAKERS = {"nginx": nginx, "haproxy": haproxy, "apache": apache, "envoy": envoy}


def prepare(tls, proxy, folder, keys):
    """The backend's options and the proxy's values for a scenario's `tls`."""
    made = Certificates(f"{folder}/certificates")
    backend, values = [], {}
    if "target" in tls:
        target = {"certificate": "good", **tls["target"]}
        for key in ("certificate", "client_ca"):
            if key in target:
                target[key] = made.path(target[key])
        if keys:
            target["keys"] = f"{folder}/keys.log"
        backend = ["--tls", target.pop("how", "serve"), "--tls-options", json.dumps(target)]
    if "lb" in tls and proxy in SPEAKERS:
        lb = dict(tls["lb"])
        if "client" in lb:
            lb["client"] = made.path(lb["client"])
        values = SPEAKERS[proxy](lb, made.path("ca"))
    return backend, values
