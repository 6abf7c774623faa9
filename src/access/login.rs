//! Who a client says it is.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::line::RequestFields;

/// The name of a login by HTTP Basic (RFC 7617), right or not; never the password.
pub(super) fn login(fields: &dyn RequestFields) -> Option<Vec<u8>> {
    let mut first = None;
    fields.each("authorization", &mut |value| {
        first.get_or_insert(value);
    });
    let (scheme, rest) = first?.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut name = CODED.decode(rest.trim_ascii()).ok()?;
    let end = name.iter().position(|byte| *byte == b':')?;
    name.truncate(end);
    (end > 0).then_some(name)
}

/// As nginx takes it, with or without the `=` at the end.
const CODED: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
