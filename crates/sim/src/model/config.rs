//! What a run of the model covers, and which rules of the protocol it obeys.
//!
//! Why: a rule is worth its cost only if the checker finds a fault once it is taken out.
//! Holds: C1 a new [`Config`] obeys every rule.

/// Most members of the placement group.
pub const MEMBERS_MAX: u8 = 3;
/// Most attachments of the VDI, the first one included.
pub const ATTACHMENTS_MAX: u8 = 3;
/// Most writes by clients.
pub const WRITES_MAX: u8 = 3;

/// How far the model goes. Every bound counts over a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Members of the placement group: 2 or 3.
    pub members: u8,
    /// Fewest live in-sync members for a client's write.
    pub min_copies: u8,
    /// Writes by clients: at most [`WRITES_MAX`].
    pub writes: u8,
    /// `Down` entries: a crash, a power cut or a false suspicion.
    pub downs: u8,
    /// Attachments: at most [`ATTACHMENTS_MAX`]; the first is made before the run begins.
    pub attachments: u8,
}

impl Bounds {
    /// Three copies of which two must be alive.
    #[must_use]
    pub const fn three(writes: u8, downs: u8, attachments: u8) -> Self {
        Self { members: 3, min_copies: 2, writes, downs, attachments }
    }

    /// Two copies of which one must be alive.
    #[must_use]
    pub const fn two(writes: u8, downs: u8, attachments: u8) -> Self {
        Self { members: 2, min_copies: 1, writes, downs, attachments }
    }
}

/// One rule of the protocol that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A new owner reconciles what the barrier's answers list before it serves.
    Reconcile,
    /// A replica refuses a lower generation than the log gave it.
    Fence,
    /// A replica answers the barrier only after it applied the attach entry.
    BarrierAfterAttach,
    /// No acknowledgement while a lost member is in the in-sync set: `Act` comes first.
    ActFirst,
    /// A replica refuses an older view than its own.
    RefuseOlderView,
    /// A replica keeps a newer view's request until it has applied that view.
    HoldNewerView,
    /// Reconcile needs every member of the in-sync set, the lost ones too.
    AllInSync,
    /// A member that returned by `Join` is asked for its unstable list before it is used.
    BarrierReturned,
    /// A watermark clears unstable entries of its own generation only.
    OwnWatermark,
    /// A read waits for the write in flight on its block.
    RangeLock,
    /// Acknowledgements of earlier views do not count.
    AcksOfThisView,
    /// What reconcile chose is written under a stamp of the new generation.
    FreshStamp,
    /// The unstable list of a member survives its crash.
    DurableList,
    /// A gateway whose session ended serves no reads; only then may another attach.
    ReadLease,
    /// A duplicate that a replica ignores raises the view noted with the object all the same.
    RaiseModified,
}

/// The rules that a run obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u16);

impl Rules {
    /// Every rule. // C1
    pub const ALL: Self = Self(u16::MAX);

    /// The same rules but `rule`.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u16))
    }

    /// Whether `rule` is obeyed.
    #[must_use]
    pub const fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u16) != 0
    }
}

/// One run of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How far it goes.
    pub bounds: Bounds,
    /// What it obeys.
    pub rules: Rules,
    /// Whether a member that `Act` removed may come back: it joins, pulls the block from an
    /// in-sync member in one step and is declared in sync. Without it such a member is out.
    pub pull: bool,
    /// Pull by difference: a member that comes back keeps its copy, and accepts it unread where
    /// its source noted no change since the member was lost and neither lists the block.
    pub delta: bool,
    /// Whether states that differ only in the members' names count as one. Saves up to five
    /// sixths of the states; the names in a counterexample then change from step to step.
    pub symmetry: bool,
}

impl Config {
    /// Every rule, no pull recovery, names of members ignored.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, rules: Rules::ALL, pull: false, delta: false, symmetry: true }
    }

    /// The same without `rule`, with names kept so that a counterexample can be read.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self { rules: self.rules.without(rule), symmetry: false, ..self }
    }

    /// The same with pull recovery of members that `Act` removed.
    #[must_use]
    pub const fn with_pull(self) -> Self {
        Self { pull: true, ..self }
    }

    /// The same with pull recovery that copies only what may differ.
    #[must_use]
    pub const fn with_delta(self) -> Self {
        Self { pull: true, delta: true, ..self }
    }
}
