"""Inputs of any form: what tracing, searches, files, latency and exports make of them."""

from __future__ import annotations

import json
import math
from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lwdna
from channels.proof import assert_resizes, assert_slices, make_nontrivial
from lwdna.architecture import Architecture
from lwdna.engine import measure_latency, operator_times
from lwdna.errors import ArchitectureError, DataError, InputError, ModelError
from lwdna.inputs import size_of, types_of, zeros
from lwdna.interop import import_state_dict
from lwdna.interop.onnx import export_onnx
from lwdna.methods import distilled
from lwdna.methods.criteria import CRITERIA
from lwdna.methods.distill import DistillSettings
from lwdna.model_source import ModelSource
from lwdna.models import registry
from lwdna.run_options import RunOptions
from lwdna.workflows import trace_network
from networks import Chain
from two_inputs import (
    CLASSES,
    SEARCH,
    TEMPLATE,
    Described,
    Matching,
    PairSettings,
    PairTask,
    Siamese,
    make_inputs,
)

FORMS = {
    "tuple": lambda inputs: tuple(inputs.values()),
    "list": lambda inputs: list(inputs.values()),
    "dict": dict,
    "mapping": UserDict,
}


def _batches(form: Any) -> list[tuple[Any, Tensor]]:
    return [
        (form(make_inputs(size, seed)), torch.arange(size) % CLASSES)
        for size, seed in ((5, 1), (3, 2))
    ]


def _shrink(form: Any = dict, **options: Any) -> Architecture:
    torch.manual_seed(0)
    model = Siamese()
    return lwdna.shrink(
        model, form(make_inputs()), _batches(form), nn.CrossEntropyLoss(), **options
    )


@pytest.mark.parametrize("form", FORMS)
def test_both_backbones_calls_share_their_groups(form):
    graph = lwdna.trace(Siamese(), FORMS[form](make_inputs()))
    assert graph.widths == {"one": 13, "two": 17, "joined": 11}
    places = 25 + 99
    convolutions = places * 9 * (3 * 13 + 13 * 17)
    assert graph.cost().macs == convolutions + 35 * (17 * 25 + 17 * 11) + 11 * 3


def test_a_list_inside_the_arguments_is_one_argument():
    class Listed(Siamese):
        def forward(self, both: list[Tensor]) -> Tensor:
            return super().forward(*both)

    both = list(make_inputs().values())
    assert lwdna.trace(Listed(), [both]).widths == lwdna.trace(Siamese(), both).widths
    with pytest.raises(InputError, match="input 0 is of type list; let a module around"):
        lwdna.shrink(Listed(), [both], [([both], torch.zeros(1))], nn.CrossEntropyLoss())


def test_resized_and_sliced_networks_are_exact():
    torch.manual_seed(0)
    model = Siamese()
    make_nontrivial(model)
    graph = lwdna.trace(model, make_inputs(2))
    assert_resizes(model, make_inputs(2), graph)
    assert_slices(model, make_inputs(2), graph)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_finds_the_same_widths_in_every_form(criterion):
    found = [_shrink(FORMS[form], criterion=criterion) for form in ("tuple", "dict")]
    assert len({tuple(arch.widths.items()) for arch in found}) == 1
    assert 0.7 * found[0].baseline.macs < found[0].cost.macs <= found[0].baseline.macs


@pytest.mark.parametrize(
    "options",
    [
        *({"keep": keep} for keep in ("threshold", "knapsack", "knapsack-full", "proportional")),
        {"criterion": "latent-gradient", "hypernetwork": True},
        {"criterion": "latent-magnitude", "warmup": {"iterations": 3, "lr": 1e-3}},
        {"criterion": "batchnorm-scale", "warmup": {"epochs": 1, "batch_size": 4, "lr": 1e-3}},
        {"criterion": "autoslim", "warmup": {"iterations": 2, "batch_size": 4, "lr": 1e-3}},
        {"criterion": "morphnet", "warmup": {"iterations": 2, "batch_size": 4, "lr": 1e-3}},
        {"warmup": {"iterations": 2, "lr": 1e-3, "channels_last": True}, "inherit": True},
    ],
    ids=str,
)
def test_every_search_finds_the_same_widths_in_every_form(options):
    one, other = (_shrink(FORMS[form], **options) for form in ("tuple", "dict"))
    assert one.widths == other.widths
    assert other.cost.macs <= other.baseline.macs
    assert other.cost.params <= 1.5 * other.baseline.params


def test_the_hypernetwork_finds_the_same_widths_as_the_closed_form():
    one, other = (_shrink(criterion="latent-gradient", hypernetwork=h) for h in (True, False))
    assert one.widths == other.widths


@pytest.mark.parametrize("form", FORMS)
def test_latency_is_measured_in_every_form(form):
    seen: list[tuple[int, ...]] = []
    model = Siamese()
    model.one.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    measure_latency(model, FORMS[form](make_inputs()), warmup=1, repeats=2)
    assert seen == 3 * [(1, *TEMPLATE), (1, *SEARCH)]


def test_latency_may_be_the_budget(tmp_path, monkeypatch):
    def made_up(jobs: list[Any], device: torch.device) -> list[float]:
        return [1e-6 * sum(math.prod(shape) for shape in job.shapes) for job in jobs]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(operator_times, "measure", made_up)
    arch = _shrink(budget=lwdna.Budget(latency=0.8))
    assert arch.found["usage"]["latency"]["found"] <= arch.found["usage"]["latency"]["allowed"]


@pytest.mark.parametrize("name", FORMS)
def test_an_architecture_says_the_inputs_in_their_own_form(name, tmp_path):
    form = FORMS[name]
    arch = _shrink(form)
    sizes: Any = {"template": TEMPLATE, "search": SEARCH}
    assert arch.input_size == (sizes if name in ("dict", "mapping") else (TEMPLATE, SEARCH))
    text = json.loads(arch.to_json())
    assert "input_types" not in text
    if name == "tuple":
        assert text["input_size"] == [[3, 5, 5], [3, 9, 11]]
    if name == "dict":
        assert text["input_size"] == {"template": [3, 5, 5], "search": [3, 9, 11]}
    arch.save(tmp_path / "a.lwdna.json")
    again = Architecture.load(tmp_path / "a.lwdna.json")
    assert again == arch
    assert again.to_json() == arch.to_json()
    network = again.build(Siamese(), seed=0)
    assert sum(p.numel() for p in network.parameters()) == arch.cost.params
    lwdna.save(network, arch, tmp_path / "a.safetensors")
    loaded, same = lwdna.load(tmp_path / "a.safetensors", Siamese())
    assert same == arch
    with torch.no_grad():
        one, two = (net.eval()(**make_inputs(2)) for net in (network, loaded))
    assert torch.equal(one, two)


def test_one_tensor_is_written_as_ever():
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 8, 8))
    source = ModelSource(name="timm:x", args={})
    text = Architecture.of(graph, (3, 8, 8), source).to_json()
    assert (
        text
        == json.dumps(
            {
                "format_version": 1,
                "model": {"name": "timm:x", "args": {}},
                "input_size": [3, 8, 8],
                "widths": graph.widths,
                "baseline": vars(graph.cost()),
                "cost": vars(graph.cost()),
                "found": {},
            },
            indent=2,
        )
        + "\n"
    )


@pytest.mark.parametrize("form", [dict, FORMS["tuple"]])
def test_types_other_than_float32_survive(form, tmp_path):
    def made(size: int) -> Any:
        words = torch.arange(size) % 19
        return form({"image": torch.randn(size, 3, 7, 7), "word": words})

    torch.manual_seed(0)
    batches = [(made(6), torch.arange(6) % CLASSES)]
    for criterion in ("snip", "synflow", "taylor"):
        arch = lwdna.shrink(
            Described(), made(1), batches, nn.CrossEntropyLoss(), criterion=criterion
        )
    named = form({"image": "float32", "word": "int64"})
    assert arch.input_types == named
    assert arch.input_size == form({"image": (3, 7, 7), "word": ()})
    arch.save(tmp_path / "a.json")
    again = Architecture.load(tmp_path / "a.json")
    assert again == arch
    network = again.build(Described(), seed=0).eval()
    assert lwdna.inputs.call(network, made(2)).shape == (2, CLASSES)


def test_float64_is_not_the_usual_type():
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    assert types_of(x) == "float64"
    assert types_of((x.float(), x)) == ("float32", "float64")
    assert types_of(x.float()) is types_of([x.float()] * 2) is None
    made = zeros(size_of(x), types_of(x))
    assert (made.shape, made.dtype) == (x.shape, x.dtype)


TRUSTED = RunOptions(trust_code=True)

HOSTILE = [
    [],
    {},
    [[]],
    {"x": []},
    [3, -8, 8],
    [3, 0, 8],
    [3, 10**12],
    [10**12],
    [10**30],
    [1] * 9,
    [1] * 2000,
    [[3, 8, 8]] * 2000,
    [[[3, 8, 8]]],
    [3, [8, 8]],
    {"x": {"y": [3, 8, 8]}},
    {"x": [[3, 8, 8]]},
    {"x": 3},
    [3.0, 8.0, 8.0],
    [True, 8, 8],
    ["3", "8", "8"],
    [None],
    "3x8x8",
    "x" * 10**6,
    7,
    None,
    True,
]


@pytest.mark.parametrize("size", HOSTILE, ids=lambda size: str(size)[:30])
def test_sizes_that_no_inputs_have_are_refused(size, tmp_path):
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 8, 8))
    data = json.loads(Architecture.of(graph, (3, 8, 8), None).to_json())
    with pytest.raises(ArchitectureError, match="input_size") as caught:
        Architecture.from_json(json.dumps({**data, "input_size": size}), "x.json")
    assert len(str(caught.value)) < 500
    with pytest.raises(InputError):
        Architecture.of(graph, size, None)


def test_a_nest_of_a_thousand_lists_is_refused():
    text = '{"format_version": 1, "model": null, "input_size": %s, "widths": {}}'
    for depth in (300, 100_000):
        with pytest.raises(ArchitectureError):
            Architecture.from_json(text % ("[" * depth + "]" * depth), "x.json")


@pytest.mark.parametrize(
    "types", ["int63", "load", 7, ["int64"], {"x": "int64"}, {}, [], "__dict__"]
)
def test_types_that_no_inputs_have_are_refused(types):
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 8, 8))
    data = json.loads(Architecture.of(graph, (3, 8, 8), None).to_json())
    with pytest.raises(ArchitectureError, match="input_types"):
        Architecture.from_json(json.dumps({**data, "input_types": types}), "x.json")


def test_large_inputs_take_no_memory():
    size = (3, 24_000, 24_000)
    made = zeros(size)
    assert made.untyped_storage().nbytes() == 4
    graph = lwdna.trace(Chain(), made)
    assert graph.cost().macs > 10**9
    arch = Architecture.of(graph, size, None)
    assert arch.build(Chain()).one.out_channels == 12


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((torch.zeros(1, 3, 8, 8), True), "input 1 is of type bool"),
        ({"x": torch.zeros(1, 3, 8, 8), "y": None}, "input 'y' is of type NoneType"),
        (torch.zeros(()), "the input is a tensor without axes"),
        ("image", "the input is of type str"),
        ((), "must have from 1 to"),
        ({1: torch.zeros(1, 3, 8, 8)}, "names of inputs must be texts"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.complex64), "type must be one of float32"),
    ],
    ids=str,
)
def test_what_is_no_input_is_named(inputs, words):
    with pytest.raises(InputError, match=words):
        lwdna.shrink(Chain(), inputs, [(inputs, torch.zeros(1))], nn.CrossEntropyLoss())


def test_a_failing_network_with_an_argument_that_is_no_tensor_is_no_bug_of_ours():
    with pytest.raises(lwdna.LwdnaError, match=r"does not run on inputs of shape \[\(1, 3, 8, 8\)"):
        lwdna.trace(Chain(), (torch.zeros(1, 3, 8, 8), True))


def test_a_batch_without_tensors_is_named():
    with pytest.raises(DataError, match="a tensor in a batch"):
        lwdna.shrink(Chain(), torch.zeros(1, 3, 8, 8), [(1, 2)], lambda *_: torch.ones(()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dict", "turned", "tuple"])
def test_onnx_files_name_their_inputs_and_take_any_batch(name, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = Matching().eval()
    make_nontrivial(network)
    inputs = make_inputs()
    if name == "turned":
        inputs = dict(reversed(inputs.items()))
    size = size_of(tuple(inputs.values()) if name == "tuple" else inputs)
    export_onnx(network, size, tmp_path / "x.onnx")
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        given = make_inputs(batch, seed=batch)
        named = {key: tensor.numpy() for key, tensor in given.items()}
        (found,) = session.run(None, named)
        with torch.no_grad():
            wanted = network(**given)
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


def test_a_state_dict_of_a_network_with_two_inputs_is_imported(monkeypatch):
    narrow = lwdna.resize(Siamese(), lwdna.trace(Siamese(), make_inputs()), {"one": 5, "two": 7})
    monkeypatch.setattr(registry, "_builders", dict(registry._builders))  # for this test alone
    lwdna.register_model(siamese_to_import)
    network, arch = import_state_dict(
        "lwdna:siamese_to_import", narrow.state_dict(), size_of(make_inputs())
    )
    assert arch.widths == {"one": 5, "two": 7, "joined": 11}
    inputs = make_inputs(2)
    with torch.no_grad():
        assert torch.equal(network(**inputs), narrow.eval()(**inputs))


def siamese_to_import() -> Siamese:
    """Return the Siamese network."""
    return Siamese()


@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_a_teacher_gets_the_same_inputs(form):
    task = PairTask(PairSettings(form=form))
    torch.manual_seed(0)
    student, teacher = Siamese(), Siamese()
    learnt = distilled(task, student, teacher, DistillSettings(weight=1.0, similarity=0.5))
    (batch,) = task.train_batches([[0, 1, 2, 3]], seed=0, epoch=0, device=torch.device("cpu"))
    student.eval()
    assert learnt.loss(student, batch) > 0
    same = distilled(task, teacher, teacher, DistillSettings(weight=1.0, similarity=0.5))
    assert float(same.loss(teacher, batch).detach()) == pytest.approx(0, abs=1e-6)


def test_an_architecture_file_is_inspected_at_its_inputs(tmp_path):
    source = ModelSource(name="python:two_inputs:Siamese")
    arch = Architecture.of_baseline(source, size_of(make_inputs()), trust_code=True)
    file = tmp_path / "a.lwdna.json"
    arch.save(file)
    graph, size = trace_network(str(file), options=TRUSTED)
    assert size == {"template": TEMPLATE, "search": SEARCH}
    assert graph.widths == arch.widths
    with pytest.raises(ModelError, match=r"take one image, .*template 3x5x5, search 3x9x11; leave"):
        trace_network(str(file), size=32, options=TRUSTED)
