//! Counts HTTP/2 control frames as they come: h2 answers each, so a flood of them is work that no
//! request pays for (RFC 9113 section 10.5).

use crate::proxy::clock::TICK;

/// Looks at the bytes of one connection, in any cut.
#[derive(Debug)]
pub(crate) struct FrameCount {
    /// Bytes until the next frame header: the preface first, then payloads.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of `header` that have come.
    have: usize,
    /// Control frames since `since`.
    count: u32,
    /// In ticks.
    since: u32,
}

impl FrameCount {
    pub(crate) fn new() -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            count: 0,
            since: 0,
        }
    }

    /// Whether the connection, with these bytes, is still within [`MAX_PER_SECOND`]. `now` is in
    /// ticks of the worker's clock.
    pub(crate) fn allows(&mut self, mut bytes: &[u8], now: u32) -> bool {
        if now.saturating_sub(self.since) >= SECOND {
            self.since = now;
            self.count = 0;
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.have = 0;
                self.count += u32::from(is_control(kind));
            }
        }
        self.count <= MAX_PER_SECOND
    }
}

/// PRIORITY, RST_STREAM, SETTINGS, PING and what nobody knows. WINDOW_UPDATE comes with every few
/// kilobytes of a fast download and costs next to nothing.
fn is_control(kind: u8) -> bool {
    matches!(kind, 2..=4 | 6 | 10..)
}

/// A client in good faith sends a few.
pub(crate) const MAX_PER_SECOND: u32 = 1024;
const SECOND: u32 = (1000 / TICK.as_millis()) as u32;
/// RFC 9113 section 3.4.
const PREFACE: usize = 24;
/// RFC 9113 section 4.1.
const HEADER: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        frame.resize(HEADER + payload, 0xff);
        frame
    }

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = vec![6; PREFACE];
        wire.extend(frames.concat());
        wire
    }

    #[test]
    fn frames_count_the_same_at_any_cut() {
        let wire = wire(&[
            frame(4, 18),
            frame(1, 40),
            frame(6, 8),
            frame(0, 300),
            frame(3, 4),
        ]);
        for step in [1, 2, 7, 9, 10, wire.len()] {
            let mut frames = FrameCount::new();
            assert!(wire.chunks(step).all(|bytes| frames.allows(bytes, 0)));
            assert_eq!(frames.count, 3, "in steps of {step}");
        }
    }

    #[test]
    fn a_flood_is_refused_and_a_new_second_forgives() {
        let pings = wire(&vec![frame(6, 8); MAX_PER_SECOND as usize]);
        let mut frames = FrameCount::new();
        assert!(frames.allows(&pings, 5));
        assert!(!frames.allows(&frame(6, 8), 9));
        assert!(frames.allows(&frame(6, 8), 5 + SECOND));
    }

    #[test]
    fn requests_and_windows_are_never_too_many() {
        let busy = [frame(1, 30), frame(0, 10), frame(8, 4), frame(9, 5)].concat();
        let mut frames = FrameCount::new();
        assert!(frames.allows(&wire(&[]), 0));
        assert!((0..10_000).all(|_| frames.allows(&busy, 0)));
    }
}
