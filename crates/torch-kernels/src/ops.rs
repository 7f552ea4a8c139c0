//! The operations that a DenseNet is made of. On libtorch they are fused kernels with gradients of
//! their own; on every other backend they are made of Burn's primitives.
//!
//! On libtorch maps may be of half precision (bfloat16) while weights, norms and their gradients
//! stay in float32: products are taken in the maps' type and sums in float32, as PyTorch's autocast
//! does it, but by the type of what comes in, not by a state of the thread.

#![cfg_attr(
    feature = "libtorch",
    expect(
        deprecated,
        reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
    )
)]

use burn::backend::ops::ConvOptions;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    ExtensionType, TensorMetadata, backend_extension,
};
use burn::tensor::Tensor;
use burn::tensor::ops::GridSampleOptions;

/// How an activated map `[N, C, H, W]` is pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Not at all.
    None,
    /// The maximum of 3x3 windows around every other position: `[N, C, (H + 1) / 2, (W + 1) / 2]`.
    Largest,
    /// The mean of 2x2 windows: `[N, C, H / 2, W / 2]`.
    Mean,
}

/// What a BatchNorm with ReLU and pooling computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormOptions {
    /// What is added to variances, above 0.
    pub epsilon: f64,
    /// What comes out. On libtorch the activated map is made image by image, and recomputed in
    /// backward, and never lies in memory as a whole.
    pub pool: Pool,
}

/// What a dense block computes (Huang et al., "Densely Connected Convolutional Networks", 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockOptions {
    /// Of both norms of each layer, above 0.
    pub epsilon: f64,
    /// Whether the normalised inputs of the convolutions, and all outputs of the first ones, are
    /// kept for the backward pass. They take three fifths of a training step's memory. On
    /// processors recomputing the inputs, part by part in the cache, takes no longer than reading
    /// them, and the outputs that are recomputed are the cheap ones, a twentieth of a step's work.
    pub keep_activations: bool,
}

/// One layer of a dense block.
#[derive(Clone, Debug)]
pub struct LayerParameters {
    /// Scale and shift of the first norm, `[C]` each, `C` being the channels before the layer.
    pub norm1: [Tensor<1>; 2],
    /// `[bottleneck, C, 1, 1]`.
    pub weight1: Tensor<4>,
    /// Scale and shift of the second norm, `[bottleneck]` each.
    pub norm2: [Tensor<1>; 2],
    /// `[growth, bottleneck, 3, 3]`.
    pub weight2: Tensor<4>,
}

/// Mean and biased variance of each channel, `[C]` each.
#[derive(Clone, Debug)]
pub struct ChannelStatistics {
    /// Mean.
    pub mean: Tensor<1>,
    /// Variance, divided by the number of values.
    pub variance: Tensor<1>,
}

/// Statistics of the inputs of a layer's two norms.
pub type LayerStatistics = [ChannelStatistics; 2];

pub(crate) const PARAMETERS_PER_LAYER: usize = 6;
pub(crate) const STATISTICS_PER_LAYER: usize = 4;

/// Convolution without bias: `[N, C, H, W]` and `[K, C, h, w]` to `[N, K, ..]`, with one stride and
/// one padding for both directions.
///
/// # Panics
/// As Burn's own operations do: if shapes do not fit, or the device fails.
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::plain_conv2d(
        input.into_dispatch(),
        weight.into_dispatch(),
        stride,
        padding,
    ))
}

/// Images `[N, C, H, W]` interpolated bilinearly at points `[N, H', W', 2]`, x before y, from -1 at
/// the left or top edge to 1 at the right or bottom one; what lies outside is 0. Without a gradient
/// on libtorch.
///
/// # Panics
/// As [`conv2d`].
pub fn sample(images: Tensor<4>, points: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::sample(images.into_dispatch(), points.into_dispatch()))
}

/// BatchNorm with the batch's statistics, then ReLU and pooling, on `[N, C, H, W]`. `norm` is scale
/// and shift, `[C]` each.
///
/// # Panics
/// As [`conv2d`].
pub fn norm_relu(
    input: Tensor<4>,
    norm: [Tensor<1>; 2],
    options: NormOptions,
) -> (Tensor<4>, ChannelStatistics) {
    let [gamma, beta] = norm.map(Tensor::into_dispatch);
    let (output, mean, variance) = Dispatch::norm_relu(input.into_dispatch(), gamma, beta, options);
    (
        Tensor::from_dispatch(output),
        ChannelStatistics {
            mean: Tensor::from_dispatch(mean),
            variance: Tensor::from_dispatch(variance),
        },
    )
}

/// BatchNorm with given statistics, then ReLU and pooling, on `[N, C, H, W]`.
///
/// # Panics
/// As [`conv2d`].
pub fn norm_relu_inference(
    input: Tensor<4>,
    norm: [Tensor<1>; 2],
    statistics: ChannelStatistics,
    options: NormOptions,
) -> Tensor<4> {
    let [gamma, beta] = norm.map(Tensor::into_dispatch);
    let ChannelStatistics { mean, variance } = statistics;
    Tensor::from_dispatch(Dispatch::norm_relu_inference(
        input.into_dispatch(),
        gamma,
        beta,
        mean.into_dispatch(),
        variance.into_dispatch(),
        options,
    ))
}

/// A dense block with the batch's statistics: `[N, C, H, W]` to `[N, C + layers * growth, H, W]`.
///
/// # Panics
/// As [`conv2d`].
pub fn dense_block(
    input: Tensor<4>,
    layers: Vec<LayerParameters>,
    options: BlockOptions,
) -> (Tensor<4>, Vec<LayerStatistics>) {
    let (output, statistics) = Dispatch::dense_block(
        input.into_dispatch(),
        flatten(layers),
        options.epsilon,
        options.keep_activations,
    );
    let mut statistics = statistics.into_iter().map(Tensor::from_dispatch);
    let mut next =
        || Some(ChannelStatistics { mean: statistics.next()?, variance: statistics.next()? });
    let layers = std::iter::from_fn(|| Some([next()?, next()?])).collect();
    (Tensor::from_dispatch(output), layers)
}

/// A dense block with given statistics.
///
/// # Panics
/// As [`conv2d`].
pub fn dense_block_inference(
    input: Tensor<4>,
    layers: Vec<LayerParameters>,
    statistics: Vec<LayerStatistics>,
    epsilon: f64,
) -> Tensor<4> {
    let statistics = Tensors(
        statistics
            .into_iter()
            .flatten()
            .flat_map(|of| [of.mean, of.variance])
            .map(Tensor::into_dispatch)
            .collect(),
    );
    Tensor::from_dispatch(Dispatch::dense_block_inference(
        input.into_dispatch(),
        flatten(layers),
        statistics,
        epsilon,
    ))
}

fn flatten(layers: Vec<LayerParameters>) -> Tensors<Dispatch> {
    let mut flat = Vec::with_capacity(layers.len() * PARAMETERS_PER_LAYER);
    for LayerParameters { norm1: [gamma1, beta1], weight1, norm2: [gamma2, beta2], weight2 } in
        layers
    {
        flat.extend([gamma1.into_dispatch(), beta1.into_dispatch(), weight1.into_dispatch()]);
        flat.extend([gamma2.into_dispatch(), beta2.into_dispatch(), weight2.into_dispatch()]);
    }
    Tensors(flat)
}

/// Any number of tensors of one backend, as an argument of an operation.
pub struct Tensors<B: Backend>(pub(crate) Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        Tensors(
            self.0
                .into_iter()
                .map(|tensor| DispatchTensor {
                    kind: map_kind(BackendTensor::Float(tensor)),
                    autodiff,
                })
                .collect(),
        )
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Tensors(target.0.into_iter().map(|tensor| unwrap_kind(tensor).float()).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target.0.iter().fold(DispatchAutodiffContext::Disabled, |context, tensor| {
            context.merge(tensor.autodiff)
        })
    }
}

/// The operations on tensors of a backend; the bodies here are Burn's primitives.
#[backend_extension(LibTorch: cfg(feature = "libtorch"), Flex, Autodiff)]
pub trait DenseNetOps: Backend {
    /// See [`conv2d`].
    fn plain_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        Self::conv2d(input, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
    }

    /// See [`sample`].
    fn sample(images: FloatTensor<Self>, points: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_grid_sample_2d(images, points, GridSampleOptions::default())
    }

    /// See [`norm_relu`].
    fn norm_relu(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let norm = Self::batch_norm_train(input, gamma, beta, options.epsilon);
        (pooled::<Self>(Self::relu(norm.output), options.pool), norm.mean, norm.variance)
    }

    /// See [`norm_relu_inference`].
    fn norm_relu_inference(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let dtype = input.dtype();
        let output = pooled::<Self>(
            Self::relu(Self::batch_norm(input, gamma, beta, mean, variance, options.epsilon)),
            options.pool,
        );
        if output.dtype() == dtype { output } else { Self::float_cast(output, dtype.into()) }
    }

    /// See [`dense_block`]. Parameters are six tensors a layer, statistics four.
    fn dense_block(
        input: FloatTensor<Self>,
        #[extension_type] parameters: Tensors<Self>,
        epsilon: f64,
        keep_activations: bool,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>) {
        let _ = keep_activations;
        composed_dense_block::<Self>(input, &parameters.0, epsilon)
    }

    /// See [`dense_block_inference`].
    fn dense_block_inference(
        input: FloatTensor<Self>,
        #[extension_type] parameters: Tensors<Self>,
        #[extension_type] statistics: Tensors<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let options = NormOptions { epsilon, pool: Pool::None };
        let layers = parameters
            .0
            .as_chunks::<PARAMETERS_PER_LAYER>()
            .0
            .iter()
            .zip(statistics.0.as_chunks::<STATISTICS_PER_LAYER>().0);
        layers.fold(
            input,
            |map,
             (
                [gamma1, beta1, weight1, gamma2, beta2, weight2],
                [mean1, variance1, mean2, variance2],
            )| {
                let [activated1, activated2] =
                    [(gamma1, beta1, mean1, variance1), (gamma2, beta2, mean2, variance2)].map(
                        |(gamma, beta, mean, variance)| {
                            let (gamma, beta, mean, variance) =
                                (gamma.clone(), beta.clone(), mean.clone(), variance.clone());
                            move |map| {
                                Self::norm_relu_inference(map, gamma, beta, mean, variance, options)
                            }
                        },
                    );
                let bottleneck = Self::plain_conv2d(activated1(map.clone()), weight1.clone(), 1, 0);
                Self::float_cat(
                    vec![map, Self::plain_conv2d(activated2(bottleneck), weight2.clone(), 1, 1)],
                    1,
                )
            },
        )
    }
}

impl DenseNetOps for burn::backend::Flex {}
impl<C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy> DenseNetOps
    for burn::backend::autodiff::Autodiff<burn::backend::Flex, C>
{
}

fn pooled<B: Backend>(map: FloatTensor<B>, pool: Pool) -> FloatTensor<B> {
    match pool {
        Pool::None => map,
        Pool::Largest => B::max_pool2d(map, [3; 2], [2; 2], [1; 2], [1; 2], false),
        Pool::Mean => B::avg_pool2d(map, [2; 2], [2; 2], [0; 2], true, false),
    }
}

pub(crate) fn composed_dense_block<B: DenseNetOps>(
    input: FloatTensor<B>,
    parameters: &[FloatTensor<B>],
    epsilon: f64,
) -> (FloatTensor<B>, Vec<FloatTensor<B>>) {
    let options = NormOptions { epsilon, pool: Pool::None };
    let mut map = input;
    let mut statistics =
        Vec::with_capacity(parameters.len() / PARAMETERS_PER_LAYER * STATISTICS_PER_LAYER);
    for [gamma1, beta1, weight1, gamma2, beta2, weight2] in
        parameters.as_chunks::<PARAMETERS_PER_LAYER>().0
    {
        let (activated, mean1, variance1) =
            B::norm_relu(map.clone(), gamma1.clone(), beta1.clone(), options);
        let bottleneck = B::plain_conv2d(activated, weight1.clone(), 1, 0);
        let (activated, mean2, variance2) =
            B::norm_relu(bottleneck, gamma2.clone(), beta2.clone(), options);
        let grown = B::plain_conv2d(activated, weight2.clone(), 1, 1);
        map = B::float_cat(vec![map, grown], 1);
        statistics.extend([mean1, variance1, mean2, variance2]);
    }
    (map, statistics)
}
