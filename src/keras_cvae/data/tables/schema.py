"""The columns of a table: inferred from a frame, written as TOML that can be edited, read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from keras_cvae.data.tables.columns import AnyColumn, Category, Datetime, LeftOut, Missing, Number
from keras_cvae.data.tables.infer import infer
from keras_cvae.errors import DataError, counted, nearest
from keras_cvae.files import parsed


class Schema(BaseModel):
    """The columns of a table, in order.

    Example:
        schema = Schema.infer(df)
        Path("schema.toml").write_text(schema.to_toml())
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    columns: tuple[AnyColumn, ...]

    @model_validator(mode="after")
    def _named_once(self) -> Schema:
        names = [column.name for column in self.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the column '{twice}' is there twice")
        return self

    @classmethod
    def infer(cls, frame: pd.DataFrame, missing: Missing = "state") -> Schema:
        """Infer the kind of every column.

        Args:
            frame: The table.
            missing: What an empty cell is: "state", a value of its own that is generated at its
                rate; or "unknown", a value that nobody knows, which is not scored.

        Raises:
            DataError: A table, or a column, of which none can be made; the message names it.
        """
        if missing not in ("state", "unknown"):
            raise ValueError(f"missing: received {missing!r}, expected 'state' or 'unknown'.")
        check_frame(frame)
        return cls(columns=tuple(infer(frame[name], missing) for name in frame)).checked()

    @property
    def learned(self) -> tuple[AnyColumn, ...]:
        """The columns that are learned and generated."""
        return tuple(column for column in self if not isinstance(column, LeftOut))

    @property
    def left_out(self) -> tuple[AnyColumn, ...]:
        """The columns that are not."""
        return tuple(column for column in self if isinstance(column, LeftOut))

    @property
    def names(self) -> list[str]:
        """Names of the columns that are learned."""
        return [column.name for column in self.learned]

    @property
    def text(self) -> set[str]:
        """Names of the columns whose values are text: in another file, they may all be digits."""
        return {
            column.name
            for column in self.learned
            if (isinstance(column, Category) and all(isinstance(v, str) for v in column.levels))
            or (isinstance(column, Datetime) and column.format is not None)
        }

    def __iter__(self) -> Iterator[AnyColumn]:  # type: ignore[override]
        return iter(self.columns)

    def __getitem__(self, name: str) -> AnyColumn:
        """A column by name.

        Raises:
            KeyError: There is none; the message has the nearest name.
        """
        for column in self.learned:
            if column.name == name:
                return column
        out = next((column for column in self.left_out if column.name == name), None)
        why = f"was left out: {out.note}." if out else f"is not there.{nearest(name, self.names)}"
        raise UnknownColumnError(f"Column '{name}' {why}")

    def checked(self) -> Schema:
        """This schema, if a table can be learned with it.

        Raises:
            DataError: Fewer than two columns are left, or all of them are constant.
        """
        if len(self.learned) < 2:
            out = "".join(f" Column '{c.name}' was left out: {c.note}." for c in self.left_out)
            raise DataError(
                f"The table has {counted(len(self.learned), 'column')} to learn. Expected at least "
                f"two: with one there is nothing that depends on anything.{out}"
            )
        if all((column.note or "").startswith("always ") for column in self.learned):
            raise DataError("All columns are constant. Expected at least one that varies.")
        return self

    def check(self, frame: pd.DataFrame) -> None:
        """Refuse a table that has other columns, or values beyond those of this schema.

        Raises:
            DataError: Naming the column, what it holds and what was expected.
        """
        check_frame(frame)
        names = list(frame.columns)
        if lacking := [name for name in self.names if name not in names]:
            raise DataError(
                f"The table has no column '{lacking[0]}', which the schema has."
                f"{nearest(lacking[0], names)}"
            )
        known = {column.name for column in self}
        if extra := [name for name in names if name not in known]:
            raise DataError(
                f"The table has a column '{extra[0]}' that is not in the schema."
                f"{nearest(extra[0], known)}"
            )
        for column in self.learned:
            empty = column.read(frame[column.name]).missing.sum()
            if column.missing == "never" and empty:
                raise DataError(
                    f"Column '{column.name}' is empty in {empty} of {len(frame)} rows, but the "
                    'schema says missing = "never". Expected "state" or "unknown" there.'
                )
            if isinstance(column, Number):
                present = pd.to_numeric(frame[column.name].dropna())
                if len(present) and not column.low <= present.min() <= present.max() <= column.high:
                    raise DataError(
                        f"Column '{column.name}' holds numbers from {present.min():g} to "
                        f"{present.max():g}. The schema expects {column.low:g} to {column.high:g}."
                    )

    def to_toml(self) -> str:
        """This schema as TOML, a table for every column."""
        return "\n".join(
            "[[columns]]\n"
            + "".join(
                f"{key} = {_toml(value)}\n" for key, value in _shown(column) if value is not None
            )
            for column in self
        )

    @classmethod
    def from_toml(cls, text: str, name: str = "the schema") -> Schema:
        """Read what `to_toml` wrote, and somebody may have edited.

        Raises:
            DataError: It is no TOML, or no schema; the message says where.
        """
        try:
            return cls.model_validate(parsed(text, "toml"))
        except ValidationError as error:
            first = error.errors()[0]
            where = " ".join(str(place) for place in first["loc"])
            raise DataError(f"{name}: {where}: {first['msg']}.") from error
        except ValueError as error:
            raise DataError(f"{name} is not TOML: {error}.") from error

    @classmethod
    def read(cls, path: str | Path) -> Schema:
        """Read a file that `to_toml` filled."""
        return cls.from_toml(Path(path).read_text(encoding="utf-8"), f"The schema {path}")


class UnknownColumnError(DataError, KeyError):
    """A column that is not in the table."""

    def __str__(self) -> str:
        return str(self.args[0])


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse what is no table to learn from.

    Raises:
        DataError: No rows, one row, no columns, names that are no text, or the same name twice.
    """
    rows, columns = frame.shape
    if not columns or rows < 2:
        raise DataError(
            f"The table has {counted(rows, 'row')} and {counted(columns, 'column')}. Expected at "
            "least two of each."
        )
    check_names(frame.columns)


def check_names(names: Iterable[Any]) -> None:
    """Refuse column names that are no text, or are there twice.

    Raises:
        DataError: Naming the first one.
    """
    names = list(names)
    if other := [name for name in names if not isinstance(name, str)]:
        raise DataError(
            f"A column is called {other[0]!r}, which is {type(other[0]).__name__}. Expected text: "
            "table.columns = table.columns.astype(str)."
        )
    if twice := next((name for name in names if names.count(name) > 1), None):
        places = [i for i, name in enumerate(names) if name == twice]
        raise DataError(
            f"The table has {len(places)} columns called '{twice}', at positions {places} (counted "
            "from 0). Expected a name of its own for each."
        )


def _shown(column: AnyColumn) -> list[tuple[str, Any]]:
    """Fields in the order in which they are read, name and kind first."""
    fields = column.model_dump()
    first = {key: fields.pop(key) for key in ("name", "kind")}
    return list((first | fields).items())


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)


__all__ = ["Category", "Datetime", "Schema", "UnknownColumnError", "check_frame", "check_names"]
