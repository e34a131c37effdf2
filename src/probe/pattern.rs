//! The small languages in files of probers: texts, bytes, networks, statuses.

use crate::packet::Address;
use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use std::net::IpAddr;

/// Memory that one compiled expression may take, bytes.
const EXPRESSION_MAX: usize = 1 << 21;

/// A regular expression, compiled. Each text is looked at once, so that what is quick to build serves
/// better than what is quick to search with.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Expression(pub(super) Regex);

impl TryFrom<String> for Expression {
    type Error = String;
    fn try_from(text: String) -> Result<Expression, String> {
        let compiled = RegexBuilder::new(&text).size_limit(EXPRESSION_MAX).build();
        compiled.map(Expression).map_err(|error| error.to_string())
    }
}

impl PartialEq for Expression {
    /// Written the same way.
    fn eq(&self, other: &Expression) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// A condition on a text that may be missing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawText")]
pub(super) enum Text {
    Exact(String),
    Prefix(String),
    Regex(Expression),
    Absent,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawText {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<Expression>,
    #[serde(default)]
    absent: bool,
}

impl TryFrom<RawText> for Text {
    type Error = &'static str;
    fn try_from(raw: RawText) -> Result<Text, &'static str> {
        match (raw.exact, raw.prefix, raw.regex, raw.absent) {
            (Some(exact), None, None, false) => Ok(Text::Exact(exact)),
            (None, Some(prefix), None, false) => Ok(Text::Prefix(prefix)),
            (None, None, Some(regex), false) => Ok(Text::Regex(regex)),
            (None, None, None, true) => Ok(Text::Absent),
            _ => Err("needs one of exact, prefix, regex, absent = true"),
        }
    }
}

impl Text {
    /// Whether it is that there is no text.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Text::Absent)
    }

    pub(super) fn holds(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Text::Absent, text) => text.is_none(),
            (_, None) => false,
            (Text::Exact(exact), Some(text)) => exact == text,
            (Text::Prefix(prefix), Some(text)) => text.starts_with(prefix.as_str()),
            (Text::Regex(Expression(regex)), Some(text)) => regex.is_match(text),
        }
    }
}

/// Bytes, any of which may be left open.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Hex(pub(super) Vec<Option<u8>>);

impl TryFrom<String> for Hex {
    type Error = String;
    fn try_from(text: String) -> Result<Hex, String> {
        let wrong = || format!("`{text}` is no hexadecimal text");
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
        let pairs = digits.chunks(2).map(|pair| match std::str::from_utf8(pair) {
            Ok("..") => Ok(None),
            Ok(pair) if pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u8::from_str_radix(pair, 16).map(Some).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        });
        pairs.collect::<Result<_, _>>().map(Hex)
    }
}

impl Hex {
    pub(super) fn begins(&self, bytes: &[u8], and_ends: bool) -> bool {
        let long_enough =
            if and_ends { bytes.len() == self.0.len() } else { bytes.len() >= self.0.len() };
        long_enough
            && self.0.iter().zip(bytes).all(|(want, have)| want.is_none_or(|want| want == *have))
    }

    /// The bytes, zero where they are open.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.unwrap_or_default()).collect()
    }
}

/// A network.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cidr {
    network: u128,
    mask: u128,
}

impl TryFrom<String> for Cidr {
    type Error = String;
    fn try_from(text: String) -> Result<Cidr, String> {
        let wrong = || format!("`{text}` is no network such as 10.0.0.0/8");
        let (ip, bits) = text.split_once('/').ok_or_else(wrong)?;
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        let (network, bits) = match ip {
            IpAddr::V4(ip) if bits <= 32 => (ip.to_ipv6_mapped(), bits + 96),
            IpAddr::V6(ip) if bits <= 128 => (ip, bits),
            _ => return Err(wrong()),
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or_default();
        Ok(Cidr { network: network.to_bits() & mask, mask })
    }
}

impl Cidr {
    pub(super) fn holds(&self, ip: Address) -> bool {
        u128::from_be_bytes(ip) & self.mask == self.network
    }
}

/// Statuses: single ones and ranges, or any.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Statuses(pub(super) Box<str>);

impl TryFrom<String> for Statuses {
    type Error = String;
    fn try_from(text: String) -> Result<Statuses, String> {
        let number = |text: &str| text.trim().parse::<u16>().ok();
        let sound = |part: &str| match part.split_once('-') {
            Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
            None => number(part).is_some(),
        };
        if text == "any" || text.split(',').all(sound) {
            Ok(Statuses(text.into()))
        } else {
            Err(format!("`{text}` are no statuses such as 200,301-302"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |cidr: &str, ip: &str| {
            let ip = match ip.parse().unwrap() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            Cidr::try_from(cidr.to_owned()).unwrap().holds(ip)
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("168.63.129.16/32", "168.63.129.16"));
        assert!(holds("fe80::/10", "fe80::1") && !holds("fe80::/10", "::1"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1"));
    }

    #[test]
    fn bytes_may_be_open_and_end() {
        let hex = Hex::try_from("16 .. 03".to_owned()).unwrap();
        assert!(hex.begins(&[0x16, 9, 3, 4], false) && !hex.begins(&[0x16, 9, 3, 4], true));
        assert!(hex.begins(&[0x16, 9, 3], true) && !hex.begins(&[0x16, 9], false));
        assert_eq!(hex.bytes(), [0x16, 0, 3]);
        for wrong in ["1", "zz", "é1", "+1"] {
            assert!(Hex::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn statuses_are_checked() {
        for right in ["any", "200", "200-399", "200,301-302,401", "0", "12"] {
            assert!(Statuses::try_from(right.to_owned()).is_ok(), "{right}");
        }
        for wrong in ["", "2xx", "300-200", "200,", "-1"] {
            assert!(Statuses::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
