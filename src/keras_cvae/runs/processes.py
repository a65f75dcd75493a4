"""Many processes that train one model: joined, started and watched.

What a training does at a moment of its own (to save after some seconds, to stop for a signal) all
processes do at the same step: see `Together`. `spawn` starts processes on this machine and ends
them all when one of them ends before its time.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from keras_cvae import devices
from keras_cvae.runs.signals import AtStepEnds, stopping

SECONDS = 0.25  # of training between two moments at which processes ask each other
LOST, AGAIN = 70, 75  # exit codes: other processes are gone; the port was taken
GRACE = 10.0  # seconds for the others to end by themselves
_JOB, _COUNT, _INDEX = (
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)
Hears: TypeAlias = Literal["first", "all"]
_WATCHED = "KERAS_CVAE_WATCHED"  # of a process that `spawn` started: its standard input tells


class Together:
    """Decides for all processes at once whether a training is saved, and whether it stops.

    Args:
        signals: What came to this process.
    """

    def __init__(self, signals: AtStepEnds):
        self.signals = signals
        self.calls, self.next, self.last, self.since = 0, 1, 0, time.monotonic()

    def ask(self, model: Any, due: bool) -> tuple[int, bool]:
        """What all do now; every process calls this at the same steps.

        Processes ask each other some times a second, at a call that all know beforehand.

        Args:
            model: What is trained.
            due: Whether this process would save now; the first one's word counts.

        Returns:
            The signal to stop for, or 0; and whether to save.
        """
        own = self.signals.number
        if devices.count() == 1:
            return own, due
        self.calls += 1
        if self.calls < self.next:
            return 0, False
        model.settle()
        now = time.monotonic()
        rate = (self.calls - self.last) / max(now - self.since, 1e-3)
        ahead = min(4 * (self.calls - self.last), int(SECONDS * rate))
        found = devices.exchanged([own, due, max(1, ahead)])
        self.last, self.since, self.next = self.calls, now, self.calls + int(found[0, 2])
        return int(found[:, 0].max()), bool(found[0, 1])


def in_job(processes: int) -> bool:
    """Whether something has started this process as one of so many.

    That is `spawn`, whoever sets Keras' own variables, srun, mpirun, or an indexed Kubernetes job.

    Raises:
        ValueError: It is one of another number.
    """
    found = os.environ
    if "KUBERNETES_SERVICE_HOST" in found and "JOB_COMPLETION_INDEX" in found:
        return True  # JAX asks the cluster how many there are
    for name, by in _STARTERS.items():
        if (count := int(found.get(name, 1))) > 1:
            if count != processes:
                raise ValueError(
                    f"--processes {processes}: this is one of {count} processes that {by} started. "
                    f"Expected --processes {count}."
                )
            return True
    return False


_STARTERS = {
    _COUNT: f"{_COUNT} says somebody",
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
}


def join(processes: int) -> None:
    """Join the job that this process was started in.

    Raises:
        ValueError: The others are not as many, or cannot be found.
    """
    found = os.environ
    if _COUNT in found:
        index = int(found[_INDEX])
        # Of those on one machine each has a GPU of its own, as JAX has it under Slurm.
        own = [index] if _WATCHED in found else None
        devices.join(found[_JOB].split(",")[0], int(found[_COUNT]), index, devices=own)
    else:
        mpi = any(name in found for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
        by_itself = not mpi or "OMPI_MCA_orte_hnp_uri" in found
        devices.join(method=None if by_itself else "mpi4py")
    if devices.count() != processes:
        raise ValueError(
            f"--processes {processes}: the job has {devices.count()}. Expected as many."
        )


def watched() -> bool:
    """Whether `spawn` started this process, and says of its end what there is to say."""
    return _WATCHED in os.environ


def follow() -> None:
    """End this process, by SIGTERM, when the one that has started it is no more."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class EndedError(Exception):
    """A process ended before its time, or hangs; the message says which, and how.

    Args:
        index: Which.
        count: Of how many.
        code: As `subprocess` gives it: an exit code, minus a signal, or None of one that hangs.
        said: The end of what it wrote.
    """

    def __init__(self, index: int, count: int, code: int | None, said: str = ""):
        self.index, self.code = index, code
        how = "does not answer"
        if code is not None:
            by = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            how = f"has ended, by {by}"
        super().__init__(
            f"Process {index} of {count} (counted from 0) {how}, and the others were stopped."
            f"{said and chr(10)}{said}"
        )


def spawn(command: Sequence[str], processes: int, signals: Hears = "first") -> int:
    """Run a command in so many processes on this machine, which join each other.

    The first one has this process' terminal.

    Args:
        command: The command.
        processes: How many.
        signals: Which of them are handed the signals that come to this process: the "first", which
            tells the others at a step that all make, or "all".

    Returns:
        The exit code of the first.

    Raises:
        EndedError: One of the others ended before its time, or the first was killed. By then
            all have ended.
    """
    for _ in range(3):
        code = _spawned(command, processes, signals)
        if code != AGAIN:  # another program took the port
            break
    return code


def _spawned(command: Sequence[str], processes: int, signals: Hears) -> int:
    with _port() as port, contextlib.ExitStack() as stack:
        address = f"127.0.0.1:{port}"
        job = {_JOB: address, _COUNT: str(processes), _WATCHED: "1"}
        job["JAX_COORDINATOR_BIND_ADDRESS"] = address  # nobody else's business
        job["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = "gloo"
        said = [None, *(stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes))]
        running: list[subprocess.Popen] = []
        try:
            with _handed_on(running, signals):
                for index, output in enumerate(said):
                    environment = os.environ | job | {_INDEX: str(index)}
                    running.append(_started(command, environment, output))
                return _watched(running, said)
        finally:
            for process in running:
                process.kill()
                process.wait()
                if process.stdin:
                    process.stdin.close()


def _started(command: Sequence[str], environment: Mapping[str, str], output: Any) -> Any:
    """Start a process that gets no signals of the terminal, and hears of this one's end."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )


def _watched(running: list[subprocess.Popen], said: list[Any]) -> int:
    """Wait until all have ended; the exit code of the first."""
    codes: dict[int, int] = {}
    alive = running
    left = GRACE
    # Where one is killed, others lose it, and end too: whoever was killed has the blame. Where all
    # stop, they do not end at the same moment.
    while left > 0 and not any(_killed(code) for code in codes.values()):
        alive = [process for process in running if process.poll() is None]
        codes = {index: code for index, process in enumerate(running) if (code := process.poll())}
        if not alive or (codes and all(map(_is_stopped, alive))):
            break
        time.sleep(0.05)
        left -= 0.05 if codes else 0.0
    if not codes:
        return 0
    if alive and all(code in (LOST, -signal.SIGABRT) for code in codes.values()):
        raise EndedError(running.index(alive[0]), len(running), None)  # whom the others have lost
    first = min(codes, key=lambda index: (not _killed(codes[index]), codes[index] == LOST, index))
    if first == 0 and codes[0] > 0:  # it has said why
        return codes[0]
    words = ""
    if said[first] is not None:
        said[first].seek(0)
        words = "\n".join(said[first].read().decode(errors="replace").strip().splitlines()[-5:])
    raise EndedError(first, len(running), codes[first], words)


def _killed(code: int) -> bool:
    """Whether somebody ended this process; JAX itself aborts those that lose the others."""
    return code < 0 and code != -signal.SIGABRT


def _is_stopped(process: subprocess.Popen) -> bool:
    """Whether somebody has stopped a process, as SIGSTOP does; it may go on one day."""
    how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    return process.poll() is None and os.waitid(os.P_PID, process.pid, how) is not None


@contextlib.contextmanager
def _handed_on(running: list[subprocess.Popen], to: Hears) -> Iterator[None]:
    """Hand signals that stop a program on to the processes."""

    def hand_on(number: int, frame: Any) -> None:
        for process in running[: 1 if to == "first" else None]:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: how for number, how in stopping().items() if how != signal.SIG_IGN}
    for number in before:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _port() -> Iterator[int]:
    """A free port, which no other program is given while this is entered."""
    with socket.socket() as held:
        if hasattr(socket, "SO_REUSEPORT"):  # JAX' server asks for it too, and may share it
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
