"""The text of a condition on a command line: read, and written for a hint.

Here alone text becomes a condition, and only here may it name a file.
"""

import math
import re
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ConditionSpec,
    ContinuousSpec,
    EncodedSpec,
    ImageSpec,
    JointSpec,
    KnownPartSpec,
    OptionalSpec,
    SignalSpec,
    TagsSpec,
)


def read(spec: ConditionSpec, text: str, before: Any = None) -> Any:
    """Read one condition, as `spec.prepare_any` takes it.

    Args:
        spec: What the condition may be.
        text: A class ("2") or a mixture ("3:0.5,8:0.5"), tags ("red,round"), numbers ("0.5,-1"),
            the name of a file of a picture or of a signal (.npy, or text with a row for each time);
            several by name as "age=30,class=cat"; "?" is unknown.
        before: Several by name, of which those stay that the text does not name.

    Raises:
        ValueError: It cannot be read, or the spec refuses it.
    """
    condition = _read(spec, text)
    if isinstance(before, dict) and isinstance(spec, JointSpec):
        condition = before | condition
    spec.prepare_any(condition)
    return condition


def as_numbers(spec: ConditionSpec, conditions: Sequence[Any]) -> np.ndarray | None:
    """Conditions as a data set has them where they are numbers, `(n, ...)`; None of all others.

    Classes are whole numbers where all of the spec's are called so; mixtures are no classes.
    """
    if isinstance(spec, OptionalSpec):
        return None if any(one is None for one in conditions) else as_numbers(spec.part, conditions)
    if isinstance(spec, ContinuousSpec):
        return np.array(conditions, np.float32)
    if not isinstance(spec, CategoricalSpec):
        return None
    numbers = {name: int(name) for name in spec.names if re.fullmatch("0|-?[1-9][0-9]{0,17}", name)}
    classes = all(isinstance(one, str) and one in numbers for one in conditions)
    if not classes or len(numbers) < len(spec.names):
        return None
    return np.array([numbers[one] for one in conditions])


@singledispatch
def _read(spec: ConditionSpec, text: str) -> Any:
    return text


@_read.register
def _(spec: CategoricalSpec, text: str) -> Any:
    if text in spec.names or ":" not in text:
        return text
    mixture = {}
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        try:
            mixture[name.strip()] = float(weight)
        except ValueError:
            raise ValueError(
                f"Cannot read '{text}' as a mixture. Expected class:weight,class:weight, for "
                f"example {spec.names[0]}:0.5,{spec.names[-1]}:0.5."
            ) from None
    return mixture


@_read.register
def _(spec: TagsSpec, text: str) -> list[str]:
    return [tag.strip() for tag in text.replace("|", ",").split(",") if tag.strip()]


@_read.register(ContinuousSpec)
@_read.register(EncodedSpec)
def _(spec: ConditionSpec, text: str) -> Any:
    count = math.prod(spec.shape)
    try:
        values = np.array([float(part) for part in text.split(",")]).reshape(spec.shape)
    except ValueError:
        raise ValueError(
            f"Cannot read '{text}' as {count} number(s). Expected, for example, "
            f"{','.join(['0.5'] * min(count, 3))}{',...' if count > 3 else ''}."
        ) from None
    return values[0] if spec.shape == (1,) else values


@_read.register
def _(spec: ImageSpec, text: str) -> np.ndarray:
    from keras_cvae.data.images import read_image

    if spec.shape[-1] not in (1, 3):
        raise ValueError(f"A picture file has 1 or 3 channels, this condition {spec.shape[-1]}.")
    return spec.low + read_image(text, spec.shape) * (spec.high - spec.low)


@_read.register
def _(spec: SignalSpec, text: str) -> np.ndarray:
    try:
        path = Path(text)
        return np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Cannot read '{text}' as a signal: {error}. Expected a .npy file, or text with "
            f"{spec.shape[0]} rows of {spec.shape[1]} numbers separated by commas."
        ) from None


@_read.register
def _(spec: KnownPartSpec, text: str) -> Any:
    raise ValueError(
        f"Received the condition '{text}'. This run completes pictures: cvae complete RUN IMAGE"
    )


@_read.register
def _(spec: OptionalSpec, text: str) -> Any:
    return None if text.strip() == "?" else _read(spec.part, text)


@_read.register
def _(spec: JointSpec, text: str) -> dict[str, Any]:
    known = "|".join(re.escape(name) for name in sorted(spec.parts, key=len, reverse=True))
    first, *rest = re.split(rf"(?:^|,)\s*({known})\s*=", text)
    if wrong := re.search(r"(?:^|,)\s*([^,=]+)=", ",".join([first, *rest[1::2]])):
        spec.prepare_any({wrong[1].strip(): None})  # says which names there are
    if first.strip() or not rest:
        example = ",".join(f"{name}=..." for name in list(spec.parts)[:2])
        raise ValueError(f"Cannot read '{text}' as conditions. Expected, for example, {example}.")
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    if len(given) < len(rest[::2]):
        raise ValueError(f"'{text}' names a condition twice.")
    found = {}
    for name, value in given.items():
        try:
            found[name] = _read(spec.parts[name], value.strip())
        except ValueError as error:
            raise ValueError(f"Condition '{name}': {error}") from None
    return found


def written(condition: Any) -> str:
    """Write a condition such that `read` reads it; "" for one that has no text.

    Args:
        condition: As `ConditionEncoder.example` gives it.
    """
    if condition is None:
        return ""
    if isinstance(condition, dict):
        return ",".join(f"{name}={written(value)}" for name, value in condition.items())
    if isinstance(condition, list):
        return ",".join(map(written, condition))
    return f"{condition:g}" if isinstance(condition, float) else str(condition)
