"""Image classification: data sets, augmentation, loss and metrics."""

from lwdna.tasks.classification.settings import AugmentSettings, DataSettings
from lwdna.tasks.classification.task import ClassificationTask

__all__ = ["AugmentSettings", "ClassificationTask", "DataSettings"]
