//! Properties: what an object's type promises, as values that can be compared.
//!
//! Each property is a small lattice, weakest first; [`Properties`] is their product. A module may
//! carry an object when what it keeps is at least what the type asks for in *every* property, which
//! is a partial order: of two modules neither may be the stronger. (Live Distributed Objects,
//! ECOOP 2008, calls these constraints of a type and checks them at bind time in the same way.)

use core::fmt;

use serde::{Deserialize, Serialize};

/// What a type promises, one value a property.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Properties {
    /// How far the holders of the object agree on who is among them.
    pub agreement: Agreement,
}

impl Properties {
    /// Whether a module that keeps `self` keeps all that `asked` asks for.
    pub fn keep(&self, asked: &Self) -> bool {
        self.agreement >= asked.agreement
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agreement: {}", self.agreement)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_keeps_the_weaker() {
        let eventual = Properties { agreement: Agreement::Eventual };
        let views = Properties { agreement: Agreement::Views };
        assert!(views.keep(&eventual) && views.keep(&views) && eventual.keep(&eventual));
        assert!(!eventual.keep(&views));
    }
}
