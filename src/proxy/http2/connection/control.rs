//! Frames about the connection rather than its requests (RFC 9113 sections 6.3 to 6.9).

use super::super::frame::{self, Code, Fault, FrameHead};
use super::{Connection, Role};

impl<R: Role> Connection<R> {
    pub(super) fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(Fault::size("WINDOW_UPDATE has not 4 bytes"));
        }
        let more = frame::number(payload).unwrap_or(0);
        if head.stream != 0 && R::is_idle(self, head.stream) {
            return Err(Fault::protocol("WINDOW_UPDATE is on no stream"));
        }
        let mut inner = self.shared.lend_out();
        if head.stream == 0 {
            if more == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE by nothing"));
            }
            return inner.widen_all(more);
        }
        match inner.find(head.stream) {
            Some(at) if more == 0 => inner.reset(at, Code::Protocol),
            Some(at) => inner.widen(at, more),
            None => {}
        }
        Ok(())
    }

    pub(super) fn priority(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::protocol("PRIORITY is on no stream"));
        }
        if payload.len() != 5 {
            return Err(Fault::size("PRIORITY has not 5 bytes"));
        }
        Ok(())
    }

    pub(super) fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(Fault::size("RST_STREAM has not 4 bytes"));
        }
        if R::is_idle(self, head.stream) {
            return Err(Fault::protocol("RST_STREAM is on no stream"));
        }
        let code = frame::code(payload);
        let found = self.shared.borrow().find(head.stream);
        match found {
            Some(at) => R::reset(self, at, code),
            // Sent before it knew that the stream is no more.
            None => self.unasked(),
        }
    }

    pub(super) fn go_away(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("GOAWAY is on a stream"));
        }
        let (Some(last), Some(code)) = (frame::number(payload), payload.get(4..8)) else {
            return Err(Fault::size("GOAWAY has not 8 bytes"));
        };
        R::go_away(self, last, frame::code(code))
    }

    pub(super) fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("SETTINGS are on a stream"));
        }
        if head.has(frame::ACK) {
            return match payload {
                [] => Ok(()),
                _ => Err(Fault::size("SETTINGS with ACK are not empty")),
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::size("SETTINGS are cut off"));
        }
        if settings.len() > MAX_SETTINGS {
            return Err(Fault::flood("SETTINGS are more than there are"));
        }
        let mut inner = self.shared.lend_out();
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                frame::HEADER_TABLE_SIZE => inner.encoder.set_max_size(value as usize),
                frame::ENABLE_PUSH if value > 1 => {
                    return Err(Fault::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                frame::INITIAL_WINDOW_SIZE if value > frame::MAX_WINDOW => {
                    return Err(Fault::flow("INITIAL_WINDOW_SIZE is too large"));
                }
                frame::INITIAL_WINDOW_SIZE => inner.set_initial_window(value)?,
                frame::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(Fault::protocol("MAX_FRAME_SIZE is out of its range"));
                }
                frame::MAX_FRAME_SIZE => inner.set_max_frame(value),
                frame::MAX_CONCURRENT_STREAMS => inner.set_max_streams(value),
                _ => {}
            }
        }
        frame::write_settings_ack(&mut inner.out);
        Ok(())
    }

    pub(super) fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("PING is on a stream"));
        }
        if payload.len() != 8 {
            return Err(Fault::size("PING has not 8 bytes"));
        }
        if head.has(frame::ACK) {
            R::pong(self, payload);
        } else {
            let mut inner = self.shared.lend_out();
            frame::write_ping(&mut inner.out, frame::ACK, payload);
        }
        Ok(())
    }
}

/// Settings in one frame, as nghttp2 has it: each may touch every stream.
const MAX_SETTINGS: usize = 32;
