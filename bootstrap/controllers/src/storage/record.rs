//! What is written down about a volume's directory, beside it.

use serde::{Deserialize, Serialize};

/// What becomes of the data of a volume whose claim is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Policy {
    Delete,
    /// Also what we do not know: then nothing is touched.
    Retain,
}

impl Policy {
    /// Reads the policy of a class or a volume. Where none is said, the API server means `Delete`.
    pub(crate) fn of(text: Option<&str>) -> Self {
        match text {
            None | Some("Delete") => Self::Delete,
            Some(_) => Self::Retain,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delete => "Delete",
            Self::Retain => "Retain",
        }
    }
}

/// Whose a directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name of the volume that owns the data.
    pub(crate) volume: String,
    pub(crate) claim_uid: String,
    /// What was requested, as it was written, and in bytes. Nothing enforces it.
    pub(crate) requested: String,
    pub(crate) bytes: u64,
    pub(crate) policy: Policy,
    /// When the volume was made, in RFC 3339.
    pub(crate) time: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        for (text, expected) in [
            (None, Policy::Delete),
            (Some("Delete"), Policy::Delete),
            (Some("Retain"), Policy::Retain),
            (Some("Recycle"), Policy::Retain),
            (Some(""), Policy::Retain),
        ] {
            assert_eq!(Policy::of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn records_are_as_they_were_written() {
        let record = Record {
            volume: "pvc-1".into(),
            claim_uid: "1".into(),
            requested: "1Gi".into(),
            bytes: 1 << 30,
            policy: Policy::Retain,
            time: "2026-11-21T17:00:00Z".into(),
        };
        let text = r#"{"volume":"pvc-1","claim_uid":"1","requested":"1Gi","bytes":1073741824,"policy":"Retain","time":"2026-11-21T17:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
    }
}
