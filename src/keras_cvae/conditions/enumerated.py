"""The conditions that y may be, for p(x) = sum_y p(y) p(x | y) and for p(y | x)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_cvae.conditions.base import Condition
from keras_cvae.conditions.joint import Joint
from keras_cvae.conditions.optional import classes_of
from keras_cvae.errors import listed
from keras_cvae.trees import count, take


def enumerated(
    condition: Condition, candidates: Any = None, given: Mapping | None = None, n: int = 1
) -> tuple[int, Callable[[np.ndarray, np.ndarray], Any]]:
    """How many conditions y may be, and which they are for each of n examples.

    Args:
        condition: The model's.
        candidates: `(K, ...)`, as `prepare_any` takes them; None: all classes.
        given: Of a `Joint`, the parts that are known of each example; the candidates are then of
            the other parts, and None stands for the classes of the only one.
        n: Examples.

    Returns:
        K, and a function from positions of examples and of candidates, `(m,)` each, to canonical
        conditions `(m, ...)`.

    Raises:
        ValueError: No candidates where there are no classes, or a name that is none.
    """
    if given:
        return _rest_of(condition, candidates, given, n)
    if candidates is None:
        classes = classes_of(condition)
        if classes is None:
            raise ValueError(
                "p(x) and p(y | x) sum over classes; this model's condition is "
                f"{type(condition).__name__}. Expected a Categorical one, or candidates=, the "
                "conditions that y may be. log_prob(x, y) gives log p(x | y)."
            )
        return classes.num_classes, lambda _, which: which.astype("int32")
    y, _ = condition.prepare_any(candidates)
    if not count(y):
        raise ValueError("candidates: received none, expected the conditions that y may be.")
    return count(y), lambda _, which: take(y, which)


def _rest_of(condition, candidates, given, n):
    if not isinstance(condition, Joint) or not all(name in condition.parts for name in given):
        names = listed(condition.parts) if isinstance(condition, Joint) else "none"
        raise ValueError(
            f"given: received {listed(given)}, expected names of conditions; known are {names}."
        )
    known, _ = condition.prepare_any(given, list(given))
    if count(known) not in (1, n):
        raise ValueError(f"given: received {count(known)} conditions for {n} examples.")
    known = take(known, np.zeros(n, int)) if count(known) == 1 else known
    rest = [name for name in condition.parts if name not in given]
    classes = classes_of(condition.parts[rest[0]]) if len(rest) == 1 else None
    if candidates is not None:
        free = condition.prepare_any(candidates, rest)[0]
    elif classes is not None:
        free = {rest[0]: np.arange(classes.num_classes, dtype="int32")}
    else:
        raise ValueError(f"candidates: expected values of {listed(rest) or 'what is not given'}.")

    def condition_of(index, which):
        both = take(known, index) | take(free, which)
        return {name: both[name] for name in condition.parts}

    return count(free), condition_of
