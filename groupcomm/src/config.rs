//! What may be chosen about a member of the configuration.

/// How a node takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// What it does while there is no cluster. Two clusters that were founded apart stay apart.
    pub founding: Founding,
    /// A bug that is planted, to see that checkers see it. For nothing else.
    pub mutation: Option<Mutation>,
}

/// What a node does while there is no cluster that it could join.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Founding {
    /// It waits until there is one.
    #[default]
    Wait,
    /// It founds one: the first view holds it alone. Say so to one node, the first time it starts.
    Alone,
    /// It founds one together with others that expect as many: so many nodes, this one included,
    /// elect a founder, and the first view holds them all. Say so to exactly as many nodes, or to
    /// more of which any so many can always reach each other.
    Expect(u16),
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
    /// A member that has accepted a view does not say so when it promises to follow another leader.
    ForgetAccepted,
    /// A member ends its streams where it is, and not where the view says.
    SkipTrim,
    /// A group's view is installed before all streams have passed the change.
    SkipMarks,
    /// What is to be delivered in total order is sent as if it were not.
    SkipOrder,
    /// One message in sixteen is not delivered at some members.
    LoseMessage,
    /// One message in sixteen is delivered with other bytes.
    AlterMessage,
    /// What follows a state that is being fetched is forgotten.
    DropUpdates,
    /// A member that was cut off says all again that was not stable, whatever became of it.
    ForgetFate,
}

impl Config {
    pub(crate) fn plants(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}
