"""`cvae plot`, `cvae info`, `cvae presets`."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from keras_cvae import command, trained
from keras_cvae.backend import import_light_keras
from keras_cvae.cli.app import UsageError, app, err, out
from keras_cvae.cli.conditions import read
from keras_cvae.cli.flags import AsJson, Guidance, Overwrite, RunFolder, Seed, Temperature, starting
from keras_cvae.cli.shared import how_to_draw, open_run, progress_bar, show_facts
from keras_cvae.conditions.spec import JointSpec
from keras_cvae.data.pictures import is_plain_table
from keras_cvae.data.sources import NAMED
from keras_cvae.errors import nearest
from keras_cvae.figures.kinds import KINDS
from keras_cvae.files import check_writable
from keras_cvae.models.card import Card, located, read_card
from keras_cvae.runs.config import presets
from keras_cvae.runs.position import position_of
from keras_cvae.runs.run import is_table_run
from keras_cvae.runs.unfinished import state


@app.command()
def plot(
    run: RunFolder,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND] [DATA]",
            help=f"What to draw: {', '.join(KINDS)}, or all, the default; and of which data. "
            "Default: what the run was trained on.",
            autocompletion=starting((*KINDS, "all")),
            show_default=False,
        ),
    ] = None,
    condition: Annotated[
        str | None, typer.Option("--condition", "-c", help="Only this one, in the manifold.")
    ] = None,
    grid: Annotated[
        Literal["linear", "quantile"],
        typer.Option(help="Of the manifold: -1.5 .. 1.5, or 5 %..95 %."),
    ] = "linear",
    form: Annotated[
        Literal["png", "pdf", "svg"], typer.Option("--format", help="Of the figures.")
    ] = "png",
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A folder. Default: RUN/pictures.")
    ] = None,
    temperature: Temperature = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw pictures of a run: samples, the latent plane, morphs, reconstructions, history."""
    kind, data = _kind_and_data(what or [])
    if is_table_run(run):
        from keras_cvae.cli.tables import plot_table

        if kind not in (None, "all"):
            raise UsageError(f"A run on a table is drawn as a whole. Expected no '{kind}'.")
        plot_table(run, data, output, form, seed, as_json)
        return
    kind = kind or "all"
    opened = open_run(run)
    check_writable(output or opened.folder / "pictures")

    from keras_cvae.figures.of_runs import draw

    model = opened.model()
    loaded = None
    if data is not None:
        from keras_cvae.evaluation.prepare import check_fits
        from keras_cvae.runs.build import load_data

        loaded = load_data(data, opened.config, progress_bar)
        check_fits(model, loaded)
    written = draw(
        opened,
        kind,
        out=output,
        model=model,
        condition=None if condition is None else read(model.condition.spec, condition),
        grid=grid,
        **(how_to_draw(run, temperature, guidance) if kind in ("samples", "all") else {}),
        seed=seed,
        suffix=f".{form}",
        data=loaded,
        progress=progress_bar,
        notice=lambda text: err.print(text, soft_wrap=True),
    )
    if as_json:
        print(json.dumps([str(path) for path in written]))
    else:
        for path in written:
            out.print(str(path), soft_wrap=True)


def _kind_and_data(words: list[str]) -> tuple[str | None, str | None]:
    """What to draw, and of which data, in either order; None for what is not said."""
    kind = next((word for word in words if word in (*KINDS, "all")), None)
    rest = [*words]
    if kind is not None:
        rest.remove(kind)
    if len(rest) > 1:
        raise UsageError(
            f"Received {', '.join(words)}. Expected what to draw, one of {', '.join(KINDS)}, all; "
            "and one data set."
        )
    if (
        rest
        and kind is None
        and not (
            rest[0] in NAMED or rest[0].startswith("hf://") or Path(rest[0]).expanduser().exists()
        )
    ):
        raise UsageError(
            f"'{rest[0]}' is nothing that can be drawn, and no data.{nearest(rest[0], KINDS)} "
            f"Expected one of {', '.join(KINDS)}, all; or a data set."
        )
    return kind, rest[0] if rest else None


@app.command()
def info(
    what: Annotated[str, typer.Argument(metavar="RUN|DATA", help="A run, a model, or data.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Of a table: write its schema, a .toml to be edited."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say what a run, a shared model or a data set holds."""
    if is_table_run(what):
        from keras_cvae.cli.tables import about_run

        about_run(Path(what), as_json)
        return
    if is_plain_table(what):
        from keras_cvae.cli.tables import info_table

        info_table(what, output, overwrite, as_json)
        return
    if output is not None:
        raise UsageError("-o writes the schema of a table. Expected a .csv, .parquet or .feather.")
    if (Path(what) / "run.json").is_file():
        about = _about_run(open_run(Path(what)))
    elif card := _card(what):
        about = card.shown()
    else:
        about = _about_data(what)
    if as_json:
        print(json.dumps(about))
        return
    notes, suggested = about.pop("notes", []), about.pop("train_with", None)
    because = about.pop("because", [])
    show_facts(about)
    for note in notes:
        out.print(note, soft_wrap=True)
    if suggested:
        out.print(f"\nTo train on it, which chooses {suggested['chooses']}", soft_wrap=True)
        out.print(f"because {'; '.join(because)}:", soft_wrap=True)
        for words in suggested["type"]:
            out.print(f"  {words}", style="cyan", soft_wrap=True)


def _about_data(what: str) -> dict[str, Any]:
    """The facts of data, split as they would be for a training, and what to type for one."""
    from keras_cvae.data.look import look
    from keras_cvae.runs.choices import choose, flags

    facts = look(what, progress_bar)  # before Keras, which what is not there need not wait for
    choice = choose(facts, {})
    import_light_keras()
    from keras_cvae.runs.build import load_data

    config = choice.config
    data = load_data(what, config, progress_bar)
    held = 0 if data.validation is data.test else len(data.validation)
    choice = choose(replace(facts, examples=len(data.train) + held), {})  # what could be read
    about = facts.describe() | data.describe()
    lines = [command.line("train", what)]
    if facts.named and not config.condition:
        asked = [f"{name}:{kind}" for name, (kind, _) in facts.named.items() if kind]
        lines.append(command.line("train", what, *flags({"condition": asked})))
    notes = list(about.pop("notes", []))
    if facts.alone:
        alone = ", ".join(facts.alone[:5])
        notes.append(
            f"Classes of one example ({alone}) cannot be held out, nor learned well: more are "
            "needed, or they may be left out."
        )
    notes += [choice.doubt] if choice.doubt else []
    about["because"] = list(choice.reasons)
    chosen = " ".join(flags(choice.settings)) or "the defaults"
    return about | {"notes": notes, "train_with": {"chooses": chosen, "type": lines}}


def _card(what: str) -> Card | None:
    """The card of a model that comes trained, or of a shared one; None for anything else."""
    shared = what.endswith(".keras") or (Path(what) / "model.keras").is_file()
    return read_card(located(what)) if trained.path(what) or shared else None


def _about_run(run: Any) -> dict[str, Any]:
    history = run.history()
    about: dict[str, Any] = {
        "run": str(run.folder),
        "data": run.source,
        "state": "complete" if run.complete else state(run, position_of(run.checkpoint)),
        "metrics": run.metrics(),
        "settings": run.config.model_dump(),
    }
    if run.complete or history:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is the state
            model = run.model()
        about["x_shape"] = list(model.x_shape)
        about["condition"] = _about_condition(model.condition)
        about["weights"] = int(model.count_params())
    return about


def _about_condition(condition: Any) -> Any:
    spec = condition.spec
    if isinstance(spec, JointSpec):
        return {name: part.summary() for name, part in spec.parts.items()}
    return list(spec.classes.names) if spec.classes else spec.summary()


@app.command("presets")
def list_presets(as_json: AsJson = False) -> None:
    """List the presets with what to expect of each, and the models that come trained."""
    known = presets().values()
    paths = {name: located(name) for name in trained.names()}
    cards = {name: card for name, path in paths.items() if (card := read_card(path))}
    if as_json:
        listed = [preset.model_dump() for preset in known]
        come = [card.model_dump(mode="json") for card in cards.values()]
        print(json.dumps({"presets": listed, "trained": come}))
        return
    for preset in known:
        out.print(Text.assemble((preset.name, "bold"), f"  {preset.summary}"))
        out.print(f"    {preset.command}", style="cyan")
        out.print(f"    {preset.score}; {preset.time} on {preset.hardware}\n", style="dim")
    out.print("These come trained: they draw without a run, data or a network.\n")
    for name, card in cards.items():
        size = paths[name].stat().st_size / 1e6
        scores = "; ".join(f"{measure} {value}" for measure, value in card.scores.items())
        out.print(Text.assemble((name, "bold"), f"  {card.summary}"))
        out.print(f"    {card.example}", style="cyan")
        out.print(f"    {scores}; {size:.1f} MB, {card.licence}\n", style="dim")
