"""What a user may say of a condition: NumPy and JSON, without Keras."""

from collections.abc import Mapping
from typing import Any

from keras_cvae.conditions.spec.arrays import EncodedSpec, ImageSpec, SignalSpec
from keras_cvae.conditions.spec.base import ConditionSpec, NoneSpec, Trait
from keras_cvae.conditions.spec.composed import JointSpec, OptionalSpec
from keras_cvae.conditions.spec.known import KnownColumnsSpec, KnownPartSpec
from keras_cvae.conditions.spec.labels import CategoricalSpec, TagsSpec
from keras_cvae.conditions.spec.numbers import ContinuousSpec, ExposureSpec, PeriodicSpec
from keras_cvae.errors import listed, nearest

KINDS: dict[str, type[ConditionSpec]] = {
    spec.kind: spec
    for spec in (
        NoneSpec,
        CategoricalSpec,
        TagsSpec,
        ContinuousSpec,
        PeriodicSpec,
        ExposureSpec,
        EncodedSpec,
        ImageSpec,
        SignalSpec,
        KnownPartSpec,
        KnownColumnsSpec,
        OptionalSpec,
        JointSpec,
    )
}

__all__ = [
    "KINDS",
    "CategoricalSpec",
    "ConditionSpec",
    "ContinuousSpec",
    "EncodedSpec",
    "ExposureSpec",
    "ImageSpec",
    "JointSpec",
    "KnownColumnsSpec",
    "KnownPartSpec",
    "NoneSpec",
    "OptionalSpec",
    "PeriodicSpec",
    "SignalSpec",
    "TagsSpec",
    "Trait",
    "from_json",
]


def from_json(value: Any) -> ConditionSpec:
    """Read a spec from what `ConditionSpec.to_json` wrote.

    Raises:
        ValueError: An unknown kind, or fields that it has not, lacks, or cannot take.
    """
    if not isinstance(value, Mapping) or not isinstance(kind := value.get("kind"), str):
        raise ValueError(f"Received {value!r}. Expected an object with the 'kind' of a condition.")
    if kind not in KINDS:
        raise ValueError(
            f"Unknown kind of condition {kind!r}. Known are {listed(KINDS)}.{nearest(kind, KINDS)}"
        )
    fields = {name: field for name, field in value.items() if name != "kind"}
    if kind == OptionalSpec.kind:
        fields |= {name: from_json(fields[name]) for name in ("part",) if name in fields}
    if kind == JointSpec.kind and isinstance(parts := fields.get("parts"), Mapping):
        fields["parts"] = {name: from_json(part) for name, part in parts.items()}
    try:
        return KINDS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"A condition of kind {kind!r}: {error}.") from None
