"""Devices that share the steps of a training: those of one process, or of all that have joined.

Once processes have joined, each is the same program on the same data. Their steps of training and
evaluation are one program on the devices of all: each device computes some rows of a batch, and all
have the same weights afterwards. Everything else (drawing, saving, looking) is each process' own,
so that nothing but a step has to be done by all at once, and what `exchanged` and `gathered` do.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEARTBEAT = 10  # seconds after which a process that is not heard of counts as dead
WAIT = 24 * 3600  # seconds that one waits, as it leaves, for another that is alive


class Rows:
    """How the rows of a batch are divided among devices.

    Args:
        mesh: JAX's mesh of these devices.
        axis: The name of its axis that rows are divided along.
        weights: Whether the weights of a model are divided too, so that no device has all.

    Attributes:
        axis: The name.
        weights: The same.
        among: How many parts the rows of a batch have.
        divided: JAX's sharding of an array whose rows are divided.
        whole: That of one that every device has.
    """

    def __init__(self, mesh: Any, axis: str, weights: bool = False):
        import jax

        named, spec = jax.sharding.NamedSharding, jax.sharding.PartitionSpec
        self.axis, self.weights, self.among = axis, weights, mesh.shape[axis]
        self.divided, self.whole = named(mesh, spec(axis)), named(mesh, spec())

    def of(self, rows: int) -> Any:
        """The sharding of so many rows; every device has those that do not divide."""
        return self.whole if rows % self.among else self.divided

    def place(self, batch: Any) -> Any:
        """Give each device its rows of arrays that every process has whole."""
        import jax

        def placed(part: Any) -> Any:
            sharding = self.of(len(part))
            return jax.make_array_from_callback(part.shape, sharding, lambda rows: part[rows])

        return jax.tree.map(placed, batch)

    def own(self, rows: int) -> np.ndarray:
        """Positions of those of so many rows that this process' devices compute."""
        parts = self.of(rows).addressable_devices_indices_map((rows,)).values()
        return np.unique(np.concatenate([np.arange(rows)[part] for part in parts]))

    def everywhere(self, values: Any) -> Any:
        """Give every device arrays that every process has."""
        import jax

        def copied(value: Any) -> Any:
            return jax.make_array_from_callback(np.shape(value), self.whole, lambda _: value)

        return jax.tree.map(copied, values)


def here(values: Any) -> Any:
    """Arrays that all devices have, as arrays of this process alone."""
    import jax

    return jax.tree.map(lambda value: value.addressable_data(0), values)


_rows: Rows | None = None  # of the processes that have joined
_place = (0, 1)  # which of them this is, and how many there are
_divides = False


def joined() -> Rows | None:
    """How rows are divided among the devices of all processes that have joined; None if none."""
    return _rows


def index() -> int:
    """Which of the processes that have joined this one is; 0 writes files and speaks."""
    return _place[0]


def count() -> int:
    """How many processes have joined; 1 if none have."""
    return _place[1]


def join(
    address: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    *,
    devices: Sequence[int] | None = None,
    method: str | None = None,
) -> None:
    """Join other processes that do the same, before JAX computes anything.

    Arguments that are left out are found by JAX: under Slurm, Open MPI, Kubernetes and on TPUs.

    Args:
        address: HOST:PORT of process 0.
        processes: How many there are.
        index: Which one this is, from 0.
        devices: Which GPUs of this machine are its own; None: those that JAX finds for it.
        method: How JAX finds the others, as `jax.distributed.initialize` takes it.

    Raises:
        ValueError: Another backend than JAX, or nothing says where the others are.
        RuntimeError: The others did not come.
    """
    import jax
    import keras

    global _rows, _place
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Many processes train together on JAX only; the backend is {keras.backend.backend()}. "
            "Expected KERAS_BACKEND=jax."
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
    jax.distributed.initialize(
        address,
        processes,
        index,
        local_device_ids=devices,
        cluster_detection_method=method,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=WAIT,
    )
    _place = jax.process_index(), jax.process_count()
    _rows = Rows(jax.sharding.Mesh(np.array(jax.devices()), ("rows",)), "rows")
    with _silent():  # Gloo says on standard output that it is connected
        exchanged([0])


def leave() -> None:
    """Go on alone. The processes that have joined wait for each other here."""
    global _rows, _place
    if _rows is None:
        return
    import jax

    _rows, _place = None, (0, 1)
    jax.distributed.shutdown()


def exchanged(numbers: Sequence[int]) -> np.ndarray:
    """Tell all processes some integers; learn theirs, `(processes, numbers)`.

    All must ask at the same moment of their program, with no step still running.
    """
    return gathered(np.asarray(numbers, "int32"))


def gathered(part: np.ndarray) -> np.ndarray:
    """Arrays of the same shape and kind, one of each process, stacked; bit for bit."""
    part = np.ascontiguousarray(part)
    if count() == 1:
        return part[None]
    from jax.experimental import multihost_utils

    found = np.asarray(multihost_utils.process_allgather(part.reshape(-1).view("uint8")))
    return found.reshape(count(), -1).view(part.dtype).reshape(count(), *part.shape)


@contextlib.contextmanager
def dividing() -> Iterator[None]:
    """Divide importance sampling among the processes that have joined; all enter this together."""
    global _divides
    before, _divides = _divides, True
    try:
        yield
    finally:
        _divides = before


def share() -> tuple[int, int]:
    """Which part of work that can be divided is this process', and of how many parts."""
    return _place if _divides else (0, 1)


def are_gone(error: BaseException) -> bool:
    """Whether this error of a step is that other processes, which share it, are gone."""
    if count() == 1:
        return False
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXH" not in str(error)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop what is written to standard output here, whatever writes it."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
