//! One encoder of one body: bytes in, bytes out.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
    BrotliEncoderStateStruct,
};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd_safe::{CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, get_error_name};

use crate::model::Coding;

/// An encoder. [`heap`] says how much memory it holds.
pub(super) enum Coder {
    Gzip(Compress),
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Zstd(CCtx<'static>),
}

/// What is to become of the bytes that are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// More will come: they may stay inside.
    More,
    /// All that was taken in is to be let out, so that the client can read it.
    Flush,
    /// That was all.
    End,
}

/// How far [`Coder::code`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of the input that were taken in.
    pub(super) read: usize,
    /// Bytes of output.
    pub(super) wrote: usize,
    /// Else the same has to be asked for again, with the rest of the input and new room.
    pub(super) done: bool,
}

/// An encoder that does not do its work.
#[derive(Debug, thiserror::Error)]
#[error("the encoder of {coding} failed: {why}")]
pub(crate) struct CoderError {
    coding: &'static str,
    why: &'static str,
}

impl CoderError {
    /// It takes nothing and gives nothing.
    pub(super) fn stuck() -> Self {
        Self {
            coding: "a body",
            why: "it makes no progress",
        }
    }
}

impl Coder {
    /// For a body of so many bytes, if that is known. A length that turns out wrong is an error at the end of zstd, which
    /// has said it in the head of its frame.
    pub(super) fn new(coding: Coding, level: u8, length: Option<u64>) -> Result<Self, CoderError> {
        let level = level.clamp(1, coding.most());
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Compress::new_gzip(Compression::new(level.into()), 15)),
            Coding::Brotli => {
                let mut state = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
                // From level 5 on smaller windows have a way to search that takes 33 MiB.
                let least = if level < 5 { 10 } else { 17 };
                // Above it hashes are made for more than is worth their memory here.
                let hint = length.map(|length| length.min(MAX_HINT) as u32);
                state.set_parameter(Parameter::BROTLI_PARAM_QUALITY, level.into());
                state.set_parameter(
                    Parameter::BROTLI_PARAM_LGWIN,
                    window(length, least).min(MAX_WINDOW_OF_BROTLI),
                );
                state.set_parameter(Parameter::BROTLI_PARAM_SIZE_HINT, hint.unwrap_or(0));
                Self::Brotli(state)
            }
            Coding::Zstd => {
                let mut context = CCtx::try_create().ok_or_else(|| error(coding, "no memory"))?;
                let failed = |code| error(coding, get_error_name(code));
                let mut set = |parameter| context.set_parameter(parameter).map_err(failed);
                set(CParameter::CompressionLevel(level.into()))?;
                let window = window(length, 10);
                set(CParameter::WindowLog(window))?;
                // Of the lower levels they are smaller by themselves.
                if level > 3 {
                    set(CParameter::HashLog(window.min(MAX_TABLE)))?;
                    set(CParameter::ChainLog(window.min(MAX_TABLE)))?;
                }
                if length.is_some() {
                    context.set_pledged_src_size(length).map_err(failed)?;
                }
                Self::Zstd(context)
            }
        })
    }

    /// Takes in what it can of `input` and fills `out` with what it has to give.
    pub(super) fn code(
        &mut self,
        input: &[u8],
        then: Then,
        out: &mut [u8],
    ) -> Result<Step, CoderError> {
        let room = out.len();
        match self {
            Self::Gzip(stream) => {
                let flush = match then {
                    Then::More => FlushCompress::None,
                    Then::Flush => FlushCompress::Sync,
                    Then::End => FlushCompress::Finish,
                };
                let (taken, given) = (stream.total_in(), stream.total_out());
                let status = stream.compress(input, out, flush);
                let status = status.map_err(|_| error(Coding::Gzip, "its state is broken"))?;
                let read = (stream.total_in() - taken) as usize;
                let wrote = (stream.total_out() - given) as usize;
                let done = match then {
                    Then::More => true,
                    // A full buffer may hide more.
                    Then::Flush => wrote < room,
                    Then::End => status == Status::StreamEnd,
                };
                Ok(Step {
                    read,
                    wrote,
                    done: done && read == input.len(),
                })
            }
            Self::Brotli(state) => {
                let operation = match then {
                    Then::More => Operation::BROTLI_OPERATION_PROCESS,
                    Then::Flush => Operation::BROTLI_OPERATION_FLUSH,
                    Then::End => Operation::BROTLI_OPERATION_FINISH,
                };
                let (mut left, mut read) = (input.len(), 0);
                let (mut room, mut wrote) = (room, 0);
                let went = state.compress_stream(
                    operation,
                    &mut left,
                    input,
                    &mut read,
                    &mut room,
                    out,
                    &mut wrote,
                    &mut None,
                    &mut |_, _, _, _| (),
                );
                if !went {
                    return Err(error(Coding::Brotli, "its state is broken"));
                }
                let done = match then {
                    Then::More => true,
                    Then::Flush => !state.has_more_output(),
                    Then::End => state.is_finished(),
                };
                Ok(Step {
                    read,
                    wrote,
                    done: done && left == 0,
                })
            }
            Self::Zstd(context) => {
                let end = match then {
                    Then::More => Directive::ZSTD_e_continue,
                    Then::Flush => Directive::ZSTD_e_flush,
                    Then::End => Directive::ZSTD_e_end,
                };
                let mut input_at = InBuffer::around(input);
                let mut out_at = OutBuffer::around(out);
                let inside = context.compress_stream2(&mut out_at, &mut input_at, end);
                let inside: Result<usize, ErrorCode> = inside;
                let inside = inside.map_err(|code| error(Coding::Zstd, get_error_name(code)))?;
                let wrote = out_at.pos();
                let read = input_at.pos;
                Ok(Step {
                    read,
                    wrote,
                    done: (then == Then::More || inside == 0) && read == input.len(),
                })
            }
        }
    }
}

/// Bytes that an encoder holds at most, its room for output included. The test `encoders_hold_no_more_than_they_say`
/// measures it.
pub(crate) fn heap(coding: Coding, level: u8) -> usize {
    let kib = match (coding, level) {
        (Coding::Gzip, _) => 400,
        (Coding::Zstd, 0..=3) => 1850,
        (Coding::Zstd, _) => 2100,
        (Coding::Brotli, 0..=1) => 400,
        (Coding::Brotli, 2..=3) => 1000,
        (Coding::Brotli, 4) => 2600,
        (Coding::Brotli, 5) => 4000,
        (Coding::Brotli, _) => 5000,
    };
    kib * 1024
}

/// The logarithm of how far back an encoder looks: no further than the body is long.
fn window(length: Option<u64>, least: u32) -> u32 {
    let bits = length.map_or(MAX_WINDOW, |length| u64::BITS - length.leading_zeros());
    bits.clamp(least, MAX_WINDOW)
}

fn error(coding: Coding, why: &'static str) -> CoderError {
    let coding = coding.name();
    CoderError { coding, why }
}

/// 256 KiB: eight times gzip's. Browsers refuse more than 8 MiB (RFC 9659), but it is memory that bounds it.
const MAX_WINDOW: u32 = 18;
/// 128 KiB: it gathers up to twice that before it writes, in several forms.
const MAX_WINDOW_OF_BROTLI: u32 = 17;
const MAX_HINT: u64 = (1 << 20) - 1;
/// Of zstd's tables.
const MAX_TABLE: u32 = 17;
