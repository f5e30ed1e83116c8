"""GET /metrics: counts and times of the server, in the text format that Prometheus reads."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

PATHS = ("/predict", "/health", "/info", "/metrics", "/docs", "/openapi.json")
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds, of the histogram


class Metrics:
    """What one HTTP process has done. under_way: requests to /predict that are being answered."""

    def __init__(self) -> None:
        self.under_way = 0
        self.requests: Counter[tuple[str, int]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.within = [0] * len(BOUNDS)
        self.seconds, self.answered = 0.0, 0
        self.began = time.time()

    def pictures(self, read: int, refused: int) -> None:
        self.outcomes["read"] += read
        self.outcomes["refused"] += refused

    def request(self, path: str, status: int, seconds: float) -> None:
        self.requests[path if path in PATHS else "other", status] += 1
        if path == "/predict":
            self.seconds, self.answered = self.seconds + seconds, self.answered + 1
            for place, bound in enumerate(BOUNDS):
                self.within[place] += seconds <= bound

    def text(self) -> str:
        lines = _head("vlprompt_requests_total", "counter", "requests by path and status")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'vlprompt_requests_total{{path="{path}",status="{status}"}} {count}')
        lines += _head("vlprompt_pictures_total", "counter", "pictures that arrived: read, or refused")
        for outcome in ("read", "refused"):
            lines.append(f'vlprompt_pictures_total{{outcome="{outcome}"}} {self.outcomes[outcome]}')
        lines += _head("vlprompt_predict_seconds", "histogram", "time of requests to /predict, in seconds")
        for bound, count in zip(BOUNDS, self.within, strict=True):
            lines.append(f'vlprompt_predict_seconds_bucket{{le="{bound:g}"}} {count}')
        lines.append(f'vlprompt_predict_seconds_bucket{{le="+Inf"}} {self.answered}')
        lines += [
            f"vlprompt_predict_seconds_sum {self.seconds:.6f}",
            f"vlprompt_predict_seconds_count {self.answered}",
        ]
        lines += _head("vlprompt_requests_under_way", "gauge", "requests to /predict that are being answered")
        lines.append(f"vlprompt_requests_under_way {self.under_way}")
        lines += _head(
            "vlprompt_start_time_seconds", "gauge", "when the server started, in seconds since 1970"
        )
        lines.append(f"vlprompt_start_time_seconds {self.began:.3f}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, said: str) -> list[str]:
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]


class Counting:
    """ASGI middleware that tells `metrics` of every request."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), [500]

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.request(scope["path"], status[0], time.perf_counter() - began)
