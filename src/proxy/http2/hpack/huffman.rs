//! The Huffman code of strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols,
//! and follow those of the shorter lengths. So [`LENGTHS`] is all there is to write down.

use super::HpackError;

/// Appends what `coded` stands for to `text`: at most `limit` bytes, or an error.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>, limit: usize) -> Result<(), HpackError> {
    let start = text.len();
    let most = (coded.len() * 8 / SHORTEST).min(limit);
    // A pair is written whole even where only its first symbol counts.
    text.resize(start + most + 2, 0);
    let decoded = decode_into(coded, &mut text[start..]);
    text.truncate(start + decoded.unwrap_or(0));
    match decoded? {
        len if len > limit => Err(HpackError::LongString),
        _ => Ok(()),
    }
}

fn decode_into(coded: &[u8], out: &mut [u8]) -> Result<usize, HpackError> {
    let mut bits = Bits {
        rest: coded,
        ahead: 0,
        count: 0,
    };
    let mut len = 0;
    loop {
        bits.refill();
        loop {
            let pair = &PAIRS[(bits.ahead >> (64 - PAIR_BITS)) as usize];
            if u32::from(pair.bits) > bits.count {
                break;
            }
            let place = out.get_mut(len..).and_then(<[u8]>::first_chunk_mut::<2>);
            *place.ok_or(HpackError::LongString)? = pair.symbols;
            len += usize::from(pair.count);
            bits.skip(pair.bits.into());
        }
        if bits.count < LONGEST && !bits.rest.is_empty() {
            continue;
        }
        // A long code, or the last one before the end.
        let (symbol, code_len) = first_symbol((bits.ahead >> 32) as u32);
        if code_len > bits.count {
            let padded = bits.count < 8 && bits.ahead.leading_ones() >= bits.count;
            return padded.then_some(len).ok_or(HpackError::Huffman);
        }
        // EOS is the one symbol that is no byte.
        let byte = u8::try_from(symbol).map_err(|_| HpackError::Huffman)?;
        *out.get_mut(len).ok_or(HpackError::LongString)? = byte;
        len += 1;
        bits.skip(code_len);
    }
}

/// A string's bits, taken from the front.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the top. Below the first `count` of them it may hold bits of `rest` already,
    /// and has zeros after the end.
    ahead: u64,
    count: u32,
}

impl Bits<'_> {
    /// After it at least 56 bits are ahead, or all that are left.
    fn refill(&mut self) {
        let (word, room) = match self.rest.first_chunk() {
            Some(word) => (*word, 8),
            None => {
                let mut word = [0; 8];
                for (to, from) in word.iter_mut().zip(self.rest) {
                    *to = *from;
                }
                (word, self.rest.len())
            }
        };
        self.ahead |= u64::from_be_bytes(word) >> self.count;
        let taken = room.min((63 - self.count) as usize / 8);
        self.rest = &self.rest[taken..];
        self.count += taken as u32 * 8;
    }

    /// At most `count`, and less than 64.
    fn skip(&mut self, bits: u32) {
        self.ahead <<= bits;
        self.count -= bits;
    }
}

/// The symbol whose code `bits` start with, and the code's length. One length after the other.
fn first_symbol(bits: u32) -> (u16, u32) {
    for len in SHORTEST as u32..=LONGEST {
        let row = &ROWS[len as usize];
        if u64::from(bits) < row.end {
            let nth = (bits >> (32 - len)) - row.first;
            return (SYMBOLS[usize::from(row.at) + nth as usize], len);
        }
    }
    (EOS as u16, LONGEST)
}

/// Bytes that `text` takes when it is coded.
pub(super) fn coded_len(text: impl Iterator<Item = u8>) -> usize {
    let bits: usize = text.map(|byte| usize::from(LENGTHS[byte as usize])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` to `out`.
pub(super) fn encode(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    // Its low `count` bits are still to be written, fewer than 32 between two symbols.
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in text {
        let code = CODES[byte as usize];
        bits = bits << code.len | u64::from(code.bits);
        count += code.len;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    let padded = (bits << 32 | u64::from(u32::MAX)) >> count;
    let last = (padded as u32).to_be_bytes();
    out.extend_from_slice(&last[..count.div_ceil(8) as usize]);
}

/// What the next [`PAIR_BITS`] bits begin with.
#[derive(Clone, Copy)]
struct Pair {
    symbols: [u8; 2],
    /// Symbols that lie in these bits whole: one or two.
    count: u8,
    /// Bits of these symbols; [`u8::MAX`] where the first symbol's code is longer than all the bits.
    bits: u8,
}

#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    len: u32,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// The first of them.
    first: u32,
    /// What follows the last of them, as the upper end of 32 bits.
    end: u64,
    /// Where their symbols begin in [`SYMBOLS`].
    at: u16,
}

const fn codes() -> [Code; 257] {
    let mut codes = [Code { bits: 0, len: 0 }; 257];
    let (mut len, mut next) = (1, 0);
    while len <= LONGEST {
        next <<= 1;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as u32 == len {
                codes[symbol] = Code { bits: next, len };
                next += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    codes
}

const fn rows() -> ([Row; LONGEST as usize + 1], [u16; 257]) {
    let empty = Row {
        first: 0,
        end: 0,
        at: 0,
    };
    let (mut rows, mut symbols) = ([empty; LONGEST as usize + 1], [0; 257]);
    let (mut len, mut next, mut at) = (1, 0, 0);
    while len <= LONGEST as usize {
        next <<= 1;
        rows[len].first = next;
        rows[len].at = at as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                symbols[at] = symbol as u16;
                at += 1;
                next += 1;
            }
            symbol += 1;
        }
        rows[len].end = (next as u64) << (32 - len);
        len += 1;
    }
    (rows, symbols)
}

const fn pairs() -> [Pair; 1 << PAIR_BITS] {
    let long = Pair {
        symbols: [0; 2],
        count: 0,
        bits: u8::MAX,
    };
    let mut firsts = [long; 1 << PAIR_BITS];
    let mut symbol = 0;
    while symbol < 256 {
        let Code { bits, len } = CODES[symbol];
        if len <= PAIR_BITS {
            let mut at = (bits << (PAIR_BITS - len)) as usize;
            let end = ((bits + 1) << (PAIR_BITS - len)) as usize;
            while at < end {
                firsts[at] = Pair {
                    symbols: [symbol as u8, 0],
                    count: 1,
                    bits: len as u8,
                };
                at += 1;
            }
        }
        symbol += 1;
    }
    let mut pairs = firsts;
    let mut at = 0;
    while at < pairs.len() {
        let first = firsts[at];
        if first.count == 1 {
            let second = firsts[(at << first.bits) & (pairs.len() - 1)];
            if second.count == 1 && first.bits + second.bits <= PAIR_BITS as u8 {
                pairs[at] = Pair {
                    symbols: [first.symbols[0], second.symbols[0]],
                    count: 2,
                    bits: first.bits + second.bits,
                };
            }
        }
        at += 1;
    }
    pairs
}

static CODES: [Code; 257] = codes();
static ROWS: [Row; LONGEST as usize + 1] = rows().0;
static SYMBOLS: [u16; 257] = rows().1;
static PAIRS: [Pair; 1 << PAIR_BITS] = pairs();

/// Two letters or digits, mostly. The table takes 4 bytes << this.
const PAIR_BITS: u32 = 11;
/// Bits of the shortest and of the longest code.
const SHORTEST: usize = 5;
const LONGEST: u32 = 30;
const EOS: usize = 256;
/// Bits of each symbol's code: 256 bytes and EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
