//! What a copy of a capture needs besides the bytes of its frames: interfaces, times as they are
//! stored, comments, secrets. Only collected for those who ask
//! ([`Timeline::keep_asides`](super::Timeline::keep_asides)).

use super::bytes::Order;
use super::pcapng_blocks::{
    CUSTOM, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, JOURNAL_EXPORT,
};
use super::pcapng_options::options;
use super::write::BlockOptions;
use super::{Direction, LinkType};

/// Bytes of blocks that are held until a copy takes them: a key log of a busy day. More between
/// two packets is left out and counted.
const HELD_MAX: usize = 64 << 20;

/// Records of a Name Resolution Block end with this one.
const NO_MORE_NAMES: [u8; 4] = [0; 4];

/// A frame as its file holds it.
#[derive(Clone, Debug)]
pub struct Original<'a> {
    /// Number of its interface in the section, counted from 0.
    pub interface: u32,
    /// Its time as it is stored: since 1970, in units of the interface's resolution.
    pub units: u64,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Length on the wire.
    pub wire_len: u32,
    /// Comments, direction and the like.
    pub options: BlockOptions,
}

/// Something that a capture holds besides frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// A section begins: interfaces are counted from 0 again.
    Section {
        /// Comments, and what the capture was made with.
        options: BlockOptions,
    },
    /// An interface.
    Interface {
        /// Link type of its frames.
        link: LinkType,
        /// Longest frame, bytes; 0: no limit.
        snaplen: u32,
        /// Name, resolution of its times and the like.
        options: BlockOptions,
    },
    /// Counters of an interface.
    Statistics {
        /// Its number in the section.
        interface: u32,
        /// When they were read.
        units: u64,
        /// The counters.
        options: BlockOptions,
    },
    /// What packets are decrypted with.
    Secrets {
        /// Format of the data, as pcapng numbers them: 0x544c534b is a TLS key log.
        kind: u32,
        /// The secrets.
        data: Vec<u8>,
    },
    /// Names of addresses.
    Names {
        /// The block without its frame, little-endian.
        body: Vec<u8>,
    },
    /// A block that Wireshark numbers as a frame of its own: a journal entry or a custom block.
    Numbered {
        /// Type of the block.
        kind: u32,
        /// The block without its frame, little-endian.
        body: Vec<u8>,
    },
}

impl Aside {
    /// Bytes that it takes.
    fn size(&self) -> usize {
        size_of::<Aside>()
            + match self {
                Aside::Section { options }
                | Aside::Interface { options, .. }
                | Aside::Statistics { options, .. } => options.len(),
                Aside::Secrets { data, .. } => data.len(),
                Aside::Names { body } | Aside::Numbered { body, .. } => body.len(),
            }
    }

    pub(super) fn section(body: &[u8], order: Order) -> Aside {
        // None of its options holds a number.
        Aside::Section { options: portable(body.get(16..), order, |_| 1) }
    }

    pub(super) fn interface(link: LinkType, snaplen: u32, body: &[u8], order: Order) -> Aside {
        let options = of_block(INTERFACE_DESCRIPTION, body.get(8..), order);
        Aside::Interface { link, snaplen, options }
    }

    pub(super) fn statistics(body: &[u8], order: Order) -> Aside {
        Aside::Statistics {
            interface: order.u32(body, 0),
            units: units(body, 4, order),
            options: of_block(INTERFACE_STATISTICS, body.get(12..), order),
        }
    }

    pub(super) fn secrets(body: &[u8], order: Order) -> Aside {
        let data = body.get(8..).unwrap_or_default();
        let length = (order.u32(body, 4) as usize).min(data.len());
        Aside::Secrets { kind: order.u32(body, 0), data: data[..length].to_vec() }
    }

    /// Records look like options, and their values hold no numbers. The options behind them say who
    /// resolved the names; they are left out.
    pub(super) fn names(body: &[u8], order: Order) -> Aside {
        let mut body = portable(Some(body), order, |_| 1).into_bytes();
        body.extend(NO_MORE_NAMES);
        Aside::Names { body }
    }

    pub(super) fn numbered(kind: u32, body: &[u8], order: Order) -> Aside {
        let mut body = body.to_vec();
        // The number of the enterprise whose block it is; only that one knows the rest.
        if let (CUSTOM, Order::Big, Some(enterprise)) = (kind, order, body.get_mut(..4)) {
            enterprise.reverse();
        }
        Aside::Numbered { kind, body }
    }
}

/// A time in two halves, the upper one first.
pub(super) fn units(body: &[u8], at: usize, order: Order) -> u64 {
    u64::from(order.u32(body, at)) << 32 | u64::from(order.u32(body, at + 4))
}

/// `epb_flags` of a direction; 0 when it is not known.
pub(super) fn direction_flags(direction: Direction) -> u32 {
    match direction {
        Direction::Unknown => 0,
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    }
}

/// The options of a block of type `kind`, little-endian.
pub(super) fn of_block(kind: u32, bytes: Option<&[u8]>, order: Order) -> BlockOptions {
    portable(bytes, order, |code| match (kind, code) {
        // if_speed, if_tsoffset, if_txspeed, if_rxspeed; epb_dropcount, epb_packetid; the counters.
        (INTERFACE_DESCRIPTION, 8 | 14 | 16 | 17) => 8,
        (ENHANCED_PACKET, 4 | 5) => 8,
        (INTERFACE_STATISTICS, 4..=8) => 8,
        // if_tzone; epb_flags, epb_queue; isb_starttime and isb_endtime, in two halves.
        (INTERFACE_DESCRIPTION, 10) => 4,
        (ENHANCED_PACKET, 2 | 6) => 4,
        (INTERFACE_STATISTICS, 2 | 3) => 4,
        _ => 1,
    })
}

/// Options in little-endian order; `width` is how many bytes make a number in the value of an
/// option with that code. Custom options that may not be copied are left out.
fn portable(bytes: Option<&[u8]>, order: Order, width: impl Fn(u16) -> usize) -> BlockOptions {
    const CUSTOM_OPTIONS: [u16; 2] = [2988, 2989];
    const NOT_TO_BE_COPIED: [u16; 2] = [19_372, 19_373];
    let mut copy = BlockOptions::default();
    for (code, value) in options(bytes.unwrap_or_default(), order).flatten() {
        if NOT_TO_BE_COPIED.contains(&code) {
            continue;
        }
        let mut value = value.to_vec();
        if order == Order::Big {
            if CUSTOM_OPTIONS.contains(&code) {
                if let Some(enterprise) = value.get_mut(..4) {
                    enterprise.reverse();
                }
            } else {
                value.chunks_exact_mut(width(code)).for_each(<[u8]>::reverse);
            }
        }
        copy.add(code, &value);
    }
    copy
}

/// What came between frames and waits for a copy.
#[derive(Debug, Default)]
pub(super) struct Asides {
    list: Vec<Aside>,
    held: usize,
    lost: u64,
}

impl Asides {
    pub(super) fn push(&mut self, aside: Aside) {
        let size = aside.size();
        // Packets cannot do without their interfaces, which have a bound of their own.
        let needed = matches!(aside, Aside::Section { .. } | Aside::Interface { .. });
        if !needed && self.held + size > HELD_MAX {
            self.lost += 1;
            return;
        }
        self.held += size;
        self.list.push(aside);
    }

    /// Everything so far, and how many did not fit since the last time.
    pub(super) fn take(&mut self) -> (Vec<Aside>, u64) {
        self.held = 0;
        (std::mem::take(&mut self.list), std::mem::take(&mut self.lost))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.lost == 0
    }
}

/// Whether Wireshark numbers blocks of this type as frames and they may be copied.
pub(super) fn may_be_copied(kind: u32) -> bool {
    matches!(kind, JOURNAL_EXPORT | CUSTOM)
}

#[cfg(test)]
mod tests {
    use super::super::Timeline;
    use super::super::testing::PcapngFile;
    use super::*;
    use std::io::Cursor;

    fn both(make: impl Fn(&PcapngFile) -> Vec<u8>) -> [(Vec<u8>, Order); 2] {
        [Order::Little, Order::Big].map(|order| (make(&PcapngFile::new(order)), order))
    }

    #[test]
    fn numbers_in_options_come_out_little_endian() {
        let made = both(|file| {
            [
                file.option(1, b"comment"),
                file.option32(2, 0x0102_0304),
                file.option64(4, 5),
                file.option(19_372, b"PEN.secret"),
            ]
            .concat()
        });
        let [little, big] =
            made.map(|(bytes, order)| of_block(ENHANCED_PACKET, Some(&bytes), order));
        assert_eq!(little, big);
        let mut wanted = BlockOptions::default();
        wanted.comment("comment");
        wanted.flags(0x0102_0304);
        wanted.add(4, &5_u64.to_le_bytes());
        assert_eq!(little, wanted);
    }

    #[test]
    fn names_and_secrets_are_the_same_from_both_orders() {
        let names = both(|file| [file.option(1, b"\x0a\0\0\x01host\0"), vec![0; 4]].concat());
        let [little, big] = names.map(|(bytes, order)| Aside::names(&bytes, order));
        assert_eq!(little, big);
        let Aside::Names { body } = little else { panic!("no names") };
        assert!(body.ends_with(b"host\0\0\0\0\0\0\0\0"), "{body:?}");
        let secrets = Aside::secrets(b"KSLT\x05\0\0\0line\n\0\0\0", Order::Little);
        assert_eq!(secrets, Aside::Secrets { kind: 0x544c_534b, data: b"line\n".to_vec() });
        // A length beyond the block is no reason to lose what is there.
        let cut = Aside::secrets(b"KSLT\xff\0\0\0line", Order::Little);
        assert_eq!(cut, Aside::Secrets { kind: 0x544c_534b, data: b"line".to_vec() });
    }

    /// Number of the interface, units and options of each frame, and what stands between them.
    fn read(file: PcapngFile) -> (Vec<(u32, u64, BlockOptions)>, Vec<Aside>) {
        let mut timeline = Timeline::from_reader("test", Box::new(Cursor::new(file.bytes)));
        timeline.keep_asides();
        let (mut frames, mut asides) = (Vec::new(), Vec::new());
        while timeline.next_frame().unwrap().is_some() {
            asides.extend(timeline.asides().0);
            let original = timeline.original().unwrap();
            frames.push((original.interface, original.units, original.options));
        }
        asides.extend(timeline.asides().0);
        (frames, asides.into_iter().map(|(_, aside)| aside).collect())
    }

    #[test]
    fn packets_of_every_kind_are_told_as_they_are_stored() {
        for order in [Order::Little, Order::Big] {
            let file = PcapngFile::new(order);
            let halves = file.option(9, &[0x81]);
            let comment = file.option(1, b"why");
            let file = file
                .interface(1, 0, &halves)
                .interface(113, 96, &[])
                .packet_with(1, 1_234_567, b"enhanced", &comment)
                .old_packet(0, 3, 7, b"old")
                .simple_packet(6, b"simple")
                .statistics(1, &[])
                .section(order)
                .interface(101, 0, &[])
                .packet(0, 9, b"second");
            let (frames, asides) = read(file);
            let mut why = BlockOptions::default();
            why.comment("why");
            let mut three = BlockOptions::default();
            three.drops(3);
            let none = BlockOptions::default();
            // The simple one got the time of the packet before it: 3.5 s, or seven halves.
            let wanted = [(1, 1_234_567, why), (0, 7, three), (0, 7, none.clone()), (0, 9, none)];
            assert_eq!(frames, wanted);
            let kinds: Vec<&str> = asides
                .iter()
                .map(|aside| match aside {
                    Aside::Section { .. } => "section",
                    Aside::Interface { .. } => "interface",
                    Aside::Statistics { .. } => "statistics",
                    _ => "other",
                })
                .collect();
            let second = ["statistics", "section", "interface"];
            assert_eq!(kinds, [&["section", "interface", "interface"][..], &second].concat());
        }
    }

    #[test]
    fn secrets_without_end_are_counted_and_interfaces_are_kept() {
        let mut asides = Asides::default();
        let secrets = Aside::Secrets { kind: 1, data: vec![0; HELD_MAX / 2] };
        for _ in 0..3 {
            asides.push(secrets.clone());
        }
        asides.push(Aside::Section { options: BlockOptions::default() });
        let (kept, lost) = asides.take();
        assert_eq!((kept.len(), lost), (2, 2));
        assert!(asides.is_empty());
    }
}
