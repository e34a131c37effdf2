"""A client over TLS that ends its connections as it is told."""

import socket
import ssl

from client import Client, Seen
from connection import LINGER_0
from secure import VERSIONS


class TlsClient(Client):
    """One client connection over TLS, its certificates unchecked."""

    def __init__(self, address, version, name=None, alpn=(), source=None):
        super().__init__(address, 15.0, source)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = VERSIONS[version]
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def receive(self, request_id, target, method="GET"):
        """Read the answer to a request that has been sent."""
        return self.read(Seen(request_id, target, method))

    def leave(self, how):
        """End the connection: "notify" with close_notify and FIN, "fin" or "rst" without a word."""
        if how == "notify":
            try:
                self.sock.settimeout(0)
                self.sock.unwrap()
            except OSError:
                pass
        elif how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        self.sock.close()
