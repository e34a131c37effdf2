"""The backend's side of TLS: contexts, connections, and handshakes that go wrong."""

import socket
import ssl
import time

from connection import LINGER_0, Connection, Gone, Request

VERSIONS = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2,
            "1.3": ssl.TLSVersion.TLSv1_3}
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ALERT = bytes([0x15, 3, 3, 0, 2, 2, 40])  # fatal, handshake_failure
LONGEST = 20.0  # seconds that a handshake may take


def context(options):
    """The context for a backend, from the JSON given as --tls-options."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = VERSIONS[options.get("min", "1.2")]
    made.maximum_version = VERSIONS[options.get("max", "1.3")]
    if "ciphers" in options:
        made.set_ciphers(options["ciphers"])
    made.load_cert_chain(options["certificate"])
    if "group" in options:
        made.set_ecdh_curve(options["group"])
    if "client_ca" in options:
        made.load_verify_locations(options["client_ca"])
        made.verify_mode = ssl.CERT_REQUIRED
    if "names" in options:
        made.sni_callback = lambda _sock, name, _context: (
            None if name in options["names"] else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
    if "alpn" in options:
        made.set_alpn_protocols(options["alpn"])
    if "tickets" in options:
        made.num_tickets = options["tickets"]
        made.options |= 0 if options["tickets"] else ssl.OP_NO_TICKET
    if "keys" in options:
        made.keylog_filename = options["keys"]
    return made


class SecureConnection(Connection):
    """A connection over TLS.  Nobody can look at a request in the socket before it is decrypted, so here all
    requests are read before anything is done."""

    def wait(self):
        """Wait for a request; False when the idle time is over or the peer has gone."""
        if self.buffer:
            return True
        try:
            self.buffer = self.recv(self.args.idle)
            return True
        except TimeoutError:
            return self.idle_end()

    def head(self):
        """Read the head of the next request."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.recv(self.patience)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return Request(head, self.args)

    def half_close(self):
        """Send a FIN and stay able to read."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def notify(self):
        """Send close_notify without waiting for the peer's."""
        try:
            self.sock.settimeout(0)
            self.sock.unwrap()
        except (OSError, ValueError):
            pass

    def end(self, how):
        """End the connection; an orderly end says close_notify first, unless the backend is told not to."""
        kept = super().end(how)
        if how == "fin" and not self.args.tls_options.get("no_notify"):
            self.notify()
        return kept


def half_handshake(sock, made, flights):
    """Do the handshake by hand until this many flights of ours have been sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = made.wrap_bio(incoming, outgoing, server_side=True)
    while flights:
        incoming.write(sock.recv(65536))
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        if outgoing.pending:
            sock.sendall(outgoing.read())
            flights -= 1


def spoil(sock, how, made):
    """Go on with a handshake until the moment that `how` names ("rst@1" after one flight of ours, "rst@1+" when the
    peer's next flight has begun to arrive), then end it."""
    what, _, flights = how.partition("@")
    try:
        sock.settimeout(LONGEST)
        if flights:
            half_handshake(sock, made, int(flights.rstrip("+")))
            if flights.endswith("+"):
                sock.recv(65536)
            else:
                time.sleep(0.02)  # less than the way to the peer and back: the end crosses the peer's next flight
        else:
            sock.recv(65536)
        if what == "plain":
            sock.sendall(BAD_REQUEST)
        elif what == "alert":
            sock.sendall(ALERT)
        elif what == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        elif what == "stall":
            while sock.recv(65536):
                pass
        elif what == "fin" and flights:
            sock.shutdown(socket.SHUT_WR)  # no RST although more of the peer's flight may come
            while sock.recv(65536):
                pass
    except OSError:
        pass
    finally:
        sock.close()


def welcome(sock, args, made):
    """The handshake of an accepted connection; None if it failed, and then the socket is closed."""
    try:
        sock.settimeout(LONGEST)
        return SecureConnection(made.wrap_socket(sock, server_side=True), args)
    except (OSError, Gone):
        sock.close()
        return None
