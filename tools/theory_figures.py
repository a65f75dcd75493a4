"""Draw the figures of the theory page as SVG, in English and in Chinese.

    python tools/theory_figures.py docs/figures

The symbols are those of the text; the sizes of the network are those of the `notebook` preset.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from keras_cvae.runs.config import presets

INK, SOFT, Q, P, LOSS = "#1f2937", "#6b7280", "#b45309", "#1d4ed8", "#be123c"
SEEN, PLAIN, TINT_Q, TINT_P, TINT_LOSS = "#e5e7eb", "#ffffff", "#fef3c7", "#dbeafe", "#ffe4e6"

WORDS = {
    "en": {
        "seen": "grey: observed",
        "generates": "solid: generates",
        "infers": "dashed: infers",
        "elbo": "what one example costs",
        "reconstruction": "reconstruction\nnats for $x$, once $z$ is known",
        "kl": "KL\nnats by which $q$ says more of $z$\nthan the prior allows for",
        "two normals": "prior and posterior of one $z$",
        "training": "training",
        "test": "test",
        "encoder": "encoder",
        "decoder": "decoder",
        "draw": "draw",
        "sampling": "sampling",
        "term kl": "loss: KL",
        "term x": "loss: reconstruction",
        "mean": "mean of $x$,\nor a draw",
        "no encoder": "no encoder, no loss",
        "label": "label",
        "picture": "picture",
        "weights": "{} weights",
    },
    "zh": {
        "seen": "灰色：可观测",
        "generates": "实线：生成",
        "infers": "虚线：推断",
        "elbo": "一个样本的代价",
        "reconstruction": "重构项\n已知 $z$ 之后，描述 $x$ 还需多少 nat",
        "kl": "KL 项\n$q$ 关于 $z$ 说得比先验多，\n多出多少 nat",
        "two normals": "同一个 $z$ 的先验与后验",
        "training": "训练",
        "test": "测试",
        "encoder": "编码器",
        "decoder": "解码器",
        "draw": "采样",
        "sampling": "采样",
        "term kl": "损失：KL 项",
        "term x": "损失：重构项",
        "mean": "$x$ 的均值，\n或一个样本",
        "no encoder": "没有编码器，没有损失",
        "label": "标签",
        "picture": "图片",
        "weights": "{} 个权重",
    },
}


class Canvas:
    """A figure in units of a letter's height, with the few shapes that diagrams are made of."""

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width / 2.54, height / 2.54), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()
        self.axes.set_aspect("equal")

    def text(self, x, y, words, size=11, color=INK, **kwargs):
        kwargs = {"ha": "center", "va": "center", "linespacing": 1.4} | kwargs
        self.axes.text(x, y, words, size=size, color=color, zorder=5, **kwargs)

    def node(self, x, y, symbol, fill=PLAIN, radius=0.6):
        self.axes.add_patch(Circle((x, y), radius, fc=fill, ec=INK, lw=1.3, zorder=3))
        self.text(x, y, symbol, 15)

    def box(self, x, y, width, height, words, fill=PLAIN, edge=INK, size=11, **kwargs):
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.18"
        self.axes.add_patch(
            FancyBboxPatch(
                corner, width, height, boxstyle=style, fc=fill, ec=edge, lw=1.3, **kwargs
            )
        )
        self.text(x, y, words, size)

    def arrow(self, start, end, color=INK, dashed=False, bend=0.0, gap=0.0):
        start, end = np.array(start, float), np.array(end, float)
        along = (end - start) / np.linalg.norm(end - start)
        self.axes.add_patch(
            FancyArrowPatch(
                start + gap * along,
                end - gap * along,
                arrowstyle="-|>,head_length=4.5,head_width=2.6",
                connectionstyle=f"arc3,rad={bend}",
                linestyle=(0, (4, 2.5)) if dashed else "-",
                shrinkA=0,
                shrinkB=0,
                lw=1.4,
                color=color,
                zorder=2,
            )
        )

    def frame(self, x, y, width, height, label):
        style = "round,pad=0,rounding_size=0.25"
        self.axes.add_patch(
            FancyBboxPatch((x, y), width, height, boxstyle=style, fc="none", ec=SOFT, lw=1.1)
        )
        self.text(x + width - 0.2, y + 0.35, label, 10, SOFT, ha="right")

    def save(self, path: Path):
        self.figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def graph(words, conditional: bool) -> Canvas:
    """The graphical model: p(z) p(x | z) and q(z | x), or all of them given y."""
    c = Canvas(12.4 if conditional else 11, 6.2)
    c.frame(2.2, 0.5, 5.6 if conditional else 3.2, 5.3, "$N$")
    z, x = (3.8, 4.6), (3.8, 1.9)
    c.arrow(z, x, P, gap=0.62)
    c.arrow((3.32, 2.3), (3.32, 4.2), Q, dashed=True, bend=-0.45)
    c.text(4.25, 3.25, r"$\theta$", 12, P)
    c.text(2.6, 3.25, r"$\varphi$", 12, Q)
    c.node(*z, "$z$")
    c.node(*x, "$x$", SEEN)
    right = 6.0
    if conditional:
        y = (6.6, 3.25)
        c.arrow(y, z, P, gap=0.62)
        c.arrow(y, x, P, gap=0.62)
        c.arrow((6.4, 3.85), (4.42, 4.75), Q, dashed=True, bend=0.3)
        c.node(*y, "$y$", SEEN)
        right = 8.2
        lines = [
            (r"$p_\theta(z \mid y)$", P),
            (r"$p_\theta(x \mid z, y)$", P),
            (r"$q_\varphi(z \mid x, y)$", Q),
        ]
    else:
        lines = [("$p(z)$", P), (r"$p_\theta(x \mid z)$", P), (r"$q_\varphi(z \mid x)$", Q)]
    for i, (line, color) in enumerate(lines):
        c.text(right, 5.0 - 0.85 * i, line, 14, color, ha="left")
    legend = [("generates", P), ("infers", Q), ("seen", SOFT)]
    for i, (word, color) in enumerate(legend):
        c.text(right, 2.1 - 0.6 * i, words[word], 9.5, color, ha="left")
    return c


def loss(words) -> Canvas:
    """The loss with its two terms marked, and the KL of two normals drawn and computed."""
    c = Canvas(17, 8.6)
    c.text(8.5, 8.05, words["elbo"], 10.5, SOFT)
    c.text(4.1, 7.2, r"$-\,\mathrm{ELBO}(x)\;\;=$", 14.5, ha="right")
    expected = r"$-\,\mathrm{E}_{q_\varphi(z \mid x)}\,[\,\log p_\theta(x \mid z)\,]$"
    c.text(7.15, 7.2, expected, 14.5, P)
    c.text(10.18, 7.2, "$+$", 14.5)
    c.text(13.2, 7.2, r"$\mathrm{KL}\,(\,q_\varphi(z \mid x)\;\|\;p(z)\,)$", 14.5, Q)
    for left, right, color, word in ((4.65, 9.65, P, "reconstruction"), (10.7, 15.7, Q, "kl")):
        c.axes.plot([left, left, right, right], [6.45, 6.25, 6.25, 6.45], color=color, lw=1.4)
        c.text((left + right) / 2, 5.95, words[word], 10.5, color, va="top")
    mean, scale = 1.2, 0.45
    kl = 0.5 * (scale**2 + mean**2 - 1 - np.log(scale**2))
    axis = np.linspace(-3, 3, 301)
    densities = (
        (np.exp(-(axis**2) / 2) / np.sqrt(2 * np.pi), INK, "$p(z) = N(0, 1)$", -1.3, 0.3),
        (
            np.exp(-((axis - mean) ** 2) / (2 * scale**2)) / (scale * np.sqrt(2 * np.pi)),
            Q,
            rf"$q(z \mid x) = N({mean}, {scale}^2)$",
            2.0,
            0.72,
        ),
    )

    def at(z, height):
        return 8.1 + 1.55 * np.asarray(z), 0.95 + 2.4 * np.asarray(height)

    for density, color, name, z, height in densities:
        c.axes.fill_between(*at(axis, density), 0.95, color=color, alpha=0.12, lw=0)
        c.axes.plot(*at(axis, density), color=color, lw=1.5)
        right = z > 0
        c.text(*at(z, height), name, 11, color, ha="left" if right else "right")
    c.axes.plot(*at([-3, 3], [0, 0]), color=INK, lw=1)
    c.text(*at(3.12, 0), "$z$", 12)
    c.text(*at(2.0, 0.42), rf"$\mathrm{{KL}} = {kl:.2f}$ nats", 11, Q, ha="left")
    c.text(8.1, 0.4, words["two normals"], 10, SOFT)
    return c


def two_times(words) -> Canvas:
    """The VAE at training time, with the sampling step and both terms of the loss, and at test
    time."""
    c = Canvas(17.5, 9.6)
    c.text(0.4, 9.0, words["training"], 13, ha="left", weight="bold")
    row = 6.4
    c.node(1.1, row, "$x$", SEEN)
    c.box(3.6, row, 2.3, 1.5, words["encoder"] + "\n" + r"$q_\varphi(z \mid x)$", TINT_Q, Q)
    c.box(6.5, row + 0.85, 1.2, 0.95, r"$\mu$", size=14)
    c.box(6.5, row - 0.85, 1.2, 0.95, r"$\sigma$", size=14)
    c.box(9.5, row, 2.7, 1.15, r"$z = \mu + \sigma \odot \varepsilon$", size=12)
    c.text(9.5, row + 0.85, words["sampling"], 10, SOFT)
    c.box(9.5, row - 1.95, 2.7, 0.9, r"$\varepsilon \sim N(0, I)$", size=12, linestyle="--")
    c.box(12.9, row, 2.3, 1.5, words["decoder"] + "\n" + r"$p_\theta(x \mid z)$", TINT_P, P)
    c.box(15.9, row, 1.9, 1.0, r"$p_\theta(x \mid z)$", size=12)
    for start, end in (
        ((1.72, row), (2.43, row)),
        ((4.77, row + 0.2), (5.88, row + 0.8)),
        ((4.77, row - 0.2), (5.88, row - 0.8)),
        ((7.12, row + 0.8), (8.13, row + 0.2)),
        ((7.12, row - 0.8), (8.13, row - 0.2)),
        ((9.5, row - 1.5), (9.5, row - 0.6)),
        ((10.87, row), (11.73, row)),
        ((14.07, row), (14.93, row)),
    ):
        c.arrow(start, end)
    c.box(6.5, row + 2.25, 2.6, 0.75, words["term kl"], TINT_LOSS, LOSS, 10.5)
    c.arrow((6.5, row + 1.35), (6.5, row + 1.86), LOSS)
    c.axes.plot([6.5, 6.5], [row - 0.35, row + 0.35], color=LOSS, lw=1.4)
    c.box(15.2, row + 2.25, 3.9, 0.75, words["term x"], TINT_LOSS, LOSS, 10.5)
    c.arrow((15.9, row + 0.52), (15.9, row + 1.86), LOSS)
    c.axes.plot([1.1, 1.1, 15.2], [row - 0.62, row - 2.75, row - 2.75], color=LOSS, lw=1.2, ls=":")
    c.axes.plot([15.2, 15.2], [row - 2.75, row - 0.55], color=LOSS, lw=1.2, ls=":")
    c.axes.plot([15.2, 15.2], [row + 0.55, row + 1.3], color=LOSS, lw=1.2, ls=":")
    c.arrow((15.2, row + 1.3), (15.2, row + 1.86), LOSS)

    c.axes.plot([0.3, 17.2], [3.55, 3.55], color=SEEN, lw=1.2)
    c.text(0.4, 2.95, words["test"], 13, ha="left", weight="bold")
    c.text(0.4, 2.35, words["no encoder"], 10, SOFT, ha="left")
    row = 1.35
    c.box(9.5, row, 2.7, 1.15, r"$z \sim N(0, I)$", size=12)
    c.text(9.5, row + 0.85, words["sampling"], 10, SOFT)
    c.box(12.9, row, 2.3, 1.5, words["decoder"] + "\n" + r"$p_\theta(x \mid z)$", TINT_P, P)
    c.box(15.9, row, 2.2, 1.2, words["mean"], SEEN, size=10)
    c.arrow((10.87, row), (11.73, row))
    c.arrow((14.07, row), (14.78, row))
    return c


def network(words) -> Canvas:
    """The CVAE of the `notebook` preset, layer by layer, with the sizes of its layers."""
    config = presets()["notebook"].config
    (units,), latent, pixels, classes = config["units"], config["latent_dim"], 28 * 28, 10
    encoder = (pixels + classes + 1) * units + (units + 1) * 2 * latent
    decoder = (latent + classes + 1) * units + (units + 1) * pixels
    c = Canvas(17.5, 8.8)
    row = 5.0

    def layer(x, size, height, name="", fill=PLAIN, edge=INK):
        c.box(x, row, 0.75, height, "", fill, edge)
        c.text(x, row + height / 2 + 0.35, str(size), 11)
        if name:
            c.text(x, row, name, 12)

    def fan(x, left, right, between, color=SOFT):
        for a in np.linspace(-0.5, 0.5, 6):
            for b in np.linspace(-0.5, 0.5, 6):
                start, end = row + a * left * 0.86, row + b * right * 0.86
                c.axes.plot([x, x + between], [start, end], color=color, lw=0.45, alpha=0.55)

    layer(1.2, pixels, 5.2, "$x$", SEEN)
    fan(1.58, 5.2, 3.8, 1.65)
    layer(3.6, units, 3.8, "", TINT_Q, Q)
    fan(3.98, 3.8, 2.2, 1.37)
    for name, up in ((r"\mu", 0.72), (r"\log\sigma^2", -0.72)):
        c.box(6.1, row + up, 1.5, 0.85, f"${name}$", size=11)
        c.text(6.1, row + up * 2.0, str(latent), 11)
        c.arrow((6.87, row + 0.85 * up), (7.55, row + 0.2 * up))
    c.node(8.05, row, "$z$", radius=0.52)
    c.text(8.05, row + 0.87, str(latent), 11)
    c.box(8.05, row - 2.0, 2.4, 0.8, r"$\varepsilon \sim N(0, I)$", size=10.5, linestyle="--")
    c.arrow((8.05, row - 1.58), (8.05, row - 0.55))
    fan(8.58, 0.5, 3.8, 3.24)
    layer(12.2, units, 3.8, "", TINT_P, P)
    fan(12.58, 3.8, 5.2, 1.95)
    layer(14.95, pixels, 5.2, "", TINT_P, P)
    c.text(15.5, row, r"$\log\frac{p}{1-p}$", 12, ha="left")
    for x, name, count, color in (
        (3.6, "encoder", encoder, Q),
        (12.2, "decoder", decoder, P),
    ):
        c.text(x, 8.3, words[name], 12, color, weight="bold")
        c.text(x, 7.8, words["weights"].format(f"{count:,}"), 9.5, color)
    c.box(8.05, 0.85, 1.6, 0.95, f"$y$   {classes}", SEEN, size=12)
    c.text(8.05, 1.65, words["label"], 9.5, SOFT)
    c.axes.plot([7.25, 2.8], [0.85, 0.85], color=INK, lw=1.4)
    c.arrow((2.8, 0.85), (3.5, row - 1.95))
    c.axes.plot([8.85, 11.4], [0.85, 0.85], color=INK, lw=1.4)
    c.arrow((11.4, 0.85), (12.1, row - 1.95))
    c.text(1.2, row - 3.0, words["picture"], 9.5, SOFT)
    return c


FIGURES = {
    "vae-graph": lambda words: graph(words, conditional=False),
    "loss": loss,
    "vae-train-test": two_times,
    "cvae-graph": lambda words: graph(words, conditional=True),
    "cvae-network": network,
}


def main(folder: str = "docs/figures") -> None:
    """Draw all figures in both languages; Chinese ones where a Chinese font is installed."""
    for path in font_manager.findSystemFonts():
        if "NotoSansCJK-Regular" in path:
            font_manager.fontManager.addfont(path)
    fonts = {font.name for font in font_manager.fontManager.ttflist}
    chinese = next((name for name in ("Noto Sans CJK SC", "Noto Sans CJK JP") if name in fonts), "")
    families = {"en": ["DejaVu Sans"], "zh": [chinese, "DejaVu Sans"]}
    for language, words in WORDS.items():
        if language == "zh" and not chinese:
            print("No Chinese font is installed (Noto Sans CJK): the Chinese figures stay.")
            continue
        style = {
            "font.family": families[language],
            "mathtext.fontset": "cm",
            "svg.hashsalt": "theory",
        }
        with matplotlib.rc_context(style):
            for name, draw in FIGURES.items():
                draw(words).save(Path(folder) / f"{name}.{language}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
