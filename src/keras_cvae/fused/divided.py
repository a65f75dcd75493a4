"""The loss of a batch whose rows several devices share: they tell each other one array a step.

XLA divides any program among devices by itself, and sends a message for each array of gradients and
for each sum over the batch. On CPUs that costs more than the arithmetic of a small model. Here each
device computes the loss and the gradients of its own rows, as if it were alone; then one array of
all gradients and sums goes around. Where rows meet before that, `tensors.over_devices` is told.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_cvae.backend import layers_of
from keras_cvae.devices import Rows
from keras_cvae.tensors import PART


class Kind(enum.Enum):
    """What a variable is over all devices, once each has updated it by its own rows."""

    ALIKE = "the same everywhere"
    SUM = "what all have added to it"
    LOWEST = "the lowest of all"
    HIGHEST = "the highest of all"


_SIGNS = {Kind.LOWEST: -1.0, Kind.HIGHEST: 1.0}  # with which both are a maximum

_ROW_BY_ROW = """
    Activation Add Average AveragePooling1D AveragePooling2D Concatenate Conv1D
    Conv1DTranspose Conv2D Conv2DTranspose Cropping1D Cropping2D Dense DepthwiseConv1D
    DepthwiseConv2D EinsumDense ELU Embedding Flatten GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D GroupNormalization Identity
    InputLayer LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum Minimum Multiply
    Permute PReLU ReLU RepeatVector RMSNormalization Rescaling Reshape SeparableConv1D
    SeparableConv2D Softmax Subtract UpSampling1D UpSampling2D ZeroPadding1D ZeroPadding2D
"""
_KNOWN = {getattr(keras.layers, name) for name in _ROW_BY_ROW.split()} | {keras.Sequential}


def rows_apart(model: Any, streams: int) -> bool:
    """Whether rows of a batch meet nowhere but where `over_devices` is told.

    That is known of this package and of Keras' layers that see each row by itself. Others, such as
    `BatchNormalization` or a layer of one's own, may look at all rows, or draw noise for them.

    Args:
        model: The model.
        streams: How many random streams it has whose draws `drawn_rows` divides.
    """
    parts = [model, model.objective, *layers_of(model)]
    parts += [one for graph in parts if _is_graph(graph) for one in graph.operations]
    known = all(
        type(one) in _KNOWN or _is_graph(one) or type(one).__module__.startswith("keras_cvae.")
        for one in parts
    )
    states = [v for v in model.non_trainable_variables if v.dtype == "uint32"]  # of generators
    return known and len(states) == streams


def check_weights(model: Any, rows: Rows | None) -> None:
    """Refuse to divide rows and weights at once of what XLA then computes wrongly.

    Raises:
        ValueError: The model has convolutions.
    """
    if rows is None or not rows.weights:
        return
    if wrong := [v.path for v in model.trainable_variables if len(v.shape) > 2]:
        raise ValueError(
            f"keras.distribution.ModelParallel: the weights of {wrong[0]} are those of a "
            "convolution, which XLA computes wrongly where rows and weights are both divided. "
            "Expected dense networks (MLP, Residual, TopDown without filters), or DataParallel."
        )


def _is_graph(one: Any) -> bool:
    """Whether it is a functional model of Keras, which is all in its operations."""
    return type(one).__name__ == "Functional" and isinstance(one, keras.Model)


class _Part:
    """The rows of one device, while its program is traced; see `tensors.Part`."""

    def __init__(self, rows: Rows):
        self.axis, self.among = rows.axis, rows.among

    def mean(self, value: Any) -> Any:
        from jax import lax

        return lax.pmean(value, self.axis)

    def own(self, draw: Callable[[Sequence[int]], Any], shape: Sequence[int], axis: int) -> Any:
        from jax import lax

        size = shape[axis]
        whole = draw([n * self.among if i == axis else n for i, n in enumerate(shape)])
        return lax.dynamic_slice_in_dim(whole, lax.axis_index(self.axis) * size, size, axis)


def loss_and_state(
    rows: Rows,
    loss: Callable[[Any, Any, Any], tuple[Any, tuple[Any, list[Any]]]],
    kinds: Sequence[Kind],
    trainable: Any,
    state: list[Any],
    batch: Any,
) -> tuple[Any, tuple[Any, list[Any]]]:
    """Compute the loss of a batch, which can be differentiated by the weights.

    Args:
        rows: How rows are divided.
        loss: From the weights, the state and some rows of the batch to the loss, and what goes with
            it: the unscaled loss and the new state. The mean over devices is that of the batch.
        kinds: What each variable of the state is.
        trainable: The weights that are learned.
        state: All other variables that the loss updates.
        batch: Arrays with rows that divide.

    Returns:
        The loss, the unscaled loss and the new state, which all devices have.
    """
    import jax
    from jax import lax, numpy
    from jax.flatten_util import ravel_pytree

    spec, everywhere = rows.divided.spec, rows.whole.spec
    added = [i for i, kind in enumerate(kinds) if kind is Kind.SUM]
    signs_of = {i: _SIGNS[kind] for i, kind in enumerate(kinds) if kind in _SIGNS}

    def of_part(differentiate: bool, trainable: Any, state: list[Any], batch: Any) -> Any:
        start = [numpy.zeros_like(v) if i in added else v for i, v in enumerate(state)]
        token = PART.set(_Part(rows))
        try:
            if differentiate:
                with_gradients = jax.value_and_grad(loss, has_aux=True)
                (scaled, (plain, new)), gradients = with_gradients(trainable, start, batch)
            else:
                (scaled, (plain, new)), gradients = loss(trainable, start, batch), ()
        finally:
            PART.reset(token)
        # Loss and gradients are means over the devices, the others are sums.
        flat, apart = ravel_pytree(
            (
                jax.tree.map(lambda value: value / rows.among, (scaled, plain, gradients)),
                [new[i] for i in added],
            )
        )
        (scaled, plain, gradients), sums = apart(lax.psum(flat, rows.axis))
        found = {i: state[i] + by for i, by in zip(added, sums, strict=True)}
        signs = {i: sign for i, sign in signs_of.items() if new[i] is not state[i]}
        if signs:  # of what was updated; gathered, as a maximum on its way may lose a NaN
            flat, apart = ravel_pytree({i: sign * new[i] for i, sign in signs.items()})
            most = apart(numpy.max(lax.all_gather(flat, rows.axis), axis=0))
            found |= {i: sign * most[i] for i, sign in signs.items()}
        new = [found.get(i, value) for i, value in enumerate(new)]
        return (scaled, (plain, new)), gradients

    def whole(differentiate: bool, trainable: Any) -> Any:
        divided = jax.shard_map(
            lambda *args: of_part(differentiate, *args),
            mesh=rows.divided.mesh,
            in_specs=(everywhere, everywhere, spec),
            out_specs=everywhere,
            check_vma=False,
        )
        return divided(trainable, state, batch)

    @jax.custom_vjp
    def of_batch(trainable: Any) -> Any:
        return whole(False, trainable)[0]

    def backward(gradients: Any, upstream: Any) -> tuple[Any]:
        return (jax.tree.map(lambda value: value * upstream[0], gradients),)

    of_batch.defvjp(lambda trainable: whole(True, trainable), backward)
    answer: tuple[Any, tuple[Any, list[Any]]] = of_batch(trainable)
    return answer
