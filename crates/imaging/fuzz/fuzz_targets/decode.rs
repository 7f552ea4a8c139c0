//! Decodes arbitrary bytes as an image file: our code never panics, and a picture has the size that
//! its header says.
//!
//! `decode` catches panics in third-party decoders, but libFuzzer would still abort on them. A
//! panic in a crate from the registry is therefore shown once for each source location, and fuzzing
//! continues; any other panic is a crash.
#![no_main]

use std::collections::HashSet;
use std::panic::PanicHookInfo;
use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use ossify_imaging::{decode, decode_picture, read_header, to_tensor_into};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

/// Small pictures reach every branch, and thousands of them can be decoded per second.
const MAX_PIXELS: u64 = 1 << 20;

fn is_of_others(panic: &PanicHookInfo) -> bool {
    panic.location().is_some_and(|location| location.file().contains("/registry/src/"))
}

fn let_panics_of_others_pass() {
    static SHOWN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_of_others(panic) {
            return abort(panic);
        }
        if let (Ok(mut shown), Some(location)) = (SHOWN.lock(), panic.location())
            && shown.get_or_insert_default().insert(location.to_string())
        {
            eprintln!("caught by decode: {panic}");
        }
    }));
}

/// A tensor size for which pictures of the seeds' sizes are decoded at several scales.
fn spec(side_px: u32) -> TensorSpec {
    TensorSpec {
        side_px,
        channels: Channels::Rgb,
        geometry: Geometry::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
    }
}

fuzz_target!(init: let_panics_of_others_pass(), |bytes: &[u8]| {
    let header = read_header(bytes);
    if let Ok(pixels) = decode(bytes, &Limits::of_pixels(MAX_PIXELS)) {
        let header = header.expect("a file that decodes has a header");
        assert_eq!(pixels.size(), (header.width, header.height));
        assert!(header.complete, "a file that was cut short decodes");
        let count = u64::from(pixels.width()) * u64::from(pixels.height());
        assert!(count <= MAX_PIXELS, "{:?}", pixels.size());
    }
    // The side is derived from the file's length, so that the same file always makes the same
    // tensor.
    let spec = spec(1 + bytes.len() as u32 % 64);
    if let Ok(picture) = decode_picture(bytes, &Limits::of_pixels(MAX_PIXELS), &spec) {
        let mut tensor = vec![0; spec.bytes()];
        to_tensor_into(&picture, &spec, &mut tensor).unwrap();
    }
});
