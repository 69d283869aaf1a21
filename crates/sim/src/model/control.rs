//! Control: the state that every process computes from its prefix of the coordination log.
//!
//! Why: whoever acts on an entry has applied all entries before it (LOG-ORDER).
//! Holds:
//!   K1 the in-sync set is never empty (STICKY);
//!   K2 the view is the index of the last entry that changed the record;
//!   K3 the generation grows with each attach.
//! Not here: when an entry is appended (action.rs).

use std::fmt;

use super::config::MEMBERS_MAX;

/// A set of members of the placement group.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Members(pub u8);

impl Members {
    /// No member.
    pub const NONE: Self = Self(0);

    /// The members numbered below `count`.
    #[must_use]
    pub const fn first(count: u8) -> Self {
        Self((1 << count) - 1)
    }

    /// Whether `member` is in the set.
    #[must_use]
    pub const fn has(self, member: u8) -> bool {
        self.0 & (1 << member) != 0
    }

    /// The set and `member`.
    #[must_use]
    pub const fn with(self, member: u8) -> Self {
        Self(self.0 | (1 << member))
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many members.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// The members, by number.
    #[must_use]
    pub const fn iter(self) -> MembersIter {
        MembersIter(self.0)
    }
}

/// The numbers in a [`Members`], in rising order.
#[derive(Clone, Copy, Debug)]
pub struct MembersIter(u8);

impl Iterator for MembersIter {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.0 == 0 {
            return None;
        }
        let member = self.0.trailing_zeros() as u8;
        self.0 &= self.0 - 1;
        Some(member)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in self.iter() {
            write!(f, "{}", member_name(member))?;
        }
        Ok(())
    }
}

/// The letter of a member: 0 is A.
#[must_use]
pub const fn member_name(member: u8) -> char {
    (b'A' + member) as char
}

/// One entry of the coordination log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// No entry, or one that every process has applied.
    #[default]
    None,
    /// A member is taken for dead.
    Down(u8),
    /// A member starts a new life.
    Join(u8),
    /// The lost members leave the in-sync set, if the view is still the one that is named.
    Act(u8),
    /// `Gone` of the owner at once followed by `Attach` of another gateway.
    Attach,
    /// A joiner holds everything (pull recovery only).
    InSync(u8),
}

/// What of the log only some runs need; it is not noted elsewhere, for it tells states apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// [`Control::returned`].
    pub returned: bool,
    /// [`Control::left`].
    pub left: bool,
}

/// State computed from a prefix of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// In-sync set I.
    pub insync: Members,
    /// Members of I that are taken for dead and not yet removed.
    pub lost: Members,
    /// Members that are not taken for dead.
    pub alive: Members,
    /// Members that joined since the last attach; kept only where a broken rule needs it.
    pub returned: Members,
    /// The view in which each member was lost that is not in sync or lost now; zero for others.
    pub left: [u8; MEMBERS_MAX as usize],
    /// View of the placement group.
    pub view: u8,
    /// Generation of the VDI.
    pub generation: u8,
}

impl Control {
    /// All of `members` in sync, first attachment made.
    #[must_use]
    pub const fn new(members: u8) -> Self {
        let all = Members::first(members);
        Self {
            insync: all,
            lost: Members::NONE,
            alive: all,
            returned: Members::NONE,
            left: [0; MEMBERS_MAX as usize],
            view: 0,
            generation: 1,
        }
    }

    /// Live in-sync members aI.
    #[must_use]
    pub const fn live(&self) -> Members {
        self.insync.minus(self.lost)
    }

    /// Live members that are not in sync. Without pull recovery there is none.
    #[must_use]
    pub const fn joiners(&self) -> Members {
        self.alive.minus(self.insync)
    }

    /// Everybody who must acknowledge a write in this view.
    #[must_use]
    pub const fn write_set(&self) -> Members {
        self.live().or(self.joiners())
    }

    /// Applies the entry at `index`. An entry whose condition fails changes nothing.
    pub fn apply(&mut self, index: u8, entry: Entry, notes: Notes) {
        match entry {
            Entry::None => {}
            Entry::Down(member) => {
                self.alive = self.alive.minus(Members::NONE.with(member));
                if self.insync.has(member) {
                    self.lost = self.lost.with(member);
                    if notes.left && self.left[member as usize] == 0 {
                        self.left[member as usize] = index;
                    }
                }
                self.view = index; // K2
            }
            Entry::Join(member) => {
                self.alive = self.alive.with(member);
                self.lost = self.lost.minus(Members::NONE.with(member));
                if notes.returned {
                    self.returned = self.returned.with(member);
                }
                if self.insync.has(member) {
                    self.left[member as usize] = 0;
                }
                self.view = index; // K2
            }
            Entry::Act(view) => {
                let survivors = self.live();
                if view == self.view && !self.lost.is_empty() && !survivors.is_empty() {
                    self.insync = survivors; // K1
                    self.lost = Members::NONE;
                    self.view = index; // K2
                }
            }
            Entry::Attach => {
                self.generation += 1; // K3
                self.returned = Members::NONE;
            }
            Entry::InSync(member) => {
                if self.joiners().has(member) {
                    self.insync = self.insync.with(member);
                    self.left[member as usize] = 0;
                    self.view = index; // K2
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "control/tests.rs"]
mod tests;
