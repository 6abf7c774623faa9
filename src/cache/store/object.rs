//! A stored response: who it is for, what the rules keep with it, its body.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::account::{Charge, held_cost};
use super::owner::Owner;

/// What a request is looked up by. Made by [`Store::key`](super::Store::key).
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) owner: &'a Arc<Owner>,
    pub(super) hash: u64,
}

/// Values of the request fields that a stored response varies by, as the rules put them; nothing where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant(pub(super) Option<Box<[u8]>>);

/// What a lookup has seen, for [`Store::begin`](super::Store::begin): no newer response than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Miss {
    pub(super) variant: Variant,
    pub(super) seen: u64,
}

impl Miss {
    /// Whether there are responses of that key, told apart by their `Vary`.
    pub fn varies(&self) -> bool {
        self.variant.0.is_some()
    }
}

/// The rules' side of a lookup: what a request has in the fields that a `Vary` names.
pub trait Select {
    /// `rule` is what [`Response::vary`] said; the answer is compared with what it said beside it, byte by byte.
    fn variant(&mut self, rule: &[u8]) -> &[u8];
}

/// A response about to be stored, but for its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    /// The rules' own notes: times, status.
    pub meta: &'a [u8],
    /// Status line and fields.
    pub head: &'a [u8],
    /// What it may be purged by; at most [`TAGS`] are kept.
    pub tags: &'a [&'a [u8]],
    /// The rule of its `Vary`, normalised, and the values of the request it answers.
    pub vary: Option<(&'a [u8], &'a [u8])>,
    /// Length of the body, where it is known.
    pub length: Option<u64>,
}

/// What stays the same while a response is refreshed.
#[derive(Debug)]
pub(super) struct Ident {
    pub(super) key: Box<[u8]>,
    pub(super) host: Box<[u8]>,
    pub(super) owner: Arc<Owner>,
    /// Both empty if it does not vary.
    pub(super) rule: Box<[u8]>,
    pub(super) variant: Box<[u8]>,
    pub(super) tags: Box<[Box<[u8]>]>,
    charge: Charge,
}

impl Ident {
    pub(super) fn new(
        key: Key<'_>,
        response: &Response<'_>,
        room: impl FnOnce(u64) -> Option<Charge>,
    ) -> Option<Arc<Self>> {
        let (rule, variant) = response.vary.unwrap_or_default();
        let tags = &response.tags[..response.tags.len().min(TAGS)];
        let bytes = key.bytes.len() + key.host.len() + rule.len() + variant.len();
        let tagged: usize = tags.iter().map(|tag| tag.len() + 32).sum();
        Some(Arc::new(Self {
            charge: room((bytes + tagged + IDENT) as u64)?,
            key: key.bytes.into(),
            host: key.host.into(),
            owner: Arc::clone(key.owner),
            rule: rule.into(),
            variant: variant.into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
        }))
    }

    pub(super) fn varies(&self) -> bool {
        !self.rule.is_empty()
    }
}

/// A stored response. Cheap to share; whoever holds it can send it to its end, whatever becomes of the entry.
#[derive(Debug)]
pub struct Object {
    /// Later ones are newer.
    pub(super) id: u64,
    pub(super) ident: Arc<Ident>,
    meta: Bytes,
    head: Bytes,
    pub(super) body: Body,
    charge: Charge,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Blocks of [`BLOCK`] bytes, and the rest.
    Memory(Arc<[Bytes]>),
    File(Arc<FileBody>),
}

/// A body on disk, open. The file may be unlinked meanwhile.
#[derive(Debug)]
pub(super) struct FileBody {
    pub(super) file: File,
    /// Where in the file the body begins.
    pub(super) at: u64,
    pub(super) len: u64,
    /// Checksums of its blocks.
    pub(super) sums: Box<[u32]>,
    /// Its descriptor.
    pub(super) _open: Option<Charge>,
}

impl Object {
    pub(super) fn new(
        id: u64,
        ident: Arc<Ident>,
        (meta, head): (&[u8], &[u8]),
        body: Body,
        mut charge: Charge,
    ) -> Self {
        charge.shrink(Self::cost(meta, head, &body));
        Self {
            id,
            ident,
            meta: shared(meta),
            head: shared(head),
            body,
            charge,
        }
    }

    /// What an object takes besides its ident and the blocks of its body.
    pub(super) fn cost(meta: &[u8], head: &[u8], body: &Body) -> u64 {
        let parts = match body {
            Body::Memory(blocks) => blocks.len() * size_of::<Bytes>(),
            Body::File(file) => file.sums.len() * 4 + size_of::<FileBody>(),
        };
        (OBJECT + meta.len() + head.len() + parts) as u64
    }

    /// The rules' notes, as stored or refreshed last.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Status line and fields.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// Bytes of body.
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Memory(blocks) => match blocks.split_last() {
                Some((last, blocks)) => (blocks.len() * BLOCK + last.len()) as u64,
                None => 0,
            },
            Body::File(file) => file.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole body, if it is in memory and in one piece (up to 64 KiB).
    pub fn whole(&self) -> Option<Bytes> {
        match &self.body {
            Body::Memory(blocks) => match &**blocks {
                [] => Some(Bytes::new()),
                [block] => Some(block.clone()),
                _ => None,
            },
            Body::File(_) => None,
        }
    }

    /// What to [`begin`](super::Store::begin) with if it is not fresh.
    pub fn miss(&self) -> Miss {
        let ident = &self.ident;
        let variant = Variant(ident.varies().then(|| ident.variant.clone()));
        Miss {
            variant,
            seen: self.id,
        }
    }

    /// Names this version of the response among all others of its store.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The `Vary` rule it was stored under, and the values.
    pub fn vary(&self) -> Option<(&[u8], &[u8])> {
        let ident = &self.ident;
        ident.varies().then_some((&ident.rule, &ident.variant))
    }

    /// What it takes of the account while nobody else holds parts of it.
    pub(super) fn weight(&self) -> u64 {
        let blocks: u64 = match &self.body {
            Body::Memory(blocks) => blocks.iter().map(|block| held_cost(block.len())).sum(),
            Body::File(_) => 0,
        };
        self.charge.amount() + self.ident.charge.amount() + blocks
    }
}

/// A copy whose first clone allocates no more than the others.
pub(super) fn shared(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Box::<[u8]>::from(bytes))
}

/// Blocks in a body of `len` bytes.
pub(super) fn count(len: u64) -> u64 {
    len.div_ceil(BLOCK as u64)
}

/// Bodies are kept, checked and read in blocks of so many bytes.
pub(super) const BLOCK: usize = 64 * 1024;
/// Tags that are kept of a response.
pub const TAGS: usize = 32;
/// An [`Ident`] and its four allocations, with what an allocator adds.
const IDENT: usize = size_of::<Ident>() + 16 + 6 * 16;
/// An [`Object`], its list of blocks, two shared byte strings, and what an allocator adds.
const OBJECT: usize = size_of::<Object>() + 16 + 16 + 2 * 48 + 6 * 16;
