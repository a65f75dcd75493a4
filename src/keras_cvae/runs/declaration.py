"""`name:kind:argument`: a named condition as a run declares it."""

from typing import NamedTuple

from keras_cvae.errors import listed, nearest

KINDS = (
    "categorical",
    "embedding",
    "tags",
    "continuous",
    "periodic",
    "exposure",
    "image",
    "signal",
)
ENCODED = ("image", "signal")  # by a network: of convolutions, or dense


class Declaration(NamedTuple):
    """A named condition of a run.

    Args:
        name: That of the array in the data.
        kind: One of `KINDS`.
        argument: The period of a periodic one, "conv" or "mlp" of one that a network encodes; "".
    """

    name: str
    kind: str
    argument: str


def read(spec: str) -> Declaration:
    """Take `name:kind` or `name:kind:argument` apart.

    Raises:
        ValueError: No such kind, or no period where one is needed.
    """
    name, _, rest = spec.partition(":")
    kind, _, argument = rest.partition(":")
    if not name.strip() or not kind:
        raise ValueError(
            f"condition: received '{spec}', expected name:kind, like age:continuous; kinds are "
            f"{listed(KINDS)}"
        )
    if kind not in KINDS:
        raise ValueError(
            f"condition: unknown kind '{kind}' in '{spec}', expected one of {listed(KINDS)}."
            f"{nearest(kind, KINDS)}"
        )
    if kind == "periodic" and not argument.replace(".", "", 1).isdigit():
        raise ValueError(f"condition: received '{spec}', expected {name}:{kind}:24, with a period")
    if kind in ENCODED and argument not in ("", "conv", "mlp"):
        raise ValueError(f"condition: received '{spec}', expected {name}:{kind}:conv or :mlp")
    if argument and kind not in ("periodic", *ENCODED):
        raise ValueError(f"condition: received '{spec}', expected {name}:{kind}")
    return Declaration(name.strip(), kind, argument)
