//! DATA frames, taken as they come rather than whole (RFC 9113 section 6.1).

use super::super::frame::{self, Code, Fault, FrameHead, HEAD};
use super::{Connection, Role};

/// A DATA frame that has begun.
pub(super) struct Data {
    /// `None` when nobody wants it.
    at: Option<usize>,
    /// Bytes of the body and of the padding that have not come yet.
    left: usize,
    padding: usize,
    last: bool,
}

impl<R: Role> Connection<R> {
    pub(super) fn data(&mut self, head: FrameHead, payload: &[u8]) -> Result<usize, Fault> {
        if R::is_idle(self, head.stream) {
            return Err(Fault::protocol("DATA is on no stream"));
        }
        let padding = match (head.has(frame::PADDED), payload.first()) {
            (false, _) => 0,
            (true, None) if head.len > 0 => return Ok(0),
            (true, padding) => {
                let padding = padding.map(|padding| usize::from(*padding));
                // The padding's own length is part of it.
                let padding = padding.map(|padding| padding + 1);
                padding
                    .filter(|padding| *padding <= head.len)
                    .ok_or_else(|| Fault::protocol("a frame has more padding than payload"))?
            }
        };
        let last = head.has(frame::END_STREAM);
        let mut inner = self.shared.lend_out();
        let mut at = inner.find(head.stream);
        if let Some(slot) = at
            && inner.is_ended(slot)
        {
            inner.reset(slot, Code::StreamClosed);
            at = None;
        }
        inner.data_begins(at, head.len)?;
        let lead = usize::from(head.has(frame::PADDED));
        inner.discard(at, lead);
        drop(inner);
        if at.is_none() || (head.len == padding && !last) {
            R::pointless(self, at.is_some())?;
        }
        self.data = Some(Data {
            at,
            left: head.len - padding,
            padding: padding - lead,
            last,
        });
        self.go_on_with_data(&[]);
        Ok(HEAD + lead)
    }

    /// Takes what there is of the DATA frame under way; how much that was.
    pub(super) fn go_on_with_data(&mut self, bytes: &[u8]) -> usize {
        let Some(data) = &mut self.data else {
            return 0;
        };
        let mut inner = self.shared.lend_out();
        let body = bytes.len().min(data.left);
        if body > 0 {
            data.left -= body;
            // Its stream may have ended in the middle of it.
            data.at = data.at.filter(|at| inner.is_live(*at));
            match data.at {
                Some(at) => {
                    let buffers = &self.shared.worker.buffers;
                    inner.data(at, &bytes[..body], || buffers.small());
                }
                None => inner.discard(None, body),
            }
        }
        let padding = (bytes.len() - body).min(data.padding);
        if padding > 0 {
            data.padding -= padding;
            data.at = data.at.filter(|at| inner.is_live(*at));
            inner.discard(data.at, padding);
        }
        if data.left == 0 && data.padding == 0 {
            if let Some(at) = data.at.filter(|at| inner.is_live(*at))
                && data.last
            {
                inner.peer_ended(at, None);
            }
            self.data = None;
        }
        body + padding
    }
}
