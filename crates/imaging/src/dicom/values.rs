//! Values of elements, read by dicom-object.

use dicom_core::Tag;
use dicom_encoding::transfer_syntax::{TransferSyntax, TransferSyntaxIndex as _};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use dicom_transfer_syntax_registry::entries::{
    EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN,
};

use super::data_set::RawElements;

/// Elements with their values. Errors are sentences.
pub(super) struct Values(InMemDicomObject);

impl Values {
    pub(super) fn read(elements: &RawElements) -> Result<Self, String> {
        let uid = match (elements.encoding.is_explicit, elements.encoding.is_big_endian) {
            (true, true) => EXPLICIT_VR_BIG_ENDIAN.uid(),
            (true, false) => EXPLICIT_VR_LITTLE_ENDIAN.uid(),
            (false, _) => IMPLICIT_VR_LITTLE_ENDIAN.uid(),
        };
        let syntax: &TransferSyntax = TransferSyntaxRegistry
            .get(uid)
            .ok_or_else(|| format!("transfer syntax {uid} is not known"))?;
        InMemDicomObject::read_dataset_with_ts(&elements.raw[..], syntax)
            .map(Values)
            .map_err(|e| format!("its elements cannot be read: {e}"))
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.0.get(tag).is_some()
    }

    /// All integers of an element; `None` if it is missing or empty.
    pub(super) fn integers(&self, tag: Tag, name: &str) -> Result<Option<Vec<i64>>, String> {
        let Some(element) = self.0.get(tag) else { return Ok(None) };
        let values = element
            .to_multi_int::<i64>()
            .map_err(|_| format!("its {name} is not a whole number"))?;
        Ok((!values.is_empty()).then_some(values))
    }

    /// The first integer.
    pub(super) fn u16(&self, tag: Tag, name: &str) -> Result<Option<u16>, String> {
        let Some(value) = self.integers(tag, name)?.and_then(|values| values.first().copied())
        else {
            return Ok(None);
        };
        u16::try_from(value).map(Some).map_err(|_| format!("its {name} is {value}"))
    }

    pub(super) fn required(&self, tag: Tag, name: &str) -> Result<u16, String> {
        self.u16(tag, name)?.ok_or_else(|| format!("it does not say its {name}"))
    }

    /// The first number; `None` also if the value is blank.
    pub(super) fn number(&self, tag: Tag, name: &str) -> Result<Option<f64>, String> {
        let Some(element) = self.0.get(tag) else { return Ok(None) };
        if self.word(tag).is_none_or(|word| word.is_empty()) {
            return Ok(None);
        }
        let values =
            element.to_multi_float64().map_err(|_| format!("its {name} is not a number"))?;
        match values.first() {
            Some(value) if !value.is_finite() => Err(format!("its {name} is {value}")),
            value => Ok(value.copied()),
        }
    }

    /// The first word, trimmed.
    pub(super) fn word(&self, tag: Tag) -> Option<String> {
        let words = self.0.get(tag)?.to_multi_str().ok()?;
        words.first().map(|word| word.trim_matches([' ', '\0']).to_owned())
    }
}
