//! Values of `buffer`.

use super::limits::fields;
use super::{Parsed, Value};
use crate::docker::labels::text::quote;
use crate::model::{BufferSpec, parse_bool, parse_size};

/// `on mem=1m disk=1g`, in any order; sizes alone do not switch it on.
pub(super) fn buffer(text: &str) -> Parsed {
    let form = "it looks like on mem=1m disk=1g, or off";
    // Empty is on, as of every switch.
    let text = if text.trim().is_empty() { "on" } else { text };
    fields(text, form, |key, value| match key {
        "" => match parse_bool(value) {
            Ok(on) => Ok(("buffer", Value::Switch(on))),
            Err(_) => Err(format!("{}: {form}", quote(value))),
        },
        "mem" => match memory(value) {
            Ok(bytes) => Ok(("buffer.mem", Value::Size(bytes))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        "disk" => match parse_size(value) {
            Ok(bytes) => Ok(("buffer.disk", Value::Size(bytes))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        key => Err(format!("there is no {} here: {form}", quote(key))),
    })
}

pub(super) fn memory(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(bytes @ BufferSpec::LEAST..=MOST) => Ok(bytes),
        Ok(_) => Err("it is a size from 64k to 1g".to_owned()),
        Err(reason) => Err(reason.to_string()),
    }
}

/// Of one body; what all may have is bounded, too.
const MOST: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let on = ("buffer", Value::Switch(true));
        let mem = |bytes| ("buffer.mem", Value::Size(bytes));
        let disk = |bytes| ("buffer.disk", Value::Size(bytes));
        for (text, expected) in [
            ("on", vec![on.clone()]),
            ("", vec![on.clone()]),
            ("off", vec![("buffer", Value::Switch(false))]),
            (
                "on mem=64k disk=2g",
                vec![on.clone(), mem(64 << 10), disk(2 << 30)],
            ),
            ("disk=off, on", vec![disk(0), on]),
        ] {
            let parsed = buffer(text);
            assert_eq!(parsed.value, Some(Value::Fields(expected)), "{text}");
            assert_eq!(parsed.errors, Vec::<String>::new(), "{text}");
        }
        for (text, reason) in [
            (
                "perhaps",
                "`perhaps`: it looks like on mem=1m disk=1g, or off",
            ),
            ("on mem=1k", "mem: it is a size from 64k to 1g"),
            ("on mem=off", "mem: it is a size from 64k to 1g"),
            ("on mem=2g", "mem: it is a size from 64k to 1g"),
            ("on on", "`buffer` is set twice"),
            (
                "on size=1m",
                "there is no `size` here: it looks like on mem=1m disk=1g, or off",
            ),
        ] {
            assert_eq!(buffer(text).errors, [reason], "{text}");
        }
    }
}
