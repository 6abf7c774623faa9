//! Whatever the pieces, a client gets what was put in. Decoders are others' than the encoders: miniz_oxide and ruzstd; that
//! of brotli is a crate of its own.

use std::io::Read;

use proptest::prelude::*;

use super::coder::{Coder, Then, heap};
use super::stream::{ROOM, Stream};
use crate::model::Coding;

/// What a client can read of it, as yet or at all.
fn decoded(coding: Coding, bytes: &[u8], whole: bool) -> Vec<u8> {
    match coding {
        Coding::Gzip => inflated(bytes, whole),
        Coding::Zstd => {
            let mut bytes = bytes.to_vec();
            if !whole {
                // A last block of nothing, so that the decoder gives all it has.
                bytes.extend_from_slice(&[1, 0, 0]);
            }
            let mut rest = &bytes[..];
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            drop(decoder);
            assert_eq!(rest, b"", "nothing behind it");
            out
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let mut decoder = brotli::Decompressor::new(bytes, 4096);
            let mut piece = [0; 4096];
            loop {
                match decoder.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => out.extend_from_slice(&piece[..count]),
                    Err(error) if whole => panic!("{error}"),
                    Err(_) => break,
                }
            }
            out
        }
    }
}

fn inflated(bytes: &[u8], whole: bool) -> Vec<u8> {
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
    use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
    assert_eq!(bytes[..3], [0x1f, 0x8b, 8]);
    assert_eq!(bytes[3], 0, "no optional fields");
    let mut out = vec![0; 4 << 20];
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
        | if whole { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
    let mut state = Box::<DecompressorOxide>::default();
    let (status, read, wrote) = decompress(&mut state, &bytes[10..], &mut out, 0, flags);
    out.truncate(wrote);
    if whole {
        assert_eq!(status, TINFLStatus::Done);
        let trailer = &bytes[10 + read..];
        assert_eq!(trailer.len(), 8, "nothing behind it");
        assert_eq!(trailer[..4], crc32fast::hash(&out).to_le_bytes());
        assert_eq!(trailer[4..], (out.len() as u32).to_le_bytes());
    }
    out
}

/// Sends `pieces` through, with a flush behind those that ask for one, and looks at what is readable then.
fn through(coding: Coding, level: u8, known: bool, pieces: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let all: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
    let length = known.then_some(all.len() as u64);
    let mut stream = Stream::new(coding, level, length).unwrap();
    let (mut out, mut put) = (Vec::new(), 0);
    let take = |stream: &mut Stream, out: &mut Vec<u8>| {
        // As a client with little room does.
        while !stream.data().is_empty() {
            let count = stream.data().len().min(1000);
            out.extend_from_slice(&stream.data()[..count]);
            stream.consume(count);
        }
    };
    for (piece, flush) in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let count = stream.push(rest).unwrap();
            rest = &rest[count..];
            take(&mut stream, &mut out);
        }
        put += piece.len();
        if *flush && stream.holds() {
            loop {
                stream.flush().unwrap();
                take(&mut stream, &mut out);
                if !stream.is_flushing() {
                    break;
                }
            }
            assert!(!stream.holds());
            let readable = decoded(coding, &out, false);
            assert_eq!(readable.len(), put, "{coding:?} {level}");
            assert!(readable == all[..put], "{coding:?} {level}");
        }
    }
    while !stream.is_done() {
        stream.finish().unwrap();
        take(&mut stream, &mut out);
    }
    assert!(decoded(coding, &out, true) == all, "{coding:?} {level}");
    out
}

fn coding() -> impl Strategy<Value = (Coding, u8)> {
    (0..3_usize, 1..=9_u8).prop_map(|(at, level)| {
        let coding = Coding::ALL[at];
        (coding, level.min(coding.most()))
    })
}

/// Some repeat, some do not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), 0..4000);
    prop_oneof![
        4 => words.prop_map(|words| words.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40_000),
        1 => (any::<u8>(), 0..200_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

const WORDS: [&str; 8] = [
    "{\"id\":",
    "12345",
    ",",
    "\"name\":\"",
    "wharf",
    "\"}",
    " ",
    "<div class=\"row\">",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn s68_what_is_decoded_is_what_was_put_in(
        (coding, level) in coding(),
        known in any::<bool>(),
        pieces in prop::collection::vec((piece(), any::<bool>()), 0..6),
    ) {
        through(coding, level, known, &pieces);
    }
}

/// Chat of a kind: each line has to be there at once.
#[test]
fn s28_each_event_can_be_read_when_it_is_flushed() {
    for coding in Coding::ALL {
        let pieces: Vec<_> = (0..50)
            .map(|at| (format!("data: event {at}\n\n").into_bytes(), true))
            .collect();
        let out = through(coding, 4, false, &pieces);
        let put: usize = pieces.iter().map(|(piece, _)| piece.len()).sum();
        assert!(out.len() < put * 2, "{coding:?}: {} of {put}", out.len());
    }
}

/// What was flushed when there was exactly room for it is not lost, and nothing is flushed for ever.
#[test]
fn s68_flushes_of_any_length_end() {
    for coding in Coding::ALL {
        let mut seed = 1_u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        for length in (ROOM - 40..ROOM + 8).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
            let piece: Vec<u8> = (0..length).map(|_| noise()).collect();
            through(coding, 1, false, &[(piece, true), (vec![b'x'], true)]);
        }
    }
}

#[test]
fn s68_an_empty_body_is_a_whole_one() {
    for coding in Coding::ALL {
        through(coding, 4, false, &[]);
    }
}

/// The bound that the budget of a worker counts with.
#[test]
fn s68_encoders_hold_no_more_than_they_say() {
    let mut text = Vec::new();
    let mut at = 0_u32;
    while text.len() < 700_000 {
        at = at.wrapping_mul(1_664_525).wrapping_add(12_345);
        text.extend_from_slice(format!("{{\"id\":{at},\"name\":\"n{}\"}},", at % 977).as_bytes());
    }
    for coding in Coding::ALL {
        // Those between hold no more.
        for level in [1, 3, 4, 5, 6, 9]
            .into_iter()
            .filter(|level| *level <= coding.most())
        {
            let mut out = vec![0; ROOM];
            for length in [None, Some(text.len() as u64), Some(3000)] {
                let body = &text[..length.map_or(text.len(), |length| length as usize)];
                let mut inside = 0;
                let counted = allocation_counter::measure(|| {
                    let mut coder = Coder::new(coding, level, length).unwrap();
                    for piece in body.chunks(16 * 1024) {
                        let mut rest = piece;
                        while !rest.is_empty() {
                            let step = coder.code(rest, Then::More, &mut out).unwrap();
                            rest = &rest[step.read..];
                        }
                        // C's is not seen by the counter.
                        if let Coder::Zstd(context) = &coder {
                            inside = inside.max(context.sizeof());
                        }
                    }
                    while !coder.code(&[], Then::End, &mut out).unwrap().done {}
                });
                let most = counted.bytes_max as usize + inside + ROOM;
                let said = heap(coding, level);
                assert!(
                    most <= said,
                    "{coding:?} {level} {length:?}: {most} > {said}"
                );
            }
        }
    }
}
