//! Names of link types, for people.

use super::LinkType;

/// Link types with the names that <https://www.tcpdump.org/linktypes.html> and Wireshark use,
/// sorted by number.
const NAMES: &[(u16, &str)] = &[
    (0, "BSD loopback (null)"),
    (1, "Ethernet"),
    (3, "AX.25"),
    (6, "Token Ring"),
    (7, "ARCNET"),
    (8, "SLIP"),
    (9, "PPP"),
    (10, "FDDI"),
    (12, "raw IP"),
    (14, "raw IP"),
    (50, "PPP in HDLC framing"),
    (51, "PPPoE"),
    (100, "ATM (RFC 1483)"),
    (101, "raw IP"),
    (104, "Cisco HDLC"),
    (105, "IEEE 802.11"),
    (107, "Frame Relay"),
    (108, "OpenBSD loopback"),
    (109, "OpenBSD enc (IPsec)"),
    (113, "Linux cooked v1"),
    (114, "LocalTalk"),
    (117, "OpenBSD pflog"),
    (119, "IEEE 802.11 with Prism header"),
    (122, "IP over Fibre Channel"),
    (127, "IEEE 802.11 with radiotap header"),
    (130, "Juniper multilink PPP"),
    (137, "Juniper ATM"),
    (138, "Apple IP over IEEE 1394"),
    (139, "SS7 MTP2 with pseudo-header"),
    (141, "SS7 MTP3"),
    (143, "DOCSIS"),
    (147, "user-defined 0"),
    (162, "user-defined 15"),
    (163, "IEEE 802.11 with AVS header"),
    (166, "PPP with direction (pppd)"),
    (169, "GPRS LLC"),
    (178, "Juniper Ethernet"),
    (187, "Bluetooth HCI H4"),
    (189, "USB, Linux, 48-byte header"),
    (192, "PPI"),
    (195, "IEEE 802.15.4"),
    (197, "ERF"),
    (204, "PPP with direction"),
    (220, "USB, Linux, 64-byte header"),
    (226, "Solaris ipnet"),
    (227, "SocketCAN"),
    (228, "IPv4"),
    (229, "IPv6"),
    (239, "NFLOG"),
    (240, "netANALYZER"),
    (242, "IP over InfiniBand"),
    (247, "InfiniBand"),
    (249, "USBPcap"),
    (251, "Bluetooth LE"),
    (252, "Wireshark upper PDU"),
    (253, "Linux netlink"),
    (258, "Apple PKTAP"),
    (266, "USB, Darwin"),
    (271, "vsock"),
    (272, "Nordic BLE"),
    (274, "Ethernet with preamble (MPacket)"),
    (276, "Linux cooked v2"),
    (279, "systemd journal"),
    (283, "Infineon Elektrobit"),
    (290, "Elektrobit EBHSCR"),
];

impl LinkType {
    /// IEEE 802.3 Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);

    /// Name for people; of a link type without one, its number.
    pub fn name(self) -> std::borrow::Cow<'static, str> {
        match NAMES.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(index) => NAMES[index].1.into(),
            Err(_) => format!("link type {}", self.0).into(),
        }
    }

    /// The number that libpcap uses in memory (`DLT_`), which differs for a few link types from
    /// the one in files (`LINKTYPE_`) and between systems; see libpcap's `pcap-common.c`.
    pub(super) fn dlt(self) -> i32 {
        let open_bsd = cfg!(target_os = "openbsd");
        match self.0 {
            50 => 50,
            100 => 11,
            101 if open_bsd => 14,
            101 => 12,
            102 => 15,
            103 => 16,
            106 => 19,
            108 if open_bsd => 12,
            other => i32::from(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_numbers_fall_back() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(LinkType(1).name(), "Ethernet");
        assert_eq!(LinkType(113).name(), "Linux cooked v1");
        assert_eq!(LinkType(65_000).name(), "link type 65000");
    }
}
