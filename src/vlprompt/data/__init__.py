"""Data: pictures with labels from folders, lists and archives; few-shot samples."""

from typing import Any

from vlprompt.data.dataset import Dataset, Item, duplicate_notice, duplicates_across_splits
from vlprompt.data.memory import from_pictures
from vlprompt.data.opening import open_dataset
from vlprompt.data.pictures import open_picture
from vlprompt.data.sampling import Split, base_new, draw, few_shot, sample
from vlprompt.data.task import Task
from vlprompt.renamed import moved_name

__all__ = [
    "Dataset",
    "Item",
    "Split",
    "Task",
    "base_new",
    "draw",
    "duplicate_notice",
    "duplicates_across_splits",
    "few_shot",
    "from_pictures",
    "open_dataset",
    "open_picture",
    "sample",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
