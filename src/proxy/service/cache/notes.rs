//! What is kept with a stored answer beside its fields.

use crate::cache::rules::Stored;
use crate::model::Address;

/// The rules' notes, and what the app may call itself in addresses, where the route changes these.
pub(super) fn write(stored: &Stored, own: Option<(&Address, &str)>) -> Vec<u8> {
    let mut notes = stored.to_bytes().to_vec();
    if let Some((addr, host)) = own {
        notes.extend_from_slice(addr.to_string().as_bytes());
        notes.push(b'\n');
        notes.extend_from_slice(host.as_bytes());
    }
    notes
}

pub(super) fn stored(notes: &[u8]) -> Option<Stored> {
    let bytes = notes.first_chunk::<{ Stored::SIZE }>()?;
    Some(Stored::from_bytes(bytes))
}

/// Address and host.
pub(super) fn own(notes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(notes.get(Stored::SIZE..)?).ok()?;
    text.split_once('\n')
}

/// The same notes with other facts.
pub(super) fn again(notes: &[u8], stored: &Stored) -> Vec<u8> {
    let mut again = stored.to_bytes().to_vec();
    again.extend_from_slice(notes.get(Stored::SIZE..).unwrap_or_default());
    again
}
