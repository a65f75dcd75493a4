"""Run the server."""

import importlib.util
from typing import Any

from keras_cvae.errors import listed
from keras_cvae.serve.limits import Limits

PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def check_installed() -> None:
    """Refuse to serve without what it takes.

    Raises:
        ImportError: Saying what to install.
    """
    missing = [one for one in PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise ImportError(f"Serving takes {listed(missing)}: pip install 'keras-cvae[serve]'")


def serve(
    model: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    page: str | None = None,
    name: str = "model",
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; what is under way then is finished first.

    Args:
        model: A `ConditionalVAE`, or a `TableCVAE`.
        host: Where to listen; by default on this machine alone.
        port: Where to listen; 0 takes a free one.
        limits: What a request may ask for.
        page: HTML to show at `/`; None: a short one.
        name: What the model is called.

    Raises:
        ImportError: The packages that serving takes are not installed.
    """
    check_installed()
    import uvicorn

    from keras_cvae.serve.app import create_app

    limits = limits or Limits()
    app = create_app(model, limits=limits, page=page, name=name)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        server_header=False,
    )
