from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import WeightsEnum

from lwdna.errors import ModelError
from lwdna.models import create_model, list_models, register_model, registry, resolve_name


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_builders", dict(registry._builders))


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file behind when it is imported."""
    (tmp_path / "my_networks.py").write_text(
        "from pathlib import Path\n"
        "from torch import nn\n"
        "Path(__file__).with_name('imported').touch()\n"
        "def tiny(width=4): return nn.Conv2d(3, width, 1)\n"
        "def none(): return None\n"
        "class Zoo:\n"
        "    linear = nn.Linear\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("resnet20_cifar", "lwdna:resnet20_cifar"),
        ("lwdna:resnet56-cifar", "lwdna:resnet56_cifar"),
        ("resnet56-cifar", "lwdna:resnet56_cifar"),
        ("resnet50", "timm:resnet50"),
        ("timm:resnet50.a1_in1k", "timm:resnet50.a1_in1k"),
        ("torchvision:resnet50", "torchvision:resnet50"),
        ("squeezenet1_1", "torchvision:squeezenet1_1"),
        ("python:some.where:Net.small", "python:some.where:Net.small"),
    ],
)
def test_names_get_their_prefix(name: str, full: str) -> None:
    assert resolve_name(name) == full


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet57_cifar", "unknown model 'resnet57_cifar'; did you mean .*resnet56_cifar"),
        ("ResNet50", "did you mean .*resnet50"),
        ("timm:resnet56_cifar", "did you mean .*lwdna:resnet56_cifar"),
        ("torchvision:resnet51", "did you mean .*torchvision:resnet50"),
        ("timm:resnet50.no_such_tag", "unknown model"),
        ("qqqqqqqqqqq", "unknown model 'qqqqqqqqqqq'; `lwdna list`"),
        ("hub:resnet50", "unknown source 'hub'.*lwdna:, timm:, torchvision:, python:"),
        ("python:not-a-module:f", "write python:package.module:callable"),
        ("python:module_only", "write python:package.module:callable"),
        ("", "unknown model ''"),
    ],
)
def test_unknown_names_say_what_is_near(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        resolve_name(name)
    assert "\n" not in str(caught.value)


def test_list_is_natural_and_every_own_name_resolves_to_itself() -> None:
    names = list_models("lwdna:resnet*_cifar")
    kinds = ("20", "32", "56", "110_bottleneck", "110", "164")
    assert names == [f"lwdna:resnet{kind}_cifar" for kind in kinds]
    assert all(resolve_name(name) == name for name in list_models("lwdna:*"))


def test_patterns_match_with_and_without_prefix() -> None:
    assert {"timm:resnet50", "torchvision:resnet50"} == set(list_models("resnet50"))
    assert list_models("timm:resnet50") == ["timm:resnet50"]
    assert list_models("no such network") == []
    assert len(list_models()) > 1000


def test_models_of_each_source_are_built() -> None:
    x = torch.zeros(1, 3, 32, 32)
    for name in ("lwdna:resnet20_cifar", "timm:test_resnet", "torchvision:shufflenet_v2_x0_5"):
        assert create_model(name, num_classes=7).eval()(x).shape == (1, 7), name


@pytest.mark.parametrize(
    "name", ["lwdna:resnet20_cifar", "resnet18_32px", "timm:test_resnet", "torchvision:resnet18"]
)
def test_an_unknown_argument_is_named(name: str) -> None:
    with pytest.raises(ModelError, match="no_such_argument"):
        create_model(name, no_such_argument=1)


def test_own_networks_have_no_trained_weights() -> None:
    create_model("resnet20_cifar", pretrained=False)
    with pytest.raises(ModelError, match="no trained weights"):
        create_model("resnet20_cifar", pretrained=True)


def test_weights_are_fetched_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise RuntimeError("weights were fetched")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    # Torchvision's own default for this detector is to fetch its backbone.
    create_model("torchvision:lraspp_mobilenet_v3_large")
    with pytest.raises(ModelError, match="weights were fetched"):
        create_model("torchvision:resnet18", pretrained=True)
    with pytest.raises(ModelError, match="pretrained=True"):
        create_model("torchvision:resnet18", weights="DEFAULT")


def test_python_names_need_trust(user_module: Path) -> None:
    with pytest.raises(ModelError, match="trust_code=True"):
        create_model("python:my_networks:tiny")
    assert not (user_module / "imported").exists()

    model = create_model("python:my_networks:tiny", trust_code=True, width=9)
    assert isinstance(model, nn.Conv2d)
    assert model.out_channels == 9
    model = create_model(
        "python:my_networks:Zoo.linear", trust_code=True, in_features=2, out_features=3
    )
    assert isinstance(model, nn.Linear)


def test_networks_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynet.py").write_text("from torch.nn import Linear\n")
    (tmp_path / "fractions.py").write_text("hidden = True\n")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    args = {"in_features": 2, "out_features": 3}
    assert create_model("python:mynet:Linear", trust_code=True, **args).out_features == 3
    del sys.modules["mynet"]
    with pytest.raises(ModelError, match="no 'hidden' in 'fractions'"):  # Python's own
        create_model("python:fractions:hidden", trust_code=True)


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("python:no_such_module:f", {}, "cannot import 'no_such_module'.*PYTHONPATH"),
        ("python:my_networks:tinny", {}, "no 'tinny' in 'my_networks'; did you mean tiny"),
        ("python:my_networks:Path.name.x", {}, "no 'x'"),
        ("python:my_networks:__name__", {}, "not callable"),
        ("python:my_networks:none", {}, "returned NoneType"),
        ("python:my_networks:tiny", {"widht": 1}, "widht.*its arguments are: width"),
    ],
)
def test_python_names_that_do_not_work(name: str, args: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name, trust_code=True, **args)


@pytest.mark.usefixtures("own_registry")
def test_registered_networks_are_found() -> None:
    @register_model
    def my_own_net(width: int = 2) -> nn.Module:
        return nn.Conv2d(1, width, 1)

    assert resolve_name("my_own_net") == "lwdna:my_own_net"
    assert "lwdna:my_own_net" in list_models("my_*")
    assert create_model("my_own_net", width=5).get_parameter("weight").shape[0] == 5


@pytest.mark.usefixtures("own_registry")
def test_a_name_is_not_taken_twice() -> None:
    def resnet20_cifar() -> nn.Module:
        return nn.Identity()

    with pytest.raises(ModelError, match=r"'resnet20_cifar' is registered already.*cifar_resnet"):
        register_model(resnet20_cifar)
    assert not isinstance(create_model("resnet20_cifar"), nn.Identity)


@pytest.mark.usefixtures("own_registry")
def test_the_same_function_may_be_defined_again() -> None:
    def define(width: int) -> None:
        @register_model
        def my_own_net() -> nn.Module:
            return nn.Conv2d(1, width, 1)

    define(2)
    define(3)
    assert create_model("my_own_net").get_parameter("weight").shape[0] == 3
