"""A top-down hierarchy: the posterior and the prior of each group are siblings in one block.

    bottom-up    e_G = stem(x), ..., e_1           what each group may know of x
    top-down     h_1 = start(y)
                 p(z_g | y, z_<g)   from h_g
                 q(z_g | x, y, z_<g) from h_g and e_g
                 h_{g+1} = block(h_g + inject(z_g), y)
    p(x | z, y)  from h_{G+1}

After Sønderby et al. 2016 (ladder VAE), Vahdat & Kautz 2020 (NVAE: q relative to p) and Child 2021
(very deep VAE: cheap residual blocks, scaled by depth). The condition enters every block.
"""

import itertools
import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.conv import depth_to_space, space_to_depth
from keras_cvae.networks.residual import Block, fold
from keras_cvae.probability.normal import DiagonalNormal, split_normal
from keras_cvae.probability.priors import Prior
from keras_cvae.tensors import first

LIMIT = 5.0  # of log-variances, approached softly: one wild step must not end a training in NaN


@BACKBONES.register("topdown")
class TopDown(Backbone):
    """A recipe for a top-down network; it brings prior and posterior along.

    Groups live on a vector (level 0) or on maps of features (levels 1, 2, ... for each number in
    `filters`, the smallest map first). On a map, a group's `latent_dim` counts channels: its length
    is that times the map's area.

    Args:
        units: Width of the vector.
        hidden: Width inside the blocks and in front of each group's Gaussians; None is `units`.
        filters: Channels of the maps, from the data inwards, each half the size of the one before;
            `()` is a dense network.
        levels: Level of each group, not falling; None spreads the groups evenly over the levels.
        activation: Of the hidden layers.

    Examples:
        >>> groups = ConditionalVAE((6,), 3, [2, 2, 2], backbone=TopDown(units=16))
        >>> groups.latent_dim
        6
    """

    def __init__(self, units=384, hidden=None, filters=(), levels=None, activation="gelu"):
        self.units, self.hidden = int(units), hidden
        self.filters, self.levels = tuple(filters), None if levels is None else tuple(levels)
        self.activation = activation
        widths = (self.units, *self.filters, *([] if hidden is None else [hidden]))
        if any(n < 1 for n in widths):
            raise ValueError(
                f"TopDown: received units={units}, hidden={hidden}, filters={filters}; expected "
                "positive widths."
            )

    def group_levels(self, groups: int) -> tuple[int, ...]:
        """The level of each of so many groups.

        Raises:
            ValueError: Levels that fall, do not exist, or are not as many as the groups.
        """
        last = len(self.filters)
        if self.levels is None:
            return tuple(g * (last + 1) // groups for g in range(groups))
        rising = list(self.levels) == sorted(self.levels)
        if len(self.levels) != groups or not rising or not set(self.levels) <= {*range(last + 1)}:
            raise ValueError(
                f"TopDown levels: received {self.levels} for {groups} groups and {last} maps; "
                f"expected one level for each group, not falling, from 0 (the vector) to {last}."
            )
        return self.levels

    def shapes(self, x_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The shape of h on each level, from the vector to the largest map.

        Raises:
            ValueError: Maps for data that are no images.
        """
        if self.filters and len(x_shape) != 3:
            raise ValueError(
                "TopDown with filters expects images of shape (height, width, channels). Received "
                f"data of shape {tuple(x_shape)}. For vectors leave filters=()."
            )
        maps: list[tuple[int, ...]] = []
        for channels in self.filters:
            height, width = (maps[-1] if maps else x_shape)[:2]
            maps.append((math.ceil(height / 2), math.ceil(width / 2), channels))
        return [(self.units,), *maps[::-1]]

    def areas(self, x_shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
        """How many positions each group has: 1 on the vector, height x width on a map."""
        shapes = self.shapes(x_shape)
        return tuple(math.prod(shapes[level][:-1]) for level in self.group_levels(groups))

    def assemble(self, builder):
        areas = self.areas(builder.x_shape, len(builder.groups))
        groups = tuple(n * area for n, area in zip(builder.groups, areas, strict=True))
        shapes = builder.x_shape, builder.parameter_shape
        network = TopDownNetwork(self, *shapes, builder.condition.private)
        return builder.shared(network, groups)

    def get_config(self):
        return {
            "units": self.units,
            "hidden": self.hidden,
            "filters": self.filters,
            "levels": self.levels,
            "activation": self.activation,
        }


class Resize(keras.layers.Layer):
    """From h of one shape to another: dense to and from vectors, a convolution between maps.

    Halving is space-to-depth, doubling depth-to-space with what is too much cut off.
    """

    def __init__(self, shape, new_shape, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.new_shape = tuple(shape), tuple(new_shape)
        self.maps = len(self.shape) == len(self.new_shape) == 3
        self.doubles = self.maps and self.new_shape[0] >= self.shape[0]
        if not self.maps:
            self.linear = keras.layers.Dense(math.prod(self.new_shape), dtype=self.dtype_policy)
            self.linear.build((None, math.prod(self.shape)))
        else:
            height, width, channels = self.shape
            new = self.new_shape[-1] * (4 if self.doubles else 1)
            self.linear = keras.layers.Conv2D(new, 3, padding="same", dtype=self.dtype_policy)
            if not self.doubles:
                height, width, channels = *self.new_shape[:2], 4 * channels
            self.linear.build((None, height, width, channels))
        self.built = True

    def call(self, h):
        h, lead = fold(h, len(self.shape))
        if not self.maps:
            h = self.linear(ops.reshape(h, (-1, math.prod(self.shape))))
        elif self.doubles:
            h = depth_to_space(self.linear(h))[:, : self.new_shape[0], : self.new_shape[1]]
        else:
            odd = ((0, 0), (0, self.shape[0] % 2), (0, self.shape[1] % 2), (0, 0))
            h = self.linear(space_to_depth(ops.pad(h, odd)))
        return ops.reshape(h, (*lead, *self.new_shape))


class Node(keras.layers.Layer):
    """One group: p and q side by side, and the way of z into h. Dense on each position of a map.

    Args:
        shape: Of h, without the batch.
        channels: Of z, at each position.
        hidden: Width in front of the Gaussians.
        activation: Name.
    """

    def __init__(self, shape, channels, hidden, activation, **kwargs):
        super().__init__(**kwargs)
        self.place, self.channels = tuple(shape[:-1]), channels
        self.activation = keras.layers.Activation(activation)
        self.prior_hidden = keras.layers.Dense(hidden)
        self.prior_head = keras.layers.Dense(
            2 * channels, kernel_initializer="zeros", dtype="float32"
        )
        self.posterior_hidden = keras.layers.Dense(hidden)
        self.posterior_head = keras.layers.Dense(2 * channels, dtype="float32")
        self.evidence = keras.layers.Dense(hidden, use_bias=False)
        self.inject = keras.layers.Dense(shape[-1])
        for layer in (self.prior_hidden, self.posterior_hidden, self.evidence):
            layer.build((None, *shape))
        for layer in (self.prior_head, self.posterior_head):
            layer.build((None, *self.place, hidden))
        self.inject.build((None, *self.place, channels))
        self.built = True

    def prior(self, h) -> DiagonalNormal:
        """p(z_g | y, z_<g) from h `(..., *shape)`."""
        inner = self.prior_hidden(self.activation(h))
        return self._row(self.prior_head(self.activation(inner)))

    def posterior(self, h, evidence, prior: DiagonalNormal) -> DiagonalNormal:
        """q(z_g | x, y, z_<g), relative to p (Vahdat & Kautz 2020, sec. 3.2)."""
        inner = self.posterior_hidden(self.activation(h)) + evidence
        q = self._row(self.posterior_head(self.activation(inner)))
        return DiagonalNormal(prior.mean + q.mean, prior.log_var + q.log_var)

    def add(self, h, z):
        """Let z `(..., positions * channels)` into h."""
        z = ops.reshape(z, (*ops.shape(z)[:-1], *self.place, self.channels))
        return h + self.inject(z)

    def _row(self, parameters) -> DiagonalNormal:
        size = math.prod(self.place) * self.channels
        lead = ops.shape(parameters)[: len(parameters.shape) - len(self.place) - 1]
        mean, log_var = split_normal(parameters)
        log_var = LIMIT * ops.tanh(log_var / LIMIT)
        return DiagonalNormal(ops.reshape(mean, (*lead, size)), ops.reshape(log_var, (*lead, size)))


class State(NamedTuple):
    """On the way down: h above the next group, the condition's features, that group's prior."""

    h: Any
    features: Any
    factor: Any  # None below the last group


@keras.saving.register_keras_serializable(package="keras_cvae")
class TopDownNetwork(Prior):
    """A top-down model but for its likelihood. As a prior, it keeps h on the way down.

    Args:
        recipe: What the layers look like.
        x_shape: Shape of one example.
        output_shape: Shape of the likelihood's parameters.
        private: How many of the condition's features, the last ones, are for q alone.
    """

    def __init__(self, recipe: TopDown, x_shape, output_shape, private=0, **kwargs):
        super().__init__(**kwargs)
        self.recipe, self.private = recipe, private
        self.x_shape, self.output_shape = tuple(x_shape), tuple(output_shape)
        self.nodes: list[Node] = []

    def get_config(self):
        return super().get_config() | {
            "recipe": keras.saving.serialize_keras_object(self.recipe),
            "x_shape": self.x_shape,
            "output_shape": self.output_shape,
            "private": self.private,
        }

    @classmethod
    def from_config(cls, config):
        recipe = keras.saving.deserialize_keras_object(config["recipe"])
        return cls(**config | {"recipe": recipe})

    def build_groups(self, sizes, features):
        if self.nodes:  # the parts of one model share it
            return
        super().build_groups(sizes, features)
        recipe, groups = self.recipe, len(sizes)
        self.levels = recipe.group_levels(groups)
        self.shapes = recipe.shapes(self.x_shape)
        areas = recipe.areas(self.x_shape, groups)
        around = [*self.shapes, self.x_shape]  # what is next to each level, towards the data

        def hidden(level):
            return recipe.hidden or self.shapes[level][-1]

        def block(level, features):
            shape, scale = self.shapes[level], 1.0 / math.sqrt(groups)
            return Block(shape, hidden(level), recipe.activation, features, scale)

        self.shrink = [Resize(around[i + 1], shape) for i, shape in enumerate(self.shapes)]
        self.up = [block(level, features + self.private) for level in self.levels]
        self.start = self.add_weight((1, recipe.units), "random_normal", name="start")
        self.greet = keras.layers.Dense(recipe.units, use_bias=False) if features else None
        if self.greet:
            self.greet.build((None, features))
        self.nodes = [
            Node(self.shapes[level], size // area, hidden(level), recipe.activation)
            for size, area, level in zip(sizes, areas, self.levels, strict=True)
        ]
        self.down = [block(level, features) for level in self.levels]
        self.grow = [Resize(a, b) for a, b in itertools.pairwise(self.shapes)]
        self.activation = keras.layers.Activation(recipe.activation)
        self.output_layer = Resize(self.shapes[-1], self.output_shape, dtype="float32")

    # The way up: what q may know of x.

    def observe(self, x, features) -> list:
        """The evidence for each group, `(batch, *place, hidden)`."""
        h, group = ops.cast(x, "float32"), len(self.nodes)
        evidence: list = [None] * group
        for level in reversed(range(len(self.shapes))):
            h = self.shrink[level](h)
            while group and self.levels[group - 1] == level:
                group -= 1
                h = self.up[group](h, features)
                evidence[group] = self.nodes[group].evidence(self.activation(h))
        return evidence

    # The way down.

    def begin(self, features):
        features = first(features, self.width)
        h = ops.cast(self.start, self.compute_dtype)
        return self._above(0, h + self.greet(features) if self.greet else h, features)

    def conditional(self, group, state):
        return state.factor

    def posterior(self, group: int, state: State, evidence: list) -> DiagonalNormal:
        """q(z_group | x, y, z_<group)."""
        return self.nodes[group].posterior(state.h, evidence[group], state.factor)

    def descend(self, group, state, z):
        h = self.down[group](self.nodes[group].add(state.h, z), state.features)
        return self._above(group + 1, h, state.features)

    def _above(self, group: int, h, features) -> State:
        """Grow h to the next group's level, or to the last one, and ask for its prior."""
        now = self.levels[group - 1] if group else 0
        there = self.levels[group] if group < len(self.nodes) else len(self.shapes) - 1
        for grow in self.grow[now:there]:
            h = grow(h)
        factor = self.nodes[group].prior(h) if group < len(self.nodes) else None
        return State(h, features, factor)

    def parameters(self, state: State):
        """The likelihood's parameters `(..., batch, *output_shape)`, in float32."""
        return self.output_layer(self.activation(state.h))
