//! What an app is told of a client's certificate.

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Header lines for a client that has shown this certificate, or none: the words of nginx's
/// `$ssl_client_*`, and the whole of it as RFC 9440 says.
pub fn client_lines(certificate: Option<&CertificateDer<'_>>) -> Box<[u8]> {
    let Some(certificate) = certificate else {
        return (*b"x-ssl-client-verify: NONE\r\n").into();
    };
    let subject = X509Certificate::from_der(certificate).map_or_else(
        |_| String::new(),
        |(_, parsed)| distinguished_name(parsed.subject()),
    );
    let print = digest::digest(&digest::SHA256, certificate);
    let print: String = print
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let lines = format!(
        "x-ssl-client-verify: SUCCESS\r\nx-ssl-client-s-dn: {subject}\r\n\
         x-ssl-client-fingerprint: {print}\r\nclient-cert: :{}:\r\n",
        base64(certificate)
    );
    lines.into_bytes().into()
}

/// RFC 4514: the last part first, and every sign escaped that could be taken for another part. ASCII
/// alone, so that it may stand in a header field.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        for (index, attribute) in part.iter().enumerate() {
            match (text.is_empty(), index) {
                (true, _) => {}
                (false, 0) => text.push(','),
                (false, _) => text.push('+'),
            }
            let id = attribute.attr_type().to_id_string();
            let short = SHORT.iter().find(|(known, _)| *known == id);
            text.push_str(short.map_or(&id, |(_, short)| short));
            text.push('=');
            escape(&mut text, attribute.as_slice());
            if text.len() > NAME_MOST {
                text.truncate(NAME_MOST);
                return text;
            }
        }
    }
    text
}

fn escape(text: &mut String, value: &[u8]) {
    for (index, byte) in value.iter().enumerate() {
        let last = index + 1 == value.len();
        match byte {
            b' ' if index == 0 || last => text.push_str("\\ "),
            b'#' if index == 0 => text.push_str("\\#"),
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
}

/// RFC 4648 section 4; nothing else here needs it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(if digit <= three.len() {
                char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])
            } else {
                '='
            });
        }
    }
    text
}

/// RFC 4514 section 3, and what else is common.
const SHORT: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];
/// A field is to fit into what apps read of a head.
const NAME_MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn base64_as_its_rfc_shows_it() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    /// Who is certified chooses the name, and must not pass for somebody else.
    #[test]
    fn names_cannot_break_out_of_their_part() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Acme, Inc.");
        name.push(DnType::CommonName, "eve,O=Other\r\nx-admin: 1 ü ");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let lines = client_lines(Some(certificate.der()));
        let lines = std::str::from_utf8(&lines).unwrap();
        let subject = lines
            .lines()
            .find_map(|line| line.strip_prefix("x-ssl-client-s-dn: "));
        assert_eq!(
            subject,
            Some(r"CN=eve\,O\=Other\0D\0Ax-admin: 1 \C3\BC\ ,O=Acme\, Inc.")
        );
        assert_eq!(lines.matches("\r\n").count(), 4);
    }
}
