"""Published weights of torchvision, from a file of its cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

from lwdna.errors import CheckpointError, ModelError
from lwdna.models import create_model
from lwdna.models.pretrained import load_start, published_weights

NAME = "torchvision:shufflenet_v2_x0_5"


def test_another_number_of_classes_replaces_the_output_layer_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = published_weights(NAME, {})
    assert weights.url == ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    assert weights.cached is None
    torch.manual_seed(1)
    given = shufflenet_v2_x0_5().state_dict()
    weights.place.parent.mkdir(parents=True)
    torch.save(given, weights.place)
    assert published_weights(NAME, {}).cached == weights.place
    for classes, fresh in ((5, {"fc.weight", "fc.bias"}), (1000, set())):
        found = create_model(NAME, pretrained=True, num_classes=classes).state_dict()
        assert {n for n in given if not torch.equal(found[n], given[n])} == fresh
        assert len(found["fc.bias"]) == classes
    with pytest.raises(ModelError, match="no weights IMAGENET2"):
        published_weights(NAME, {"weights": "IMAGENET2"})


def test_weights_of_another_network_are_refused() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2))
    other = torch.nn.Sequential(torch.nn.Linear(3, 7), torch.nn.Linear(7, 2))
    with pytest.raises(CheckpointError, match=r"0\.weight is 7x3 in the file and 5x3"):
        load_start(network, other.state_dict(), "other.pth")
