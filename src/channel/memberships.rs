//! The channels of one client: mostly none or one, so that is what it costs least for.

use super::ChannelId;

/// One channel that a client listens to, and its place among that channel's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The channel.
    pub channel: ChannelId,
    /// The client's place in [`super::Subscriptions::members`].
    pub place: u32,
}

/// All channels of a client.
#[derive(Debug, Default)]
pub enum Memberships {
    /// It listens to nothing.
    #[default]
    None,
    /// It listens to one channel.
    One(Membership),
    /// It listens to several; boxed to keep a client small.
    Many(Box<Vec<Membership>>),
}

impl Memberships {
    /// The list of them.
    pub fn as_slice(&self) -> &[Membership] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(list) => list,
        }
    }

    /// Whether `channel` is among them.
    pub fn contains(&self, channel: ChannelId) -> bool {
        self.as_slice()
            .iter()
            .any(|membership| membership.channel == channel)
    }

    /// Adds one that is not among them yet.
    pub fn add(&mut self, membership: Membership) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(membership),
            Self::One(first) => Self::Many(Box::new(vec![first, membership])),
            Self::Many(mut list) => {
                list.push(membership);
                Self::Many(list)
            }
        };
    }

    /// Takes `channel` out; `None` if it was not among them.
    pub fn remove(&mut self, channel: ChannelId) -> Option<Membership> {
        match self {
            Self::None => None,
            Self::One(only) => {
                let found = *only;
                (found.channel == channel).then(|| {
                    *self = Self::None;
                    found
                })
            }
            Self::Many(list) => {
                let at = list
                    .iter()
                    .position(|membership| membership.channel == channel)?;
                let found = list.swap_remove(at);
                if let [only] = ***list {
                    *self = Self::One(only);
                }
                Some(found)
            }
        }
    }

    /// Follows a client that [`super::Subscriptions::leave`] has moved to another place.
    pub fn moved(&mut self, channel: ChannelId, place: u32) {
        let list = match self {
            Self::None => return,
            Self::One(only) => std::slice::from_mut(only),
            Self::Many(list) => list,
        };
        for membership in list {
            if membership.channel == channel {
                membership.place = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Subscriptions;
    use super::*;

    #[test]
    fn it_grows_and_shrinks_through_all_its_forms() {
        let mut subscriptions = Subscriptions::new(Vec::new());
        let channels = ["a", "b", "c"].map(|name| subscriptions.add(name, None));
        let mut all = Memberships::default();
        for (place, channel) in (0..).zip(channels) {
            all.add(Membership { channel, place });
        }
        all.moved(channels[1], 9);
        assert_eq!(
            all.remove(channels[1]),
            Some(Membership {
                channel: channels[1],
                place: 9
            })
        );
        assert_eq!(all.remove(channels[1]), None);
        assert!(all.contains(channels[0]) && all.contains(channels[2]));
        assert!(all.remove(channels[0]).is_some());
        assert!(matches!(all, Memberships::One(_)));
        assert!(all.remove(channels[2]).is_some());
        assert!(matches!(all, Memberships::None));
        assert!(size_of::<Memberships>() <= 16);
    }
}
