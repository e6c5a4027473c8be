//! Properties: what an object's type promises, as values that can be compared.
//!
//! Each property is a small lattice, weakest first; [`Properties`] is their product. A module may
//! carry an object when what it keeps is at least what the type asks for in *every* property, which
//! is a partial order: of two modules neither may be the stronger. (Live Distributed Objects,
//! ECOOP 2008, calls these constraints of a type and checks them at bind time in the same way.)

use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

/// What a type promises, one value a property.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Properties {
    /// How far the holders of the object agree on who is among them.
    pub agreement: Agreement,
    /// Whether a message reaches all of them.
    pub delivery: Delivery,
    /// In which order they hear messages.
    pub order: Order,
}

impl Properties {
    /// What an object promises that carries no messages of the application.
    pub const fn of_agreement(agreement: Agreement) -> Self {
        Self { agreement, delivery: Delivery::BestEffort, order: Order::Any }
    }

    /// What a state promises that all merge: everybody has the same in the end.
    pub const fn epidemic() -> Self {
        Self { delivery: Delivery::Epidemic, ..Self::of_agreement(Agreement::Eventual) }
    }

    /// What virtual synchrony promises (Birman and Joseph, SOSP 1987), in this order.
    pub const fn virtual_synchrony(order: Order) -> Self {
        Self { agreement: Agreement::Views, delivery: Delivery::Reliable, order }
    }

    /// Whether a module that keeps `self` keeps all that `asked` asks for.
    pub fn keep(&self, asked: &Self) -> bool {
        self.agreement >= asked.agreement
            && self.delivery >= asked.delivery
            && self.order >= asked.order
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agreement: {}, delivery: {}", self.agreement, self.delivery)?;
        write!(f, ", order: {}", self.order)
    }
}

/// How far the holders of an object agree on who is among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Agreement {
    /// Once nothing changes any more, all know the same members. Until then any two may differ.
    Eventual,
    /// All install the same numbered views in the same order, in one partition at a time.
    Views,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eventual => "eventual",
            Self::Views => "views",
        })
    }
}

/// Whether a message reaches all holders of the object.
/// Variants are numbered by position on the wire, so that new ones go last; which of them is the
/// stronger is another matter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Delivery {
    /// Most of them, most of the time.
    BestEffort,
    /// Members that are in a view and in the next deliver the same messages in it, each once; what
    /// a member that stays was told to send reaches everybody who stays.
    Reliable,
    /// What any holder that stays has, reaches all that stay, once they can reach each other. More
    /// than a best effort, and less than `Reliable`, which says when that is so.
    Epidemic,
}

impl Delivery {
    const fn strength(self) -> u8 {
        match self {
            Self::BestEffort => 0,
            Self::Epidemic => 1,
            Self::Reliable => 2,
        }
    }
}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> Ordering {
        self.strength().cmp(&other.strength())
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "best effort",
            Self::Reliable => "reliable",
            Self::Epidemic => "epidemic",
        })
    }
}

/// In which order holders of the object hear its messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Order {
    /// In any.
    Any,
    /// Those of one sender in the order in which they were sent.
    Fifo,
    /// As `Fifo`, and all members hear all messages in the same order.
    Total,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Fifo => "fifo",
            Self::Total => "total",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_keeps_the_weaker() {
        let eventual = Properties::of_agreement(Agreement::Eventual);
        let views = Properties::of_agreement(Agreement::Views);
        assert!(views.keep(&eventual) && views.keep(&views) && eventual.keep(&eventual));
        assert!(!eventual.keep(&views));
    }

    #[test]
    fn what_spreads_is_between_a_best_effort_and_what_is_reliable() {
        let (weak, epidemic) =
            (Properties::of_agreement(Agreement::Eventual), Properties::epidemic());
        assert!(epidemic.keep(&weak) && !weak.keep(&epidemic));
        let strong = Properties::virtual_synchrony(Order::Any);
        assert!(strong.keep(&epidemic) && !epidemic.keep(&strong));
    }

    #[test]
    fn each_property_counts() {
        let fifo = Properties::virtual_synchrony(Order::Fifo);
        let total = Properties::virtual_synchrony(Order::Total);
        assert!(total.keep(&fifo) && !fifo.keep(&total));
        let lossy = Properties { delivery: Delivery::BestEffort, ..total };
        assert!(!lossy.keep(&fifo) && !fifo.keep(&lossy), "neither is the stronger");
    }
}
