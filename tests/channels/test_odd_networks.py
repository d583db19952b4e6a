"""Networks of odd kinds: each is traced and resized, or refused with what to do."""

from __future__ import annotations

import collections
import dataclasses
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lwdna.channels import resize, trace
from lwdna.errors import GraphError

IMAGE = torch.zeros(2, 3, 7, 9)


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 11, 3), nn.BatchNorm2d(11), nn.ReLU(), nn.Conv2d(11, 5, 1))


class Two(nn.Module):
    """Two convolutions; returns what ``result`` makes of the second one's."""

    def __init__(self, result: Callable[[Tensor], Any] = lambda y: y, **attributes: Any) -> None:
        super().__init__()
        self.a, self.b, self.result = nn.Conv2d(3, 11, 3), nn.Conv2d(11, 5, 1), result
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.result(self.b(self.a(x).relu()))


@dataclasses.dataclass
class Answer:
    logits: Any
    aux: Any = None


class Named(collections.OrderedDict):  # as transformers' ModelOutput was once
    pass


class Slotted:
    __slots__ = ("logits",)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


RESULTS: dict[str, Callable[[Tensor], Any]] = {
    "dataclass": Answer,
    "nested": lambda y: Answer([{"k": Answer((None, y))}]),
    "mapping": lambda y: Named(logits=y),
    "user dict": lambda y: collections.UserDict(logits=y),
    "namespace": lambda y: types.SimpleNamespace(logits=y),
    "slots": Slotted,
    "set": lambda y: {y},
    "dict": lambda y: {"name": "x", 3: [y]},
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_outputs_keep_their_size_in_whatever_they_are_returned(result: Any) -> None:
    assert trace(Two(result), IMAGE).widths == {"a": 11}


def test_a_result_that_refers_to_the_network_does_not_pin_it() -> None:
    model = Two()
    model.result = lambda y: types.SimpleNamespace(logits=y, network=model)
    assert trace(model, IMAGE).widths == {"a": 11}


def raises(error: BaseException) -> Callable[[Tensor], Any]:
    def result(y: Tensor) -> Any:
        raise error

    return result


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda y: None, "returns NoneType without a tensor"),
        (lambda y: 3, "returns int without a tensor"),
        (raises(ValueError("mine\nmore")), r"ValueError: mine \(in"),
        (raises(NotImplementedError()), "NotImplementedError"),
        (raises(Mute()), "Mute"),
    ],
)
def test_what_forward_does_wrong_is_said(result: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        trace(Two(result), IMAGE)


def scripted() -> nn.Module:
    return torch.jit.script(chain())


def quantised() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Flatten(), nn.Linear(315, 2))
    return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})


class Uncopied(nn.Conv2d):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("one of a kind")


class Single(nn.Conv2d):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


class Untrained(nn.Sequential):
    def train(self, mode: bool = True) -> Any:
        raise RuntimeError("never")


def its_own_child() -> nn.Module:
    model = nn.Sequential(Two())
    model[0].add_module("outer", model)
    return model


def with_ragged() -> nn.Module:
    model = Two()
    model.register_buffer("ragged", torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]))
    return model


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a function": (lambda: lambda x: x, "must be a torch.nn.Module, got function"),
    "a class": (lambda: nn.Conv2d, "the class Conv2d; give an instance"),
    "exported": (
        lambda: torch.export.export(chain().eval(), (IMAGE,)),
        "the module that it was exported from",
    ),
    "scripted": (scripted, "the network was compiled by torch.jit"),
    "frozen": (lambda: torch.jit.freeze(torch.jit.script(chain().eval())), r"torch\.jit"),
    "jit-traced part": (
        lambda: nn.Sequential(nn.ReLU(), torch.jit.trace(chain(), IMAGE)),
        "module '1' was compiled by torch.jit, .* give the Python module",
    ),
    "lazy": (
        lambda: nn.Sequential(nn.ReLU(), nn.LazyConv2d(5, 1)),
        r"1\.weight has no shape yet.*run the network once",
    ),
    "lazy buffers": (lambda: nn.LazyBatchNorm2d(affine=False), "has no shape yet"),
    "quantised": (quantised, "module '2' is quantised .* quantise the result"),
    "a lock": (
        lambda: nn.Sequential(Two(guard={"deep": threading.Lock()})),
        "cannot be copied: attribute 'guard' of module '0', dict: TypeError",
    ),
    "a generator": (lambda: Two(it=(i for i in range(3))), "attribute 'it' of module ''"),
    "uncopied": (lambda: nn.Sequential(Uncopied(3, 5, 1)), "cannot be copied: .*one of a kind"),
    "single": (lambda: nn.Sequential(Single(3, 5, 1)), "module '0' of class Single"),
    "untrained": (lambda: Untrained(nn.Conv2d(3, 5, 1)), "RuntimeError: never"),
    "its own child": (its_own_child, "RecursionError"),
    "nested tensor": (with_ragged, "ragged is no ordinary tensor"),
    "no forward": (lambda: nn.ModuleList([nn.ReLU()]), "NotImplementedError"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_traced_says_what_to_do(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        trace(make(), IMAGE)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return chain()


def of_fakes() -> nn.Module:
    with FakeTensorMode():
        return chain()


def after_a_run() -> nn.Module:
    model = nn.Sequential(nn.LazyConv2d(11, 3), nn.ReLU(), nn.LazyConv2d(5, 1))
    model(IMAGE)
    return model


def in_inference() -> nn.Module:
    with torch.inference_mode():
        return chain()


def with_results() -> nn.Module:
    model = Two(module=torch, function=torch.jit.script(_double))
    model.kept = [model.a.weight * 2, {"deep": (model.a.weight.sum(),)}]
    return model


def _double(x: Tensor) -> Tensor:
    return x * 2


def with_empty() -> nn.Module:
    model = Two()
    model.empty = nn.Parameter(torch.zeros(0, 4))
    model.turns = nn.Parameter(torch.randn(5, 4, dtype=torch.cfloat))
    model.register_buffer("counts", torch.arange(4))
    return model


def compiled() -> nn.Module:
    return nn.Sequential(torch.compile(nn.Conv2d(3, 11, 3)), nn.Conv2d(11, 5, 1))


class Delegating(nn.Module):
    """Answers for attributes of any name, as wrappers do that pass everything on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = chain()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise KeyError(name) if name != "anything" else AttributeError(name) from None

    @property
    def get_classifier(self) -> Any:
        raise RuntimeError("not ready")

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "lazy after a run": after_a_run,
    "inference tensors": in_inference,
    "half": lambda: chain().half(),
    "bfloat16": lambda: chain().bfloat16(),
    "float64": lambda: chain().double(),
    "nothing trained": lambda: chain().requires_grad_(False),
    "computed tensors": with_results,
    "empty and complex": with_empty,
    "compiled": compiled,
    "delegating": Delegating,
    "data parallel": lambda: nn.DataParallel(chain()),
    "fx": lambda: torch.fx.symbolic_trace(chain()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_odd_but_sound_takes_other_widths(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    image = IMAGE.to(next(model.parameters()).dtype)
    graph = trace(model, image)
    ((name, width),) = graph.widths.items()
    assert width == 11
    fresh = resize(model, graph, {name: 13}, seed=0)
    assert fresh(image).shape == (2, 5, 5, 7)
    cut = resize(model, graph, {name: 7}, init="slice")
    assert cut(image).shape == (2, 5, 5, 7)
    assert [p.dtype for p in cut.parameters()] == [p.dtype for p in model.parameters()]


@pytest.mark.parametrize("make", [on_meta, of_fakes])
def test_a_network_without_values_has_a_graph_but_no_fresh_weights(make: Any) -> None:
    model = make()
    graph = trace(model, IMAGE)
    assert graph.widths == trace(chain(), IMAGE).widths
    with pytest.raises(GraphError, match=r"0\.weight has no values"):
        resize(model, graph, {"0": 7})


class Classified(nn.Module):
    """As timm's networks, with a classifier that can be made anew; parts of it are replaced."""

    def __init__(self, **odd: Any) -> None:
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 11, 3), nn.Linear(11, 5)
        self.num_features = self.head_hidden_size = 11
        self.num_classes = 5
        for name, value in odd.items():
            setattr(self, name, types.MethodType(value, self) if callable(value) else value)

    def get_classifier(self) -> Any:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.a(x)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.forward_features(x).mean((2, 3)))


PAIR = torch.tensor([11, 11])
ODD: dict[str, dict[str, Any]] = {
    "deleted": {"get_classifier": lambda self: self.head},
    "key": {"get_classifier": lambda self: {}["head"]},
    "list": {"get_classifier": lambda self: [self.fc]},
    "text": {"get_classifier": lambda self: "fc"},
    "arguments": {"get_classifier": lambda self, which: self.fc},
    "reset raises": {"reset_classifier": lambda self, classes: 1 / 0},
    "reset deletes": {"reset_classifier": lambda self, classes: delattr(self, "fc")},
    "reset replaces": {"reset_classifier": lambda self, n: setattr(self, "a", nn.Identity())},
    "classes by name": {"num_classes": "five"},
    "many classes": {"num_classes": 10**13},
    "more classes": {"num_classes": 2**70},
    "two heads": {"num_classes": [5, 3]},
    "tensor of classes": {"num_classes": PAIR},
    "no number": {"num_classes": float("nan")},
    "numpy": {"num_classes": np.int64(5)},
    "sizes": {"num_features": PAIR, "head_hidden_size": [11]},
    "features": {
        "feature_info": [5, {"num_chs": "a"}, {"module": 3}, {"module": "a", "num_chs": PAIR}]
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_classifier_that_does_not_do_as_timm_has_it_is_left_alone(odd: dict[str, Any]) -> None:
    model = Classified(**odd)
    graph = trace(model, IMAGE)
    assert graph.widths == {"a": 11}
    assert resize(model, graph, {"a": 7})(IMAGE).shape == (2, 5)


def test_the_same_classifier_follows_where_nothing_is_odd() -> None:
    model = Classified(feature_info=[{"module": "a", "num_chs": 11}])
    other: Any = resize(model, trace(model, IMAGE), {"a": 7})
    assert (other.num_features, other.head_hidden_size) == (7, 7)
    assert other.feature_info == [{"module": "a", "num_chs": 7}]
    other.reset_classifier(3)
    assert other(IMAGE).shape == (2, 3)
