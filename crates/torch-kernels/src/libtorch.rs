//! The operations on libtorch, and their gradients.

#![expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::ops::{ConvOptions, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, LibTorch};
use tch::Tensor;

use crate::ops::{
    DenseNetOps, NormOptions, PARAMETERS_PER_LAYER, STATISTICS_PER_LAYER, Tensors,
    composed_dense_block,
};
use crate::optimiser::{OptimiserOps, StepOptions};
use crate::shim::{self, BlockShape, KernelError};

type Primitive = FloatTensor<LibTorch>;

/// Burn's operations have no other way to say that the device failed; `ossify_model::guard` catches
/// it.
#[expect(clippy::panic, reason = "Burn's operations return tensors, not results")]
fn fine<T>(result: Result<T, KernelError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn wrap(tensor: Tensor) -> Primitive {
    Primitive::new(tensor)
}

fn inner(primitives: &[Primitive]) -> Vec<&Tensor> {
    primitives.iter().map(|primitive| &primitive.tensor).collect()
}

impl DenseNetOps for LibTorch {
    fn plain_conv2d(
        input: Primitive,
        weight: Primitive,
        stride: usize,
        padding: usize,
    ) -> Primitive {
        // Weights stay in float32 where maps are of half precision.
        let weight = if weight.tensor.kind() == input.tensor.kind() {
            weight
        } else {
            wrap(weight.tensor.to_kind(input.tensor.kind()))
        };
        LibTorch::conv2d(
            input,
            weight,
            None,
            ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1),
        )
    }

    fn sample(images: Primitive, points: Primitive) -> Primitive {
        const BILINEAR: i64 = 0;
        const ZEROS: i64 = 0;
        let sampled = images.tensor.f_grid_sampler_2d(&points.tensor, BILINEAR, ZEROS, false);
        wrap(fine(sampled.map_err(|error| KernelError::from(error.to_string()))))
    }

    fn norm_relu(
        input: Primitive,
        gamma: Primitive,
        beta: Primitive,
        options: NormOptions,
    ) -> (Primitive, Primitive, Primitive) {
        let [output, mean, variance] =
            fine(shim::norm_relu(&input.tensor, &gamma.tensor, &beta.tensor, options)).map(wrap);
        (output, mean, variance)
    }

    fn norm_relu_inference(
        input: Primitive,
        gamma: Primitive,
        beta: Primitive,
        mean: Primitive,
        variance: Primitive,
        options: NormOptions,
    ) -> Primitive {
        let norm = [&gamma.tensor, &beta.tensor, &mean.tensor, &variance.tensor];
        wrap(fine(shim::norm_relu_inference(&input.tensor, norm, options)))
    }

    fn dense_block(
        input: Primitive,
        Tensors(parameters): Tensors<Self>,
        epsilon: f64,
        _keep_activations: bool,
    ) -> (Primitive, Vec<Primitive>) {
        let mut outputs =
            fine(shim::dense_block(&input.tensor, &inner(&parameters), epsilon, false))
                .into_iter()
                .map(wrap);
        let count = parameters.len() / PARAMETERS_PER_LAYER * STATISTICS_PER_LAYER;
        (outputs.next().unwrap_or(input), outputs.take(count).collect())
    }

    fn dense_block_inference(
        input: Primitive,
        parameters: Tensors<Self>,
        statistics: Tensors<Self>,
        epsilon: f64,
    ) -> Primitive {
        wrap(fine(shim::dense_block_inference(
            &input.tensor,
            &inner(&parameters.0),
            &inner(&statistics.0),
            epsilon,
        )))
    }
}

impl OptimiserOps for LibTorch {
    fn optimiser_step(
        Tensors(weights): Tensors<Self>,
        Tensors(gradients): Tensors<Self>,
        Tensors(first): Tensors<Self>,
        Tensors(second): Tensors<Self>,
        is_penalised: Vec<bool>,
        options: StepOptions,
    ) -> Vec<Primitive> {
        let mut lists = [weights, gradients, first, second]
            .map(|list| list.into_iter().map(own).collect::<Vec<_>>());
        let tensors = lists
            .each_mut()
            .map(|list| list.iter_mut().map(|primitive| &mut primitive.tensor).collect());
        let squares = fine(shim::optimiser_step(tensors, &is_penalised, options));
        let [weights, _, first, second] = lists;
        weights.into_iter().chain(first).chain(second).chain([wrap(squares)]).collect()
    }

    fn follow(
        Tensors(averages): Tensors<Self>,
        Tensors(tensors): Tensors<Self>,
        share: f64,
    ) -> Vec<Primitive> {
        let mut averages: Vec<Primitive> = averages.into_iter().map(own).collect();
        fine(shim::follow(
            averages.iter_mut().map(|average| &mut average.tensor).collect(),
            &inner(&tensors),
            share,
        ));
        averages
    }
}

/// The tensor itself, where nobody else can see it being written to and its numbers lie side by
/// side, else a copy.
fn own(primitive: Primitive) -> Primitive {
    if primitive.can_mut() && primitive.tensor.is_contiguous() {
        primitive
    } else {
        wrap(primitive.tensor.contiguous().copy())
    }
}

#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<LibTorch, 2> for ConvolutionBackward {
    /// Input, weight, stride and padding.
    type State = (NodeId, NodeId, (usize, usize));

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<LibTorch>(&ops.node);
        let (input, weight, geometry) = ops.state;
        let [input, weight] =
            [input, weight].map(|node| checkpointer.retrieve_node_output::<Primitive>(node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = fine(shim::convolution_backward(
            &gradient.tensor,
            &input.tensor,
            &weight.tensor,
            geometry,
            wanted,
        ));
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<LibTorch>(node.id, wrap(gradient));
            }
        }
    }
}

#[derive(Debug)]
struct NormReluBackward;

impl Backward<LibTorch, 3> for NormReluBackward {
    /// Input, gamma, beta, then mean and variance.
    type State = ([NodeId; 3], [Primitive; 2], NormOptions);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<LibTorch>(&ops.node);
        let (nodes, [mean, variance], options) = ops.state;
        let [input, gamma, beta] =
            nodes.map(|node| checkpointer.retrieve_node_output::<Primitive>(node));
        let norm = [&gamma.tensor, &beta.tensor, &mean.tensor, &variance.tensor];
        let found = fine(shim::norm_relu_backward(&gradient.tensor, &input.tensor, norm, options));
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                gradients.register::<LibTorch>(node.id, wrap(gradient));
            }
        }
    }
}

/// `N` is one more than the number of parameters: Burn wants to know at compile time how many
/// tensors a step depends on.
#[derive(Debug)]
struct DenseBlockBackward<const N: usize>;

#[derive(Clone, Debug)]
struct DenseBlockState {
    shape: BlockShape,
    forward: Vec<Primitive>,
    parameters: Vec<Primitive>,
}

impl<const N: usize> Backward<LibTorch, N> for DenseBlockBackward<N> {
    type State = DenseBlockState;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<LibTorch>(&ops.node);
        let mut gradient =
            if gradient.can_mut() { gradient.tensor } else { gradient.tensor.copy() };
        let DenseBlockState { shape, forward, parameters } = ops.state;
        let found = fine(shim::dense_block_backward(
            &shape,
            &mut gradient,
            &inner(&forward),
            &inner(&parameters),
        ));
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                gradients.register::<LibTorch>(node.id, wrap(gradient));
            }
        }
    }
}

impl<C: CheckpointStrategy> DenseNetOps for Autodiff<LibTorch, C> {
    fn plain_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let forward = |input, weight| LibTorch::plain_conv2d(input, weight, stride, padding);
        match ConvolutionBackward
            .prepare::<C>([input.node(), weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&input), prep.checkpoint(&weight), (stride, padding));
                prep.finish(state, forward(input.into_primitive(), weight.into_primitive()))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(forward(input.into_primitive(), weight.into_primitive()))
            }
        }
    }

    fn norm_relu(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let forward =
            |input: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>| {
                LibTorch::norm_relu(
                    input.into_primitive(),
                    gamma.into_primitive(),
                    beta.into_primitive(),
                    options,
                )
            };
        match NormReluBackward
            .prepare::<C>([input.node(), gamma.node(), beta.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let nodes = [&input, &gamma, &beta].map(|tensor| prep.checkpoint(tensor));
                let (output, mean, variance) = forward(input, gamma, beta);
                let output =
                    prep.finish((nodes, [mean.clone(), variance.clone()], options), output);
                (output, Self::from_inner(mean), Self::from_inner(variance))
            }
            OpsKind::UnTracked(prep) => {
                let (output, mean, variance) = forward(input, gamma, beta);
                (prep.finish(output), Self::from_inner(mean), Self::from_inner(variance))
            }
        }
    }

    fn dense_block(
        input: FloatTensor<Self>,
        Tensors(parameters): Tensors<Self>,
        epsilon: f64,
        keep_activations: bool,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>) {
        macro_rules! with_layers {
            ($($layers:literal),*) => {
                match parameters.len() / PARAMETERS_PER_LAYER {
                    $($layers => tracked_block::<C, { 1 + $layers * PARAMETERS_PER_LAYER }>(
                        input, parameters, epsilon, keep_activations,
                    ),)*
                    _ => composed_dense_block::<Self>(input, &parameters, epsilon),
                }
            };
        }
        // The blocks of every DenseNet, and a few small ones.
        with_layers!(1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 36, 48)
    }
}

type Tracked<C> = FloatTensor<Autodiff<LibTorch, C>>;

fn tracked_block<C: CheckpointStrategy, const N: usize>(
    input: Tracked<C>,
    parameters: Vec<Tracked<C>>,
    epsilon: f64,
    keep_activations: bool,
) -> (Tracked<C>, Vec<Tracked<C>>) {
    let guards: Vec<NodeGuard> =
        std::iter::once(&input).chain(&parameters).map(|tensor| tensor.node()).collect();
    let Ok(guards) = <[NodeGuard; N]>::try_from(guards) else {
        return composed_dense_block::<Autodiff<LibTorch, C>>(input, &parameters, epsilon);
    };
    let prepared = DenseBlockBackward::<N>.prepare::<C>(guards).compute_bound().stateful();
    let input = input.into_primitive();
    let parameters: Vec<Primitive> =
        parameters.into_iter().map(|tensor| tensor.into_primitive()).collect();
    let keep_activations = keep_activations && matches!(prepared, OpsKind::Tracked(_));
    let shape = fine(BlockShape::of(&input.tensor, &inner(&parameters), epsilon));
    let forward: Vec<Primitive> =
        fine(shim::dense_block(&input.tensor, &inner(&parameters), epsilon, keep_activations))
            .into_iter()
            .map(wrap)
            .collect();
    let output = forward[0].clone();
    let statistics = forward[1..]
        .iter()
        .take(parameters.len() / PARAMETERS_PER_LAYER * STATISTICS_PER_LAYER)
        .cloned();
    let statistics = statistics.map(<Autodiff<LibTorch, C>>::from_inner).collect();
    let output = match prepared {
        OpsKind::Tracked(prep) => {
            prep.finish(DenseBlockState { shape, forward, parameters }, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    (output, statistics)
}
