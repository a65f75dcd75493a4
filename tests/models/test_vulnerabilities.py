"""Every public vulnerability of Keras' loading, as a file: refused in words; nothing happens."""

import base64
import builtins
import io
import marshal
import pickle
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from hostile import calls, function, rewritten, sequential, with_part
from keras_cvae import MLP, ConditionalVAE, load

SECRET = Path(__file__)  # stands for /etc/passwd


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = ConditionalVAE((6,), 3, backbone=MLP((8,)), seed=0)
    model.compile("adam")
    model.save(path)
    return path


@pytest.fixture
def harm(monkeypatch):
    """What ran, of all that the files would run."""
    done = []
    monkeypatch.setattr(builtins, "harmed", lambda *args: done.append(args), raising=False)
    for name in ("get_file", "set_random_seed"):
        monkeypatch.setattr(keras.utils, name, lambda *args, **kwargs: done.append(args))
    monkeypatch.setattr(
        keras.config, "enable_unsafe_deserialization", lambda: done.append("unsafe")
    )
    yield done
    assert not done
    assert keras.config.floatx() == "float32"


def layer(name, config, module="keras.layers", **more):
    return sequential({"module": module, "class_name": name, "config": config, **more})


class Payload:
    def __reduce__(self):
        return harmed, ("pickle",)  # noqa: F821  the fixture's


CODE = base64.b64encode(marshal.dumps((lambda x: harmed(x) or x).__code__)).decode()  # noqa: F821
BYTECODE = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
LAMBDA = layer("Lambda", {"name": "l", "function": BYTECODE, "arguments": {}})
TORCH = base64.b64encode(pickle.dumps([1])).decode()

ENCODERS = {
    "CVE-2024-3660, bytecode in a Lambda": (LAMBDA, "Lambda"),
    "CVE-2026-12481, the same where no safe mode is set": (LAMBDA["config"]["layers"][1], "Lambda"),
    "CVE-2025-1550, any function of any module": (
        sequential(function("os", "system")),
        "function os.system",
    ),
    "CVE-2025-1550, a class of any module": (
        layer("Popen", {"args": "true"}, "subprocess"),
        "subprocess.Popen",
    ),
    "CVE-2025-8747, a function of Keras' own": (calls("keras.utils", "get_file"), "Lambda"),
    "CVE-2025-9906, safe mode switched off by the file": (
        calls("keras.config", "enable_unsafe_deserialization"),
        "Lambda",
    ),
    "CVE-2025-12058, a vocabulary that is any file": (
        layer("StringLookup", {"vocabulary": str(SECRET)}),
        "StringLookup",
    ),
    "CVE-2025-12058, of a TextVectorization": (
        layer("TextVectorization", {"vocabulary": str(SECRET)}),
        "TextVectorization",
    ),
    "CVE-2025-49655, pickled torch": (
        layer("TorchModuleWrapper", {"module": TORCH}),
        "TorchModuleWrapper",
    ),
    "CVE-2026-1462, a SavedModel beside it": (
        layer("TFSMLayer", {"filepath": str(SECRET.parent), "call_endpoint": "serve"}),
        "TFSMLayer",
    ),
}


def with_encoder(saved, path, encoder):
    return rewritten(
        saved, path, lambda config: config | {"config": config["config"] | {"encoder": encoder}}
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_a_configuration_runs_nothing(name, saved, tmp_path, harm):
    encoder, words = ENCODERS[name]
    path = with_encoder(saved, tmp_path / "evil.keras", encoder)
    with pytest.raises(ValueError, match=re.escape(words)):
        load(path)


def test_bytecode_does_not_run_from_a_file_of_ones_own_either(saved, tmp_path, harm):
    path = with_encoder(saved, tmp_path / "evil.keras", LAMBDA)
    with pytest.raises(ValueError, match="damaged"):
        load(path, trusted=True)


def test_legacy_files_are_not_read(tmp_path, harm):
    """CVE-2025-9905: an .h5 file ignores the safe mode."""
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    for name in ("model.h5", "renamed.keras"):
        path = path.rename(tmp_path / name)
        with pytest.raises(ValueError, match=r"not a saved model.*Expected a \.keras"):
            load(path)


def external(file):
    file.create_dataset("vars", (8,), "u1", external=[(str(SECRET), 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource(str(SECRET), "vars", (8,))
    file.create_virtual_dataset("vars", layout)


def linked(file):
    file.create_group("layers")["vars"] = h5py.ExternalLink(str(SECRET), "/")


def soft(file):
    file.create_group("layers")["vars"] = h5py.SoftLink("/elsewhere")


def huge(file):
    file.create_dataset("vars", (10**12,), "f4", chunks=(1000,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(external, "lie in another file", id="CVE-2026-1669, external storage"),
        pytest.param(virtual, "lie in another file", id="CVE-2026-12480, a virtual dataset"),
        pytest.param(linked, "are a link", id="CVE-2026-1669, an external link"),
        pytest.param(soft, "are a link", id="CVE-2026-1669, a soft link"),
        pytest.param(huge, "said to have 4000000000000 bytes", id="CVE-2026-0897, a huge shape"),
    ],
)
def test_weights_lie_in_the_file_and_are_as_large_as_they_say(make, words, saved, tmp_path):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        make(file)
    path = with_part(saved, tmp_path / "evil.keras", "model.weights.h5", content.getvalue())
    with pytest.raises(ValueError, match=words):
        load(path)


@pytest.mark.parametrize("name", ["assets/../../up.txt", "assets/layers/x/vocabulary.txt"])
def test_nothing_is_unpacked(name, saved, tmp_path):
    """CVE-2026-12479, CVE-2025-12060: names of parts that lead out of the folder."""
    path = with_part(saved, tmp_path / "evil.keras", name, b"mine")
    with pytest.raises(ValueError, match="models have no assets"):
        load(path)
    assert {p.name for p in tmp_path.iterdir()} == {"evil.keras"}
    assert np.isfinite(load(saved).generate(1)).all()
