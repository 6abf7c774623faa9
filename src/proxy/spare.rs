//! Things kept to be used again, as many as a worker has lately needed.

use std::cell::{Cell, RefCell};

/// Spare things of one kind; the last one given is the first taken.
pub(crate) struct Spare<T> {
    items: RefCell<Vec<T>>,
    most: usize,
    /// The fewest there were since the last [`Spare::trim`].
    low: Cell<usize>,
}

impl<T> Spare<T> {
    /// Keeps `most` at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            items: RefCell::default(),
            most,
            low: Cell::new(0),
        }
    }

    pub(crate) fn take(&self) -> Option<T> {
        let mut items = self.items.borrow_mut();
        let item = items.pop();
        self.low.set(self.low.get().min(items.len()));
        item
    }

    /// Hands it back where there are enough.
    pub(crate) fn give(&self, item: T) -> Result<(), T> {
        let mut items = self.items.borrow_mut();
        if items.len() >= self.most {
            return Err(item);
        }
        items.push(item);
        Ok(())
    }

    /// Takes out half of what was not needed since the last time.
    pub(crate) fn trim(&self) -> Vec<T> {
        let mut items = self.items.borrow_mut();
        let unneeded = self.low.get().min(items.len()).div_ceil(2);
        let left = items.len() - unneeded;
        self.low.set(left);
        items.split_off(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays_and_the_rest_goes_by_halves() {
        let spare = Spare::new(10);
        for item in 0..10 {
            assert_eq!(spare.give(item), Ok(()));
        }
        assert_eq!(spare.give(10), Err(10));
        // Nothing is known yet.
        assert!(spare.trim().is_empty());
        for _ in 0..3 {
            assert_eq!(spare.take(), Some(9));
            assert_eq!(spare.take(), Some(8));
            assert_eq!((spare.give(8), spare.give(9)), (Ok(()), Ok(())));
        }
        let mut left = 10;
        for gone in [4, 3, 2, 1, 0] {
            let trimmed = spare.trim();
            assert_eq!(trimmed.len(), gone.min(left), "{left}");
            left -= trimmed.len();
        }
        assert_eq!(left, 0);
        assert_eq!(spare.take(), None);
    }
}
