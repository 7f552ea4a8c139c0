/// As float32, the type of tensors.
#[expect(clippy::cast_possible_truncation, reason = "rounding to float32 is what is asked for")]
pub fn single(value: f64) -> f32 {
    value as f32
}
