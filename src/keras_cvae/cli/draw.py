"""`cvae generate`, `cvae restyle`, `cvae complete`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_cvae import command, devices, masks
from keras_cvae.cli import drawing
from keras_cvae.cli.app import UsageError, app, err, out
from keras_cvae.cli.conditions import read
from keras_cvae.cli.flags import AsJson, Guidance, Overwrite, RunFolder, Seed, Temperature, starting
from keras_cvae.cli.processes import Processes, first_alone, together
from keras_cvae.cli.shared import (
    check_image,
    check_output,
    how_to_draw,
    images_only,
    open_model,
    open_or_none,
    progress_bar,
    read_conditions,
    show,
    warn,
    write_arrays,
)
from keras_cvae.errors import counted
from keras_cvae.runs.run import Run, is_table_run

LISTED = 10_000  # draws whose conditions --json lists


@app.command()
def generate(
    run: RunFolder,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            "-c",
            help="A class, a mixture (3:0.5,8:0.5) or numbers; named ones as age=30,class=cat, "
            "where what is left out is unknown. Repeat for several; leave out for all classes. Of "
            "a table: column=value, column=low..high or column=a|b, once for each column.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many for each condition.")] = 8,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="A .png, an .npz, a .csv or .parquet of numbers, or a folder of PNGs; of a table "
            "a .csv or .parquet. None: shown here.",
        ),
    ] = None,
    shard_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="-o is a folder, of .npz files of so many draws each (of Parquet files, if it is "
            "called NAME.parquet). Stopped, the same command continues.",
        ),
    ] = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--mean",
            help="Draw x from p(x|z,y), or show its mean. Default: of pictures the mean.",
            show_default=False,
        ),
    ] = None,
    guidance: Guidance = None,
    overwrite: Overwrite = False,
    processes: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Draw new examples of what you ask for.

    Files are written as the draws come, so that there may be any number of them.
    """
    if is_table_run(run):
        from keras_cvae.cli.tables import generate_table

        if shard_rows is not None:
            raise UsageError("--shard-rows is for pictures, vectors and signals, not for tables.")
        if processes > 1:
            raise UsageError("--processes is for pictures, vectors and signals, not for tables.")
        generate_table(run, condition, n, output, seed, overwrite, as_json)
        return
    drawing.check_asked(output, shard_rows, overwrite, as_json)
    again = f"\nContinue with:\n{command.line(*sys.argv[1:])}"
    together(processes, signals="all", on=again if shard_rows else "")
    model = open_model(run)
    if output is not None and drawing.of_pictures(output, shard_rows):
        images_only(model, "Use -o FILE.npz, FILE.csv or FILE.parquet to save it.")
    if sample is None:  # means of numbers are no draws: counts of 1.7, and too little spread
        sample = len(model.x_shape) < 3
    asked = drawing.Asked.of(
        model,
        read_conditions(model, condition),
        n,
        seed=seed,
        output="sample" if sample else "mean",
        **how_to_draw(run, temperature, guidance),
    )
    written: list[Path] = []
    if output is not None and shard_rows is not None:
        written = drawing.write_folder(asked, output, shard_rows, overwrite)
    else:
        with devices.dividing():
            if output is None:
                drawing.show_draws(asked)
            else:
                written = drawing.write_file(asked, output)
    first_alone()
    if output is None:
        return
    if as_json:
        few = asked.total <= LISTED
        labels = {"labels": asked.labels.rows(0, asked.total).tolist()} if few else {}
        print(json.dumps({"files": [str(p) for p in written]} | labels))
    else:
        each, names = asked.labels.n, asked.labels.names
        of = f", {each:,} for each of {len(names)} conditions" if len(names) > 1 else ""
        out.print(f"{counted(asked.total, 'draw')}{of}, written to {output}", soft_wrap=True)


@app.command()
def restyle(
    run: RunFolder,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of one example.")],
    to: Annotated[list[str], typer.Option(help="What it becomes. Repeat for several.")],
    is_a: Annotated[
        str | None, typer.Option("--from", help="What it is. Left out: the model reads it.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The picture is dark on light, the data light on dark.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--out", help="A .png file.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """The same handwriting, another digit: encode an image, decode it as something else."""
    import numpy as np

    from keras_cvae.data.images import read_image
    from keras_cvae.figures import sheets, writing

    if output is not None:
        check_output(output, (".png",), overwrite)
    opened = open_or_none(run)
    check_image(image)
    model = open_model(run)
    images_only(model, "Restyling needs pictures.")
    if not model.condition.width:
        raise UsageError("This run has no condition, so there is nothing to restyle to.")
    x = read_image(image, model.x_shape, opened.config.fit if opened else "crop")[None]
    _say_how_it_was_read(image, x, opened)
    x = 1.0 - x if invert else x
    spec = model.condition.spec

    def source_of(x: Any) -> tuple[Any, float]:
        return _read(model, x) if is_a is None else (read(spec, is_a), 1.0)

    source, sure = source_of(x)
    targets = [read(spec, text, before=source) for text in to]
    unlike = _say_if_unlike(opened, model, x, lambda x: [source_of(x)[0]])
    if is_a is None:
        likely = "Most like a {} of its classes" if unlike else f"Read as a {{}} ({sure:.0%})"
        err.print(f"{likely.format(source)}; --from says otherwise.", soft_wrap=True)
    restyled = np.concatenate([model.restyle(x, source, target) for target in targets])
    is_a = str(source) if is_a is None else is_a
    labels = [f"{is_a} (yours)", *to]
    if output is not None:
        writing.save(
            sheets.image_grid(np.concatenate([x, restyled])[None], column_labels=labels), output
        )
    if as_json:
        print(json.dumps({"from": is_a, "to": to, "file": output and str(output)}))
        return
    show(np.concatenate([x, restyled]), labels)
    if output is not None:
        out.print(f"Written to {output}")


@app.command()
def complete(
    run: RunFolder,
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE|TABLE", help="A picture of one example, or a table with empty cells."
        ),
    ],
    known: Annotated[
        str | None,
        typer.Option(
            help="What is known: bottom-left, left, all-but-bottom-right, ..., random, or a "
            "picture that is white there. Default: what the run was trained with.",
            autocompletion=starting((*masks.NAMES, masks.RANDOM)),
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="How many completions. Default: 10; of a table, 1."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A .png or an .npz. None: shown here.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The picture is dark on light, the data light on dark.")
    ] = False,
    temperature: Temperature = None,
    seed: Seed = 0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw x from p(x|z,y) instead of showing its mean.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Complete a picture of which a part is known, several ways; that part stays as it is."""
    if is_table_run(run):
        from keras_cvae.cli.tables import complete_table

        complete_table(run, image, n or 1, output, seed, overwrite, as_json)
        return
    n = 10 if n is None else n
    if output is not None:
        check_output(output, (".png", ".npz"), overwrite)
    elif as_json:
        raise UsageError("--json says which file was written. Expected -o FILE with it.")
    check_image(image)
    if known is not None and Path(known).suffix:
        check_image(Path(known))
    model = open_model(run)
    if not model.condition.knows_part:
        raise UsageError(
            "This run draws what its condition asks for; it completes nothing. Train one that does "
            "with: cvae train DATA --task complete"
        )
    images_only(model, "Completing needs pictures.")

    import numpy as np

    from keras_cvae.data.images import read_image
    from keras_cvae.figures import sheets, writing

    mask = model.condition.spec.fixed
    if known is None and mask is None:
        raise UsageError("This run completes from any part. Say which is known with --known.")
    if known == masks.RANDOM:
        mask = masks.random(1, model.x_shape, np.random.default_rng(seed))[0]
    elif known is not None and Path(known).suffix:
        mask = read_image(known, (*model.x_shape[:2], 1)) > 0.5
    elif known is not None:
        mask = masks.known(known, model.x_shape)
    if mask.all():
        raise UsageError(f"'{known}' says that all is known. Expected black where it is not.")
    opened = open_or_none(run)
    x = read_image(image, model.x_shape, opened.config.fit if opened else "crop")[None]
    _say_how_it_was_read(image, x, opened)
    x = 1.0 - x if invert else x
    _say_if_unlike(opened, model, x, lambda x: None)
    kind = "sample" if sample else "mean"
    temperature = 1.0 if temperature is None else temperature
    drawn = model.complete(x, mask, n, seed, temperature=temperature, output=kind)
    drawing.check_finite(drawn, temperature=temperature)
    shown = np.concatenate([np.where(masks.known(mask, model.x_shape), x, 0.5), drawn])
    labels = ["known", *map(str, range(1, n + 1))]
    if output is None:
        show(shown, labels)
    elif output.suffix.lower() == ".npz":
        write_arrays(output, x=drawn)
    else:
        writing.save(sheets.image_grid(shown[None], column_labels=labels), output)
    if as_json:
        print(json.dumps({"file": str(output), "completions": n}))
    elif output is not None:
        out.print(f"{counted(n, 'completion')}, written to {output}")


def _say_how_it_was_read(image: Path, x: Any, run: Run | None) -> None:
    """Say what was done to a picture so that it is x `(1, *x_shape)`, one of the run's."""
    from keras_cvae.data.images import opened

    x_shape = x.shape[1:]

    with opened(image) as file:
        (width, height), mode = file.size, file.mode
    done = []
    if width * x_shape[0] != height * x_shape[1]:
        fit = run.config.fit if run else "crop"
        done.append({"crop": "cropped", "pad": "padded", "stretch": "stretched"}[fit] + " to fit")
    elif (height, width) != x_shape[:2]:
        done.append("resized")
    if x_shape[2] == 1 and mode in ("RGB", "RGBA", "P", "CMYK"):
        done.append("taken in grey")
    if x_shape[2] == 3 and (x.max(axis=-1) - x.min(axis=-1)).max() < 0.02:
        done.append("grey, where the model knows colours")
    if done:
        err.print(
            f"'{image}' is {width}x{height}, the run's pictures {x_shape[1]}x{x_shape[0]}: "
            f"{', '.join(done)}.",
            soft_wrap=True,
        )


def _say_if_unlike(run: Run | None, model: Any, x: Any, condition: Callable[[Any], Any]) -> bool:
    """Warn of a picture that is less likely than all that the model was trained on.

    Args:
        run: The run; None of a model that came alone, of which nothing is said.
        model: Its model.
        x: The picture.
        condition: What a picture is conditioned on.

    Returns:
        Whether there was something to warn of.
    """
    if run is None:
        return False
    from keras_cvae.runs.typical import log_probs, typical

    known = typical(run, model, progress_bar)
    if known is None:
        return False
    found = float(log_probs(model, x, condition(x))[0])
    if found >= known.least:
        return False
    text = (
        f"This picture is unlike what the model knows: its log p is {found:.0f} nats, the least of "
        f"{known.examples} training pictures has {known.least:.0f}."
    )
    inverted = float(log_probs(model, 1.0 - x, condition(1.0 - x))[0])
    share = 0.5 if model.x_shape[-1] == 1 else 1.0  # few take the negative of a photograph
    if inverted > found + share * (known.least - found):
        text += f" Inverted it has {inverted:.0f}: try --invert."
    warn(text)
    return True


def _read(model: Any, x: Any) -> tuple[str, float]:
    """The class that a picture is read as, and its probability."""
    classes = model.condition.spec.classes
    if classes is None:
        raise UsageError("Say what the picture is with --from; only classes can be read from it.")
    p = model.classify(x)[0]
    best = int(p.argmax())
    return classes.names[best], float(p[best])
