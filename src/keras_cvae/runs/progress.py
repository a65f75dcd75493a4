"""Whether a training still improved when it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LAST = 0.2  # share of the epochs that is looked at
WORSE = 0.05  # share of it that is worth a word when it was lost again
RATED = 0.01  # share of it, gained after half of the epochs, that only the rate ended
WORTH = 0.005  # share of all that was gained that is worth going on for


@dataclass(frozen=True)
class Progress:
    """Where a training stood at its end.

    Args:
        improving: Whether it still got better.
        words: A sentence.
    """

    improving: bool
    words: str

    def __str__(self) -> str:
        return self.words


def progress(
    history: Mapping[str, Sequence[float]], epochs: int, best: int | None, decays: bool = False
) -> Progress:
    """Read the losses of all epochs.

    Args:
        history: Metrics by name, one value an epoch.
        epochs: How many there were to be.
        best: The epoch whose state was kept, where the best was; counted from 1.
        decays: Whether the learning rate came to 0 at the end, where every loss levels off.
    """
    name = "val_loss" if "val_loss" in history else "loss"
    said = "Validation" if name == "val_loss" else "The loss (nothing was held out)"
    losses = np.asarray(history[name], float)
    ran = len(losses)
    if best is not None and ran < epochs:
        worse = losses[-1] - losses.min() > WORSE * (losses.max() - losses.min())
        heart = " Then it learned its examples by heart: more of them would help." if worse else ""
        return Progress(
            False,
            f"{said} was best after epoch {best}, which was kept; training ended {ran - best} "
            f"epochs later, as nothing better came.{heart}",
        )
    if ran < 5:
        return Progress(True, f"{said} cannot level off in {ran} epoch{'s' * (ran > 1)}.")
    last = max(2, round(LAST * ran))
    before, after = losses[:-last], losses[-last:]
    gained = float(before.min() - after.min())
    noise = float(np.median(np.abs(np.diff(after))))
    if gained > max(noise, WORTH * float(losses.max() - losses.min())):
        return Progress(
            True, f"{said} still improved, by {gained:.3g} nats in the last {last} epochs."
        )
    worse = float(losses[-1] - losses.min())
    if best is None and worse > max(3 * noise, WORSE * float(losses.max() - losses.min())):
        at = int(losses.argmin()) + 1
        return Progress(
            False,
            f"{said} was best after epoch {at} of {ran} and is {worse:.3g} nats worse now: the "
            "model learns its examples by heart. --patience 20 keeps the best weights.",
        )
    half, end = ran // 2, ran - last
    earlier = float(losses[:half].min() - losses[:end].min())
    if decays and earlier > RATED * float(losses.max() - losses.min()):
        return Progress(
            True,
            f"{said} still improved, by {earlier:.3g} nats from epoch {half} to {end}, until the "
            "learning rate came to its end.",
        )
    kept = f" The best, of epoch {best}, was kept." if best is not None and best < ran else ""
    return Progress(False, f"{said} no longer improves: more epochs bring nothing.{kept}")
