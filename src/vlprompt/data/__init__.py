"""Data: pictures with labels from folders, lists and archives; few-shot samples, views, cached features."""

from vlprompt.data.dataset import Dataset, Item, duplicate_notice, duplicates_across_splits
from vlprompt.data.memory import from_pictures
from vlprompt.data.opening import open_dataset
from vlprompt.data.pictures import open_picture
from vlprompt.data.sampling import Split, base_new, draw, few_shot, sample
from vlprompt.data.task import Task
from vlprompt.feeding.feature_cache import CacheInfo, FeatureCache, feature_key
from vlprompt.feeding.views import take_view, view_key

__all__ = [
    "CacheInfo",
    "Dataset",
    "FeatureCache",
    "Item",
    "Split",
    "Task",
    "base_new",
    "draw",
    "duplicate_notice",
    "duplicates_across_splits",
    "feature_key",
    "few_shot",
    "from_pictures",
    "open_dataset",
    "open_picture",
    "sample",
    "take_view",
    "view_key",
]
