//! Places for things that come and go, each known by a key that is not given out a second time soon: what the kernel
//! says of something that is gone finds nobody.

/// A place and which use of it this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    /// Only the lower 24 bits count.
    pub(crate) turn: u32,
}

/// The lower bits of a turn, which fit beside a slot and a kind in 64 bits.
const TURN_MASK: u32 = 0xff_ffff;

/// The places.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts something into a free place; it is told its key before it is made.
    pub(crate) fn insert_with<E>(&mut self, make: impl FnOnce(Key) -> Result<T, E>) -> Result<Key, E> {
        let slot = self.free.last().copied();
        let slot = slot.unwrap_or_else(|| u32::try_from(self.places.len()).expect("bounded by descriptors"));
        let place = usize::try_from(slot).expect("32 bits");
        let turn = self.places.get(place).map_or(0, |(turn, _)| *turn);
        let key = Key { slot, turn };
        let thing = make(key)?;
        if place == self.places.len() {
            self.places.push((turn, Some(thing)));
        } else {
            self.free.pop();
            self.places[place].1 = Some(thing);
        }
        Ok(key)
    }

    /// What is under a key.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (turn, thing) = self.places.get_mut(usize::try_from(key.slot).ok()?)?;
        if *turn == key.turn { thing.as_mut() } else { None }
    }

    /// What is under a key, to look at.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (turn, thing) = self.places.get(usize::try_from(key.slot).ok()?)?;
        if *turn == key.turn { thing.as_ref() } else { None }
    }

    /// Takes out what is under a key.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (turn, thing) = self.places.get_mut(usize::try_from(key.slot).ok()?)?;
        if *turn != key.turn {
            return None;
        }
        let taken = thing.take()?;
        *turn = (*turn + 1) & TURN_MASK;
        self.free.push(key.slot);
        Some(taken)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The keys of all that are there.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// All that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, (turn, thing))| {
            let key = Key { slot: u32::try_from(slot).ok()?, turn: *turn };
            thing.as_ref().map(|thing| (key, thing))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_key_of_something_gone_finds_nobody_although_the_place_is_used_again() {
        let mut slots = Slots::default();
        let Ok(first) = slots.insert_with(|_| Ok::<_, Infallible>('a'));
        let Ok(second) = slots.insert_with(|_| Ok::<_, Infallible>('b'));
        assert_eq!(slots.remove(first), Some('a'));
        let Ok(third) = slots.insert_with(|_| Ok::<_, Infallible>('c'));
        assert_eq!(third.slot, first.slot);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!((slots.get(second), slots.get(third), slots.len()), (Some(&'b'), Some(&'c'), 2));
        assert!(slots.insert_with(|_| Err(())).is_err());
        assert_eq!(slots.keys(), vec![third, second]);
    }
}
