use burn::tensor::Tensor;

/// Least area that is divided by.
pub const MIN_AREA: f64 = 1e-7;

/// Generalised IoU of boxes `[N, P, 4]`, `[N, P, 1]`: -1 far apart to 1 equal (Rezatofighi et al.
/// 2019). Edges of `found` may be in the wrong order.
pub fn giou(found: Tensor<3>, wanted: Tensor<3>) -> Tensor<3> {
    let edges = |boxes: &Tensor<3>| -> [Tensor<3>; 4] {
        std::array::from_fn(|edge| boxes.clone().narrow(2, edge, 1))
    };
    let [left, top, right, bottom] = edges(&found);
    let [left, right] = [left.clone().min_pair(right.clone()), left.max_pair(right)];
    let [top, bottom] = [top.clone().min_pair(bottom.clone()), top.max_pair(bottom)];
    let [wanted_left, wanted_top, wanted_right, wanted_bottom] = edges(&wanted);
    let area = |left: &Tensor<3>, top: &Tensor<3>, right: &Tensor<3>, bottom: &Tensor<3>| {
        (right.clone() - left.clone()).clamp_min(0.0)
            * (bottom.clone() - top.clone()).clamp_min(0.0)
    };
    let common = area(
        &left.clone().max_pair(wanted_left.clone()),
        &top.clone().max_pair(wanted_top.clone()),
        &right.clone().min_pair(wanted_right.clone()),
        &bottom.clone().min_pair(wanted_bottom.clone()),
    );
    let union = area(&left, &top, &right, &bottom)
        + area(&wanted_left, &wanted_top, &wanted_right, &wanted_bottom)
        - common.clone();
    let hull = area(
        &left.min_pair(wanted_left),
        &top.min_pair(wanted_top),
        &right.max_pair(wanted_right),
        &bottom.max_pair(wanted_bottom),
    );
    common / union.clone().clamp_min(MIN_AREA) - (hull.clone() - union) / hull.clamp_min(MIN_AREA)
}
