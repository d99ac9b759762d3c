//! Passwords in Secrets.
//!
//! In: the name of a Secret and of a key in it. Out: the password, or why there is none. It is fit for TCP MD5 or none
//! ([`usable_secret`]); a session without one stays down.

use super::meaning::PasswordSource;
use super::object::{Key, Kind};
use super::store::Store;
use crate::config::usable_secret;

/// See the module.
pub(super) fn password(store: &Store, namespace: &str, name: &str, key: &str) -> PasswordSource {
    let object = Key::new(Kind::Secret, namespace, name);
    // Objects in a file may leave out the namespace.
    let found =
        store.secrets().find(|(k, _)| k.name == name && (k.namespace == namespace || k.namespace.is_empty())).map(|(_, secret)| secret);
    let secret = match found {
        None => Err("there is no such Secret".to_owned()),
        Some(secret) => match (secret.string_data.get(key), secret.data.get(key)) {
            (Some(text), _) => usable_secret(text),
            (None, Some(encoded)) => {
                base64_text(encoded).ok_or_else(|| "it is not base 64 of text".to_owned()).and_then(|text| usable_secret(&text))
            }
            (None, None) => Err("there is no such key in it".to_owned()),
        },
    };
    PasswordSource { place: format!("{object}, {key}"), secret }
}

fn base64_text(text: &str) -> Option<String> {
    String::from_utf8(base64(text)?).ok()
}

/// RFC 4648 §4.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for c in text.trim_end().trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c.wrapping_sub(b'A'),
            b'a'..=b'z' => c.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => c.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count = count.saturating_add(6);
        if count >= 8 {
            count = count.saturating_sub(8);
            octets.push((bits >> count).to_le_bytes().first().copied().unwrap_or_default());
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_read_with_and_without_its_filling() {
        for (encoded, text) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar"), ("c2VjcmV0\n", "secret"), ("w7w=", "ü")]
        {
            assert_eq!(base64_text(encoded).as_deref(), Some(text), "{encoded}");
        }
        assert_eq!(base64("Z g="), None);
        assert_eq!((base64("/w=="), base64_text("/w==")), (Some(vec![0xff]), None), "not text");
    }
}
