"""Just enough of a reader of tcpdump's files to find out where a check's packets are."""

import socket
import struct

FIN, SYN, RST, ACK = 1, 2, 4, 16
# Bytes before the IP header: Ethernet, Linux cooked capture 1 and 2
LINK_HEADERS = {1: 14, 113: 16, 276: 20}


class Flight:
    """One TCP packet."""

    def __init__(self, when, ip):
        self.time = when
        header = (ip[0] & 15) * 4
        length = struct.unpack("!H", ip[2:4])[0]
        self.source, self.target = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        tcp = ip[header:length]
        self.sport, self.dport = struct.unpack("!HH", tcp[:4])
        self.flags = tcp[13]
        self.payload = tcp[(tcp[12] >> 4) * 4:]

    def opens(self):
        """Whether this is the SYN of a client."""
        return self.flags & (SYN | ACK) == SYN


def read(path):
    """The TCP packets of a capture file that tcpdump wrote on this machine."""
    with open(path, "rb") as file:
        data = file.read()
    magic, link = struct.unpack("<I16xI", data[:24])
    scale = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}[magic]
    skip, at, found = LINK_HEADERS[link], 24, []
    while at + 16 <= len(data):
        seconds, fraction, length = struct.unpack("<III", data[at:at + 12])
        ip = data[at + 16 + skip:at + 16 + length]
        at += 16 + length
        if len(ip) >= 40 and ip[0] >> 4 == 4 and ip[9] == 6:
            found.append(Flight(seconds + fraction * scale, ip))
    return found
