"""From the networks of a model to the tapes that a page plays.

    observe        x, features              ->  what q needs of x
    prior_g        features, what is above  ->  mean and log-variance of p(z_g | y, z_<g)
    posterior_g    what is above            ->  mean and log-variance of q(z_g | x, y, z_<g)
    descend_g      what is above, z_g       ->  what is above the next group
    parameters     what is below them all   ->  the likelihood's parameters

Every hierarchy is walked in the same way, group by group; where a tape would do nothing there is
none. To let a page play another network, register how it is lowered.
"""

import functools
from typing import Any

import keras

from keras_cvae.errors import listed
from keras_cvae.networks import conv, mlp, residual, topdown
from keras_cvae.probability.bijections import Bijection
from keras_cvae.probability.likelihoods.counts import LogCounts
from keras_cvae.probability.priors import ConditionalNormal, StandardNormal
from keras_cvae.studio.tape import ACTIVATIONS, Arrays, Tape, Value

PLAYED = "dense, residual, convolutional and top-down networks of this package"


class UnplayableError(ValueError):
    """A model that a page cannot play, with the reason in words."""


def tapes(model: Any, arrays: Arrays) -> dict[str, Tape]:
    """Lower a model.

    Args:
        model: A `ConditionalVAE`.
        arrays: Where its weights are kept.

    Raises:
        UnplayableError: It has a network that cannot be lowered.
    """
    found = Tapes(model, arrays)
    if not model.latent_dim:
        found.direct()
    elif model.hierarchy.separate:
        found.separate()
    else:
        found.topdown()
    return found.tapes


class Tapes:
    """The tapes of one model.

    Args:
        model: A `ConditionalVAE`.
        arrays: Where its weights are kept.
    """

    def __init__(self, model: Any, arrays: Arrays) -> None:
        self.model, self.arrays = model, arrays
        self.tapes: dict[str, Tape] = {}

    def tape(self, name: str) -> Tape:
        """A new tape of this name."""
        self.tapes[name] = Tape(self.arrays)
        return self.tapes[name]

    def features(self, tape: Tape, whole: bool = False) -> list[Value]:
        """The features of the condition, if there are any; `whole`: with those for q alone."""
        condition = self.model.condition
        width = condition.width if whole else condition.shared
        return [tape.input("features", (width,))] if width else []

    def groups(self, tape: Tape, count: int) -> list[Value]:
        """The first groups of z."""
        sizes = self.model.latent_groups[:count]
        return [tape.input(f"z_{g}", (size,)) for g, size in enumerate(sizes)]

    def normal(self, tape: Tape, what: str, g: int, value: Value) -> None:
        """Name the two halves of a value mean and log-variance."""
        half = value.shape[-1] // 2
        tape.output(f"{what}_mean_{g}", tape.cut(value, 0, half))
        tape.output(f"{what}_log_var_{g}", tape.cut(value, half, 2 * half))

    def x(self, tape: Tape, view: Any) -> Value:
        """x as the networks see it."""
        x = tape.input("x", self.model.x_shape)
        return x if view is None else lower(view, tape, [x])

    def separate(self) -> None:
        """Encoder, prior and decoder as three networks."""
        model = self.model
        if model.encoder.own or model.decoder.own:
            raise UnplayableError(
                f"This model has networks of your own. Expected one of the {PLAYED}."
            )
        tape = self.tape("observe")
        inputs = [self.x(tape, model.encoder.view), *self.features(tape, whole=True)]
        q = lower(model.encoder.head, tape, [lower(model.encoder.network, tape, inputs)])
        start = 0
        for g, size in enumerate(model.latent_groups):
            tape.output(f"q_mean_{g}", tape.cut(q, start, start + size))
            log_var = model.latent_dim + start
            tape.output(f"q_log_var_{g}", tape.cut(q, log_var, log_var + size))
            start += size
        self.factors(model.hierarchy.prior)
        tape = self.tape("parameters")
        z = tape.concatenate(self.groups(tape, len(model.latent_groups)))
        tape.output("out", lower(model.decoder.network, tape, [z, *self.features(tape)]))

    def factors(self, prior: Any) -> None:
        """A prior that sees the groups above and the features."""
        if isinstance(prior, StandardNormal):
            return
        if not isinstance(prior, ConditionalNormal):
            raise UnplayableError(
                f"This model's prior is a {type(prior).__name__}. Expected 'standard' or "
                "'conditional', or a top-down backbone's."
            )
        for g, body in enumerate(prior.bodies):
            if body is not None:
                tape = self.tape(f"prior_{g}")
                inputs = [*self.groups(tape, g), *self.features(tape)]
                self.normal(tape, "p", g, lower(body, tape, [tape.concatenate(inputs)]))

    def direct(self) -> None:
        """p(x | y) without a latent."""
        decoder, tape = self.model.decoder, self.tape("parameters")
        if decoder.network is not None:
            tape.output("out", lower(decoder.network, tape, self.features(tape)))
        elif decoder.constant is not None:
            value = keras.ops.reshape(decoder.constant, (1, -1))
            tape.output("out", tape.constant(keras.ops.convert_to_numpy(value)))

    def topdown(self) -> None:
        """Encoder, prior and decoder as one top-down network."""
        network = self.model.hierarchy.network
        levels, shapes = network.levels, network.shapes
        last = len(network.nodes)

        tape = self.tape("observe")
        h, group = self.x(tape, self.model.hierarchy.view), last
        features = self.features(tape, whole=True)
        for level in reversed(range(len(shapes))):
            h = lower(network.shrink[level], tape, [h])
            while group and levels[group - 1] == level:
                group -= 1
                h = lower(network.up[group], tape, [h, *features])
                seen = lower(network.activation, tape, [h])
                evidence = lower(network.nodes[group].evidence, tape, [seen])
                tape.output(f"e_{group}", evidence)

        def above(tape: Tape, group: int, h: Value) -> None:
            now = levels[group - 1] if group else 0
            there = levels[group] if group < last else len(shapes) - 1
            for grow in network.grow[now:there]:
                h = lower(grow, tape, [h])
            tape.output(f"h_{group}", h)
            if group < last:
                self.node(tape, "p", group, h)

        tape = self.tape("begin")
        h = tape.constant(network.start)
        if network.greet:
            h = tape.add(h, lower(network.greet, tape, self.features(tape)))
        above(tape, 0, h)
        for g, node in enumerate(network.nodes):
            hidden = int(node.evidence.kernel.shape[-1])
            tape = self.tape(f"posterior_{g}")
            h = tape.input(f"h_{g}", shapes[levels[g]])
            e = tape.input(f"e_{g}", (*node.place, hidden))
            self.node(tape, "q", g, h, e)
            tape = self.tape(f"descend_{g}")
            h = tape.input(f"h_{g}", shapes[levels[g]])
            z = tape.input(f"z_{g}", (*node.place, node.channels))
            h = tape.add(h, lower(node.inject, tape, [z]))
            above(tape, g + 1, lower(network.down[g], tape, [h, *self.features(tape)]))
        tape = self.tape("parameters")
        h = lower(network.activation, tape, [tape.input(f"h_{last}", shapes[-1])])
        tape.output("out", lower(network.output_layer, tape, [h]))

    def node(self, tape: Tape, what: str, g: int, h: Value, evidence: Value | None = None) -> None:
        """One group's normal distribution: p, or with evidence q, which is relative to p."""
        node, posterior = self.model.hierarchy.network.nodes[g], evidence is not None
        hidden = node.posterior_hidden if posterior else node.prior_hidden
        inner = lower(hidden, tape, [lower(node.activation, tape, [h])])
        if evidence is not None:
            inner = tape.add(inner, evidence)
        head = node.posterior_head if posterior else node.prior_head
        both = lower(head, tape, [lower(node.activation, tape, [inner])])
        mean = tape.cut(both, 0, node.channels)
        log_var = tape.soften(tape.cut(both, node.channels, 2 * node.channels), topdown.LIMIT)
        if posterior:
            mean = tape.add(mean, tape.input(f"p_mean_{g}", mean.shape))
            log_var = tape.add(log_var, tape.input(f"p_log_var_{g}", log_var.shape))
        tape.output(f"{what}_mean_{g}", mean)
        tape.output(f"{what}_log_var_{g}", log_var)


@functools.singledispatch
def lower(layer: Any, tape: Tape, inputs: list[Value]) -> Value:
    """Play a layer on a tape.

    Args:
        layer: The layer.
        tape: The tape.
        inputs: What it is called with; a condition's features come last.

    Raises:
        UnplayableError: A layer for which nothing is registered.
    """
    raise UnplayableError(
        f"A page cannot play a {type(layer).__name__} layer. Expected one of the {PLAYED}."
    )


def activated(tape: Tape, value: Value, activation: Any) -> Value:
    """Apply a Keras activation."""
    name = keras.activations.serialize(activation)
    name = name if isinstance(name, str) else str(name)
    if name not in (*ACTIVATIONS, "linear"):
        raise UnplayableError(
            f"A page cannot play the activation {name!r}. Expected one of {listed(ACTIVATIONS)}."
        )
    return tape.activation(value, name)


@lower.register
def _(layer: keras.layers.Dense, tape: Tape, inputs: list[Value]) -> Value:
    return activated(tape, tape.dense(inputs[0], layer.kernel, layer.bias), layer.activation)


@lower.register(keras.layers.Conv1D)
@lower.register(keras.layers.Conv2D)
def _(layer: Any, tape: Tape, inputs: list[Value]) -> Value:
    value = tape.convolution(inputs[0], layer.kernel, layer.bias)
    return activated(tape, value, layer.activation)


@lower.register
def _(layer: keras.layers.Activation, tape: Tape, inputs: list[Value]) -> Value:
    return activated(tape, inputs[0], layer.activation)


@lower.register
def _(layer: keras.Sequential, tape: Tape, inputs: list[Value]) -> Value:
    return functools.reduce(lambda value, one: lower(one, tape, [value]), layer.layers, inputs[0])


@lower.register
def _(layer: Bijection, tape: Tape, inputs: list[Value]) -> Value:
    if not layer.linear:
        raise UnplayableError(
            "A page cannot play values between bounds (Bounded). Use model.generate."
        )
    return tape.standardise(inputs[0], layer.mean, layer.scale)


@lower.register
def _(layer: LogCounts, tape: Tape, inputs: list[Value]) -> Value:
    return tape.standardise(tape.activation(inputs[0], "log1p"), layer.mean, layer.scale)


@lower.register
def _(layer: mlp.DenseBody, tape: Tape, inputs: list[Value]) -> Value:
    h = tape.concatenate(inputs)
    for dense in layer.hidden:
        h = lower(dense, tape, [h])
    return lower(layer.output_layer, tape, [h]) if layer.shape_out else h


@lower.register
def _(layer: residual.ResidualBody, tape: Tape, inputs: list[Value]) -> Value:
    x, *features = inputs
    h = lower(layer.start, tape, [tape.reshape(x, (x.size,))])
    for block in layer.blocks:
        h = lower(block, tape, [h, *features])
    h = lower(layer.activation, tape, [h])
    return lower(layer.output_layer, tape, [h]) if layer.shape_out else h


@lower.register
def _(layer: residual.Block, tape: Tape, inputs: list[Value]) -> Value:
    h, *features = inputs
    inner = lower(layer.mix, tape, [lower(layer.activation, tape, [h])])
    if layer.shift is not None:
        inner = tape.add(inner, lower(layer.shift, tape, features))
    return tape.add(h, lower(layer.out, tape, [lower(layer.activation, tape, [inner])]))


@lower.register
def _(layer: conv.Block, tape: Tape, inputs: list[Value]) -> Value:
    h, *features = inputs
    h = lower(layer.conv, tape, [h])
    if features:
        h = tape.add(h, lower(layer.shift, tape, features))
    return lower(layer.activation, tape, [h])


@lower.register
def _(layer: conv.ConvEncoder, tape: Tape, inputs: list[Value]) -> Value:
    h, *features = inputs
    for block in layer.blocks:
        even = tape.pad(h, tuple(size + size % 2 for size in h.shape[:-1]))
        h = lower(block, tape, [tape.fold(even), *features])
    return lower(layer.dense, tape, [tape.concatenate([h, *features])])


@lower.register
def _(layer: conv.ConvDecoder, tape: Tape, inputs: list[Value]) -> Value:
    h = lower(layer.spread, tape, [lower(layer.dense, tape, [tape.concatenate(inputs)])])
    channels = h.size
    for size in layer.smallest:
        channels //= size
    h = tape.reshape(h, (*layer.smallest, channels))
    for block in layer.blocks:
        h = tape.unfold(lower(block, tape, [h, *inputs[1:]]))
    x = tape.unfold(lower(layer.output_layer, tape, [h]))
    return tape.crop(x, tuple(layer.shape_out[:-1]))


@lower.register
def _(layer: topdown.Resize, tape: Tape, inputs: list[Value]) -> Value:
    h = inputs[0]
    if not layer.maps:
        h = lower(layer.linear, tape, [tape.reshape(h, (h.size,))])
    elif layer.doubles:
        h = tape.crop(tape.unfold(lower(layer.linear, tape, [h])), layer.new_shape[:2])
    else:
        even = tape.pad(h, tuple(size + size % 2 for size in layer.shape[:2]))
        h = lower(layer.linear, tape, [tape.fold(even)])
    return tape.reshape(h, layer.new_shape)
