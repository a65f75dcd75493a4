"""What requests and answers consist of, as OpenAPI shows it."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keras_cvae.serve.limits import Limits

Format = Literal["array", "base64", "png"]
SEEDS = 2**63 - 1
Json = Any

CONDITION = (
    "A class, a name, a mixture {'3': 0.5, '8': 0.5}, a number or a list of them, tags, named "
    "conditions {'age': 30}; null or left out: unknown. `GET /v1/model` says what this model takes."
)
X = "One example as nested lists of the model's `x_shape`, or a list of several."
FORMAT = "array: nested lists; base64: float32, little endian, in C order; png: pictures in base64."


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


class Drawn(BaseModel):
    """Examples.

    Attributes:
        x: As `format` says: nested lists, one text, or a list of PNG files in base64.
        shape: Of all of them together, `[n, *x_shape]`.
    """

    x: Json
    shape: list[int]


class Encoded(BaseModel):
    """z for each example, `[n, latent_dim]`."""

    z: list[list[float | None]]


class LogProbs(BaseModel):
    """log p(x | condition) of each example in nats, with standard errors."""

    log_prob: list[float | None]
    standard_error: list[float | None]


class Rows(BaseModel):
    """Rows of the table."""

    rows: list[dict[str, Any]]


class RowProbs(BaseModel):
    """log p of each row in nats."""

    log_prob: list[float | None]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def requests(limits: Limits, examples: Mapping[str, Json]) -> SimpleNamespace:
    """The bodies of requests, with the bounds of this server in their schemas.

    Args:
        limits: The bounds.
        examples: One body by the name of its kind.
    """

    def shown(name: str) -> dict[str, Any]:
        return {"examples": [examples[name]]} if name in examples else {}

    class Styled(_Request):
        format: Format = Field("array", description=FORMAT)

    class Drawing(Styled):
        n: int = Field(1, ge=1, le=limits.draws, description="How many for each condition.")
        temperature: float = Field(
            1.0, ge=0, le=100, description="Factor on the prior's standard deviation."
        )
        seed: int | None = Field(
            None, ge=0, le=SEEDS, description="The same seed gives the same answer."
        )
        output: Literal["mean", "sample"] = Field("mean", description="Of p(x | z, y).")

    class Generate(Drawing, json_schema_extra=shown("Generate")):
        condition: Json = Field(None, description=CONDITION)
        guidance: float = Field(
            1.0, ge=0, le=100, description="1 is the model's; more exaggerates the condition."
        )

    class Complete(Drawing, json_schema_extra=shown("Complete")):
        x: Json = Field(description=X + " null where it is unknown.")
        mask: Json = Field(
            None, description="What is known: 'left', ..., or nested lists of true and false."
        )

    class Restyle(Styled, json_schema_extra=shown("Restyle")):
        x: Json = Field(description=X)
        condition: Json = Field(None, description="What it is. " + CONDITION)
        to: Json = Field(None, description="What it becomes. " + CONDITION)

    class Encode(_Request, json_schema_extra=shown("Encode")):
        x: Json = Field(description=X)
        condition: Json = Field(None, description=CONDITION)
        sample: bool = Field(False, description="A draw of q(z | x, y), not its mean.")
        seed: int | None = Field(None, ge=0, le=SEEDS)

    class LogProb(_Request, json_schema_extra=shown("LogProb")):
        x: Json = Field(description=X)
        condition: Json = Field(None, description=CONDITION)
        num_samples: int = Field(
            100, ge=1, le=limits.num_samples, description="Draws of z for each example."
        )
        seed: int = Field(0, ge=0, le=SEEDS)

    class SampleRows(_Request, json_schema_extra=shown("SampleRows")):
        n: int = Field(1, ge=1, le=limits.draws, description="How many rows.")
        conditions: dict[str, Json] = Field(
            {},
            description="Column to a value, null for an empty cell, a list of values, or a range "
            "{'low': 30, 'high': 40}, either of which may be null or left out.",
        )
        seed: int | None = Field(None, ge=0, le=SEEDS)

    class RowLogProb(_Request, json_schema_extra=shown("RowLogProb")):
        rows: list[dict[str, Json]] = Field(
            min_length=1, max_length=limits.rows, description="Rows, all columns of each."
        )

    kinds = (Generate, Complete, Restyle, Encode, LogProb, SampleRows, RowLogProb)
    return SimpleNamespace(**{kind.__name__: kind for kind in kinds})
