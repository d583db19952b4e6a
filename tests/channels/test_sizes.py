"""Sizes that a network's code computes: what they were computed from, the axes follow."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.backends import mha

from lwdna.channels import resize, trace
from lwdna.channels.proof import verify as verification

from . import sizes
from .proof import assert_holds, outputs_of

IMAGE = (2, 3, 6, 8)
STREAM = "a.weight.0 a.bias.0 head.weight.1 out.weight.0 out.bias.0"

# Network: for each group its name, width and member axes; "!" marks a group that is not exact.
EXPECTED: dict[str, dict[str, tuple[int, str]]] = {
    "SizesOfInput": {
        "a": (
            7,
            f"{STREAM} q.weight.0 q.weight.1 q.bias.0 k.weight.0 k.weight.1 k.bias.0 "
            "v.weight.0 v.weight.1 v.bias.0 out.weight.1",
        ),
    },
    "SizesOfModule": {
        "a": (14, f"{STREAM} q.weight.1 k.weight.1 v.weight.1"),
        "q": (
            7,
            "q.weight.0 q.bias.0 k.weight.0 k.bias.0 v.weight.0 v.bias.0 out.weight.1",
        ),
    },
    "ScaledByInput": {
        "a": (14, f"{STREAM} q.weight.1 k.weight.1 v.weight.1"),
        "q!": (14, "q.weight.0 q.bias.0 k.weight.0 k.bias.0"),
        "v": (14, "v.weight.0 v.bias.0 out.weight.1"),
    },
    "Outlook": {
        "a": (5, "a.weight.0 a.bias.0 v.weight.0 v.weight.1 v.bias.0 c.weight.1"),
    },
    "HeadsInBatch": {"a": (7, "a.weight.0 a.bias.0 c.weight.1")},
    "TorchsAttention": {
        "a!": (
            7,
            "a.weight.0 a.bias.0 attention.in_proj_weight.0 attention.in_proj_weight.1 "
            "attention.in_proj_bias.0 attention.out_proj.weight.0 attention.out_proj.weight.1 "
            "attention.out_proj.bias.0 up.weight.1 down.weight.0 down.bias.0 c.weight.1",
        ),
        "up": (11, "up.weight.0 up.bias.0 down.weight.1"),
    },
    "AttentionToAnother": {
        "a!": (
            7,
            "a.weight.0 a.bias.0 attention.q_proj_weight.0 attention.q_proj_weight.1 "
            "attention.k_proj_weight.0 attention.v_proj_weight.0 attention.in_proj_bias.0 "
            "attention.out_proj.weight.1",
        ),
        "b": (5, "b.weight.0 b.bias.0 attention.k_proj_weight.1"),
        "d": (11, "d.weight.0 d.bias.0 attention.v_proj_weight.1"),
        "attention": (14, "attention.out_proj.weight.0 attention.out_proj.bias.0 c.weight.1"),
    },
    "LikeAnother": {"a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 c.weight.1 d.weight.1")},
    "TwoIntoOne": {
        "a": (5, "a.weight.0 a.bias.0 e.weight.0 e.bias.0 c.weight.1 d.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 e.weight.0 e.bias.0 c.weight.1 d.weight.1"),
    },
    "SlicedBySize": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 c.weight.1 e.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 d.weight.1"),
    },
    "SlicedByPlainNumber": {"b": (7, "b.weight.0 b.bias.0 f.weight.1")},
    "PlainNumbersInARow": {
        "a.conv": (5, "a.conv.weight.0 a.conv.bias.0 b.conv.weight.1"),
        "b.conv": (7, "b.conv.weight.0 b.conv.bias.0 c.weight.1"),
    },
    "PlainNumbersAlike": {
        "a.0.conv": (5, "a.0.conv.weight.0 a.0.conv.bias.0 a.1.conv.weight.1"),
        "a.1.conv": (11, "a.1.conv.weight.0 a.1.conv.bias.0 b.conv.weight.1"),
        "b.conv": (7, "b.conv.weight.0 b.conv.bias.0 c.weight.1"),
    },
    "UnequalChunks": {},
    "Windows": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "Positions": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "Rooms": {
        **{
            f"free.{i}": (5, f"free.{i}.weight.0 free.{i}.bias.0 free.{i + 1}.weight.1")
            for i in range(7)
        },
        "free.7": (
            5,
            "free.7.weight.0 free.7.bias.0 " + " ".join(f"stuck.{i}.weight.1" for i in range(4)),
        ),
    },
}


@pytest.fixture(autouse=True)
def _countable():
    """torch's counter knows no operator that is a whole attention layer."""
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    yield
    assert not mha.get_fastpath_enabled(), "tracing leaves torch's settings as they were"
    mha.set_fastpath_enabled(before)


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return getattr(sizes, name)(), torch.randn(IMAGE)


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_those_read_off_the_network(name):
    model, image = network(name)
    graph = trace(model, image)
    found = {
        group.name + "!" * (not group.exact): (
            group.width,
            sorted(f"{tensor}.{axis}" for tensor, axis in group.members),
        )
        for group in graph.groups
    }
    assert found == {
        key: (width, sorted(text.split())) for key, (width, text) in EXPECTED[name].items()
    }
    assert graph.unknown_ops == ()
    assert_holds(model, image, graph)


@pytest.mark.parametrize(
    ("name", "replays"),
    [("SizesOfInput", 1), ("SizesOfModule", 3), ("Outlook", 1), ("SlicedBySize", 1)],
)
def test_what_is_known_needs_no_search(name, replays, monkeypatch):
    """The first graph holds: one run proves it, three do where numbers follow."""
    done = []
    replay = verification.replay
    monkeypatch.setattr(verification, "replay", lambda *a, **k: done.append(a) or replay(*a, **k))
    trace(*network(name))
    assert len(done) == replays


def test_what_helps_one_module_is_tried_on_all_of_its_class(monkeypatch):
    """One run fails, one tells that the first number follows, one that all do, two confirm it."""
    done = []
    replay = verification.replay
    monkeypatch.setattr(verification, "replay", lambda *a, **k: done.append(a) or replay(*a, **k))
    trace(*network("PlainNumbersAlike"))
    assert len(done) == 5


def test_a_search_for_what_cannot_move_halves_the_suspects(monkeypatch):
    """Four layers of twelve cannot move; they meet, so one failure finds them."""
    done = []
    replay = verification.replay
    monkeypatch.setattr(verification, "replay", lambda *a, **k: done.append(a) or replay(*a, **k))
    trace(*network("Rooms"))
    assert len(done) <= 8


def test_integers_of_modules_follow():
    model, image = network("SizesOfModule")
    graph = trace(model, image)
    assert type(model.width) is int
    other = resize(model, graph, {"q": 11})
    assert (other.heads, other.width, other.whole) == (11, 5, 55)
    assert type(other.whole) is int


def test_what_is_pinned_names_the_line():
    model, image = network("Rooms")
    graph = trace(model, image)
    reasons = {str(r) for p in graph.pinned if p.tensor == "stuck.0.weight" for r in p.reasons}
    assert len(reasons) == 1
    assert "written into the network's code at view (sizes.py:" in reasons.pop()


def test_shortcuts_of_torchs_attention_make_no_difference():
    """Its operator for evaluation shows nothing of what is inside."""
    model, image = network("TorchsAttention")
    graph = trace(model, image)
    mha.set_fastpath_enabled(True)
    try:
        assert trace(model, image) == graph
        assert mha.get_fastpath_enabled()
    finally:
        mha.set_fastpath_enabled(False)


def test_unequal_chunks_say_so():
    model, image = network("UnequalChunks")
    assert "cut into chunks of unequal size at split" in trace(model, image).report()


def test_buffers_that_a_network_makes_anew_do_not_matter():
    model, image = network("Positions")
    untouched = copy.deepcopy(model)
    graph = trace(model, image)
    assert (model.calls, model.seen.shape) == (0, untouched.seen.shape)
    assert graph.remade == ("seen",)
    whole = outputs_of(model, image)[0]
    assert model.seen.shape == (6, 8)
    kept = resize(model, graph, {"a": torch.arange(5)}, init="slice")
    assert torch.equal(outputs_of(kept, image)[0], whole)
    assert outputs_of(resize(model, graph, {"a": 7}), image)[0].shape == whole.shape
