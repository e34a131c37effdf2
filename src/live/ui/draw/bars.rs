//! Bars of characters.

/// Eighths of a row.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 9] = [' ', '.', '.', ':', ':', '|', '|', '#', '#'];

/// Bars of up to `rows` rows, the top row first. The largest value is as high as the place; any other
/// than nothing can be seen.
pub(super) fn bars(values: &[f64], rows: usize, ascii: bool) -> Vec<String> {
    let most = values.iter().copied().fold(0.0, f64::max);
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| match *value > 0.0 && most > 0.0 {
            true => ((value / most * (rows * 8) as f64).round() as usize).max(1),
            false => 0,
        })
        .collect();
    let levels = if ascii { ASCII } else { LEVELS };
    let row = |row: usize| {
        let below = (rows - 1 - row) * 8;
        eighths.iter().map(|level| levels[level.saturating_sub(below).min(8)]).collect()
    };
    (0..rows).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_full_and_the_smallest_is_seen() {
        assert_eq!(bars(&[0.0, 0.001, 4.0, 8.0], 1, false), [" ▁▄█"]);
        assert_eq!(bars(&[0.0, 0.001, 4.0, 8.0], 2, false), ["   █", " ▁██"]);
        assert_eq!(bars(&[0.0, 0.001, 4.0, 8.0], 1, true), [" .:#"]);
        assert_eq!(bars(&[0.0, 0.0], 1, false), ["  "]);
        assert_eq!(bars(&[], 2, false), ["", ""]);
    }
}
