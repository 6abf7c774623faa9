//! One question in HTTP/2 on a connection of its own, for those who are no worker: checks of apps.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, FrameHead, HEAD, MAX_FRAME, PREFACE, unpad};
use super::hpack::{Decoder, Encoder};

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) fields: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// At most [`MAX_BODY`] bytes; only where it was waited for.
    pub(crate) body: Vec<u8>,
}

/// Asks, and reads up to the status of the final response, or, if it is `whole`, to its end. The caller has a
/// time limit.
///
/// # Errors
/// `InvalidData`: this is no HTTP/2. `UnexpectedEof`: the app has ended the connection, or the stream.
pub(crate) async fn ask<S>(
    stream: &mut S,
    question: &Question<'_>,
    whole: bool,
) -> io::Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    stream.write_all(&question.written()).await?;
    stream.flush().await?;
    let mut conversation = Conversation::default();
    let mut read = Vec::with_capacity(1024);
    loop {
        let mut rest = &read[..];
        let mut answers = Vec::new();
        while let Some(head) = FrameHead::parse(rest) {
            if head.len > MAX_FRAME || (!conversation.began && head.kind != frame::SETTINGS) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(payload) = rest.get(HEAD..HEAD + head.len) else {
                break;
            };
            conversation.began = true;
            if conversation.take(head, payload, whole, &mut answers)? {
                return Ok(conversation.reply);
            }
            rest = &rest[HEAD + head.len..];
        }
        let taken = read.len() - rest.len();
        read.drain(..taken);
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            stream.flush().await?;
        }
        conversation.total += taken;
        if conversation.total > MAX_READ {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Question<'_> {
    fn written(&self) -> Vec<u8> {
        let mut out = PREFACE.to_vec();
        frame::write_settings(&mut out, &[(frame::ENABLE_PUSH, 0)]);
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        let mut encoder = Encoder::new();
        encoder.begin(&mut out);
        let pseudo = [
            (":method", self.method),
            (":scheme", self.scheme),
            (":authority", self.authority),
            (":path", self.path),
        ];
        for (name, value) in pseudo.iter().chain(self.fields) {
            encoder.field(&mut out, name.as_bytes(), value.as_bytes());
        }
        let last = if self.body.is_empty() {
            frame::END_STREAM
        } else {
            0
        };
        frame::fill_headers(&mut out, start, last, 1, MAX_FRAME);
        if !self.body.is_empty() {
            frame::write_head(&mut out, self.body.len(), frame::DATA, frame::END_STREAM, 1);
            out.extend_from_slice(self.body);
        }
        out
    }
}

/// What has come so far.
struct Conversation {
    decoder: Decoder,
    block: Vec<u8>,
    began: bool,
    reply: Reply,
    total: usize,
    /// The block under way is the last there is.
    last: bool,
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(4096),
            block: Vec::new(),
            began: false,
            reply: Reply::default(),
            total: 0,
            last: false,
        }
    }
}

impl Conversation {
    /// Takes a frame; whether nothing more is waited for.
    fn take(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        whole: bool,
        answers: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let last = head.has(frame::END_STREAM);
        match head.kind {
            frame::SETTINGS if !head.has(frame::ACK) => frame::write_settings_ack(answers),
            frame::PING if !head.has(frame::ACK) => {
                frame::write_ping(answers, frame::ACK, payload);
            }
            frame::HEADERS if head.stream == 1 => {
                let mut payload = unpad(head, payload).map_err(|_| invalid())?;
                if head.has(frame::WITH_PRIORITY) {
                    payload = payload.get(5..).ok_or_else(invalid)?;
                }
                self.block = payload.to_vec();
                self.last = last;
                if head.has(frame::END_HEADERS) {
                    return self.block(whole);
                }
            }
            frame::CONTINUATION if head.stream == 1 => {
                self.block.extend_from_slice(payload);
                if self.block.len() > MAX_READ {
                    return Err(invalid());
                }
                if head.has(frame::END_HEADERS) {
                    return self.block(whole);
                }
            }
            frame::DATA if head.stream == 1 => {
                let data = unpad(head, payload).map_err(|_| invalid())?;
                self.reply.body.extend_from_slice(data);
                if self.reply.body.len() > MAX_BODY {
                    return Err(invalid());
                }
                return Ok(last);
            }
            frame::RST_STREAM if head.stream == 1 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            frame::GOAWAY if frame::number(payload) == Some(0) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            _ => {}
        }
        Ok(false)
    }

    /// A head, an interim one or trailers.
    fn block(&mut self, whole: bool) -> io::Result<bool> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        let mut block = &self.block[..];
        let mut text = Vec::new();
        self.decoder.begin();
        while let Some(found) = self.decoder.next(&mut block, &mut text).map_err(invalid)? {
            let value = std::str::from_utf8(&text[found.value()]).unwrap_or("");
            if found.name == super::hpack::Name::Status {
                self.reply.status = value.parse().unwrap_or(0);
            }
            text.clear();
        }
        match self.reply.status {
            100..=199 if !self.last => {
                self.reply.status = 0;
                Ok(false)
            }
            200..=599 => Ok(!whole || self.last),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Of a body, in bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024;
/// Of all that comes.
const MAX_READ: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: Question<'_> = Question {
        method: "GET",
        scheme: "http",
        authority: "a.test",
        path: "/up",
        fields: &[],
        body: b"",
    };

    fn headers(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        let mut encoder = Encoder::new();
        for (name, value) in fields {
            encoder.field(&mut out, name.as_bytes(), value.as_bytes());
        }
        frame::fill_headers(&mut out, 0, flags, 1, MAX_FRAME);
        out
    }

    fn told(bytes: &[u8], whole: bool) -> io::Result<Reply> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
            theirs.write_all(bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            ask(&mut ours, &HEALTH, whole).await
        })
    }

    #[test]
    fn the_status_is_the_final_ones() {
        let mut settings = Vec::new();
        frame::write_settings(&mut settings, &[]);
        frame::write_ping(&mut settings, 0, &[0; 8]);
        let hint = headers(&[(":status", "103")], 0);
        let head = headers(&[(":status", "204"), ("x", "1")], 0);
        let reply = told(&[settings.clone(), hint, head].concat(), false).unwrap();
        assert_eq!(reply.status, 204);
        let head = headers(&[(":status", "200")], 0);
        let mut body = head.clone();
        frame::write_head(&mut body, 2, frame::DATA, frame::END_STREAM, 1);
        body.extend_from_slice(b"ok");
        let reply = told(&[&settings[..], &body].concat(), true).unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]));
        for (bytes, kind) in [
            (
                b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
                io::ErrorKind::InvalidData,
            ),
            (settings.clone(), io::ErrorKind::UnexpectedEof),
            (
                [&settings[..], &head].concat(),
                io::ErrorKind::UnexpectedEof,
            ),
            (
                [&settings[..], &headers(&[("x", "1")], 0)].concat(),
                io::ErrorKind::InvalidData,
            ),
        ] {
            assert_eq!(told(&bytes, true).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }
}
