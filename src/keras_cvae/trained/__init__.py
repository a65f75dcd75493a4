"""Models that come trained: float16 `.keras` files with their cards, made by `make trained`."""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the models that come trained, as `keras_cvae.load` takes them."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def path(name: str) -> Path | None:
    """The file of a model that comes trained; None if there is none of that name."""
    return FOLDER / f"{name}.keras" if name in names() else None
