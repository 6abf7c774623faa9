//! Texts of others in messages of ours: bounded, and harmless to a terminal.

/// `text` as it may stand in a message: at most [`MAX_CHARS`] characters, control characters
/// escaped so that a label cannot move a terminal's cursor or forge a log line.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => visible(&text[..end]) + "…",
        None => visible(text),
    }
}

/// `text` with its control characters escaped: a reason may quote a single one.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// An excerpt in backquotes.
pub(super) fn quote(text: &str) -> String {
    format!("`{}`", excerpt(text))
}

/// Characters that reorder or hide the text around them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Of a label or value in a message.
const MAX_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let cut = excerpt(&"ü".repeat(1000));
        assert_eq!(cut.chars().count(), MAX_CHARS + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(excerpt("a\n\u{1b}[2J"), "a\\n\\u{1b}[2J");
        assert_eq!(excerpt("ok ✓"), "ok ✓");
    }
}
