"""What Torch-Pruning leaves behind is imported with its weights."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision

from lwdna.interop import import_state_dict

CLASSES = {"num_classes": 7}


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:resnet18",
        "timm:mobilenetv2_100",
        pytest.param("timm:densenet121", marks=pytest.mark.slow),
    ],
)
def test_pruned_networks_keep_their_outputs(name):
    pruning = pytest.importorskip("torch_pruning")
    family, _, model_name = name.partition(":")
    make = timm.create_model if family == "timm" else torchvision.models.get_model
    torch.manual_seed(0)
    model = make(model_name, **CLASSES).eval()
    before = sum(p.numel() for p in model.parameters())
    pruning.pruner.MagnitudePruner(
        model,
        torch.randn(1, 3, 64, 64),
        importance=pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.37,
        global_pruning=True,
        ignored_layers=[m for m in model.modules() if isinstance(m, torch.nn.Linear)],
    ).step()
    network, arch = import_state_dict(name, model.state_dict(), (3, 64, 64), model_args=CLASSES)
    assert arch.cost.params == sum(p.numel() for p in model.parameters()) < before
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model.eval()(images), rtol=0, atol=0)
