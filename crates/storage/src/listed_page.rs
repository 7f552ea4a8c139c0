//! Pages of listings without the keys that the client does not take.
//!
//! A key such as `a/../b`, `a//b` or one with a TAB is fine for a store; the client refuses the
//! whole listing for it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use object_store::path::Path as Key;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

/// Elements of an object, or of a folder, in the dialects of all stores.
const ENTRIES: [&[u8]; 4] = [b"Contents", b"CommonPrefixes", b"Blob", b"BlobPrefix"];
/// The elements in these that name it.
const NAMES: [&[u8]; 3] = [b"Key", b"Prefix", b"Name"];

/// Keys that listings had and that the client does not take.
#[derive(Debug, Default)]
pub(crate) struct RefusedKeys(Mutex<BTreeSet<String>>);

impl RefusedKeys {
    /// The page of a listing without such keys, which are noted; `None` where it has none, or where
    /// it is not XML, which the client says.
    pub(crate) fn take_from(&self, page: &[u8]) -> Option<Vec<u8>> {
        let (rest, refused) = split(page)?;
        self.keys().extend(refused);
        Some(rest)
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those below a folder, from there.
    pub(crate) fn below(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let keys = self.keys();
        let of_folder = keys.range(prefix.clone()..).take_while(|key| key.starts_with(&prefix));
        of_folder.map(|key| key[prefix.len()..].to_owned()).collect()
    }
}

/// Whether the client takes a key, and as the key that it is: a leading slash would be lost.
fn is_taken(key: &str) -> bool {
    !key.starts_with('/') && Key::parse(key).is_ok()
}

/// The page without the entries of keys that are not taken, and those of them that are objects.
fn split(page: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut reader = Reader::from_reader(page);
    let (mut rest, mut refused) = (Vec::new(), Vec::new());
    let mut kept_to = 0;
    // The entry that is being read: where it begins, and whether it is an object.
    let mut entry: Option<(usize, bool)> = None;
    let (mut key, mut is_in_name) = (String::new(), false);
    loop {
        let begin = usize::try_from(reader.buffer_position()).ok()?;
        match reader.read_event().ok()? {
            Event::Eof => break,
            Event::Start(tag) => match (entry, tag.local_name().as_ref()) {
                (None, name) if ENTRIES.contains(&name) => {
                    entry = Some((begin, matches!(name, b"Contents" | b"Blob")));
                    key.clear();
                }
                (Some(_), name) => is_in_name = NAMES.contains(&name),
                _ => {}
            },
            Event::Text(text) if is_in_name => key.push_str(&text.decode().ok()?),
            Event::CData(text) if is_in_name => key.push_str(&text.decode().ok()?),
            Event::GeneralRef(reference) if is_in_name => {
                match reference.resolve_char_ref().ok()? {
                    Some(character) => key.push(character),
                    None => key.push_str(resolve_xml_entity(&reference.decode().ok()?)?),
                }
            }
            Event::End(tag) => {
                is_in_name = false;
                let Some((entry_begin, is_object)) = entry else { continue };
                if !ENTRIES.contains(&tag.local_name().as_ref()) {
                    continue;
                }
                entry = None;
                if !is_taken(&key) {
                    rest.extend_from_slice(page.get(kept_to..entry_begin)?);
                    kept_to = usize::try_from(reader.buffer_position()).ok()?;
                    refused.extend(is_object.then(|| key.clone()));
                }
            }
            _ => {}
        }
    }
    if kept_to == 0 {
        return None;
    }
    rest.extend_from_slice(page.get(kept_to..)?);
    Some((rest, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], prefixes: &[&str]) -> String {
        let objects = keys.iter().map(|key| {
            format!(
                "\n  <Contents><Key>{key}</Key><Size>1</Size><Owner><ID>x</ID></Owner></Contents>"
            )
        });
        let folders = prefixes
            .iter()
            .map(|prefix| format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"));
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3/\"><Prefix>a//</Prefix>{}{}\
             <NextContinuationToken>t</NextContinuationToken></ListBucketResult>",
            objects.collect::<String>(),
            folders.collect::<String>()
        )
    }

    #[test]
    fn a_page_is_left_with_the_keys_that_the_client_takes() {
        let odd =
            ["a/../z.jpg", "./c.jpg", "x//y.jpg", "a/&#9;b.jpg", "a/\tc.jpg", "/d.jpg", "a/."];
        let fine = ["a/b.jpg", "a/&amp;&#228;ö %20#?.jpg", "a/...jpg", "a/folder/"];
        let both: Vec<&str> =
            odd.iter().zip(fine.iter().cycle()).flat_map(|(a, b)| [*a, *b]).collect();
        let expected: Vec<&str> = odd.iter().zip(fine.iter().cycle()).map(|(_, b)| *b).collect();
        let refused = RefusedKeys::default();
        let rest = refused.take_from(page(&both, &["a/b/", "a//"]).as_bytes()).unwrap();
        let rest = String::from_utf8(rest).unwrap();
        for line in page(&expected, &["a/b/"]).lines() {
            assert!(rest.contains(line.trim()), "{line} is not in {rest}");
        }
        assert_eq!(rest.matches("<Contents>").count(), expected.len());
        assert_eq!(rest.matches("<CommonPrefixes>").count(), 1);
        assert_eq!(
            refused.below(""),
            ["./c.jpg", "/d.jpg", "a/\tb.jpg", "a/\tc.jpg", "a/.", "a/../z.jpg", "x//y.jpg"]
        );
        assert_eq!(refused.below("a"), ["\tb.jpg", "\tc.jpg", ".", "../z.jpg"]);
        assert_eq!(refused.below("x"), ["/y.jpg"]);
        assert!(refused.below("b").is_empty());
    }

    #[test]
    fn a_page_of_azure_is_read_as_well() {
        let refused = RefusedKeys::default();
        let page = "<EnumerationResults><Prefix>a/</Prefix><Blobs><Blob><Name>a/b</Name></Blob>\
                    <Blob><Name>a//c</Name></Blob><BlobPrefix><Name>a//</Name></BlobPrefix></Blobs>\
                    </EnumerationResults>";
        let rest = refused.take_from(page.as_bytes()).unwrap();
        let expected = "<EnumerationResults><Prefix>a/</Prefix><Blobs><Blob><Name>a/b</Name></Blob>\
                        </Blobs></EnumerationResults>";
        assert_eq!(String::from_utf8(rest).unwrap(), expected);
        assert_eq!(refused.below("a"), ["/c"]);
    }

    #[test]
    fn a_page_without_such_keys_or_that_is_no_xml_is_left_to_the_client() {
        let refused = RefusedKeys::default();
        let fine = page(&["a/b"], &["a/"]);
        for page in [fine.as_str(), "", "<", "<Contents><Key>a//b", "<a>&unknown;</b>"] {
            assert_eq!(refused.take_from(page.as_bytes()), None, "{page}");
        }
        assert!(refused.below("").is_empty());
    }
}
