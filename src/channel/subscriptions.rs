//! Which of this worker's clients listen to which channel.

use std::collections::HashMap;

use crate::config::{ChannelPolicy, ChannelRule, policy_of};
use crate::event_loop::Key;

/// A channel's number in this worker; it is used again when nobody listens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelId(u32);

impl ChannelId {
    /// The number, for tables indexed by it.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Channel {
    name: Box<str>,
    /// Its index in the shared channel table; without one it travels by name.
    table_index: Option<u32>,
    members: Vec<Key>,
    policy: ChannelPolicy,
}

/// What is to be done after a member has left.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// This member stands at another place now: tell its [`super::Memberships::moved`].
    pub moved: Option<(Key, u32)>,
    /// How many members are left. The channel is forgotten when there are none.
    pub members: u32,
    /// The channel's index in the shared table.
    pub table_index: Option<u32>,
}

/// Members by channel.
#[derive(Debug, Default)]
pub struct Subscriptions {
    rules: Vec<ChannelRule>,
    channels: Vec<Option<Channel>>,
    free: Vec<ChannelId>,
    by_name: HashMap<Box<str>, ChannelId>,
    by_table_index: Vec<Option<ChannelId>>,
    unindexed: u32,
    members: u64,
}

impl Subscriptions {
    /// Nobody listens to anything; the rules give channels their policies.
    pub fn new(rules: Vec<ChannelRule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// The channel of that name, if somebody here listens to it.
    pub fn find(&self, name: &str) -> Option<ChannelId> {
        self.by_name.get(name).copied()
    }

    /// The channel at that index of the shared table, if somebody here listens to it.
    #[inline]
    pub fn at_table_index(&self, index: u32) -> Option<ChannelId> {
        self.by_table_index.get(index as usize).copied().flatten()
    }

    /// Makes a channel that [`Self::find`] did not find.
    pub fn add(&mut self, name: &str, table_index: Option<u32>) -> ChannelId {
        let channel = Channel {
            name: name.into(),
            table_index,
            members: Vec::new(),
            policy: policy_of(&self.rules, name),
        };
        let id = if let Some(id) = self.free.pop() {
            self.channels[id.number()] = Some(channel);
            id
        } else {
            let id = ChannelId(u32::try_from(self.channels.len()).unwrap_or(u32::MAX));
            self.channels.push(Some(channel));
            id
        };
        self.by_name.insert(name.into(), id);
        match table_index {
            Some(index) => self.place_in_table(id, index),
            None => self.unindexed += 1,
        }
        id
    }

    /// Adds a member; the place it got and how many there are now.
    pub fn join(&mut self, id: ChannelId, member: Key) -> (u32, u32) {
        let Some(channel) = self.channels.get_mut(id.number()).and_then(Option::as_mut) else {
            return (0, 0);
        };
        self.members += 1;
        channel.members.push(member);
        let count = u32::try_from(channel.members.len()).unwrap_or(u32::MAX);
        (count - 1, count)
    }

    /// Takes the member at `place` out.
    pub fn leave(&mut self, id: ChannelId, place: u32) -> Left {
        let nothing = Left {
            moved: None,
            members: 0,
            table_index: None,
        };
        let Some(channel) = self.channels.get_mut(id.number()).and_then(Option::as_mut) else {
            return nothing;
        };
        let at = place as usize;
        if at >= channel.members.len() {
            return nothing;
        }
        channel.members.swap_remove(at);
        self.members -= 1;
        let left = Left {
            moved: channel.members.get(at).map(|member| (*member, place)),
            members: u32::try_from(channel.members.len()).unwrap_or(u32::MAX),
            table_index: channel.table_index,
        };
        if left.members == 0 {
            self.forget(id);
        }
        left
    }

    fn forget(&mut self, id: ChannelId) {
        let Some(channel) = self.channels[id.number()].take() else {
            return;
        };
        self.by_name.remove(&channel.name);
        match channel.table_index {
            Some(index) => self.by_table_index[index as usize] = None,
            None => self.unindexed -= 1,
        }
        self.free.push(id);
    }

    /// The members of a channel.
    #[inline]
    pub fn members(&self, id: ChannelId) -> &[Key] {
        match self.channels.get(id.number()) {
            Some(Some(channel)) => &channel.members,
            _ => &[],
        }
    }

    /// The channel's index in the shared table; `None` when it travels by name.
    pub fn table_index(&self, id: ChannelId) -> Option<u32> {
        self.channels.get(id.number())?.as_ref()?.table_index
    }

    /// The channel's name.
    pub fn name(&self, id: ChannelId) -> Option<String> {
        Some(self.channels.get(id.number())?.as_ref()?.name.to_string())
    }

    /// What holds for the channel.
    pub fn policy(&self, id: ChannelId) -> ChannelPolicy {
        match self.channels.get(id.number()) {
            Some(Some(channel)) => channel.policy,
            _ => ChannelPolicy::default(),
        }
    }

    /// Names of the channels that are not in the shared table.
    pub fn unindexed(&self) -> Vec<(ChannelId, Box<str>)> {
        self.by_name
            .iter()
            .filter(|(_, id)| self.table_index(**id).is_none())
            .map(|(name, id)| (*id, name.clone()))
            .collect()
    }

    /// From now on the channel is in the shared table. Returns how many members it has.
    pub fn index(&mut self, id: ChannelId, table_index: u32) -> u32 {
        let Some(Some(channel)) = self.channels.get_mut(id.number()) else {
            return 0;
        };
        if channel.table_index.replace(table_index).is_none() {
            self.unindexed -= 1;
        }
        let members = u32::try_from(channel.members.len()).unwrap_or(u32::MAX);
        self.place_in_table(id, table_index);
        members
    }

    fn place_in_table(&mut self, id: ChannelId, table_index: u32) {
        let at = table_index as usize;
        if self.by_table_index.len() <= at {
            self.by_table_index.resize(at + 1, None);
        }
        self.by_table_index[at] = Some(id);
    }

    /// Whether some channel here is not in the shared table, so that names must be looked at.
    pub fn has_unindexed(&self) -> bool {
        self.unindexed > 0
    }

    /// Memberships in all.
    pub fn len(&self) -> u64 {
        self.members
    }

    /// Whether nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Membership, Memberships};
    use super::*;
    use crate::event_loop::Slab;

    #[test]
    fn a_channel_lives_as_long_as_somebody_listens() {
        let mut clients = Slab::new();
        let key = clients.insert(());
        let mut subscriptions = Subscriptions::new(Vec::new());
        let id = subscriptions.add("news", Some(7));
        let (place, count) = subscriptions.join(id, key);
        assert_eq!((place, count), (0, 1));
        assert_eq!(subscriptions.at_table_index(7), Some(id));
        let left = subscriptions.leave(id, place);
        assert_eq!(
            left,
            Left {
                moved: None,
                members: 0,
                table_index: Some(7)
            }
        );
        assert_eq!(subscriptions.at_table_index(7), None);
        assert_eq!(subscriptions.find("news"), None);
        assert!(subscriptions.is_empty());
    }

    proptest! {
        #[test]
        fn places_always_lead_back_to_their_member(
            steps in prop::collection::vec((0_usize..12, 0_usize..3), 1..120),
        ) {
            let names = ["a", "b", "c"];
            let mut slab = Slab::new();
            let keys: Vec<Key> = (0..12).map(|_| slab.insert(Memberships::default())).collect();
            let mut subscriptions = Subscriptions::new(Vec::new());
            for (client, channel) in steps {
                let key = keys[client];
                let known = subscriptions.find(names[channel]);
                let joined = known.is_some_and(|id| slab.get(key).unwrap().contains(id));
                if let (true, Some(id)) = (joined, known) {
                    let membership = slab.get_mut(key).unwrap().remove(id).unwrap();
                    if let Some((moved, place)) = subscriptions.leave(id, membership.place).moved {
                        slab.get_mut(moved).unwrap().moved(id, place);
                    }
                } else {
                    let index = u32::try_from(channel).unwrap();
                    let id = known.unwrap_or_else(|| subscriptions.add(names[channel], Some(index)));
                    let (place, _) = subscriptions.join(id, key);
                    slab.get_mut(key).unwrap().add(Membership { channel: id, place });
                }
                let mut total = 0;
                for key in &keys {
                    for membership in slab.get(*key).unwrap().as_slice() {
                        let members = subscriptions.members(membership.channel);
                        prop_assert_eq!(members[membership.place as usize], *key);
                        total += 1;
                    }
                }
                prop_assert_eq!(subscriptions.len(), total);
            }
        }
    }
}
