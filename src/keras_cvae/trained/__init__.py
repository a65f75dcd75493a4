"""Models that come trained: float16 files with their cards, made by `make trained`."""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the models that come trained, as `keras_cvae.load` takes them."""
    return sorted(_files())


def path(name: str) -> Path | None:
    """The file of a model that comes trained; None if there is none of that name."""
    return _files().get(name)


def _files() -> dict[str, Path]:
    return {path.stem: path for path in FOLDER.iterdir() if path.suffix in (".keras", ".cvae")}
