"""Files that want harm, made of a good one."""

import json
import zipfile


def rewritten(saved, path, edit):
    """The saved file with another configuration."""
    with zipfile.ZipFile(saved) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps(edit(config)).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def sequential(layer):
    start = {"batch_shape": [None, 6], "dtype": "float32", "name": "x"}
    layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": start}, layer]
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": layers}}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def calls(module, name):
    """A layer that calls a function of Keras' by name."""
    config = {"name": "l", "function": function(module, name), "arguments": {}}
    return sequential({"module": "keras.layers", "class_name": "Lambda", "config": config})


def dense(activation):
    config = {"units": 2, "activation": activation}
    return sequential({"module": "keras.layers", "class_name": "Dense", "config": config})


def with_part(saved, path, name, content):
    """The saved file with one part replaced, or added."""
    with zipfile.ZipFile(saved) as file:
        parts = {part: file.read(part) for part in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for part, old in (parts | {name: content}).items():
            file.writestr(part, old)
    return path
