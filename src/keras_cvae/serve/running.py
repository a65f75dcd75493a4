"""Run the server."""

import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_cvae.errors import listed, to_install
from keras_cvae.serve.limits import Limits

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

PACKAGES = ("fastapi", "uvicorn", "orjson", "prometheus_client")


def check_installed() -> None:
    """Refuse to serve without what it takes.

    Raises:
        ImportError: Saying what to install.
    """
    missing = [one for one in PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise ImportError(f"Serving takes {listed(missing)}: {to_install('serve')}")


def create_app(model: Any, **options: Any) -> "FastAPI":
    """Make the application for a server of one's own; see `keras_cvae.serve.app.create_app`.

    Raises:
        ImportError: The packages that serving takes are not installed.
    """
    check_installed()
    from keras_cvae.serve import app

    return app.create_app(model, **options)


def serve(
    model: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    page: Callable[[], str | None] | None = None,
    name: str = "model",
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; what is under way then is finished first.

    Args:
        model: A `ConditionalVAE`, or a `TableCVAE`.
        host: Where to listen; by default on this machine alone.
        port: Where to listen; 0 takes a free one.
        limits: What a request may ask for.
        page: Makes the HTML to show at `/`, once it is asked for; None: a short one.
        name: What the model is called.

    Raises:
        ImportError: The packages that serving takes are not installed.
    """
    check_installed()
    # A step that ends waits for the interpreter, which a busy loop lets go every 5 ms by default.
    sys.setswitchinterval(0.0005)
    limits = limits or Limits()
    app = create_app(model, limits=limits, page=page, name=name)
    server(app, host, port, limits).run()


def server(app: Any, host: str, port: int, limits: Limits) -> "uvicorn.Server":
    """The server of an application: SIGTERM closes its door, and ends it when all is answered."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="info",
            access_log=False,
            limit_concurrency=limits.connections,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
            ws="none",
        )
    )
