"""The names of columns, as training had them: tables that come later are put in their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_cvae.columns import check_names, in_order, names_of
from keras_cvae.conditions.spec import ConditionSpec, JointSpec, KnownPartSpec


class Headers:
    """The names of the columns of x, and of each condition that is several numbers.

    Args:
        names: By what has these columns, "x" or the subject of a message.
    """

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None):
        self.names = {what: tuple(columns) for what, columns in (names or {}).items()}
        self.warned: set[str] = set()  # of what numbers far from those of training were warned

    def learn(self, x: Any, y: Any, spec: ConditionSpec) -> None:
        """Note the names of what is trained on, where none are known yet."""
        self._each("x", x, self._note)
        self._conditions(y, spec, self._note)

    def x(self, x: Any) -> Any:
        """x with the columns of a table in the order of training.

        Raises:
            ValueError: They have other names.
        """
        return self._each("x", x, self._ordered)

    def condition(self, y: Any, spec: ConditionSpec) -> Any:
        """Conditions with the columns of tables in the order of training.

        Raises:
            ValueError: They have other names.
        """
        return self._conditions(y, spec, self._ordered)

    def _conditions(self, y: Any, spec: ConditionSpec, function: Any) -> Any:
        if isinstance(spec, JointSpec):  # whose tables are read by name
            if not isinstance(y, Mapping):
                return y
            return {name: self._each(f"Condition {name!r}", v, function) for name, v in y.items()}
        known_part = isinstance(spec, KnownPartSpec)
        return self._each("x" if known_part else "The condition", y, function)

    @staticmethod
    def _each(what: str, table: Any, function: Any) -> Any:
        names = names_of(table)
        return table if names is None or len(names) == 1 else function(what, table, names)

    def _note(self, what: str, table: Any, names: tuple[str, ...]) -> Any:
        self.names.setdefault(what, names)
        return table

    def _ordered(self, what: str, table: Any, names: tuple[str, ...]) -> Any:
        known = self.names.get(what, names)
        if names == known:
            return table
        check_names(names, known, what)
        return in_order(table, known)
