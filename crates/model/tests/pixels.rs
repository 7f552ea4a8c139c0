//! Bytes to network input.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{assert_close, devices, pixels, values};
use ossify_model::pixels as input;
use ossify_vocabulary::Normalization;

#[test]
fn pixels_are_scaled_per_channel_and_permuted() {
    for device in devices() {
        let (bytes, shape) = pixels(2, 4);
        let tensor =
            input::to_input(bytes.clone(), shape, &device, Normalization::ImageNet, 4).unwrap();
        assert_eq!(tensor.dims(), [2, 3, 4, 4]);
        let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let mut expected = Vec::new();
        for image in 0..2 {
            for channel in 0..3 {
                for position in 0..16 {
                    let pixel = f32::from(bytes[(image * 16 + position) * 3 + channel]);
                    expected.push((pixel / 255.0 - mean[channel]) / deviation[channel]);
                }
            }
        }
        assert_close(&values(tensor), &expected, 1e-6);
    }
}

#[test]
fn without_normalization_white_is_one() {
    for device in devices() {
        let tensor =
            input::to_input(vec![255; 12], [1, 2, 2, 3], &device, Normalization::None, 2).unwrap();
        assert_close(&values(tensor), &[1.0; 12], 1e-6);
    }
}

#[test]
fn larger_images_are_averaged_down() {
    for device in devices() {
        let bytes = vec![0, 40, 80, 120, 10, 20, 30, 40, 1, 2, 3, 4, 9, 8, 7, 6];
        let tensor = input::to_input(bytes, [1, 4, 4, 1], &device, Normalization::None, 2).unwrap();
        let gray = [17.5 / 255.0, 67.5 / 255.0, 5.0 / 255.0, 5.0 / 255.0];
        assert_close(&values(tensor), &[gray, gray, gray].concat(), 1e-6);
        let odd = input::to_input(vec![100; 5 * 5], [1, 5, 5, 1], &device, Normalization::None, 2)
            .unwrap();
        assert_close(&values(odd), &[100.0 / 255.0; 12], 1e-6);
        let oblong =
            input::to_input(vec![100; 4 * 6], [1, 4, 6, 1], &device, Normalization::None, 2)
                .unwrap();
        assert_close(&values(oblong), &[100.0 / 255.0; 12], 1e-6);
    }
}

#[test]
fn pixels_that_make_no_input_are_refused_in_words() {
    let device = common::flex();
    let error = |bytes: usize, shape, input_px| {
        input::to_input(vec![0; bytes], shape, &device, Normalization::None, input_px)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(5, [1, 2, 2, 3], 2),
        "5 bytes of pixels do not fill the shape [1, 2, 2, 3] [images, height, width, channels], \
            which needs 12"
    );
    assert_eq!(
        error(8, [1, 2, 2, 2], 2),
        "images have 2 channels; 1 (gray) and 3 (red, green, blue) are understood"
    );
    assert_eq!(
        error(12, [1, 2, 2, 3], 4),
        "images of 2 x 2 pixels cannot be enlarged to the input of 4; lower input_px, or make \
            larger shards"
    );
}
