//! Whether a password is the one a hash was made of. Slow by design: milliseconds to seconds.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use md5::{Digest, Md5};

use crate::model::Hash;

/// Takes the same time whether it matches or not. Blocks.
pub(super) fn matches(hash: &Hash, password: &[u8]) -> bool {
    match hash {
        Hash::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        Hash::Argon2(hash) => {
            use argon2::PasswordVerifier;
            let argon = argon2::Argon2::default();
            PasswordVerifier::<str>::verify_password(&argon, password, hash).is_ok()
        }
        Hash::ShaCrypt(hash) => {
            use sha_crypt::PasswordVerifier;
            let sha = sha_crypt::ShaCrypt::default();
            PasswordVerifier::<str>::verify_password(&sha, password, hash).is_ok()
        }
        Hash::Apr1 { salt, digest } => {
            let made = apr1(password, salt.as_bytes());
            verify_slices_are_equal(&made, digest.as_bytes()).is_ok()
        }
        Hash::Sha1(wanted) => {
            let made = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
            verify_slices_are_equal(made.as_ref(), wanted).is_ok()
        }
    }
}

/// Apache's variant of MD5-crypt (`apr_md5_encode`): 1,000 rounds, in crypt's base64.
fn apr1(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut inner = Md5::new();
    inner.update(password);
    inner.update(salt);
    inner.update(password);
    let inner = inner.finalize();
    let mut outer = Md5::new();
    outer.update(password);
    outer.update(b"$apr1$");
    outer.update(salt);
    for chunk in password.chunks(16) {
        outer.update(&inner[..chunk.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        let byte = match length & 1 {
            1 => 0,
            _ => password.first().copied().unwrap_or_default(),
        };
        outer.update([byte]);
        length >>= 1;
    }
    let mut last = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        let odd = round % 2 == 1;
        if odd {
            next.update(password);
        } else {
            next.update(last);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if odd {
            next.update(last);
        } else {
            next.update(password);
        }
        last = next.finalize();
    }
    let order = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)];
    let mut out = Vec::with_capacity(22);
    let mut push = |mut bits: u32, digits| {
        for _ in 0..digits {
            out.push(DIGITS[(bits & 63) as usize]);
            bits >>= 6;
        }
    };
    for (a, b, c) in order {
        let bits = u32::from(last[a]) << 16 | u32::from(last[b]) << 8 | u32::from(last[c]);
        push(bits, 4);
    }
    push(last[11].into(), 2);
    out
}

const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::User;

    #[test]
    fn every_kind_of_hash_is_known() {
        for (hash, password) in [
            ("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "password"),
            ("$apr1$RandSalt$PgCXHRrkpSt4cbyC2C6bm/", "password"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"),
            // crypt(5), as the specification has them.
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
            (
                "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
                "Hello world!",
            ),
            (
                "$2y$05$apxnEqGXpdSCTMy45oHJtuXCCR6VeKIDDtkaSnmWIyWUrlCvupbOm",
                "allmine",
            ),
        ] {
            let user = User::parse(&format!("u:{hash}")).unwrap();
            let right = matches(&user.hash, password.as_bytes());
            assert!(right, "{hash}");
            assert!(!matches(&user.hash, b"Password"), "{hash}");
            assert!(!matches(&user.hash, b""), "{hash}");
        }
    }

    #[test]
    fn argon2_by_its_own_parameters() {
        use argon2::PasswordHasher;
        let parameters = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon = argon2::Argon2::new(Default::default(), Default::default(), parameters);
        let hash = argon
            .hash_password_with_salt(b"sesame", b"saltsaltsalt")
            .unwrap();
        let user = User::parse(&format!("u:{hash}")).unwrap();
        assert!(matches(&user.hash, b"sesame"));
        assert!(!matches(&user.hash, b"Sesame"));
    }
}
