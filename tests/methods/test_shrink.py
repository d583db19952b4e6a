"""The search from end to end, and the files it leaves."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from torch import nn

import lwdna
from lwdna.architecture import Architecture
from lwdna.errors import (
    ArchitectureError,
    BudgetError,
    CheckpointError,
    DataError,
    ModelError,
    TrainingError,
)
from lwdna.methods import ShrinkSettings, search
from lwdna.model_source import ModelSource
from networks import Branches, Chain

NAME = "timm:test_resnet"
ARGS = {"num_classes": 5}


def _batches(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(4, 3, 32, 32, generator=generator),
            torch.randint(5, (4,), generator=generator),
        )
        for _ in range(count)
    ]


def _shrink(**options):
    options = {"budget": lwdna.Budget(macs=0.9), "model_args": ARGS, **options}
    return lwdna.shrink(
        NAME, torch.zeros(1, 3, 32, 32), _batches(), nn.CrossEntropyLoss(), **options
    )


@pytest.mark.parametrize("multiple", [1, 4])
def test_shrink_meets_the_budget_and_builds_an_ordinary_network(multiple):
    arch = _shrink(multiple=multiple)
    assert 0.8 * arch.baseline.macs < arch.cost.macs <= 0.9 * arch.baseline.macs
    network = arch.build(seed=0)
    assert type(network) is type(timm.create_model("test_resnet"))
    assert sum(p.numel() for p in network.parameters()) == arch.cost.params
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert all("lwdna" not in type(module).__module__ for module in network.modules())


def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(ord(name))  # the global state must not matter
        _shrink(seed=seed).save(tmp_path / name)
    files = [(tmp_path / name).read_bytes() for name in "abc"]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_the_hypernetwork_finds_the_same_widths_as_the_closed_form():
    found = [
        _shrink(criterion="latent-gradient", hypernetwork=through).widths
        for through in (False, True)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("criterion", ["latent-gradient", "snip"])
def test_the_scores_do_not_depend_on_how_the_examples_are_split_into_batches(criterion):
    model = nn.Sequential(
        nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 11, 3), nn.Flatten(), nn.LazyLinear(5)
    )
    model(torch.zeros(1, 3, 8, 8))
    images, labels = torch.randn(12, 3, 8, 8), torch.arange(12) % 5
    found = [
        search(
            model,
            images[:1],
            list(zip(images.split(sizes), labels.split(sizes), strict=True)),
            lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
            ShrinkSettings(criterion=criterion),
        ).scores
        for sizes in ([12], [4, 8], [1, 5, 6])
    ]
    for other in found[1:]:
        for name, scores in found[0].items():
            torch.testing.assert_close(scores, other[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("multiple", [1, 4])
def test_the_uniform_control_keeps_the_same_fraction_of_every_group(multiple):
    arch = _shrink(criterion="uniform", floor=0.0, linear_floor=0.0, multiple=multiple)
    baseline = lwdna.trace(arch.model.create(), torch.zeros(1, 3, 32, 32)).widths
    fractions = {arch.widths[name] / (2 * width) for name, width in baseline.items()}
    slack = max(multiple / (2 * width) for width in baseline.values())
    assert max(fractions) - min(fractions) <= slack
    assert arch.cost.macs <= 0.9 * arch.baseline.macs


def test_scores_that_are_only_an_order_are_kept_by_a_threshold_unless_told_otherwise():
    rules = {name: _shrink(criterion=name).found["keep"] for name in ("snip", "random")}
    usual = {"rule": "proportional", "prior": 0.5, "curvature": 1.0}
    assert rules == {"snip": usual, "random": "threshold"}
    assert _shrink(criterion="random", keep="knapsack").found["keep"] == "knapsack"


def test_a_knapsack_keeps_more_score_within_the_same_budget():
    images, found = torch.zeros(1, 3, 32, 32), {}
    for keep in ("threshold", "knapsack"):
        found[keep] = search(
            timm.create_model("test_resnet", num_classes=5),
            images,
            _batches(),
            lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
            ShrinkSettings(criterion="snip", keep=keep, floor=0.1, linear_floor=0.1),
        )
    importance = {
        keep: sum(float(one.scores[name][units].sum()) for name, units in one.units.items())
        for keep, one in found.items()
    }
    assert importance["knapsack"] > importance["threshold"]
    assert found["knapsack"].threshold is None
    assert found["knapsack"].to_json()["threshold"] is None


@pytest.mark.parametrize("normalize", ["none", "group-mean", "group-l2"])
def test_scores_are_compared_relative_to_their_groups(normalize):
    found = search(
        Chain(),
        torch.zeros(1, 3, 32, 32),
        _batches(),
        lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
        ShrinkSettings(normalize=normalize),
    )
    means = torch.stack([scores.mean() for scores in found.scores.values()])
    norms = torch.stack([scores.square().sum().sqrt() for scores in found.scores.values()])
    for name, values in (("group-mean", means), ("group-l2", norms)):
        assert torch.allclose(values, torch.ones_like(values)) == (name == normalize)


def test_random_widths_differ_by_seed_and_meet_the_budget():
    one, two = (_shrink(criterion="random", floor=0.2, seed=seed) for seed in (0, 1))
    assert one.widths != two.widths
    for arch in (one, two):
        assert 0.85 * arch.baseline.macs < arch.cost.macs <= 0.9 * arch.baseline.macs


def test_reversed_scores_turn_the_order_round():
    model = Chain()
    found = [
        search(
            model,
            torch.zeros(1, 3, 32, 32),
            _batches(),
            lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
            ShrinkSettings(budget=lwdna.Budget(macs=0.8), reverse=reverse),
        )
        for reverse in (False, True)
    ]
    for name, scores in found[0].scores.items():
        assert torch.equal(scores, -found[1].scores[name])
    assert found[0].architecture.widths != found[1].architecture.widths


def test_a_model_object_works_and_stays_untouched():
    model = Branches()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = [(x[:, :, :16, :16], y) for x, y in _batches()]
    arch = lwdna.shrink(model, torch.zeros(1, 3, 16, 16), batches, nn.CrossEntropyLoss())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert arch.cost.macs <= arch.baseline.macs
    assert arch.cost.params <= 1.5 * arch.baseline.params
    assert arch.found["budget"] == lwdna.Budget(macs=1.0, params=1.5).model_dump()
    with pytest.raises(ArchitectureError, match="pass the model"):
        arch.build()
    rebuilt = arch.build(Branches())
    assert sum(p.numel() for p in rebuilt.parameters()) == arch.cost.params


@pytest.mark.parametrize("criterion", ["latent-gradient", "snip"])
def test_a_zero_initialised_branch_gets_scores(criterion):
    model = timm.create_model("resnet18", num_classes=5, zero_init_last=True)
    assert model.layer1[0].bn2.weight.abs().max() == 0
    found = search(
        model,
        torch.zeros(1, 3, 32, 32),
        _batches(1),
        lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
        ShrinkSettings(criterion=criterion),
    )
    assert all(scores.max() > 0 for scores in found.scores.values())


def test_the_record_adds_up():
    found = search(
        Chain(),
        torch.zeros(1, 3, 32, 32),
        _batches(),
        lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
        ShrinkSettings(budget=lwdna.Budget(macs=0.8), keep="threshold"),
        seed=4,
    )
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for stage in ("baseline", "widened", "found"):
        for what in ("macs", "params"):
            assert (
                sum(layer[what][stage] for layer in record["layers"])
                == (record["cost"][stage][what])
            )
    for group in record["groups"]:
        assert len(group["scores"]) == group["widened"]
        above = sum(score >= record["threshold"] * (1 - 1e-5) for score in group["scores"])
        assert group["found"] == max(above, group["floor"])
        assert len(found.units[group["name"]]) == group["found"]


def test_bad_input_is_named():
    images, loss = torch.zeros(1, 3, 32, 32), nn.CrossEntropyLoss()
    with pytest.raises(ModelError, match="test_resnet"):
        lwdna.shrink("timm:test_resnett", images, _batches(), loss)
    with pytest.raises(DataError, match="at least one batch"):
        lwdna.shrink(Chain(), images, [], loss)
    with pytest.raises(TrainingError, match="loss of search batch 0 is nan"):
        lwdna.shrink(Chain(), images, [(images * float("nan"), torch.zeros(1).long())], loss)
    with pytest.raises(BudgetError, match="nothing would be removed"):
        _shrink(budget=lwdna.Budget(macs=9.0))
    with pytest.raises(BudgetError, match="floors alone"):
        _shrink(budget=lwdna.Budget(macs=0.01))


def test_files_round_trip(tmp_path):
    arch = _shrink()
    arch.save(tmp_path / "x.lwdna.json")
    assert Architecture.load(tmp_path / "x.lwdna.json") == arch
    network = arch.build(seed=3).eval()
    lwdna.save(network, arch, tmp_path / "x.safetensors")
    loaded, again = lwdna.load(tmp_path / "x.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert again == arch == Architecture.load(tmp_path / "x.safetensors")
    torch.testing.assert_close(loaded.eval()(images), network(images), rtol=0, atol=0)


def test_building_is_repeatable_and_fresh():
    arch = _shrink()
    one, two, other = (arch.build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99.*update lwdna"),
        ({"widths": {"nowhere": 3}}, "'nowhere'.*does not have"),
        ({"unknown": 1}, "unknown: Extra inputs"),
        ({"cost": {"macs": 1, "params": 1}}, "the file says 1 and 1"),
        ({"model": {"name": "timm:resnet18", "args": {}}}, "baseline"),
    ],
)
def test_architecture_files_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "x.lwdna.json"
    path.write_text(json.dumps({**json.loads(_shrink().to_json()), **change}))
    with pytest.raises(ArchitectureError, match=message):
        Architecture.load(path).build()


def test_code_is_only_imported_when_trusted(tmp_path):
    source = ModelSource(name="python:networks:Chain")
    arch = Architecture.of_baseline(source, (3, 32, 32), trust_code=True)
    with pytest.raises(ModelError, match="trust"):
        arch.build()
    assert isinstance(arch.build(trust_code=True), Chain)


def test_weights_of_another_network_or_no_weights_at_all(tmp_path):
    arch = _shrink()
    other = Architecture.of_baseline(ModelSource(name=NAME, args=ARGS), (3, 32, 32))
    lwdna.save(other.build(), arch, tmp_path / "x.safetensors")
    with pytest.raises(
        CheckpointError, match=r"another network: .* in the file and .* in the network"
    ):
        lwdna.load(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        lwdna.load(tmp_path / "y.safetensors")
