import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lwdna.engine.task import Metric
from lwdna.errors import FileError
from lwdna.recipe import load_recipe
from lwdna.reports import write_report

Maker = Callable[..., Path]


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', html)


def group_row(html: str, name: str, table: str = "group-bars") -> str:
    body = html.split(f'id="{table}"')[1].split("</table>")[0]
    return body.split(f'<tr data-group="{name}">')[1].split("</tr>")[0]


def bar_widths(row: str, kind: str) -> list[float]:
    return [float(width) for width in re.findall(rf'class="{kind}"[^>]* width="([\d.]+)"', row)]


def read_search(job: Path) -> dict[str, Any]:
    return json.loads((job / "search" / "search.json").read_text())  # type: ignore[no-any-return]


def write_search(job: Path, record: dict[str, Any]) -> None:
    (job / "search" / "search.json").write_text(json.dumps(record))


def test_a_whole_job_has_every_section_and_lands_beside_the_files(job: Path) -> None:
    path = write_report(job)
    html = path.read_text(encoding="utf-8")
    assert path == job / "report.html"
    assert sections(html) == ["summary", "groups", "layers", "criterion", "provenance"]
    assert "+0.8 points at" in html
    assert "lwdna compare baseline/recipe.yaml --seeds 5 --arms baseline,lwdna" in html
    assert "One run is no evidence" in html
    for command in (
        "lwdna shrink search/recipe.yaml --out again/search",
        "lwdna train baseline/recipe.yaml --out again/baseline",
        "lwdna train lwdna/recipe.yaml --architecture search/architecture.lwdna.json --out again/",
    ):
        assert command in html
    assert html.count("<summary>Recipe</summary>") == 1
    assert "timm:resnet50" in html
    assert "optimizer: sgd" in html


def test_what_is_known_of_the_search_is_told_once(job: Path) -> None:
    html = write_report(job).read_text(encoding="utf-8")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert len(facts) == html.count("<dt>")
    assert facts["network"] == "timm:resnet50"
    assert facts["input size"] == "3 × 224 × 224"
    assert facts["budget macs"] == "0.92"
    assert facts["training seed"] == "0"
    assert facts["version of torch"] == "2.8.0"
    assert not [name for name in facts if "." in name]


def test_what_the_recipe_sets_is_told_and_defaults_are_folded(job_of: Maker) -> None:
    job = job_of()
    text = load_recipe("digits", ["train.epochs=7", "data.augment.padding=2"]).to_yaml()
    for name in ("search", "baseline", "lwdna"):
        (job / name / "recipe.yaml").write_text(text)
    html = write_report(job).read_text(encoding="utf-8")
    shown = html.split('<section id="provenance">')[1].split("<details>")[0]
    told = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", shown))
    assert (told["train.epochs"], told["data.augment.padding"]) == ("7", "2")
    assert told["model.name"] == "lwdna:resnet8_digits"
    assert "momentum: " in html
    assert "train.momentum" not in told


def test_bars_are_as_long_as_the_widths_say(job_of: Maker) -> None:
    job = job_of()
    record = read_search(job)
    html = write_report(job).read_text(encoding="utf-8")
    widest = max(group["widened"] for group in record["groups"])
    for group in record["groups"]:
        row = group_row(html, group["name"])
        # Left the axis relative to the baseline (which ends at twice of it), right channels.
        assert bar_widths(row, "found") == [
            pytest.approx(50 * group["found"] / group["baseline"], abs=0.01),
            pytest.approx(100 * group["found"] / widest, abs=0.01),
        ]
        assert bar_widths(row, "base") == [50.0, pytest.approx(100 * group["baseline"] / widest)]
        assert bar_widths(row, "widened") == [100.0, 100.0]


def test_layers_show_cost_before_and_after_and_sum_those_without_macs(job_of: Maker) -> None:
    job = job_of()
    record = read_search(job)
    html = write_report(job).read_text(encoding="utf-8")
    assert re.findall(r'<tr data-layer="([^"]+)"', html) == [
        "blocks.0.conv",
        "blocks.1.conv",
        "blocks.2.conv",
        "fc",
        "3 layers without MACs",
    ]
    layer = next(layer for layer in record["layers"] if layer["name"] == "blocks.1.conv")
    row = html.split('<tr data-layer="blocks.1.conv">')[1].split("</tr>")[0]
    assert re.findall(r'data-value="(\d+)"', row) == [
        str(layer[cost][stage]) for cost in ("macs", "params") for stage in ("baseline", "found")
    ]


def test_the_histogram_counts_every_channel_once_by_its_fate(job_of: Maker) -> None:
    job = job_of()
    record = read_search(job)
    # By hand: threshold 5; a keeps two by score; b keeps 9 by score and 1 by its floor.
    record["groups"] = [
        {"name": "a", "baseline": 2, "widened": 4, "found": 2, "floor": 1, "scores": [1, 7, 6, 2]},
        {"name": "b", "baseline": 2, "widened": 4, "found": 2, "floor": 2, "scores": [9, 3, 2, 1]},
    ]
    record["threshold"] = 5
    write_search(job, record)
    html = write_report(job).read_text(encoding="utf-8")
    assert (
        "3 channels were kept by their score, 1 although theirs lies below the threshold, because "
        "each group keeps at least its floor, and 4 were removed." in html
    )
    fates = re.findall(r"(\d+) removed, (\d+) kept by the floor, (\d+) kept by score", html)
    assert [sum(map(int, column)) for column in zip(*fates, strict=True)] == [4, 1, 3]
    assert "2 of 4 channels kept, as many as its floor asks for" in group_row(
        html, "b", "score-strips"
    )
    assert "floor" not in group_row(html, "a", "score-strips").split("<td")[-1]


def test_no_bar_of_the_histogram_straddles_the_threshold(job: Path) -> None:
    html = write_report(job).read_text(encoding="utf-8")
    fates = re.findall(r"(\d+) removed, (\d+) kept by the floor, (\d+) kept by score", html)
    assert len(fates) > 30
    for removed, below, above in fates:
        assert int(above) == 0 or int(removed) + int(below) == 0


def test_scores_of_wide_spread_get_a_logarithmic_axis(job_of: Maker) -> None:
    job = job_of()
    assert "logarithmic axis" in write_report(job).read_text(encoding="utf-8")
    record = read_search(job)
    for group in record["groups"]:
        group["scores"] = [1 + index / 32 for index in range(32)]
    record["threshold"] = 1.5
    write_search(job, record)
    assert "logarithmic axis" not in write_report(job).read_text(encoding="utf-8")


@pytest.mark.parametrize("scores", [[0.0] * 32, [0.0] * 31 + [1e-30], [float("nan")] * 32, []])
def test_odd_scores_still_give_a_report(job_of: Maker, scores: list[float]) -> None:
    job = job_of()
    record = read_search(job)
    for group in record["groups"]:
        group["scores"] = scores
    record["threshold"] = 0.0
    write_search(job, record)
    html = write_report(job).read_text(encoding="utf-8")
    assert ("criterion" in sections(html)) == (bool(scores) and scores[0] == 0.0)


def test_trials_are_drawn_in_their_order_by_their_losses(job: Path) -> None:
    record = read_search(job)
    losses = [1.5, 1.25, None, 1.0, 1.125]
    record["trials"] = [{"widths": {}, "loss": loss, "seconds": 1.0} for loss in losses]
    write_search(job, record)
    html = write_report(job).read_text(encoding="utf-8")
    assert "trials" in sections(html)
    chart = html.split('id="trial-losses"')[1].split("</svg>")[0]
    drawn = re.findall(
        r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)".*?<title>(.*?)</title>', chart
    )
    assert [kind for kind, *_ in drawn] == ["base", "found", "found", "found"]
    numbers = [int(title.split(",")[0].removeprefix("trial ")) for *_, title in drawn]
    assert numbers == [1, 2, 4, 5]
    heights = [float(y) for *_, y, _ in drawn]
    known = [loss for loss in losses if loss is not None]
    slope = (heights[0] - heights[2]) / (known[0] - known[2])
    assert slope < 0  # the lower the loss, the lower the point
    for height, loss in zip(heights, known, strict=True):
        assert height == pytest.approx(heights[2] + slope * (loss - known[2]), abs=0.1)
    places = [float(x) for _, x, *_ in drawn]
    assert places == sorted(places)
    assert "trial 3." in html


def test_curves_show_both_networks_at_every_epoch(job: Path) -> None:
    html = write_report(job).read_text(encoding="utf-8")
    training = html.split('<div id="training">')[1].split("</section>")[0]
    panels = training.split("<figure>")[1:]
    assert [re.search(r"<figcaption>(.*?)</figcaption>", panel)[1] for panel in panels] == [  # type: ignore[index]
        "top-1 accuracy (%)",
        "validation loss, training loss dashed",
    ]
    for panel, lines in zip(panels, (1, 2), strict=True):
        assert len(re.findall(r"<circle class=\"base", panel)) == 12 * lines
        assert len(re.findall(r"<circle class=\"found", panel)) == 12 * lines
    assert "last: baseline 76.15, LW-DNA 76.95" in panels[0]
    assert (
        "last, validation: baseline 0.951, LW-DNA 0.951; training: baseline 1.58, LW" in panels[1]
    )


def test_a_loss_that_is_not_finite_parts_the_line(job_of: Maker) -> None:
    job = job_of(epochs=5)
    path = job / "baseline" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["train_loss"] = float("nan")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    html = write_report(job).read_text(encoding="utf-8")
    losses = html.split("<figure>")[2].split("</figure>")[0]
    assert len(re.findall('<polyline class="line base dashed"', losses)) == 2
    assert len(re.findall('<polyline class="line base"', losses)) == 1
    assert "nan" not in losses.lower()


def test_an_epoch_repeated_after_a_resume_counts_once_and_a_torn_last_line_not_at_all(
    job_of: Maker,
) -> None:
    job = job_of(epochs=3)
    with (job / "lwdna" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "top1": 12.5}\n{"epoch": 3, "top')
    html = write_report(job).read_text(encoding="utf-8")
    accuracy = html.split("<figure>")[1]
    assert len(re.findall('<circle class="found', accuracy)) == 3
    assert "LW-DNA 12.50" in accuracy


def test_missing_pieces_leave_their_sections_out(job: Path) -> None:
    (job / "results.json").unlink()
    for name in ("baseline", "lwdna"):
        shutil.rmtree(job / name)
    html = write_report(job).read_text(encoding="utf-8")
    assert sections(html) == ["summary", "groups", "layers", "criterion", "provenance"]
    assert "its quality is not known yet" in html


def test_a_search_alone(job: Path) -> None:
    html = write_report(job / "search").read_text(encoding="utf-8")
    assert sections(html) == ["summary", "groups", "layers", "criterion", "provenance"]


def test_trainings_without_a_search_still_compare_widths(job: Path) -> None:
    shutil.rmtree(job / "search")
    html = write_report(job).read_text(encoding="utf-8")
    assert sections(html) == ["summary", "groups", "provenance"]
    assert "widened network" not in html


def test_a_training_run_alone_is_shown_as_what_it_is(job: Path) -> None:
    html = write_report(job / "baseline").read_text(encoding="utf-8")
    assert sections(html) == ["summary", "provenance"]
    assert "<title>timm:resnet50: baseline</title>" in html
    assert ">LW-DNA</th>" not in html
    html = write_report(job / "lwdna").read_text(encoding="utf-8")
    assert "fewer MACs" in html
    assert "there is no trained baseline to compare it with" in html


def test_results_of_the_job_stand_in_for_those_of_its_trainings(job: Path) -> None:
    whole = write_report(job).read_text(encoding="utf-8")
    (job / "baseline" / "results.json").unlink()
    assert write_report(job).read_text(encoding="utf-8") == whole


def test_trainings_by_different_protocols_are_called_unfair(job: Path) -> None:
    fair = write_report(job).read_text(encoding="utf-8")
    assert "not trained alike" not in fair
    path = job / "lwdna" / "recipe.yaml"
    path.write_text(path.read_text().replace("epochs: 12", "epochs: 24"))
    html = write_report(job).read_text(encoding="utf-8")
    assert "differ in train.epochs (12 for the baseline, 24 for the LW-DNA network)" in html


def test_names_from_files_cannot_become_markup(job_of: Maker) -> None:
    job = job_of()
    evil = '"><script>alert(1)</script>'
    for path in job.rglob("*.json"):
        path.write_text(path.read_text().replace("blocks.1.conv", json.dumps(evil)[1:-1]))
    for path in job.rglob("recipe.yaml"):
        path.write_text(path.read_text() + "note: </pre><script>alert(2)</script>\n")
    html = write_report(job).read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;script&gt;alert(2)" in html


def test_the_report_needs_nothing_from_outside(job: Path) -> None:
    html = write_report(job).read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", html) == []
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def test_the_same_files_give_the_same_bytes(job: Path, tmp_path: Path) -> None:
    one = write_report(job, tmp_path / "one.html").read_bytes()
    copy = shutil.copytree(job, tmp_path / "elsewhere")
    assert write_report(copy, tmp_path / "deep" / "two.html").read_bytes() == one


def test_a_large_network_gives_a_small_file(job_of: Maker) -> None:
    path = write_report(job_of(depth=150, width=256, epochs=150))
    assert path.stat().st_size < 2_000_000
    assert path.read_text(encoding="utf-8").count("<tr data-group=") == 300


def test_an_empty_or_missing_folder_is_refused_with_what_a_run_contains(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"holds no files of a run.*search\.json.*metrics\.jsonl"):
        write_report(tmp_path)
    with pytest.raises(FileError, match="is not a folder"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("search/search.json", "{", r"search\.json is not a JSON file"),
        (
            "search/search.json",
            '{"groups": [{"name": "a", "baseline": 1, "found": "x"}]}',
            r"search\.json is damaged at groups\.0\.found",
        ),
        (
            "baseline/metrics.jsonl",
            '{"epoch": 0}\nnonsense\n',
            r"metrics\.jsonl is damaged at line 2",
        ),
        ("baseline/metrics.jsonl", '{"step": 3}\n', r"metrics\.jsonl, line 1, is damaged at epoch"),
        ("results.json", "[]", r"results\.json is damaged"),
        ("lwdna/recipe.yaml", "a: [", "recipe in lwdna is not YAML"),
    ],
)
def test_damaged_files_are_named(job_of: Maker, name: str, text: str, message: str) -> None:
    job = job_of()
    (job / name).write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        write_report(job)
    assert "\n" not in str(caught.value)


def test_pictures_of_examples_stand_side_by_side(job: Path) -> None:
    contents = {}
    for run in ("baseline", "lwdna"):
        (job / run / "examples").mkdir()
        for name in ("a", "b-c"):
            for kind in ("input", "output", "target"):
                content = f"{name} {kind} {run if kind == 'output' else ''}".encode()
                contents[name, kind, run] = base64.b64encode(content).decode()
                (job / run / "examples" / f"{name}-{kind}.png").write_bytes(content)
    (job / "lwdna" / "examples" / "b-c-output.png").unlink()
    html = write_report(job).read_text(encoding="utf-8")
    assert "examples" in sections(html)
    part = html[html.index('<section id="examples">') : html.index('<section id="groups">')]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", part) == [
        "input", "baseline", "LW-DNA", "ground truth", "input", "baseline", "ground truth",
    ]  # fmt: skip
    told = {"metric": asdict(Metric("psnr", "PSNR", "dB")), "examples": {}}
    for run, value in (("baseline", 24.0), ("lwdna", 27.25)):
        told["examples"] = {"a": {"input": 25.5, "output": value}}
        (job / run / "examples" / "figures.json").write_text(json.dumps(told))
    again = write_report(job).read_text(encoding="utf-8")
    assert re.findall(r"<figcaption>(?:input|baseline|LW-DNA) <.*?>(.*?)</span>", again) == [
        "25.50 dB", "24.00 dB, worse than the input", "27.25 dB",
    ]  # fmt: skip
    shown = re.findall(r'src="data:image/png;base64,([^"]*)"', part)
    wanted = [("a", "input"), ("a", "output"), ("a", "output"), ("a", "target")]
    runs = ["baseline", "baseline", "lwdna", "baseline"]
    assert shown[:4] == [contents[(*one, run)] for one, run in zip(wanted, runs, strict=True)]
