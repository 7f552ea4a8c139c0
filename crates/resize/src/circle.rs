//! Points of the unit circle that are the same on every machine, unlike a C library's sine.

/// `N` points of the unit circle, `(cos, sin)` of `i / N` turns. `N` must be a power of two, at
/// least 4.
pub(crate) fn unit_circle<const N: usize>() -> [(f32, f32); N] {
    // Halves the angle from a quarter turn down to one step: cos(a / 2) = sqrt((1 + cos a) / 2),
    // sin(a / 2) = sin a / (2 cos(a / 2)).
    let mut step = (0.0_f64, 1.0_f64);
    let mut points = 4;
    while points < N {
        let cos = ((1.0 + step.0) / 2.0).sqrt();
        step = (cos, step.1 / (2.0 * cos));
        points *= 2;
    }
    let mut point = (1.0_f64, 0.0_f64);
    std::array::from_fn(|_| {
        let here = (point.0 as f32, point.1 as f32);
        point = (point.0 * step.0 - point.1 * step.1, point.0 * step.1 + point.1 * step.0);
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_those_of_sine_and_cosine() {
        for (i, (cos, sin)) in unit_circle::<1024>().into_iter().enumerate() {
            let angle = std::f64::consts::TAU * i as f64 / 1024.0;
            assert!(
                (f64::from(cos) - angle.cos()).abs() < 1e-7
                    && (f64::from(sin) - angle.sin()).abs() < 1e-7,
                "{i}"
            );
        }
    }
}
