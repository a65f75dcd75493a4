"""Real colour pictures without a download: 32x32 patches of scikit-learn's two photographs.

    python benchmarks/photos.py photos.npz
    cvae train photos.npz --preset color --epochs 12 --out runs/photos
    cvae evaluate runs/photos --limit 500 --samples 50

The class is the photograph. Training patches come from the left four fifths of each picture, test
patches from the rest, so that no pixel is in both. Writes Keras' layout: x_train, y_train, x_test,
y_test, uint8.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

SIZE = 32


def patches(picture: np.ndarray, stride: int) -> np.ndarray:
    """All patches of a picture `(height, width, 3)`, `stride` pixels apart."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (SIZE, SIZE), axis=(0, 1))
    few = windows[::stride, ::stride]  # (rows, columns, 3, SIZE, SIZE)
    return few.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    parts: dict[str, list] = {"train": [], "test": []}
    for picture in load_sample_images().images:
        cut = picture.shape[1] * 4 // 5
        parts["train"].append(patches(picture[:, :cut], 5))
        parts["test"].append(patches(picture[:, cut:], 8))
    arrays = {}
    for split, found in parts.items():
        arrays[f"x_{split}"] = np.concatenate(found)
        arrays[f"y_{split}"] = np.repeat(np.arange(2, dtype="uint8"), [len(f) for f in found])
    np.savez_compressed(Path(sys.argv[1]), **arrays)
    print({name: values.shape for name, values in arrays.items()})


if __name__ == "__main__":
    main()
