use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// How much the samples of a class weigh in the loss.
    ClassWeights {
        /// All the same.
        None = "none",
        /// By the inverse of how frequent the class is.
        Balanced = "balanced",
        /// By the inverse of the square root of how frequent the class is.
        Sqrt = "sqrt",
    }
}

choice! {
    /// The distance between box edges that is minimised.
    BoxLoss {
        /// Mean squared error.
        Mse = "mse",
        /// Squared near zero, absolute beyond.
        SmoothL1 = "smooth-l1",
    }
}

table! {
    /// What is minimised.
    LossSettings {
        /// Weight of the classification loss.
        classification_weight: f64 [Output] = 1.0 => |v| between(v, 0.0, 1e6);
        /// Weights of classes in the classification loss: "none", "balanced" (inverse frequency)
        /// or "sqrt" (its root).
        class_weights: ClassWeights [Output] = ClassWeights::None;
        /// Share of a target that is spread over all classes.
        label_smoothing: f64 [Output] = 0.0 => |v| between(v, 0.0, 0.99);
        /// Distance between box edges: "mse" or "smooth-l1".
        box_distance: BoxLoss [Output] = BoxLoss::Mse;
        /// Where "smooth-l1" turns from squared to absolute, share of a side.
        smooth_l1_beta: f64 [Output] = 0.1 => |v| between(v, 1e-6, 10.0);
        /// Weight of that distance.
        box_weight: f64 [Output] = 1.0 => |v| between(v, 0.0, 1e6);
        /// Weight of 1 - GIoU of the boxes, beside or instead of the distance.
        giou_weight: f64 [Output] = 0.0 => |v| between(v, 0.0, 1e6);
        /// Weight of the cross-entropy of the grid cell that the object's centre lies in; for
        /// networks that predict on a grid, of which densenet-compact is one.
        cell_weight: f64 [Output] = 1.0 => |v| between(v, 0.0, 1e6);
        /// Penalty on the squared kernels of the head's dense layers, as Keras' L2: part of the
        /// loss, so before clipping.
        l2: f64 [Output] = 0.01 => |v| between(v, 0.0, 1e6);
    }
}
