# %% [markdown]
# # Several machines, or several GPUs of one
#
# Training is Keras' own `fit`, so Keras' distribution is what spreads it: each process takes its share of every batch, and all have
# the same weights after each step. Here two processes on this machine stand for two machines; drawing and estimating stay on one.

# %% [markdown]
# What each machine runs. `initialize` takes the address of the first, how many there are, and which one this is. The batch of
# each is its share: two with 32 are one with 64. On GPUs, leave the line about gloo out; on one machine with several
# GPUs, all that it takes is `set_distribution(DataParallel())`.

# %%
import subprocess
import sys
from pathlib import Path

worker = Path("worker.py")
worker.write_text("""
import sys

import keras_cvae
import jax
import keras

address, machines, rank = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = keras_cvae.load_data("digits")
x, y = data.train.floats()[:1280], data.train.y[:1280]
if machines > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # how CPUs talk to each other
    keras.distribution.initialize(address, machines, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

model = keras_cvae.ConditionalVAE((8, 8, 1), 10, latent_dim=4, backbone=keras_cvae.MLP((64,)), seed=0)
model.compile("adam")
mine = slice(rank, None, machines)
model.fit(x[mine], y[mine], batch_size=64 // machines, epochs=20, verbose=0)
if rank == 0:
    keras.distribution.set_distribution(None)
    model.save(f"trained-by-{machines}.keras")
""")


# %%
import socket


def run(machines):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ranks = [
        [sys.executable, "-W", "ignore", str(worker), address, str(machines), str(rank)]
        for rank in range(machines)
    ]
    return [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in ranks]


started = [*run(1), *run(2)]  # at once, on this machine
assert all(process.wait() == 0 for process in started)

# %% [markdown]
# The model that two have trained is as good as that of one. Only the order of the examples differs.

# %%
import keras_cvae

test = keras_cvae.load_data("digits").test
for machines in (1, 2):
    model = keras_cvae.load(f"trained-by-{machines}.keras")
    found = model.log_prob(test.floats(), test.y, num_samples=50)
    print(
        f"trained by {machines}: {-found.mean:.2f} ± {found.mean_standard_error:.2f} nats a picture"
    )
