//! The shop's state: stock, takings, and which orders were done. Every till has a copy.

use live_objects::{Frozen, Map, Member, RestoreError, State};
use serde::{Deserialize, Serialize};

use super::orders::Order;

/// All that the shop remembers, as numbers by what they are of.
#[derive(Default)]
pub(crate) struct Shop(Map<Of, u64>);

/// What a number is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
enum Of {
    /// How many CDs were sold.
    Sold,
    /// Cents.
    Takings,
    /// Cents that a customer has spent.
    Customer(u32),
    /// What an order cost, by its line: it was done.
    Order(u32),
}

/// What became of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receipt {
    Done,
    /// It was done before: nothing changed.
    Known,
}

impl Shop {
    /// How many CDs are left.
    pub(crate) fn stock(&self) -> u64 {
        STOCK.saturating_sub(self.number(Of::Sold))
    }

    pub(crate) fn takings_cents(&self) -> u64 {
        self.number(Of::Takings)
    }

    /// How many orders were done, each counted once, and what they cost together.
    pub(crate) fn orders(&self) -> (u64, u64) {
        let costs = self.0.iter().filter_map(|(of, cents)| match of {
            Of::Order(_) => Some(*cents),
            Of::Sold | Of::Takings | Of::Customer(_) => None,
        });
        costs.fold((0, 0), |(orders, all), cents| (orders + 1, all + cents))
    }

    /// The customers who spent most, and how many cents.
    pub(crate) fn best_customers(&self, count: usize) -> Vec<(u32, u64)> {
        let mut customers: Vec<_> = self
            .0
            .iter()
            .filter_map(|(of, cents)| match of {
                Of::Customer(customer) => Some((*customer, *cents)),
                Of::Sold | Of::Takings | Of::Order(_) => None,
            })
            .collect();
        customers.sort_by_key(|(customer, cents)| (std::cmp::Reverse(*cents), *customer));
        customers.truncate(count);
        customers
    }

    fn number(&self, of: Of) -> u64 {
        self.0.get(&of).copied().unwrap_or(0)
    }

    fn add(&mut self, of: Of, more: u64) {
        let number = self.number(of).saturating_add(more);
        self.0.insert(of, number);
    }
}

impl State for Shop {
    type Update = Order;
    type Reply = Receipt;

    /// An order may be given twice, when the till that was first told of it died: it is done once.
    fn apply(&mut self, _by: Member, order: Order) -> Receipt {
        if self.0.contains(&Of::Order(order.line)) {
            return Receipt::Known;
        }
        self.0.insert(Of::Order(order.line), order.cents);
        self.add(Of::Customer(order.customer), order.cents);
        self.add(Of::Takings, order.cents);
        self.add(Of::Sold, u64::from(order.cds));
        Receipt::Done
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

/// How many CDs there are in the beginning.
const STOCK: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Incarnation, NodeId};

    #[test]
    fn an_order_is_done_once() {
        let member = Member {
            node: NodeId::from_public_key(b"till"),
            incarnation: Incarnation::from_bytes([1; 16]),
        };
        let order = |line, customer| Order { line, customer, date: 19_970_101, cds: 2, cents: 150 };
        let mut shop = Shop::default();
        assert_eq!(shop.apply(member, order(2, 7)), Receipt::Done);
        assert_eq!(shop.apply(member, order(2, 7)), Receipt::Known);
        assert_eq!(shop.apply(member, order(3, 8)), Receipt::Done);
        assert_eq!(shop.apply(member, order(4, 7)), Receipt::Done);
        assert_eq!((shop.takings_cents(), shop.stock()), (450, STOCK - 6));
        assert_eq!(shop.orders(), (3, 450));
        assert_eq!(shop.best_customers(1), [(7, 300)]);
    }
}
