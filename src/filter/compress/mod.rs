//! Compression of answers (product.md S68, B58), without I/O: which are compressed ([`judge`]), what that means for
//! their heads, and the encoders ([`Stream`]).

mod coder;
mod head;
mod judge;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use coder::{CoderError, heap};
pub(crate) use head::{names_weakly, vary, weak};
pub(crate) use judge::{Seen, Verdict, forbids, judge};
pub(crate) use stream::Stream;
