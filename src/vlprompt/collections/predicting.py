"""predict: what a run says about large picture collections, as shards that are written once.

FOLDER/predict.json                      the run, classes per picture, which pictures
FOLDER/part-00000.parquet|jsonl|csv      parquet and jsonl: path, label, top (class, probability), error;
                                         csv: path, rank, class, probability, error
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.collections.shards import SHARD, Done, OnShard, escaped, parquet, process
from vlprompt.errors import OptionError, nearest
from vlprompt.plain_text import cell, csv_line

if TYPE_CHECKING:
    from vlprompt.runs.run import Prediction, Run

KINDS = ("parquet", "jsonl", "csv")
COLUMNS = ("path", "rank", "class", "probability", "error")
DIGITS = 6  # of probabilities in texts


def predict(
    run: str | Path,
    pictures: Sequence[str],
    out: str | Path,
    *,
    top: int = 5,
    kind: str = "parquet",
    reject: bool | float = False,
    backbone: str | None = None,
    device: str = "auto",
    shard: int = SHARD,
    overwrite: bool = False,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    on_shard: OnShard | None = None,
) -> Done:
    """Writes the best classes of all pictures; shards that are there are left as they are.

    run: a run folder. top: classes per picture. kind: one of KINDS. reject: as in `Run.predict`.
    backbone: where it now lies, if it has moved. shard: pictures in a file. ray, cpus, gpus, on_shard: as in `process`.

    RunError if `out` holds predictions of another run or for other pictures.
    """
    if kind not in KINDS:
        raise OptionError(f'no kind of file "{kind}": {nearest(kind, KINDS)}')
    if top < 1:
        raise OptionError(f"top is {top}: expected at least 1")
    if kind == "parquet":
        parquet()
    more: dict[str, Any] = {"ray": ray, "cpus": cpus, "gpus": gpus, "on_shard": on_shard}
    work = Predicting(str(run), top, kind, reject, backbone, device)
    return process(pictures, out, work, shard=shard, overwrite=overwrite, **more)


@dataclass(frozen=True)
class Predicting:
    """The work of `predict`; see `vlprompt.collections.shards.Work`."""

    run: str
    top: int = 5
    kind: str = "parquet"
    reject: bool | float = False
    backbone: str | None = None
    device: str = "auto"
    name: str = "predict"

    def facts(self) -> dict[str, Any]:
        from vlprompt.files import read_file
        from vlprompt.runs.info import INFO, read_info

        info = read_info(self.run)
        content = read_file(Path(self.run) / INFO)  # a run that is calibrated later says something else
        return {
            "run": hashlib.sha256(content).hexdigest(),
            "method": info.method,
            "top": self.top,
            "kind": self.kind,
            "reject": self.reject,
        }

    def located(self) -> Predicting:
        from vlprompt.ray_cluster import absolute

        return replace(self, run=absolute(self.run), backbone=absolute(self.backbone))

    def load(self) -> None:
        run_of(self.run, self.backbone, self.device)

    def write(self, pictures: Sequence[str], file: Path) -> int:
        found = run_of(self.run, self.backbone, self.device).predict(
            pictures, top=self.top, reject=self.reject
        )
        WRITERS[self.kind](found, file)
        return sum(one.error is not None for one in found)


@lru_cache(maxsize=1)
def run_of(folder: str, backbone: str | None, device: str) -> Run:
    from vlprompt.runs.run import Run

    return Run.load(folder, backbone, device=device)


# -- a prediction as rows --------------------------------------------------------------------------------


def record_of(found: Prediction, digits: int | None = DIGITS) -> dict[str, Any]:
    """{"path", "label", "top": [{"class", "probability"}, ...], "error"}. digits: of probabilities; None for all."""
    top = [{"class": name, "probability": p if digits is None else round(p, digits)} for name, p in found.top]
    return {"path": found.picture, "label": found.label, "top": top, "error": found.error}


def csv_rows(found: Prediction) -> Iterator[list[Any]]:
    """A row for each class, or one that says why the picture cannot be read; cells as in COLUMNS.

    The row of rank 1 is the answer: of a rejected picture "unknown", and its classes come behind.
    """
    if found.rejected:
        yield [cell(found.picture), 1, cell(found.label or ""), "", ""]
    for rank, (name, p) in enumerate(found.top, start=2 if found.rejected else 1):
        yield [cell(found.picture), rank, cell(name), f"{p:.{DIGITS}f}", ""]
    if found.error is not None:
        yield [cell(found.picture), "", "", "", cell(found.error)]


def _parquet(found: Iterable[Prediction], file: Path) -> None:
    pa, pq = parquet()
    one = pa.struct([("class", pa.string()), ("probability", pa.float32())])
    schema = pa.schema(
        [("path", pa.string()), ("label", pa.string()), ("top", pa.list_(one)), ("error", pa.string())]
    )
    rows = [record_of(prediction, digits=None) for prediction in found]
    for row in rows:
        row["path"] = escaped(str(row["path"]))
        row["error"] = None if row["error"] is None else escaped(row["error"])
    with file.open("wb") as out:  # opened here: pyarrow takes no names that are no Unicode
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), out, compression="zstd")


def _jsonl(found: Iterable[Prediction], file: Path) -> None:
    lines = (json.dumps(record_of(prediction), ensure_ascii=False) + "\n" for prediction in found)
    file.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")  # JSON reads that back


def _csv(found: Iterable[Prediction], file: Path) -> None:
    with open(file, "w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        text.write(csv_line(COLUMNS))
        for prediction in found:
            text.writelines(map(csv_line, csv_rows(prediction)))


WRITERS = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv}
