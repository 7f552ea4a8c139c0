//! Records as MessagePack, for files that are read by this program alone.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn write(target: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    rmp_serde::encode::write(target, value).map_err(|e| match e {
        rmp_serde::encode::Error::InvalidValueWrite(e) => e.into(),
        e => io::Error::other(e),
    })
}

pub(crate) fn read<T: DeserializeOwned>(source: &mut impl Read) -> io::Result<T> {
    rmp_serde::decode::from_read(source).map_err(|e| match e {
        rmp_serde::decode::Error::InvalidMarkerRead(e)
        | rmp_serde::decode::Error::InvalidDataRead(e) => e,
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    })
}
