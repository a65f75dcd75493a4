"""The command `cvae`."""

import os
import sys
import traceback
import warnings
from typing import NoReturn

from rich.text import Text

from keras_cvae import devices
from keras_cvae.backend import choose_backend, prepare_command
from keras_cvae.cli import (  # noqa: F401  each registers its commands
    draw,
    export,
    interpolate,
    look,
    measure,
    serve,
    studio,
    train,
)
from keras_cvae.cli.app import UsageError, app, err
from keras_cvae.cli.shared import warn

STOPPED = (129, 130, 143)  # by SIGHUP, Ctrl-C, SIGTERM


def main() -> None:
    """Run the command; an error of the user's is one message, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = warn
    try:
        choose_backend()
        prepare_command()
        app(prog_name="cvae")
    except SystemExit as end:
        if end.code not in STOPPED:
            raise
        # A step may still run in a thread of the backend: ending Python under it can crash.
        _end_at_once(end.code)
    except (UsageError, ValueError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        if os.environ.get("KERAS_CVAE_TRACEBACK"):
            raise
        err.quiet = False
        err.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
        if devices.count() > 1:
            _end_at_once(1)
        sys.exit(1)
    except BaseException:
        if devices.count() > 1:
            traceback.print_exc()
            _end_at_once(1)
        raise


def _end_at_once(code: int) -> NoReturn:
    """End without what Python does at its end, which may wait for others, or crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
