//! Captures built by hand, for the tests of this module.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bytes::Order;
use super::reader::Reader;
use super::window::WINDOW;
use super::{CaptureError, CaptureInfo, Direction, LinkType};
use crate::time::Timestamp;

/// A frame that has been copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) link: LinkType,
    pub(super) bytes: Vec<u8>,
    pub(super) wire_len: u32,
    pub(super) direction: Direction,
}

/// Reads a file from memory.
#[track_caller]
pub(super) fn read(bytes: Vec<u8>) -> (Vec<Seen>, CaptureInfo) {
    try_read(bytes).expect("a capture")
}

pub(super) fn try_read(bytes: Vec<u8>) -> Result<(Vec<Seen>, CaptureInfo), CaptureError> {
    let stored = Arc::new(AtomicU64::new(0));
    stored.store(bytes.len() as u64, Ordering::Relaxed);
    let mut reader = Reader::open("test", Box::new(Cursor::new(bytes)), stored, WINDOW)?;
    let mut frames = Vec::new();
    while let Some(record) = reader.next() {
        reader.count(&record);
        frames.push(Seen {
            number: reader.number(),
            at: record.at,
            link: record.link,
            bytes: reader.bytes(&record).to_vec(),
            wire_len: record.wire_len,
            direction: record.direction,
        });
    }
    Ok((frames, reader.finish()))
}

fn put16(order: Order, value: u16) -> [u8; 2] {
    match order {
        Order::Little => value.to_le_bytes(),
        Order::Big => value.to_be_bytes(),
    }
}

fn put32(order: Order, value: u32) -> [u8; 4] {
    match order {
        Order::Little => value.to_le_bytes(),
        Order::Big => value.to_be_bytes(),
    }
}

fn put64(order: Order, value: u64) -> [u8; 8] {
    match order {
        Order::Little => value.to_le_bytes(),
        Order::Big => value.to_be_bytes(),
    }
}

/// A pcap file.
#[derive(Clone, Debug)]
pub(super) struct PcapFile {
    pub(super) bytes: Vec<u8>,
    order: Order,
    modified: bool,
}

impl PcapFile {
    pub(super) fn new(magic: u32, order: Order, link: u32) -> PcapFile {
        let mut bytes = put32(order, magic).to_vec();
        bytes.extend(put16(order, 2));
        bytes.extend(put16(order, 4));
        for field in [0, 0, 65_535, link] {
            bytes.extend(put32(order, field));
        }
        PcapFile { bytes, order, modified: magic == 0xa1b2_cd34 }
    }

    pub(super) fn header(
        mut self,
        seconds: u32,
        fraction: u32,
        captured: u32,
        original: u32,
    ) -> PcapFile {
        for field in [seconds, fraction, captured, original] {
            self.bytes.extend(put32(self.order, field));
        }
        if self.modified {
            // Interface index, protocol, packet type (outgoing), padding.
            self.bytes.extend([0, 0, 0, 2, 8, 0, 4, 0]);
        }
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> PcapFile {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn record(self, seconds: u32, fraction: u32, bytes: &[u8]) -> PcapFile {
        let length = bytes.len() as u32;
        self.header(seconds, fraction, length, length).raw(bytes)
    }
}

/// A pcapng file.
#[derive(Clone, Debug)]
pub(super) struct PcapngFile {
    pub(super) bytes: Vec<u8>,
    order: Order,
}

impl PcapngFile {
    pub(super) fn new(order: Order) -> PcapngFile {
        PcapngFile { bytes: Vec::new(), order }.section(order)
    }

    pub(super) fn section(mut self, order: Order) -> PcapngFile {
        self.order = order;
        let mut body = put32(order, 0x1a2b_3c4d).to_vec();
        body.extend(put16(order, 1));
        body.extend(put16(order, 0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    pub(super) fn block(mut self, kind: u32, body: &[u8]) -> PcapngFile {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        self.bytes.extend(put32(self.order, kind));
        self.bytes.extend(put32(self.order, length));
        self.bytes.extend(body);
        self.bytes.extend(&[0; 4][..padding]);
        self.bytes.extend(put32(self.order, length));
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> PcapngFile {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An option with its padding.
    pub(super) fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = put16(self.order, code).to_vec();
        bytes.extend(put16(self.order, value.len() as u16));
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub(super) fn option64(&self, code: u16, value: u64) -> Vec<u8> {
        self.option(code, &put64(self.order, value))
    }

    pub(super) fn option32(&self, code: u16, value: u32) -> Vec<u8> {
        self.option(code, &put32(self.order, value))
    }

    pub(super) fn interface(self, link: u16, snaplen: u32, options: &[u8]) -> PcapngFile {
        let mut body = put16(self.order, link).to_vec();
        body.extend([0, 0]);
        body.extend(put32(self.order, snaplen));
        body.extend(options);
        self.block(1, &body)
    }

    pub(super) fn packet(self, interface: u32, units: u64, bytes: &[u8]) -> PcapngFile {
        self.packet_with(interface, units, bytes, &[])
    }

    pub(super) fn packet_with(
        self,
        interface: u32,
        units: u64,
        bytes: &[u8],
        options: &[u8],
    ) -> PcapngFile {
        let body = [&put32(self.order, interface)[..], &self.timed(units, bytes, options)].concat();
        self.block(6, &body)
    }

    pub(super) fn old_packet(
        self,
        interface: u16,
        drops: u16,
        units: u64,
        bytes: &[u8],
    ) -> PcapngFile {
        let mut body = put16(self.order, interface).to_vec();
        body.extend(put16(self.order, drops));
        body.extend(self.timed(units, bytes, &[]));
        self.block(2, &body)
    }

    pub(super) fn simple_packet(self, original: u32, bytes: &[u8]) -> PcapngFile {
        let body = [&put32(self.order, original)[..], bytes].concat();
        self.block(3, &body)
    }

    pub(super) fn statistics(self, interface: u32, options: &[u8]) -> PcapngFile {
        let body = [&put32(self.order, interface)[..], &[0; 8], options].concat();
        self.block(5, &body)
    }

    fn timed(&self, units: u64, bytes: &[u8], options: &[u8]) -> Vec<u8> {
        let length = bytes.len() as u32;
        let mut body = Vec::new();
        for field in [(units >> 32) as u32, units as u32, length, length] {
            body.extend(put32(self.order, field));
        }
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(options);
        body
    }
}
