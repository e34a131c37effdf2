//! Mirror of a flow.

use super::tls::Tls;
use super::{Address, BlindSpotId, PerSide, Time, blind_spots, nanos_as_s};
use crate::flow;
use crate::report::terms;
use crate::tcp::Side;
use schemars::JsonSchema;
use serde::Serialize;

/// A TCP connection, or as much of it as was captured.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Flow<'a> {
    /// Counts flows of all captures by their first packet, from 0.
    id: u64,
    /// Index in `captures` of its first packet.
    file: u32,
    /// Wireshark's `tcp.stream` in that file.
    stream: Option<u32>,
    /// The side that opened the connection.
    client: Address,
    /// The side that accepted it.
    server: Address,
    /// Encapsulation.
    tunnel: Option<&'a str>,
    /// Frame number of its first packet, as in Wireshark.
    first_frame: u64,
    /// Frame number of its last packet, in the file `last_file`.
    last_frame: u64,
    /// Index in `captures` of its last packet.
    last_file: u32,
    start: Time,
    duration_s: f64,
    packets: PerSide,
    /// TCP payload as sent, retransmissions included.
    payload_bytes: PerSide,
    /// Segments that repeat bytes.
    retransmissions: PerSide,
    /// Packets that are in the capture more than once.
    duplicates: PerSide,
    /// Bytes that were sent and not captured.
    missing_bytes: PerSide,
    /// Segments by which the side advertised a zero window.
    zero_windows: PerSide,
    /// Zeek's connection history: upper case for the client, lower case for the server.
    history: &'a str,
    /// Round-trip time of the handshake, else of data.
    rtt_s: Option<f64>,
    /// Smoothed round-trip time between capture point and server (RFC 6298).
    rtt_smoothed_s: Option<f64>,
    /// Its mean deviation.
    rtt_variation_s: Option<f64>,
    /// Where the capture was taken.
    #[schemars(extend("enum" = ["client", "server", "between", "unknown"]))]
    vantage: &'static str,
    /// What the connection carries.
    #[schemars(extend("enum" = ["no-data", "http1", "upgraded", "tls", "http2", "other"]))]
    protocol: &'static str,
    /// Requests that could be read.
    requests: u32,
    responses: u32,
    /// Its TLS.
    tls: Option<Box<Tls<'a>>>,
    #[schemars(extend("enum" = ["fin", "rst", "timeout", "capture-end"]))]
    ended: &'static str,
    #[schemars(extend("enum" = ["client", "server", null]))]
    ended_by: Option<&'static str>,
    /// Which health checker opened it. Null in a record that is written while captures are read:
    /// there the `check` records name their flows.
    probe: Option<&'a str>,
    blind_spots: Vec<BlindSpotId>,
}

impl<'a> Flow<'a> {
    pub(in crate::report) fn new(
        flow: &'a flow::Flow,
        tunnels: &'a [String],
        probe: Option<&'a str>,
    ) -> Flow<'a> {
        let per_side = |read: fn(&flow::Half) -> u64| PerSide {
            client: read(flow.half(Side::Client)),
            server: read(flow.half(Side::Server)),
        };
        Flow {
            id: flow.id,
            file: flow.first.frame.file(),
            stream: flow.stream,
            client: flow.client.into(),
            server: flow.server.into(),
            tunnel: tunnels
                .get(flow.tunnel.0 as usize)
                .map(String::as_str)
                .filter(|t| !t.is_empty()),
            first_frame: flow.first.frame.number(),
            last_frame: flow.last.frame.number(),
            last_file: flow.last.frame.file(),
            start: Time(flow.first.at),
            duration_s: nanos_as_s(flow.last.at.nanos_since(flow.first.at)),
            packets: per_side(|half| half.packets),
            payload_bytes: per_side(|half| half.payload_bytes),
            retransmissions: per_side(|half| u64::from(half.trouble().retransmissions)),
            duplicates: per_side(|half| u64::from(half.trouble().duplicates)),
            missing_bytes: per_side(|half| half.trouble().missing),
            zero_windows: per_side(|half| u64::from(half.trouble().zero_windows)),
            history: flow.history.as_str(),
            rtt_s: flow.opening.round_trip().or(flow.rtt.map(|rtt| rtt.smoothed)).map(nanos_as_s),
            rtt_smoothed_s: flow.rtt.map(|rtt| nanos_as_s(rtt.smoothed)),
            rtt_variation_s: flow.rtt.map(|rtt| nanos_as_s(rtt.variation)),
            vantage: flow.vantage.id(),
            protocol: terms::protocol_id(flow.protocol),
            requests: flow.requests,
            responses: flow.responses,
            tls: Tls::of(flow).map(Box::new),
            ended: terms::ended_id(flow.ended),
            ended_by: flow.ended_by.map(terms::side),
            probe,
            blind_spots: blind_spots(flow.blind_spots),
        }
    }
}
