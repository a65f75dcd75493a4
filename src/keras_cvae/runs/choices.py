"""What a run is best made with: a function of facts about the data and of what was asked for."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_cvae.data.containers import shortened
from keras_cvae.data.look import Facts
from keras_cvae.runs.config import ConfigError, RunConfig, load_config, presets

FEW = 3000  # examples, below which a network learns them by heart
ENOUGH = 5000  # colour pictures for the network of `color`
LARGEST = 64  # pixels a side
PATIENCE = 30  # epochs
GUIDANCE = {True: 2.0, False: 3.0}  # of draws of many colour pictures, of few: results/color.md
WARMUP = 0.05  # of the steps: the first of a convolutional network are too large at the full rate


@dataclass(frozen=True)
class Choice:
    """A configuration with what was chosen of it, and why.

    Args:
        config: What was asked for, and the rest chosen.
        settings: What was chosen, by name.
        reasons: Why, a clause each.
        doubt: What to ask for if the data are something else than they were taken for; "" where
            that is clear.
    """

    config: RunConfig
    settings: dict[str, Any]
    reasons: tuple[str, ...]
    doubt: str = ""

    def __str__(self) -> str:
        chosen = " ".join(flags(self.settings)) or "the defaults, a dense network"
        lines = [f"Chosen: {chosen}", f"Because {'; '.join(self.reasons)}.", self.doubt]
        return "\n".join(filter(None, lines))


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed."""
    words: list[str] = []
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif name == "bounds" and len(set(value)) == 1:
            words += [flag, value[0]]
        elif name in ("condition", "bounds"):
            words += [part for one in value for part in (flag, one)]
        elif isinstance(value, tuple | list):
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, str(value)]
    return words


def choose(facts: Facts, asked: Mapping[str, Any], accelerated: bool = False) -> Choice:
    """Choose what was not asked for.

    Args:
        facts: Of the data.
        asked: Settings of the user's; none of them changes, and what does not go with them is not
            chosen.
        accelerated: Whether networks run on a GPU or a TPU.

    Raises:
        ConfigError: What was asked for does not fit together.
    """
    settings: dict[str, Any] = {}
    reasons: list[str] = []
    own = set(asked) | {other for name in asked for other in _WITH.get(name, ())}
    for rule in RULES:
        for found, why in rule(facts, asked, accelerated):
            new = {name: value for name, value in found.items() if name not in own | set(settings)}
            if new or not found:
                settings |= new
                reasons.append(why)
    try:
        config = load_config(**settings | dict(asked))
    except ConfigError:
        settings, config = {}, load_config(**asked)
        reasons = [reasons[0], "what you ask for leaves nothing to choose"]
    return Choice(config, settings, tuple(reasons), _DOUBTS[facts.perhaps])


_OF_DRAWS = ("label_dropout", "guidance", "temperature")  # of the preset: `_guided` sets them

# What is not chosen where one of these was asked for.
_WITH = {
    "likelihood": ("variance", "bounds"),
    "binarize": ("likelihood", "variance", "bounds"),
    "backbone": (
        "filters",
        "units",
        "prior_units",
        "activation",
        "ema",
        "rate_warmup",
        "clip",
        "prior_activation",
    ),
    "prior": ("prior_units", "prior_activation"),
    "latent_dim": ("group_sizes", "groups"),
    "groups": ("group_sizes",),
    "epochs": ("patience",),
    "schedule": ("rate_warmup",),
    "validation": (),
    "task": ("condition", "conditional"),
    "guidance": ("temperature",),
    "temperature": ("guidance",),
}

_DOUBTS: dict[str | None, str] = {
    "signals": "If these are signals in time: --signals.",
    "vectors": "If these are no signals, but vectors whose order means nothing: --no-signals.",
    None: "",
}

Found = tuple[dict[str, Any], str]


def _what(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    """Says what x are, and chooses nothing."""
    yield {}, f"x are {facts.examples:,} {_words(facts)}"


def _words(facts: Facts) -> str:
    if facts.kind == "signals":
        length, channels = facts.shape
        return f"signals of length {length}" + (f" and {channels} channels" * (channels > 1))
    if facts.kind == "vectors":
        what = {"binary": "binary values", "counts": "counts", "numbers": "numbers"}
        return f"vectors of {facts.shape[0]} {what.get(facts.values, 'pixels')}"
    if facts.sizes and len(facts.sizes) > 1:
        size = f"pictures of {len(facts.sizes)} sizes"
    else:
        size = "pictures of " + "x".join(map(str, facts.shape[1::-1]))
    grey = "" if facts.color else "grey "
    shades = {"binary": "binary ", "drawn": "drawn ", "shades": grey, "numbers": grey}
    light = ", dark on light" if facts.light else ""
    return f"{shades.get(facts.values, '')}{'colour ' if facts.color else ''}{size}{light}"


def _size(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    if facts.kind != "pictures":
        return
    side = min(facts.side, LARGEST)
    side = side if side < 16 else side // 8 * 8
    if facts.sizes and len(facts.sizes) > 1:
        yield {"image_size": side}, f"they differ in size, so all become {side}x{side}"
    elif max(facts.shape[:2]) > LARGEST:
        yield {"image_size": side}, f"larger ones than {LARGEST} pixels take hours"


def _of_pictures(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    """Likelihood and network of pictures."""
    if facts.kind != "pictures" or facts.shape[-1] not in (1, 3):
        return
    side = asked.get("image_size") or min(max(facts.shape[:2]), LARGEST)
    few = facts.examples < FEW
    shades = facts.values != "numbers" and (facts.color or facts.values == "shades")
    if facts.values == "numbers":
        yield {"likelihood": "gaussian"}, "their values are no levels of 0..255, so a density"
    elif shades and facts.color:
        yield (
            {"likelihood": "gaussian"},
            "a density of one width learns the large shapes of colour pictures before their grain",
        )
    elif shades:
        yield (
            {"likelihood": "discretized_logistic"},
            "they have shades, which mixtures of logistics describe level by level",
        )
    if shades and facts.color and facts.examples >= ENOUGH:
        settings = {k: v for k, v in presets()["color"].config.items() if k not in _OF_DRAWS}
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        if side > 40:  # one halving more
            settings["filters"] += settings["filters"][-1:]
        yield settings, "many colour pictures take the network of the preset color"
    elif shades or facts.values == "numbers" or side > 32:
        small = few and not facts.color
        filters = (16, 32, 64) if side > 40 else (16, 32) if small else (32, 64)
        units = (128,) if few else (256,)
        yield (
            {"backbone": "conv", "filters": filters, "units": units, "rate_warmup": WARMUP},
            "what is near goes together, so a convolutional network",
        )
        if shades and facts.color:
            yield {"latent_dim": 64, "groups": 4}, "colours need a wider latent, in groups"


def _guided(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    """Draws of colour pictures show their class faintly, unless they are guided to it."""
    plain = asked.get("task") == "complete" or asked.get("conditional") is False
    plain = plain or bool(asked.get("semisupervised")) or asked.get("label_dropout") == 0
    if facts.color and facts.classes and not plain:
        guidance = GUIDANCE[facts.examples >= ENOUGH]
        yield (
            {"label_dropout": 0.1, "guidance": guidance},
            "a tenth of the classes are forgotten in training, so that draws can be guided to "
            "their class, which else shows faintly: cvae generate draws with --guidance "
            f"{guidance:g} unless told otherwise",
        )


def _of_signals(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    if facts.kind != "signals":
        return
    depth = min(4, max(1, (facts.shape[0] // 8).bit_length() - 1))
    filters = (16, 32, 64, 64)[:depth]
    units = (128,) if facts.examples < FEW else (256,)
    yield (
        {
            "signals": True,
            "likelihood": "gaussian",
            "backbone": "conv",
            "filters": filters,
            "units": units,
            "rate_warmup": WARMUP,
        },
        "neighbouring values go together, so convolutions along the signal, and a density of "
        "standardised values",
    )
    yield (
        {"groups": 8, "prior_activation": "tanh"},
        "where a signal begins, its pace and its form depend on each other, so z is drawn in "
        "groups, each given those before it",
    )


def _of_vectors(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    if facts.kind == "vectors" and asked.get("bounds"):
        yield (
            {"likelihood": "bounded", "variance": "predicted"},
            "each value gets a density of its own width between its bounds",
        )
        return
    if facts.kind != "vectors" or facts.values not in ("counts", "numbers"):
        return
    if facts.values == "counts":
        over = facts.spread > 1.5
        how = "more than a Poisson's" if over else "as a Poisson's do"
        within = " within a class" if facts.classes else ""
        yield (
            {"likelihood": "negative_binomial" if over else "poisson"},
            f"they spread {how} (variance over mean {facts.spread:.3g}{within})",
        )
        return
    if any(facts.ratios) and "likelihood" not in asked:
        named = [str(i + 1) for i, ratio in enumerate(facts.ratios) if ratio]
        one = len(named) == 1
        yield (
            {
                "likelihood": "bounded",
                "bounds": ("0..",) if all(facts.ratios) else (f"{','.join(named)}=0..",),
                "variance": "predicted",
            },
            "each value gets a density of its own width, standardised whatever its unit; "
            f"value{'' if one else 's'} {', '.join(named)} {'is' if one else 'are'} above 0 and "
            f"differ{'s' if one else ''} by factors, so {'its' if one else 'their'} logarithm gets "
            "it",
        )
    else:
        yield (
            {"likelihood": "gaussian", "variance": "predicted"},
            "each value gets a density of its own width, standardised whatever its unit",
        )
    size = max(2, math.prod(facts.shape) // 2)
    if size < 32:
        yield {"latent_dim": size}, f"{facts.shape[0]} values need no more latent dimensions"


def _pairs(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    """Says that a density does not keep to two values, and chooses nothing."""
    density = asked.get("likelihood") in (None, "gaussian", "bounded") and not asked.get("binarize")
    if density and any(facts.pairs):
        named = [str(i + 1) for i, pair in enumerate(facts.pairs) if pair]
        one = len(named) == 1
        yield (
            {},
            f"value{'' if one else 's'} {shortened(named)} {'has' if one else 'have'} two values "
            f"only, but {'is' if one else 'are'} drawn in between, too, as by any density (a "
            "table, .csv or .parquet, keeps to the two)",
        )


def _few(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    """Fewer weights and early stopping, so that few examples are not learned by heart."""
    if facts.examples >= FEW:
        return
    dense = facts.kind == "vectors" or asked.get("backbone") in (None, "mlp")
    width = (128, 128) if facts.kind == "vectors" else (256, 256) if dense else (128,)
    found: dict[str, Any] = {"units": width, "patience": PATIENCE}
    if facts.kind != "vectors":
        found["latent_dim"] = 16
    ends = asked.get("validation") != 0 and not {"epochs", "patience"} & set(asked)
    if not ends:
        del found["patience"]
    improving = ", and an end where held-out ones no longer improve" * ends
    yield found, f"they are few: fewer weights{improving}"


def _conditions(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    usable = {name: kind for name, (kind, _) in (facts.named or {}).items() if kind}
    if not usable or asked.get("conditional") is False or asked.get("task") == "complete":
        return
    declared = tuple(f"{name}:{kind}" for name, kind in usable.items())
    if facts.classes is None and not facts.numbers:
        yield (
            {"condition": declared},
            "the file has no y, but arrays of one entry an example to draw by (--no-conditional "
            "leaves them out)",
        )


def _precision(facts: Facts, asked: Mapping[str, Any], accelerated: bool) -> Iterator[Found]:
    if accelerated and facts.kind == "pictures" and (facts.color or facts.side > 32):
        yield {"precision": "mixed_bfloat16"}, "an accelerator is there, which is twice as fast so"


RULES: tuple[Callable[[Facts, Mapping[str, Any], bool], Iterator[Found]], ...] = (
    _what,
    _size,
    _of_pictures,
    _guided,
    _of_signals,
    _of_vectors,
    _pairs,
    _few,
    _conditions,
    _precision,
)
