"""Names that are read from the source of timm and torchvision are those that they register."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import timm
import timm.optim
import torchvision
from timm.models import _registry as timm_registry
from torch import nn

from lwdna.engine import TrainSettings
from lwdna.models import create_model, list_models, names, resolve_name


def in_a_new_process(script: str) -> Any:
    """Return what a script prints as JSON, which then must not have imported timm or torch."""
    check = "import sys; assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    program = [sys.executable, "-c", f"import json\n{script}\n{check}"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_source_says_what_is_registered() -> None:
    read = in_a_new_process(
        "from lwdna.models import names\n"
        "from lwdna.models import list_models\n"
        "print(json.dumps([sorted(names.timm_models()), sorted(names.torchvision_models()),"
        " sorted(names.timm_optimizers()), list_models()]))"
    )
    own = [f"timm:{name}" for name in timm.list_models() if not _is_timms(name)]
    assert read[0] == sorted(name for name in timm.list_models() if _is_timms(name))
    assert read[1] == sorted(torchvision.models.list_models())
    assert read[2] == sorted(timm.optim.list_optimizers())
    asked = [name for name in list_models() if name not in own]
    assert read[3] == asked, "once the libraries are imported, they are asked themselves"


def _is_timms(name: str) -> bool:
    """Whether timm itself registers a network, not a program that runs here."""
    return timm_registry._model_entrypoints[name].__module__.startswith("timm.")


def test_old_names_and_tags_of_timm() -> None:
    old = sorted(timm_registry.get_deprecated_models())
    assert old
    script = (
        "from lwdna.models import names\n"
        f"print(json.dumps([name for name in {old!r} if names.is_timm_model(name)]))"
    )
    assert in_a_new_process(script) == old
    script = (
        "from lwdna.models import resolve_name\n"
        "print(json.dumps([resolve_name('resnet50.a1_in1k')]))"
    )
    assert in_a_new_process(script) == ["timm:resnet50.a1_in1k"]


def test_a_tag_that_timm_puts_together_is_looked_up_in_timm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags = timm.list_models(include_tags=True)
    odd = [name for name in tags if "." in name and not _written_out(name)]
    assert len(odd) >= 3
    for name in odd[:3]:
        monkeypatch.delitem(sys.modules, "timm", raising=False)  # as if nobody had imported it
        assert names.is_timm_model(name)
        assert "timm" in sys.modules


def _written_out(name: str) -> bool:
    return any(f"'{name}':" in text for text in names._texts("timm", "models"))


def test_what_is_registered_in_timm_from_outside_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = dict(timm_registry._model_entrypoints)
    monkeypatch.setattr(timm_registry, "_model_entrypoints", entries)

    def net_of_a_stranger(**_: Any) -> nn.Module:
        return nn.Conv2d(3, 5, 1)

    entries["net_of_a_stranger"] = net_of_a_stranger
    assert resolve_name("net_of_a_stranger") == "timm:net_of_a_stranger"
    assert "timm:net_of_a_stranger" in list_models("*stranger")
    assert create_model("net_of_a_stranger").get_parameter("weight").shape[0] == 5


def test_optimizers_registered_in_timm_from_outside_count(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = timm.optim._optim_factory.default_registry
    known = dict(registry._optimizers)
    monkeypatch.setattr(registry, "_optimizers", {**known, "strange": known["sgd"]})
    assert TrainSettings(optimizer="strange").optimizer == "strange"


def test_libraries_whose_source_says_nothing_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_texts", lambda *_: ())
    for library in ("timm", "timm.optim", "torchvision.models"):
        monkeypatch.delitem(sys.modules, library)
    assert "resnet18" in names.timm_models()
    assert "timm" in sys.modules
    assert "resnet18" in names.torchvision_models()
    assert "adamw" in names.timm_optimizers()
