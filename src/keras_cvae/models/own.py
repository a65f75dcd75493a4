"""A user's own Keras model in the place of a part: called, and compared with its role."""

from collections.abc import Sequence
from typing import Any

import keras


def call_own(model: keras.Model, inputs: list[Any]) -> list[Any]:
    """Call a user's model on as many of the inputs as it takes; its outputs as a list."""
    takes = len(getattr(model, "inputs", None) or inputs)
    out = model(inputs[0] if takes == 1 else inputs)
    return list(out.values()) if isinstance(out, dict) else keras.tree.flatten(out)


def check_own_model(
    role: str,
    model: keras.Model,
    name: str,
    shape: Sequence[int],
    features: int,
    outputs: Sequence[Sequence[int]],
) -> None:
    """Compare a user's model with what its role needs, by symbolic shapes only.

    Raises:
        ValueError: Saying which shape was expected where, and which was found.
    """
    wanted = [(name, tuple(shape))] + ([("condition features", (features,))] if features else [])
    taken = getattr(model, "inputs", None)
    if taken is not None:
        found = [tuple(i.shape[1:]) for i in taken]
        if len(found) > len(wanted) or any(
            got != want for got, (_, want) in zip(found, wanted, strict=False)
        ):
            raise ValueError(
                f"Your {role} takes inputs of shapes {_shapes(found)}. Expected "
                + " and ".join(f"{what} of shape {_shapes([want])}" for what, want in wanted)
                + (f" (or {name} alone)." if features else ".")
            )
    symbols = [keras.KerasTensor((None, *want)) for _, want in wanted]
    found = [tuple(out.shape[1:]) for out in call_own(model, symbols)]
    if found != [tuple(out) for out in outputs]:
        what = {
            "encoder": "[mean, log_var] of q(z|x,y)",
            "decoder": "the likelihood's parameters",
            "classifier": "logits of q(y|x)",
        }[role]
        raise ValueError(
            f"Your {role} gives outputs of shapes {_shapes(found)}. Expected {what}: "
            f"{_shapes(outputs)}."
        )


def check_linear(role: str, model: keras.Model, needs: str) -> None:
    """Refuse a model that squashes what must be any number.

    Args:
        role: What the model is, such as "decoder".
        model: The model.
        needs: Who takes its output as what, for the message.

    Raises:
        ValueError: The last layer (but for reshaping) has an activation with bounds.
    """
    moves = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Cropping2D)
    shapers = (layer for layer in reversed(model.layers) if not isinstance(layer, moves))
    last = next(shapers, None)
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    if last and activation in ("sigmoid", "softmax", "tanh", "relu", "softplus"):
        raise ValueError(
            f"Your {role} ends in a {activation}, but {needs}. Give the layer '{last.name}' "
            "activation=None."
        )


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    return " and ".join(str(("batch", *shape)).replace("'", "") for shape in shapes)
