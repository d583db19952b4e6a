"""Transforms are part of where a network comes from: files and recipes name and replay them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lwdna
from launch import call
from lwdna.architecture import Architecture, ModelSource
from lwdna.engine import operator_times
from lwdna.errors import ArchitectureError, GraphError, ModelError, RecipeError
from lwdna.recipe import load_recipe
from lwdna.settings import Settings
from lwdna.transforms import TRANSFORMS, FactorizeSettings, register_transform, rewrite
from networks import Chain

from ..cli.command import DIGITS, done, fault

NAME, ARGS = "timm:test_resnet", {"num_classes": 5}
FACTORIZE = {"name": "factorize", "layers": ["layer*.conv[12]"]}
SIZE = (3, 32, 32)


def _shrink(budget: lwdna.Budget, **options) -> Architecture:
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(4, *SIZE, generator=generator), torch.tensor([0, 1, 2, 3])
    options = {"model_args": ARGS, "transforms": [FACTORIZE], **options}
    model = options.pop("model", NAME)
    return lwdna.shrink(
        model, torch.zeros(1, *SIZE), [batch], nn.CrossEntropyLoss(), budget, **options
    )


@pytest.mark.parametrize("criterion", ["snip", "latent-gradient"])
def test_a_search_finds_ranks_within_the_budget(criterion):
    arch = _shrink(lwdna.Budget(macs=0.6), criterion=criterion, multiple=1)
    split = lwdna.factorize(lwdna.create_model(NAME, **ARGS), layers=FACTORIZE["layers"])
    baseline = lwdna.trace(split, torch.zeros(1, *SIZE))
    assert arch.baseline.macs == baseline.cost().macs
    assert 0.55 * arch.baseline.macs < arch.cost.macs <= 0.6 * arch.baseline.macs
    ranks = {name for name in baseline.widths if name.endswith(".basis")}
    assert len(ranks) == sum(isinstance(m, nn.Sequential) and hasattr(m, "basis")
                             for m in split.modules())  # fmt: skip
    assert ranks
    assert all(arch.widths[name] != baseline.widths[name] for name in ranks)
    network = arch.build(seed=0)
    for name in ranks:
        pair = network.get_submodule(name.removesuffix(".basis"))
        assert pair.basis.out_channels == pair.mix.in_channels == arch.widths[name]


def test_a_budget_of_latency_counts_both_halves_of_a_pair(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        operator_times,
        "measure",
        lambda jobs, device: [
            1e-3 * math.prod(job.shapes[1]) if "convolution" in job.operator.op else 0.0
            for job in jobs
        ],
    )
    found = _shrink(lwdna.Budget(latency=0.5))
    network = found.build()
    expected = sum(1e-3 * m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
    usage = found.found["usage"]["latency"]
    assert usage["found"] == pytest.approx(expected)
    assert 0.4 * usage["baseline"] < usage["found"] <= 0.5 * usage["baseline"]


def _replay():
    arch = lwdna.Architecture.load("found.lwdna.json")
    built = arch.build(seed=3)
    loaded, same = lwdna.load("found.safetensors")
    cost = lwdna.trace(built, torch.zeros(1, *SIZE)).cost()
    with torch.no_grad():
        outputs = [net.eval()(torch.ones(1, *SIZE)).tolist() for net in (built, loaded)]
    sys.stdout.write(json.dumps([cost.macs, cost.params, same == arch, outputs]))
    sys.stdout.flush()


def test_files_replay_the_transforms_in_a_fresh_process(tmp_path, monkeypatch):
    arch = _shrink(lwdna.Budget(macs=0.6))
    model = arch.build(seed=3).eval()
    arch.save(tmp_path / "found.lwdna.json")
    lwdna.save(model, arch, tmp_path / "found.safetensors")
    assert Architecture.load(tmp_path / "found.lwdna.json") == arch
    monkeypatch.chdir(tmp_path)
    code, out, err = call(_replay).end()
    assert code == 0, err
    macs, params, same, outputs = json.loads(out)
    assert (macs, params, same) == (arch.cost.macs, arch.cost.params, True)
    with torch.no_grad():
        expected = model(torch.ones(1, *SIZE))
    for output in outputs:
        torch.testing.assert_close(torch.tensor(output), expected)


def test_a_file_names_the_transforms_only_where_there_are_any():
    plain = ModelSource(name=NAME, args=ARGS)
    text = Architecture.of_baseline(plain, SIZE).to_json()
    assert json.loads(text)["model"] == {"name": NAME, "args": ARGS}
    assert Architecture.from_json(text, "here").model == plain
    source = ModelSource(name=NAME, args=ARGS, transforms=[FACTORIZE])
    text = Architecture.of_baseline(source, SIZE).to_json()
    written = {**FACTORIZE, "rank": None, "init": "svd"}
    assert json.loads(text)["model"] == {"name": NAME, "args": ARGS, "transforms": [written]}
    assert Architecture.from_json(text, "here").model == source
    with pytest.raises(ArchitectureError, match=r"model.transforms.0: .*did you mean factorize\?"):
        Architecture.from_json(text.replace('"factorize"', '"factorise"'), "here")


def test_an_object_is_given_as_it_was_traced():
    model = Chain()
    split = lwdna.factorize(model)
    found = _shrink(lwdna.Budget(macs=0.6), model=split, transforms=[], model_args=None)
    assert found.model is None
    assert found.build(split).one.weight.shape[0] == found.widths["one"]
    with pytest.raises(ArchitectureError, match=r"names a group 'two\.basis'"):
        found.build(model)
    with pytest.raises(ModelError, match=r"given as an object; rewrite it first \(lwdna.factorize"):
        _shrink(lwdna.Budget(macs=0.6), model=model, model_args=None)


def test_a_network_that_needs_more_of_a_layer_than_its_result(tmp_path, monkeypatch):
    (tmp_path / "curious.py").write_text(
        "from torch import nn\n"
        "class Curious(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(5, 7, 3)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x) / self.conv.out_channels\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = ModelSource(name="python:curious:Curious", transforms=[{"name": "factorize"}])
    with pytest.raises(GraphError, match=r"out_channels.*rewritten before by: factorize\. If it"):
        Architecture.of_baseline(source, (5, 8, 8), trust_code=True)


class _Smooth(Settings):
    slope: float


@pytest.fixture
def smooth():
    @register_transform("smooth", settings=_Smooth)
    def smooth(network: nn.Module, settings: _Smooth) -> nn.Module:
        """Rectifiers leak."""
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.LeakyReLU(settings.slope))
        return network if settings.slope else None

    yield smooth
    TRANSFORMS._entries.pop("smooth")


def test_a_transform_from_outside_is_used_from_a_recipe(smooth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"factorize", "smooth"} <= set(TRANSFORMS)
    assert TRANSFORMS.declarations["smooth"].summary == "Rectifiers leak."
    own = "model.transforms=[{name: smooth, slope: 0.25}, factorize]"
    recipe = load_recipe("digits", [own])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    done("shrink", *DIGITS, own, "--out", "search")
    found = Architecture.load("search/architecture.lwdna.json")
    slopes = {m.negative_slope for m in found.build().modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.25}
    assert "stages.0.0.conv1.basis" in found.widths


def test_a_transform_must_return_a_network_and_leave_the_name_to_recipes(smooth):
    with pytest.raises(ModelError, match="smooth returned NoneType; it must return the network"):
        rewrite(Chain(), [{"name": "smooth", "slope": 0}])

    class Named(Settings):
        name: str

    with pytest.raises(ValueError, match="'named' cannot have a field 'name'"):
        register_transform("named", settings=Named)
    with pytest.raises(ValueError, match="there is a transform 'factorize' already"):
        register_transform("factorize", settings=FactorizeSettings)(smooth)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("[{name: factorise}]", r"no transform 'factorise'; did you mean factorize\?"),
        ("[{layers: x}]", "a transform needs its name, for example {name: factorize}"),
        ("[{name: factorize, layer: x}]", r"no setting 'layer'; did you mean layers\?"),
        (
            "[{name: factorize, init: svt, rank: 0}]",
            "init=svt: input should be 'svd', 'svd-mix', 'identity' or 'fresh'",
        ),
        ("[{name: factorize, init: svt, rank: 0}]", "rank=0: input should be greater than 0"),
        ("[3]", "a transform needs its name"),
    ],
)
def test_faults_of_a_recipe_are_named(said, reason):
    with pytest.raises(RecipeError, match=f"model.transforms.*{reason}") as caught:
        load_recipe("digits", [f"model.transforms={said}"])
    assert "\n" not in str(caught.value)


def test_settings_are_checked_without_torch():
    program = (
        "import sys\n"
        "from lwdna.transforms.table import Transform\n"
        "print(Transform.model_validate({'name': 'factorize', 'layers': 'a*', 'rank': 0.5}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "factorize layers=['a*'] rank=0.5\n"


def test_a_job_of_a_recipe_with_transforms(tmp_path, monkeypatch):
    """Search, both trainings and report; the baseline is the network as it is rewritten."""
    monkeypatch.chdir(tmp_path)
    own = "model.transforms=[{name: factorize, layers: [stages.*]}]"
    done("quickstart", *DIGITS, "train.epochs=1", own, "--out", "job")
    job = Path("job")
    found = Architecture.load(job / "search" / "architecture.lwdna.json")
    network, trained = lwdna.load(job / "lwdna" / "model.safetensors")
    assert trained == found
    assert found.model.transforms[0].settings == FactorizeSettings(layers=["stages.*"])
    baseline, _ = lwdna.load(job / "baseline" / "model.safetensors")
    assert baseline.stages[0][0].conv1.basis.out_channels == 12
    widths = found.widths
    assert network.stages[2][0].conv2.basis.out_channels == widths["stages.2.0.conv2.basis"]
    results = json.loads((job / "results.json").read_text())
    assert results["baseline"]["macs"] == found.baseline.macs
    assert results["lwdna"]["macs"] == found.cost.macs
    page = (job / "report.html").read_text()
    assert "transform factorize layers" in page
    groups = json.loads(done("inspect", str(job / "lwdna" / "model.safetensors"), "--json"))
    assert {g["name"]: g["width"] for g in groups["groups"]} == widths
    message = fault(
        *("train", *DIGITS, "--architecture", job / "search" / "architecture.lwdna.json"),
        *("--out", "other"),
    )
    assert "was transformed by factorize layers=['stages.*'], the recipe's by nothing" in message
