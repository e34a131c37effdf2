//! Which status codes pass: `200`, `200,202`, `200-399`.

use std::fmt;

/// Ranges that one matcher may list; more than any vendor's field holds.
pub const RANGES_MAX: usize = 32;

/// Status codes (or gRPC codes) that make a check pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher(Vec<(u16, u16)>);

/// Why a matcher could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Not codes, commas and hyphens.
    #[error("is no list of status codes such as 200, 200,202 or 200-399")]
    Form,
    /// The range is the wrong way round.
    #[error("has a range that ends before it begins")]
    Backwards,
    /// More than [`RANGES_MAX`].
    #[error("has more than {RANGES_MAX} ranges")]
    Long,
}

impl Matcher {
    /// Reads `200`, `200,202`, `200-399`, `0,12`.
    pub fn parse(text: &str) -> Result<Matcher, MatcherError> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let code = |text: &str| {
                let text = text.trim();
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse::<u16>().ok()).flatten().ok_or(MatcherError::Form)
            };
            let (low, high) = (code(low)?, code(high)?);
            if low > high {
                return Err(MatcherError::Backwards);
            }
            if ranges.len() == RANGES_MAX {
                return Err(MatcherError::Long);
            }
            ranges.push((low, high));
        }
        Ok(Matcher(ranges))
    }

    /// Whether that code passes.
    pub fn accepts(&self, code: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&code))
    }

    /// Whether all its codes lie between these two.
    pub fn within(&self, low: u16, high: u16) -> bool {
        self.0.iter().all(|range| range.0 >= low && range.1 <= high)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (low, high)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_accept_what_they_name() {
        let matcher = Matcher::parse("200, 202,300-399").unwrap();
        assert_eq!(matcher.to_string(), "200,202,300-399");
        for (code, passes) in [(200, true), (201, false), (202, true), (399, true), (400, false)] {
            assert_eq!(matcher.accepts(code), passes, "{code}");
        }
        assert!(matcher.within(200, 499) && !matcher.within(200, 302));
        assert!(Matcher::parse("0,12").unwrap().accepts(12));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "2xx", "200-", "-1", "200,,202", "+200", "70000"] {
            assert_eq!(Matcher::parse(text), Err(MatcherError::Form), "{text}");
        }
        assert_eq!(Matcher::parse("399-200"), Err(MatcherError::Backwards));
        assert_eq!(Matcher::parse(&["1"; 33].join(",")), Err(MatcherError::Long));
    }
}
