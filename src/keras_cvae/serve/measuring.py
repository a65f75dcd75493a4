"""What is counted of requests and of steps."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts and times of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("cvae_requests", "Requests answered.", ["path", "status"], **given)
        self.seconds = Histogram(
            "cvae_request_seconds", "Time to an answer.", ["path"], buckets=SECONDS, **given
        )
        self.steps = Histogram(
            "cvae_step_rows", "Examples computed in one step.", buckets=ROWS, **given
        )
        self.joined = Histogram(
            "cvae_step_requests", "Requests answered by one step.", buckets=ROWS, **given
        )

    def computed(self, requests: int, rows: int) -> None:
        """Note a step."""
        self.joined.observe(requests)
        self.steps.observe(rows)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Note an answer."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)
