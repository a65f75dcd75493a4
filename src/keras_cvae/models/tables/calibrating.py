"""Marginals: each column's mean probability becomes its share in the table."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_cvae.data.tables.codec import UNKNOWN, TableCodec
from keras_cvae.models.tables.walks import law

ROUNDS = 8
AT_MOST = 20_000  # rows over which p is averaged


def calibrate(model: Any, codec: TableCodec, codes: np.ndarray, seed: int = 0) -> None:
    """Move the offsets of the logits so that mean p(level | columns before) is the level's share.

    What a column's logits see does not depend on the offsets, so each column is done on its own:
    offset += log share - log mean p, a few times (iterative proportional fitting).

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        codec: The table's.
        codes: The rows that were trained on, `(n, parts)`.
        seed: Of the choice of rows, if there are very many.
    """
    some = codes
    if len(codes) > AT_MOST:
        some = np.random.default_rng(seed).choice(codes, AT_MOST, replace=False)
    likelihood = model.likelihood
    offset = np.array(keras.ops.convert_to_numpy(likelihood.offset))
    for i, (start, size) in enumerate(zip(likelihood.starts, likelihood.sizes, strict=True)):
        there = codes[:, i] != UNKNOWN
        share = np.bincount(codes[there, i].astype(np.int64), minlength=size) / there.sum()
        rows = some[some[:, i] != UNKNOWN]
        before = (np.arange(rows.shape[1]) < i) & (rows != UNKNOWN)
        log_p = law(model, rows, before, i)[:, :size]
        shift = np.zeros(size)
        possible = share > 0
        for _ in range(ROUNDS):
            shifted = log_p + shift
            shifted -= shifted.max(axis=1, keepdims=True)
            p = np.exp(shifted)
            p /= p.sum(axis=1, keepdims=True)
            mean = np.maximum(p.mean(axis=0), 1e-12)
            shift[possible] += np.log(share[possible]) - np.log(mean[possible])
        offset[start : start + size] += shift
    likelihood.offset.assign(offset)
