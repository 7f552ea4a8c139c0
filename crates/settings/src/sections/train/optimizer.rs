use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// How weights follow their gradients.
    OptimizerKind {
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
    }
}

choice! {
    /// Whose epsilon Adam takes: its size, and where it is added.
    Epsilon {
        /// 1e-7, added to the root of the second moment before its bias is corrected.
        Keras = "keras",
        /// 1e-8, added after.
        Torch = "torch",
    }
}

choice! {
    /// Whose norm is limited.
    ClipScope {
        /// Of each parameter's gradient on its own, as Keras' clipnorm.
        Parameter = "parameter",
        /// Of all gradients together, as PyTorch's clip_grad_norm_.
        Global = "global",
    }
}

table! {
    /// How weights follow their gradients.
    OptimizerSettings {
        /// "adam", "adamw" or "sgd".
        kind: OptimizerKind [Output] = OptimizerKind::Adam;
        /// Learning rate.
        learning_rate: f64 [Output] = 1e-4 => |v| between(v, 0.0, 10.0);
        /// Adam's epsilon: "keras" (1e-7, added before the bias is corrected) or "torch" (1e-8,
        /// added after).
        epsilon: Epsilon [Output] = Epsilon::Keras;
        /// Decay of kernels by AdamW, per step and unit of learning rate; biases and norms do not
        /// decay.
        weight_decay: f64 [Output] = 0.01 => |v| between(v, 0.0, 10.0);
        /// Share of the last step that SGD takes along.
        momentum: f64 [Output] = 0.9 => |v| between(v, 0.0, 0.9999);
        /// Largest norm of gradients; 0 is off.
        clip_norm: f64 [Output] = 1.0 => |v| between(v, 0.0, 1e12);
        /// Whose norm: "parameter" (of each gradient on its own, as Keras' clipnorm) or "global"
        /// (of all together).
        clip_scope: ClipScope [Output] = ClipScope::Parameter;
        /// Score and keep an exponential moving average of the weights, of which each step leaves
        /// this share; 0 is off.
        ema_decay: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
    }
}
