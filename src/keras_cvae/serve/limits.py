"""What a request may ask for; more is refused at once, with the bound in the message."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Args:
        draws: Examples that one request may ask for.
        rows: Examples that one request may bring.
        num_samples: Draws of z for each example in `log_prob`.
        body: Bytes of a request.
        seconds: After which a request that is not answered is given up.
        waiting: Examples that may wait to be computed, of all requests together.
        queue: Requests for `log_prob`, or for rows of a table, that may wait.
        at_once: Examples that are computed in one step.
        connections: That may be open at a time.
    """

    draws: int = 1024
    rows: int = 256
    num_samples: int = 1000
    body: int = 8 * 2**20
    seconds: float = 30.0
    waiting: int = 8192
    queue: int = 64
    at_once: int = 256
    connections: int = 1024


class BusyError(Exception):
    """More is waiting than the server takes, or it took too long; the message says which bound."""
