"""`cvae interpolate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_cvae.cli.app import UsageError, app, out
from keras_cvae.cli.conditions import read
from keras_cvae.cli.flags import AsJson, Overwrite, RunFolder, Seed
from keras_cvae.cli.shared import (
    check_image,
    check_output,
    images_only,
    open_model,
    open_or_none,
    show,
    show_numbers,
)


@app.command()
def interpolate(
    run: RunFolder,
    start: Annotated[
        str | None, typer.Option("--from", help="The condition at the start; with --to the way.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The condition at the end.")] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", help="A picture at the start; a second one at the end."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="How many, both ends included.")] = 9,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="A .png sheet, a .gif that moves, an .npz or a .csv. None: here."
        ),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Go from one condition, picture or draw to another, in small steps.

    Without pictures the way is between conditions at the prior's mean; without conditions, between
    two draws.
    """
    if output is not None:
        check_output(output, (".png", ".gif", ".npz", ".csv"), overwrite)
    elif as_json:
        raise UsageError("--json says which file was written. Expected -o FILE with it.")
    pictures = images or []
    if len(pictures) > 2:
        raise UsageError(f"Received {len(pictures)} pictures. Expected one or two.")
    open_or_none(run)  # refuses one on a table
    for picture in pictures:
        check_image(picture)
    model = open_model(run)
    if model.condition.knows_part or not model.latent_dim:
        raise UsageError("This run has no latent that stands for a whole x, so there is no way.")
    if pictures or (output is not None and output.suffix.lower() in (".png", ".gif")):
        images_only(model, "Use -o FILE.npz or FILE.csv.")

    import numpy as np

    spec = model.condition.spec
    if model.condition.width and start is None:
        raise UsageError(f"This run is conditioned on {spec.summary()}. Say where to begin: --from")
    first = None if start is None else read(spec, start)
    last = first if to is None else read(spec, to)
    if len(pictures) == 1 and to is None:
        raise UsageError(
            "One picture and one condition are one place. Expected another --image, or --to."
        )
    styles = _styles(model, pictures, (first, last), to is None, seed)
    x = model.interpolate(*styles, condition=first, to_condition=last, steps=n)
    where = [f"{share:.0%}" for share in np.linspace(0, 1, n)]
    if output is None:
        (show if len(model.x_shape) == 3 else show_numbers)(x, where)
        return
    _write(model, x, where, output)
    if as_json:
        print(json.dumps({"file": str(output), "steps": n}))
    else:
        out.print(f"{n} steps, written to {output}")


def _styles(
    model: Any, pictures: list[Path], ends: tuple[Any, Any], same: bool, seed: int
) -> list[Any]:
    """The latents at both ends: of pictures, of draws, or none for the prior's mean."""
    import numpy as np

    from keras_cvae.data.images import read_image

    if pictures:
        some = zip(pictures, ends, strict=False)
        x = [(read_image(path, model.x_shape)[None], y) for path, y in some]
        return [model.encode(one, None if y is None else [y])[0] for one, y in x]
    if same:  # nothing else moves
        inputs: dict[str, Any] = {
            "noise": np.random.default_rng(seed).standard_normal((2, model.latent_dim), "float32")
        }
        if model.condition.width:
            inputs["condition"] = model.condition.spec.prepare([ends[0]] * 2)
        return [*model.prior.predict(inputs, verbose=0)["z"]]
    return []


def _write(model: Any, x: Any, where: list[str], output: Path) -> None:
    from keras_cvae.cli.shared import write_arrays
    from keras_cvae.data.drawn import Feed, Labels, write
    from keras_cvae.evaluation.prepare import brightness
    from keras_cvae.figures import sheets, writing

    suffix = output.suffix.lower()
    if suffix == ".npz":
        write_arrays(output, x=x)
    elif suffix == ".csv":
        write(output, Feed([x]), Labels(where, 1), 0, len(x))
    elif suffix == ".gif":
        writing.animate(brightness(model, x), output)
    else:
        writing.save(sheets.image_grid(brightness(model, x)[None], column_labels=where), output)
