"""Load a model, of a run that is not complete too."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cvae import trained
from keras_cvae.models import io
from keras_cvae.runs.run import Run, is_table_run


def load(
    path: str | os.PathLike[str],
    *,
    trusted: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Load a trained model, on any backend: one that comes along, a file, or what is in a folder.

    Nothing is built before everything that the file names is known to be part of a model: classes
    of this package, Keras' layers and what belongs to them, activations.

    Args:
        path: The name of a model that comes trained, such as "mnist-dense" (it wins over a file of
            that name; `cvae presets` lists them); a `.keras` or `.cvae` file; or a folder with a
            `model.keras` or `table.cvae`, of a run or as `save_to` writes it. Of a run that is not
            complete, what it has learned so far.
        trusted: Whether the file comes from yourself: then it may name your own registered classes
            too. Python code is not unpickled in any case.
        custom_objects: Classes and functions of your own by name, as in Keras. The file may name
            these, trusted or not, and they need not be registered. A model of a table has none.

    Returns:
        A `ConditionalVAE`; of a table a `TableCVAE`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds no model, names what it must not, or is not the one
            that its card was written for; or a run has saved nothing yet.
        ImportError: It is a model of a table, and what tables take is not installed.

    Warns:
        UserWarning: The run is not complete.

    Examples:
        >>> load("mnist-dense").x_shape
        (28, 28, 1)
        >>> model.save("dots.keras")
        >>> bool((load("dots.keras").encode(x, y) == model.encode(x, y)).all())
        True
    """
    named = isinstance(path, str) and trained.path(path)
    folder = Path(path)
    if not named and (folder / "run.json").is_file() and not is_table_run(folder):
        run = Run.open(folder)
        if not run.complete:
            return run.model(trusted=trusted, custom_objects=custom_objects)
    return io.load(path, trusted=trusted, custom_objects=custom_objects)
