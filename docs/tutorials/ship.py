# %% [markdown]
# # Put a model on a page, export it, serve it
#
# `mnist-dense` comes trained; your own model takes its place. In a shell: `cvae studio RUN`, `cvae export RUN -o draw.onnx`,
# `cvae serve RUN`.

# %%
import json
import threading
import time
import urllib.request

import numpy as np

import keras_cvae
from keras_cvae.figures.writing import save_tiles

model = keras_cvae.load("mnist-dense")

# %% [markdown]
# **A page**: one file that opens from the disk, without a server or a network. Send it to somebody.

# %%
from keras_cvae.studio import write_page

page = write_page(model, "digits.html", name="Digits")
print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# **A file for programs without Keras** (`pip install '.[export]'`). It was compared with the model before it was written.

# %%
import onnxruntime

written = keras_cvae.export(model, "draw.onnx")
print(f"it differs from Keras by {written.difference:.0e} at most")
session = onnxruntime.InferenceSession("draw.onnx")
for given in session.get_inputs():
    print(given.name, given.type, given.shape)
noise = np.random.default_rng(0).standard_normal((10, model.latent_dim), "float32")
(drawn,) = session.run(None, {"noise": noise, "condition": np.arange(10, dtype="int32")})
save_tiles(drawn, "onnx.png", columns=10)

# %% [markdown]
# **A server** (`pip install '.[serve]'`). In a shell `cvae serve` starts it; here it runs in a thread, for one question.

# %%
import uvicorn

from keras_cvae.serve import create_app

config = uvicorn.Config(create_app(model, name="digits"), port=0, log_level="warning")
server = uvicorn.Server(config)
thread = threading.Thread(target=server.run, daemon=True)
thread.start()
while not server.started:
    time.sleep(0.1)
port = server.servers[0].sockets[0].getsockname()[1]
asked = {"condition": "2", "n": 10, "seed": 0}
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/v1/generate",
    json.dumps(asked).encode(),
    {"content-type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    served = np.array(json.load(answer)["x"])
server.should_exit = True
thread.join()
print(
    served.shape, "as in Python:", np.allclose(served, model.generate(2, n=10, seed=0), atol=1e-5)
)
