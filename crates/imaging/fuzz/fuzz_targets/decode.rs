//! Any bytes as an image file: nothing of ours panics, and a picture is as large as its header
//! says.
//!
//! `decode` catches panics of the decoders that others wrote, and libFuzzer would abort at them all
//! the same. So a panic in a crate of the registry is shown once for each place, and fuzzing goes
//! on; any other panic is a crash.
#![no_main]

use std::collections::HashSet;
use std::panic::PanicHookInfo;
use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use ossify_imaging::{
    Channels, Filter, Geometry, Limits, TensorSpec, decode, decode_picture, read_header,
    to_tensor_into,
};

/// Small pictures reach every branch, and thousands of them are decoded in a second.
const MAX_PIXELS: u64 = 1 << 20;

fn is_of_others(panic: &PanicHookInfo) -> bool {
    panic.location().is_some_and(|place| place.file().contains("/registry/src/"))
}

fn let_panics_of_others_pass() {
    static SHOWN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_of_others(panic) {
            return abort(panic);
        }
        if let (Ok(mut shown), Some(place)) = (SHOWN.lock(), panic.location())
            && shown.get_or_insert_default().insert(place.to_string())
        {
            eprintln!("caught by decode: {panic}");
        }
    }));
}

/// A tensor for which pictures of the seeds' sizes are decoded at several fractions.
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
    // The number of bytes stands for a side: the same file always for the same tensor.
    let spec = spec(1 + bytes.len() as u32 % 64);
    if let Ok(picture) = decode_picture(bytes, &Limits::of_pixels(MAX_PIXELS), &spec) {
        let mut tensor = vec![0; spec.bytes()];
        to_tensor_into(&picture, &spec, &mut tensor).unwrap();
    }
});
