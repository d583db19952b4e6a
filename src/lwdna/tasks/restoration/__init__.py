"""Image restoration: super-resolution and denoising of Gaussian noise."""

from lwdna.tasks.restoration.settings import DataSettings
from lwdna.tasks.restoration.task import RestorationTask

__all__ = ["DataSettings", "RestorationTask"]
