//! How busy machines are: a table with a row per five minutes, of which the first column is the use
//! of the processor in per cent.

use super::orders::BadLine;

/// The first column, below its heading.
pub(crate) fn read(text: &str) -> Result<Vec<f64>, BadLine> {
    let mut lines = (1..).zip(text.lines());
    match lines.next() {
        Some((_, headings)) if headings.starts_with("cpu_util_percent") => {}
        _ => return Err(BadLine { line: 1, why: "is not cpu_util_percent,…" }),
    }
    let rows: Result<Vec<_>, _> = lines.map(|(line, text)| row(line, text)).collect();
    match rows {
        Ok(rows) if rows.is_empty() => Err(BadLine { line: 2, why: "is missing: no rows" }),
        rows => rows,
    }
}

fn row(line: u32, text: &str) -> Result<f64, BadLine> {
    let first = text.split(',').next().unwrap_or_default().trim();
    let use_percent = first.parse().ok().filter(|number: &f64| number.is_finite());
    use_percent.ok_or(BadLine { line, why: "does not begin with a number" })
}

/// What a node plays: its own part of the table, over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Play {
    /// Where it begins.
    first: usize,
    steps: usize,
}

impl Play {
    /// Of node number `node`: it begins at another time of the week than the others do.
    pub(crate) fn of(node: usize) -> Self {
        Self { first: node * ROWS_APART, steps: 0 }
    }

    /// The next row.
    pub(crate) fn next(&mut self, rows: &[f64]) -> f64 {
        let row = (self.first + self.steps) % rows.len();
        self.steps += 1;
        rows[row]
    }
}

/// Nearly a day.
const ROWS_APART: usize = 280;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_play_parts_of_their_own_and_begin_again_at_the_end() {
        let rows: Vec<f64> = (0..300).map(f64::from).collect();
        let mut play = Play::of(1);
        let played: Vec<f64> = (0..22).map(|_| play.next(&rows)).collect();
        assert_eq!((played[0], played[19], played[20], played[21]), (280.0, 299.0, 0.0, 1.0));
        assert_eq!(Play::of(2).next(&rows), 260.0);
    }

    #[test]
    fn a_broken_row_is_named_by_its_number() {
        let text = "cpu_util_percent,mem\n1.5,2\nNaN,3\n";
        assert_eq!(read(text).unwrap_err().line, 3);
        assert_eq!(read("cpu_util_percent\n16.5,3\n"), Ok(vec![16.5]));
        assert_eq!(read("mem\n1\n").unwrap_err().line, 1);
        assert!(read(crate::demo::LOAD).unwrap().len() > 2_000);
    }
}
