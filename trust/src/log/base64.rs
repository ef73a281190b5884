//! Base64 as the C2SP formats write it: padded, in one piece. The decoder of `data-encoding` also takes several padded
//! pieces one after the other, so that one signature could be written in two ways. Out of scope: what is encoded.

use data_encoding::BASE64;

/// The bytes of a text that [`encode`] would write.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (BASE64.encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_written_is_read() {
        assert_eq!(decode("QQ==").unwrap(), b"A");
        for text in ["QQ==QQ==", "QQ=", "QQ", "QR==", "Q Q=", "QQ==\n"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
