"""What an evaluation is made of: frozen dataclasses whose fields say how to show them.

A field `Annotated[float, Metric("KL", unit="nats")]` has a label, a unit and a direction; a field
`Annotated[Elbo, Section("Likelihood")]` holds such a dataclass. `report.rows` reads both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Unit = Literal["", "nats", "bits", "%"]


@dataclass(frozen=True)
class Metric:
    """How the number in a field is shown in a table.

    Args:
        label: Its name; "" for a number that a table leaves out, unless a `Section` names it.
        unit: Of the number; "%" is for shares between 0 and 1.
        better: 1: higher is better; -1: lower is; 0: neither.
        note: What it means, in a sentence.
        digits: Decimals that are shown.
        negated: Whether minus the number is shown, and compared.
        error: Name of the field beside it that holds its standard error, or "".
        of: Name of the field beside it that says out of how many it is, or "".
        few: Below this number it is marked as too few.
    """

    label: str = ""
    unit: Unit = ""
    better: int = 0
    note: str = ""
    digits: int = 2
    negated: bool = False
    error: str = ""
    of: str = ""
    few: float = 0.0


@dataclass(frozen=True)
class Section:
    """Where the metrics in a field are shown.

    Args:
        group: The heading above them.
        suffix: What follows each label.
        labels: Label and note by the name of a metric; if there are any, only these are shown.
    """

    group: str
    suffix: str = ""
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Metrics:
    """Base of the dataclasses of metrics."""

    def to_dict(self) -> dict[str, Any]:
        """The metrics as JSON has them: dicts, lists, numbers, text. What is None is left out."""
        return {
            one.name: _plain(value)
            for one in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, one.name)) is not None
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Metrics):
        return value.to_dict()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
