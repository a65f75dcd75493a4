# %% [markdown]
# # Parameters from a noisy signal, calibrated
#
# I have a simulator, and a recording of which I want the parameters: here frequency and decay of an oscillation. The posterior
# p(theta | signal) is learned once from simulations, then drawn from for any signal, in a millisecond.

# %%
import matplotlib.pyplot as plt
import numpy as np

from keras_cvae import MLP, Bounded, ConditionalVAE, Conv, Signal
from keras_cvae.evaluation.calibration import calibration

NAMES = ["frequency / Hz", "decay time / s"]
LOW, HIGH = np.array([1.0, 0.05]), np.array([6.0, 2.0])
TIME = np.linspace(0.0, 1.0, 64)


def clean(theta):
    frequency, decay = theta[:, :1], theta[:, 1:]
    return np.exp(-TIME / decay) * np.sin(2 * np.pi * frequency * TIME)


def simulate(n, rng):
    theta = rng.uniform(LOW, HIGH, (n, 2))
    return theta, clean(theta) + 0.3 * rng.standard_normal((n, len(TIME)))


rng = np.random.default_rng(0)
theta, signal = simulate(150_000, rng)

# %% [markdown]
# x are the parameters, between their bounds; the condition is the signal, which a convolutional network reads.

# %%
from keras import optimizers

model = ConditionalVAE(
    x_shape=(2,),
    condition=Signal((64, 1), Conv((8, 16, 16), 64, "gelu")),
    latent_dim=3,
    likelihood=Bounded(LOW, HIGH),
    prior="conditional",
    backbone=MLP((64,), "gelu"),
    seed=0,
)
model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(4e-3, 4 * 150_000 // 256)))
model.fit(theta, signal, batch_size=256, epochs=4, verbose=0)

# %% [markdown]
# Three recordings that were never seen: a thousand draws from the posterior of each.

# %%
truth, recorded = simulate(3, rng)
for true, one in zip(truth, recorded, strict=True):
    draws = model.generate(one, n=1000, output="sample", seed=0)  # (1000, 2)
    for name, t, mean, sd in zip(NAMES, true, draws.mean(0), draws.std(0), strict=True):
        print(f"{name:>16}: {mean:.2f} ± {sd:.2f}, truth {t:.2f}")

# %% [markdown]
# **Is it right about how sure it is?** Ranks of true values among draws must be uniform (simulation-based calibration).

# %%
held_out = calibration(model, *simulate(1000, rng))
for name, p, inside in zip(NAMES, held_out.chi_square(), held_out.coverage([0.9])[0], strict=True):
    print(f"{name:>16}: uniform ranks p = {p:.2f}; {inside:.0%} of truths in their 90 % interval")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
left.plot(TIME, one, ".", color="0.6")
left.plot(TIME, clean(draws[:30]).T, color="tab:blue", alpha=0.15)
left.set(xlabel="time / s", title="the last signal, and 30 draws")
middle.plot(*draws.T, ".", markersize=3, alpha=0.4)
middle.plot(*true, "+", color="tab:red", markersize=14, markeredgewidth=2)
middle.set(xlabel=NAMES[0], ylabel=NAMES[1], title="its posterior, and the truth in red")
right.hist(held_out.ranks, bins=20, label=NAMES)
right.axhline(len(held_out.ranks) / 20, color="0.4", linestyle="--")
right.set(xlabel="rank of the truth among 199 draws", title="calibration of 1,000")
right.legend(loc="lower center")
figure.savefig("posterior.png", dpi=120)
