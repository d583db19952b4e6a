"""Files of odd content: each is read, or refused by an error that says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fuzz
from launch import call
from lwdna.architecture import Architecture, ModelSource, save
from lwdna.errors import ArchitectureError, LwdnaError, ModelError
from lwdna.models import create_model, memory


def test_no_file_ends_in_a_bare_error_or_takes_much_memory() -> None:
    """A sample; ``python tests/fuzz.py --seed 1 --count 5000`` tries more."""
    code, out, err = call(fuzz.main, ["--seed", "0", "--count", "100"]).end()
    assert code == 0, out + err
    tried, read, faults = (int(part.split()[0]) for part in out.split(", "))
    assert (tried, faults) == (100, 0)
    assert 0 < read < tried


def baseline(**args: Any) -> Architecture:
    source = ModelSource(name="timm:test_resnet", args={"num_classes": 5, **args})
    return Architecture.of_baseline(source, (3, 32, 32))


def changed(architecture: Architecture, **args: Any) -> Architecture:
    """Return the architecture as a file would have it whose arguments were changed."""
    data = json.loads(architecture.to_json())
    data["model"]["args"] |= args
    return Architecture.from_json(json.dumps(data), "changed")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"in_chans": {"a": 1}}, r"timm:test_resnet with .*in_chans=\{'a': 1\}: TypeError: .*line"),
        ({"num_classes": 10**12}, r"num_classes=1000000000000: its tensors would take .* GB"),
        ({"num_classes": 10**7}, "more than the file's .* parameters suggest"),
        ({"num_classes": 10**30}, "num_classes=1000000000000000000"),
        ({"num_classes": "many"}, "num_classes='many'"),
        ({"layers": [10**9, 1, 1, 1], "channels": [1, 1, 1, 1]}, "more than 2500 tensors"),
        ({"trust_code": True}, "trust_code cannot be among the arguments"),
        ({"name": "resnet18"}, "name cannot be among the arguments"),
    ],
)
def test_arguments_that_no_network_takes_are_named(
    args: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory.MOST_TENSORS == 25_000
    monkeypatch.setattr(memory, "MOST_TENSORS", 2_500)  # which takes a tenth of the time
    with pytest.raises(ModelError, match=words) as caught:
        changed(baseline(), **args).build()
    assert "\n" not in str(caught.value)


def test_a_file_cannot_have_its_code_trusted(tmp_path: Path) -> None:
    data = json.loads(baseline().to_json())
    data["model"] = {"name": "python:os:abort", "args": {"trust_code": True}}
    with pytest.raises(ModelError, match="trust_code cannot be among"):
        Architecture.from_json(json.dumps(data), "file").build()


def test_errors_of_a_constructor_of_ones_own_name_it_and_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brittle.py").write_text("def network(depth):\n    return [0][depth]\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"depth=3: IndexError: .* \(brittle\.py, line 2\)"):
        create_model("python:brittle:network", trust_code=True, depth=3)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("widths", {"conv1": 2**70}),
        ("widths", {"conv1": 0}),
        ("widths", [3]),
        ("baseline", {"macs": -1, "params": 3}),
        ("cost", {"macs": 10**40, "params": 3}),
        ("input_size", [3, 10**9, 10**9]),
        ("input_size", [[3, 8], "x"]),
        ("model", {"name": 3, "args": {}}),
        ("edits", {"pin": [[]]}),
    ],
)
def test_values_out_of_range_are_named(place: str, value: Any) -> None:
    data = json.loads(baseline().to_json())
    if place == "widths" and isinstance(value, dict):
        value = data["widths"] | value
    data[place] = value
    with pytest.raises(ArchitectureError, match=f"not a valid architecture file: {place}"):
        Architecture.from_json(json.dumps(data), "file")


@pytest.mark.parametrize("text", ["[" * 100_000, "", "3", "null", '{"format_version": [1]}'])
def test_what_is_no_architecture_says_so(text: str) -> None:
    with pytest.raises(ArchitectureError, match="file"):
        Architecture.from_json(text, "file")


def test_bytes_cut_from_weights_are_an_error(tmp_path: Path) -> None:
    architecture = baseline()
    path = tmp_path / "model.safetensors"
    save(architecture.build(seed=0), architecture, path)
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(LwdnaError, match=r"model\.safetensors"):
            Architecture.load(path)


def test_the_limit_on_memory_leaves_weights_as_they_are() -> None:
    import timm
    import torch

    torch.manual_seed(3)
    expected = timm.create_model("test_resnet").state_dict()
    torch.manual_seed(3)
    found = create_model("timm:test_resnet").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
