//! What may be chosen about a member of the configuration.

/// How a node takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// This node founds a cluster: its first view holds it alone. Say so to one node of a cluster,
    /// the first time it starts; two clusters that were founded apart stay apart.
    pub found: bool,
    /// A bug that is planted, to see that checkers see it. For nothing else.
    pub mutation: Option<Mutation>,
}

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Any one member of the last view can decide on the next.
    MinorityView,
    /// A member installs a view without the frames that it misses of the one before.
    SkipRepair,
    /// A frame that comes twice is delivered twice.
    DeliverTwice,
    /// An update is told to be stable as soon as it is applied here.
    AckBeforeStable,
}
