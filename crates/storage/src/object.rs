use object_store::{ObjectMeta, UpdateVersion};
use serde::{Deserialize, Serialize};

/// An object of a store, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// Path in the bucket.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// When it was written, in seconds since 1970.
    pub(crate) modified_s: i64,
    /// Names the content, where the store says so.
    pub(crate) tag: Option<String>,
    /// Number of the content, in stores that count.
    pub(crate) generation: Option<String>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        let modified_s = meta.last_modified.timestamp();
        Object {
            key: meta.location.to_string(),
            bytes: meta.size,
            modified_s,
            tag: meta.e_tag,
            generation: meta.version,
        }
    }
}

impl Object {
    /// Whether this and an object of the same key are the same content. Not every answer of a store
    /// has the tag.
    pub(crate) fn is_still(&self, other: &Object) -> bool {
        let same_tag = match (self.bare_tag(), other.bare_tag()) {
            (Some(tag), Some(other)) => tag == other,
            _ => self.modified_s == other.modified_s,
        };
        same_tag && self.bytes == other.bytes
    }

    /// Changes on every write.
    pub(crate) fn version(&self) -> String {
        self.bare_tag().map_or_else(|| self.modified_s.to_string(), str::to_owned)
    }

    /// One store quotes the tag in its answers and not in its lists.
    fn bare_tag(&self) -> Option<&str> {
        self.tag.as_deref().map(|tag| tag.trim_matches('"'))
    }
}

/// What must hold for a put to replace an object.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// There is no object.
    Absent,
    /// It is still this version.
    Version(UpdateVersion),
}

impl Condition {
    /// Still this object, or none.
    pub(crate) fn still(object: Option<&Object>) -> Self {
        object.map_or(Condition::Absent, |object| {
            Condition::Version(UpdateVersion {
                e_tag: object.tag.clone(),
                version: object.generation.clone(),
            })
        })
    }
}
