//! The orders of the shop: a text file with a line an order.
//!
//! After a line of headings each line has the customer's number, the date, how many CDs, and what
//! they cost in dollars. An order goes by the number of its line, since lines may be equal.

use std::fmt;

use logo::prelude::Live;
use serde::{Deserialize, Serialize};

/// An order, with money in whole cents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Live, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The number of its line in the file, counted from 1.
    pub(crate) line: u32,
    pub(crate) customer: u32,
    /// Year, month and day as one number: 19970131.
    pub(crate) date: u32,
    pub(crate) cds: u32,
    pub(crate) cents: u64,
}

/// Reads a whole file.
pub(crate) fn read(text: &str) -> Result<Vec<Order>, BadLine> {
    let mut lines = (1..).zip(text.lines());
    match lines.next() {
        Some((_, headings)) if headings.split_whitespace().next() == Some("customer_id") => {}
        _ => return Err(BadLine { line: 1, why: "is not customer_id date number_of_cds …" }),
    }
    let orders: Result<Vec<_>, _> = lines.map(|(line, text)| order(line, text)).collect();
    match orders {
        Ok(orders) if orders.is_empty() => Err(BadLine { line: 2, why: "is missing: no orders" }),
        orders => orders,
    }
}

fn order(line: u32, text: &str) -> Result<Order, BadLine> {
    let bad = |why| BadLine { line, why };
    let mut fields = text.split_whitespace();
    let mut field = || fields.next().ok_or(bad("has fewer than four fields"));
    let customer = field()?.parse().map_err(|_| bad("has no customer's number first"))?;
    let date = field()?;
    let date = Some(date).filter(|date| date.len() == 8).and_then(|date| date.parse().ok());
    let date = date.ok_or(bad("has no date of eight digits second"))?;
    let cds = field()?.parse().map_err(|_| bad("has no number of CDs third"))?;
    let cents = cents(field()?).ok_or(bad("has no price such as 11.77 fourth"))?;
    if fields.next().is_some() {
        return Err(bad("has more than four fields"));
    }
    Ok(Order { line, customer, date, cds, cents })
}

/// Dollars with two decimals, as cents. No binary fraction is exactly a cent.
fn cents(text: &str) -> Option<u64> {
    let (dollars, cents) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if cents.len() != 2 || !digits(dollars) || !digits(cents) {
        return None;
    }
    dollars.parse::<u64>().ok()?.checked_mul(100)?.checked_add(cents.parse().ok()?)
}

/// A line of the file cannot be read. Nothing was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadLine {
    pub(crate) line: u32,
    pub(crate) why: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str = " customer_id  date number_of_cds  dollar_value\r\n";

    #[test]
    fn orders_are_read_to_the_cent() {
        let text =
            format!("{HEADINGS} 00001 19970101  1   11.77\r\n 00004 19970118  4    0.00\r\n");
        let orders = read(&text).unwrap();
        let first = Order { line: 2, customer: 1, date: 19_970_101, cds: 1, cents: 1_177 };
        assert_eq!(orders[0], first);
        assert_eq!((orders[1].line, orders[1].cents), (3, 0));
    }

    #[test]
    fn a_broken_line_is_named_by_its_number() {
        for broken in [
            "x 19970101 1 11.77",
            "1 1997 1 11.77",
            "1 19970101 one 11.77",
            "1 19970101 1 11.7",
            "1 19970101 1 -1.77",
            "1 19970101 1 99999999999999999999.00",
            "1 19970101 1",
            "1 19970101 1 1.00 more",
            "",
        ] {
            let text = format!("{HEADINGS}1 19970101 1 1.00\n{broken}\n1 19970101 1 1.00\n");
            let error = read(&text).unwrap_err();
            assert_eq!(error.line, 3, "{broken:?}: {error}");
        }
        assert_eq!(read("").unwrap_err().line, 1);
        assert_eq!(read(HEADINGS).unwrap_err().line, 2);
        assert_eq!(read("1 19970101 1 11.77\n").unwrap_err().line, 1);
    }

    #[test]
    fn the_sample_is_whole() {
        let orders = read(crate::demo::ORDERS).unwrap();
        assert_eq!(orders.len(), 2_000);
        assert!(orders.iter().all(|order| order.cds > 0));
    }
}
