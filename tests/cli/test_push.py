"""Networks on the hub: a stand-in for its server gets what the real one would, and gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file

import lwdna as api
import lwdna.timm_models
from lwdna.errors import HubError
from lwdna.interop import fetch_weights
from lwdna.reports.model_card import mean_interval

from .command import done, fault
from .hub_server import TOKEN, Hub, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub that this process takes for the real one, logged in, with an empty cache."""
    from huggingface_hub import constants

    with serving() as hub:
        template = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(
            "huggingface_hub.file_download.constants.HF_HUB_CACHE", constants.HF_HUB_CACHE
        )
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_what_is_pushed_comes_back_the_same(job: Path, hub: Hub) -> None:
    said = done("push", job, "me/digits", "--private", "--message", "first")
    assert said == f"pushed to {hub.address}/me/digits\n"
    assert hub.private == {"me/digits": True}
    assert hub.messages == ["first"]
    (files,) = hub.commits["me/digits"]
    assert sorted(files) == [
        "README.md", "architecture.lwdna.json", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert files["model.safetensors"] == (job / "lwdna" / "model.safetensors").read_bytes()
    assert (
        files["architecture.lwdna.json"]
        == (job / "search" / "architecture.lwdna.json").read_bytes()
    )

    network, architecture = api.from_pretrained("me/digits")
    own, its = api.from_pretrained(job / "lwdna")
    assert architecture == its
    images = torch.randn(3, *its.input_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.eval()(images), own.eval()(images))
    assert api.read_interface(fetch_weights("me/digits")).classes == ("0", "1", "2", "3")

    in_timm = timm.create_model("hf-hub:me/digits", pretrained=True)
    assert torch.equal(in_timm.eval()(images), own(images))
    assert in_timm.num_classes == 4
    fresh = timm.create_model("hf-hub:me/digits")
    assert not torch.equal(fresh.eval()(images), own(images))


def test_revisions_are_told_apart(job: Path, hub: Hub) -> None:
    done("push", job / "lwdna", "me/digits")
    first, _ = hub.files("me/digits", "main") or ("", {})
    done("push", job / "baseline", "me/digits")
    assert len(hub.commits["me/digits"]) == 2
    newest, oldest = (api.from_pretrained("me/digits", revision=one)[1] for one in (None, first))
    assert newest.cost == newest.baseline == oldest.baseline
    assert oldest.cost != oldest.baseline
    in_timm = timm.create_model(f"hf-hub:me/digits@{first}", pretrained=True)
    assert sum(one.numel() for one in in_timm.parameters()) == oldest.cost.params


def test_the_card_tells_the_evidence(job: Path, hub: Hub) -> None:
    done("push", job, "me/digits")
    card = hub.commits["me/digits"][0]["README.md"].decode()
    _, front, text = card.split("---\n", 2)
    results = json.loads((job / "lwdna" / "results.json").read_text())
    (entry,) = yaml.safe_load(front)["model-index"][0]["results"]
    assert entry["metrics"][0] == {
        "type": "accuracy", "name": "top-1 accuracy", "value": results["top1"],
    }  # fmt: skip
    outcomes = load_file(job / "lwdna" / "outcomes.safetensors")["top1"].double().numpy()
    low, high = mean_interval(outcomes)
    assert low < results["top1"] < high
    assert (
        f"top-1 accuracy: {results['top1']:.2f} % (95 % interval over the validation examples: "
        f"{low:.2f} % to {high:.2f} %), on 64 validation examples, after one training of 2 epochs."
    ) in text
    assert f"- multiply-accumulates per image: {results['macs']:,}\n" in text
    assert f"- parameters: {results['params']:,}\n" in text
    data = "- 4 classes · 64 training and 64 validation images · input 1 × 8 × 8"
    for line in ("- set: digits", data, "- criterion: snip", "- seed: 0"):
        assert f"\n{line}\n" in text
    assert "One run is no evidence" in text
    assert 'lwdna.from_pretrained("me/digits")' in text
    assert str(job) not in card


def test_a_file_of_weights_alone_says_that_nothing_was_measured(
    job: Path, hub: Hub, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((job / "lwdna" / "model.safetensors").read_bytes())
    done("push", alone, "me/alone")
    card = hub.commits["me/alone"][0]["README.md"].decode()
    assert "Nothing was measured where these weights come from." in card
    assert "model-index" not in card


def test_faults_are_one_line(job: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "403" in fault("push", job, "you/digits")
    assert "write user/name" in fault("push", job, "digits")
    with pytest.raises(HubError, match="there is no repository me/none on the hub"):
        api.from_pretrained("me/none")
    with pytest.raises(HubError, match="nor a folder that is there"):
        api.from_pretrained("./none")
    done("push", job, "me/digits", "--private")
    with pytest.raises(HubError, match="me/digits has no revision v2"):
        api.from_pretrained("me/digits", revision="v2")
    hub.commits["me/empty"], hub.private["me/empty"] = [{"README.md": b""}], False
    with pytest.raises(HubError, match=r"me/empty holds no model\.safetensors"):
        api.from_pretrained("me/empty")
    monkeypatch.delenv("HF_TOKEN")
    assert "nobody is logged in" in fault("push", job, "me/digits")
    with pytest.raises(HubError, match="it is not for everybody"):
        api.from_pretrained("me/digits")


def test_offline_what_was_fetched_is_there(
    job: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    done("push", job, "me/digits")
    api.from_pretrained("me/digits")
    nobody = "http://127.0.0.1:9"
    template = f"{nobody}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert api.from_pretrained("me/digits")[1].found["method"] == "lwdna"
    with pytest.raises(HubError, match=r"not on this machine and 127\.0\.0\.1 does not answer"):
        api.from_pretrained("me/other")
    assert "the hub cannot be reached for me/digits" in fault("push", job, "me/digits")


def test_an_interval_of_a_share_is_that_of_wilson() -> None:
    """Worked out by hand: 8 of 11, z = 1.96, centre (8 + z²/2) / (11 + z²)."""
    import numpy as np

    low, high = mean_interval(np.array([100.0] * 8 + [0.0] * 3))
    assert (low, high) == pytest.approx((43.44, 90.25), abs=0.01)
