"""The conditions that y may be, for p(x) = sum_y p(y) p(x | y) and for p(y | x)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_cvae.conditions.spec import ConditionSpec, JointSpec
from keras_cvae.errors import listed
from keras_cvae.trees import count, repeat, take

Pairing = Callable[[np.ndarray, np.ndarray], Any]


def enumerated(
    spec: ConditionSpec, candidates: Any = None, given: Mapping[str, Any] | None = None, n: int = 1
) -> tuple[int, Pairing]:
    """List the K conditions that each of n examples may have.

    Args:
        spec: Of the model's condition.
        candidates: K conditions, as `prepare_any` takes them; None: all classes.
        given: Of named conditions, those that are known of each example. `candidates` then
            describe the parts that are not in `given`; None is allowed if exactly one part remains
            and it is one of several classes: all of them.
        n: How many examples there are.

    Returns:
        K, and a function from positions of examples and of candidates, `(m,)` each, to canonical
        conditions `(m, ...)`.

    Raises:
        ValueError: No candidates where there are no classes, or a name that is none.
    """
    if given:
        return _rest_of(spec, candidates, given, n)
    if candidates is None:
        if spec.classes is None:
            raise ValueError(
                "p(x) and p(y | x) sum over classes; this model's condition is "
                f"{spec.summary()}. Expected one of several classes, or candidates=, the "
                "conditions that y may be. log_prob(x, y) gives log p(x | y)."
            )
        return spec.classes.num_classes, lambda _, which: which.astype("int32")
    y, _ = spec.prepare_any(candidates)
    if not count(y):
        raise ValueError("candidates: received none, expected the conditions that y may be.")
    return count(y), lambda _, which: take(y, which)


def _rest_of(
    spec: ConditionSpec, candidates: Any, given: Mapping[str, Any], n: int
) -> tuple[int, Pairing]:
    names = spec.parts if isinstance(spec, JointSpec) else {}
    if not isinstance(spec, JointSpec) or not all(name in names for name in given):
        raise ValueError(
            f"given: received {listed(given)}, expected names of conditions; known are "
            f"{listed(names) or 'none'}."
        )
    known, _ = spec.only(given).prepare_any(given, n)
    if count(known) not in (1, n):
        raise ValueError(f"given: received {count(known)} conditions for {n} examples.")
    known = repeat(known, n) if count(known) == 1 else known
    rest = [name for name in names if name not in given]
    classes = names[rest[0]].classes if len(rest) == 1 else None
    if candidates is not None and rest:
        free, _ = spec.only(rest).prepare_any(candidates)
    elif classes is not None:
        free = {rest[0]: np.arange(classes.num_classes, dtype="int32")}
    else:
        raise ValueError(f"candidates: expected values of {listed(rest) or 'what is not given'}.")

    def condition_of(index: np.ndarray, which: np.ndarray) -> Any:
        both = take(known, index) | take(free, which)
        return {name: both[name] for name in names}

    return count(free), condition_of
