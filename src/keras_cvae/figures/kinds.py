"""Names of the pictures of a run; apart, so that the command knows them without Keras."""

from typing import Literal, get_args

Kind = Literal[
    "samples",
    "defaults",
    "latent",
    "manifold",
    "transition",
    "reconstructions",
    "completions",
    "marginals",
    "correlations",
    "history",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
