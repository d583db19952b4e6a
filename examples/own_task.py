"""A task of your own: classification with the focal loss, from a recipe to a report."""

from torch.nn import functional as F

import lwdna
from lwdna.recipe import load_recipe
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from lwdna.workflows import run_job


class FocalSettings(ClassificationSettings):
    """What the ``data`` section of a recipe may say: all of classification, and one key more."""

    gamma: float = 2.0
    """How little images count that are told well already (Lin 2017, arXiv 1708.02002)."""


@lwdna.register_task("focal", settings=FocalSettings)
class FocalTask(ClassificationTask):
    """Classification with the focal loss."""

    def __init__(self, settings):
        super().__init__(settings)
        self.gamma = settings.gamma

    def loss(self, model, batch):  # data, metrics and validation stay those of classification
        images, targets = batch
        each = F.cross_entropy(model(images).float(), targets, reduction="none")
        return ((1 - (-each).exp()) ** self.gamma * each).mean()


if __name__ == "__main__":
    recipe = load_recipe("digits", ["task=focal", "data.gamma=1.5", "train.epochs=2"])
    print("report:", run_job(recipe, "runs/focal"))
