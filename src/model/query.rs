//! Words of a query string.

/// What stands behind percent signs and pluses (WHATWG URL, `application/x-www-form-urlencoded`); `None`
/// where a percent sign is not followed by two hexadecimal digits.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        plain.push(match byte {
            b'%' => u8::try_from(digit()? * 16 + digit()?).ok()?,
            b'+' => b' ',
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_once() {
        let decoded =
            |text| unescape(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(
            decoded("https%3A%2F%2Fa%2Fb+c").as_deref(),
            Some("https://a/b c")
        );
        assert_eq!(decoded("%2541").as_deref(), Some("%41"));
        for bad in ["%", "%4", "%zz", "%+f", "%é"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
