"""What a worker process does: it loads the run once and answers batches of cropped pictures."""

# no `from __future__ import annotations`: FastAPI reads the annotation of decode_request as an object

import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends
from litserve import LitAPI

from vlprompt.runs.info import RunInfo
from vlprompt.serving.batching import Batching, log_to_stderr
from vlprompt.serving.requests import Asked, Refused, pictures
from vlprompt.serving.serve_options import ServeOptions
from vlprompt.serving.turns import Turns


class PromptAPI(LitAPI):
    """POST /predict of one run. run, backbone, device, precision: as `Run.load` takes them."""

    def __init__(
        self,
        run: str,
        backbone: str | None,
        device: str,
        precision: str | None,
        options: ServeOptions,
        turns: Turns,
    ) -> None:
        loop = Batching(turns)
        super().__init__(
            max_batch_size=options.max_batch_size, batch_timeout=options.batch_timeout, loop=loop
        )
        self.source, self.backbone, self.options = run, backbone, options
        self.where, self.precision = device, precision

    def setup(self, device: str) -> None:
        """Loads the run; LitServe's device is not used, `where` is."""
        from vlprompt.runs.run import Run

        log_to_stderr()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one decides
        signal.signal(signal.SIGTERM, self.loop.stop)
        self.run = Run.load(self.source, self.backbone, device=self.where, precision=self.precision)
        own = self.run.backbone
        # pictures arrive cropped: of a picture of that size, "squash" makes nothing else
        own.preprocessing = replace(own.preprocessing, resize="squash")
        size = own.preprocessing.size
        self.answers([gray(size)])  # text features are computed before the first request

    def decode_request(self, request: Annotated[Asked, Depends(pictures)]) -> Asked:
        """The dependency has done it, in the HTTP process."""
        return request

    def predict(self, batch: Sequence[Asked]) -> list[dict[str, Any]]:
        """An answer for each request, in order."""
        good = [crop for asked in batch for crop in asked.crops if not isinstance(crop, Refused)]
        found = iter(self.answers(good) if good else [])
        return [self._answer(asked, found) for asked in batch]

    def _answer(self, asked: Asked, found: Iterator[dict[str, Any]]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        for crop in asked.crops:
            if isinstance(crop, Refused):
                answers.append({"error": crop.detail, "status": crop.status})
            else:
                answer = next(found)
                answers.append(answer | {"top": answer["top"][: asked.top]})
        return {"answers": answers} if asked.many else answers[0]

    def answers(self, crops: Sequence[Any]) -> list[dict[str, Any]]:
        """label, top (all classes) and, if the run can say "unknown", whether it does."""
        coverage = coverage_of(self.run.info, self.options)
        found = self.run.predict(list(crops), top=len(self.run.class_names), reject=coverage)
        answers = []
        for one in found:
            answer: dict[str, Any] = {
                "label": one.label,
                "top": [{"class": c, "probability": p} for c, p in one.top],
            }
            answers.append(answer if coverage is False else answer | {"unknown": one.rejected})
        return answers


def coverage_of(info: RunInfo, options: ServeOptions) -> float | bool:
    """The coverage to reject at; False where the run has no thresholds or nobody wants them."""
    return options.reject if options.reject > 0 and info.rejection else False


def gray(size: int) -> Any:
    import numpy as np

    return np.full((size, size, 3), 128, np.uint8)
