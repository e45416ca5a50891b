//! What is published is read with care.

use super::*;

#[test]
fn checksums() {
    let digits = "0123456789abcdef".repeat(4);
    for text in [
        digits.clone(),
        format!("{digits}\n"),
        format!("{digits}  crictl-v1.36.0-linux-amd64.tar.gz\n"),
        digits.to_uppercase(),
    ] {
        assert_eq!(checksum(&text, "u").unwrap(), digits);
    }
    for text in ["", "\n", "<html>not found</html>", &digits[1..], &format!("{digits}0")] {
        let error = checksum(text, "http://host/kubelet.sha256").unwrap_err().to_string();
        assert!(error.starts_with("http://host/kubelet.sha256: is not a SHA-256"), "{error}");
    }
}
