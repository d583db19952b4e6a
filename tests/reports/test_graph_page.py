"""The page of a channel graph: what it says, how lanes lie, and what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import html as entities
import re
from itertools import permutations
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lwdna.channels import ChannelGraph, Edits, trace
from lwdna.errors import FileError
from lwdna.models import create_model
from lwdna.reports import write_graph_page
from lwdna.reports.lanes import Lane, draw
from tests.networks import Chain
from tests.reports.browser import BROWSER, browse, driven

# Colours of the style sheets: the page and the first lane.
LIGHT = {"page": (255, 255, 255), "lane": (11, 104, 196)}
DARK = {"page": (20, 23, 27), "lane": (88, 166, 255)}


class Mixed(nn.Module):
    """Two branches joined, a depthwise convolution, a residual, upsampling, an unknown operator.

    stem 6 (2 groups of 3 normalised) -> a 5 | b 7 -> depthwise 12 -> + mix 12 -> up 11 -> sorted
    13 -> head 4
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6)
        self.a, self.b = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 7, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.mix = nn.Conv2d(12, 12, 1)
        self.up = nn.ConvTranspose2d(12, 11, 2, stride=2)
        self.sorted, self.head = nn.Conv2d(11, 13, 1), nn.Linear(13, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(x)).relu()
        y = self.depthwise(torch.cat([self.a(y), self.b(y)], 1))
        y = self.sorted(self.up(y + self.mix(y)).relu())
        return self.head(torch._foreach_neg([y])[0].mean((2, 3)))


class Dense(nn.Module):
    """Each of five layers reads all before it, as in a dense block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(7 + 3 * i, 5, 1), nn.Conv2d(5, 3, 1)) for i in range(5)
        )
        self.end = nn.Conv2d(7 + 15, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for layer in self.layers:
            y = torch.cat([y, layer(y)], 1)
        return self.end(y)


class TwoStems(nn.Module):
    """Two convolutions of the image, added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x) + self.b(x))


IMAGE = torch.zeros(1, 3, 8, 8)


@pytest.fixture(scope="module")
def mixed() -> ChannelGraph:
    return trace(Mixed(), IMAGE)


@pytest.fixture(scope="module")
def resnet() -> ChannelGraph:
    return trace(create_model("timm:resnet18"), torch.zeros(1, 3, 64, 64))


def lanes(graph: ChannelGraph) -> dict[str, Lane]:
    return {graph.groups[lane.group].name: lane for lane in draw(graph).lanes}


def modules(graph: ChannelGraph, rows: tuple[int, ...]) -> list[str]:
    return [draw(graph).layers[row].module for row in rows]


def test_a_lane_knows_who_writes_and_who_reads_it(mixed: ChannelGraph) -> None:
    found = {
        name: (modules(mixed, lane.writers), modules(mixed, lane.readers))
        for name, lane in lanes(mixed).items()
    }
    assert found == {
        "stem": (["stem"], ["a", "b"]),
        "a": (["a", "depthwise", "mix"], ["depthwise", "mix", "up"]),
        "b": (["b", "depthwise", "mix"], ["depthwise", "mix", "up"]),
        "up": (["up"], ["sorted"]),  # a transposed convolution's weight is (in, out)
    }


def test_what_meets_is_coupled_and_what_goes_through_is_not(mixed: ChannelGraph) -> None:
    kinds = {layer.module: layer.kind for layer in draw(mixed).layers}
    assert kinds["depthwise"] == "depthwise conv"
    assert kinds["mix"] == kinds["up"] == "conv"
    assert kinds["head"] == "linear"
    coupled = {name: lane.coupled for name, lane in lanes(mixed).items()}
    assert coupled == {"stem": False, "a": True, "b": True, "up": False}
    depthwise = nn.Conv2d(5, 5, 3, groups=5)
    chain = trace(nn.Sequential(nn.Conv2d(3, 5, 1), depthwise, nn.Conv2d(5, 7, 1)), IMAGE)
    assert modules(chain, lanes(chain)["0"].writers) == ["0", "1"]
    assert not lanes(chain)["0"].coupled


def test_a_second_stem_writes_the_lane_but_does_not_read_it() -> None:
    graph = trace(TwoStems(), IMAGE)
    lane = lanes(graph)["a"]
    assert modules(graph, lane.writers) == ["a", "b"]
    assert modules(graph, lane.readers) == ["c"]
    assert lane.coupled


def test_a_residual_stream_is_one_lane_left_of_its_blocks(resnet: ChannelGraph) -> None:
    found = lanes(resnet)
    stream = found["layer3.0.conv2"]
    assert modules(resnet, stream.writers) == [
        "layer3.0.conv2",
        "layer3.0.downsample.0",
        "layer3.1.conv2",
    ]
    assert modules(resnet, (stream.first, stream.last)) == [
        "layer3.0.conv2",
        "layer4.0.downsample.0",
    ]
    assert stream.coupled
    assert stream.column < found["layer3.1.conv1"].column


@pytest.mark.parametrize("network", ["mixed", "resnet", "dense"])
def test_lanes_never_cover_one_another_and_inner_ones_stand_right(
    network: str, request: pytest.FixtureRequest
) -> None:
    graph = trace(Dense(), IMAGE) if network == "dense" else request.getfixturevalue(network)
    drawing = draw(graph)
    assert {lane.group for lane in drawing.lanes} == set(range(len(graph.groups)))
    for one, two in permutations(drawing.lanes, 2):
        if one.first <= two.first and two.last <= one.last and one.last - one.first > 2:
            assert one.column < two.column
        if one.column == two.column:
            assert one.last <= two.first or two.last <= one.first
        elif one.last > two.first and two.last > one.first and abs(one.column - two.column) == 1:
            assert one.colour != two.colour


def test_a_dense_block_is_a_staircase() -> None:
    found = lanes(trace(Dense(), IMAGE))
    names = ["stem", *(f"layers.{index}.1" for index in range(4))]
    assert [found[name].column for name in names] == list(range(5))


def test_the_page_says_everything_the_graph_knows(mixed: ChannelGraph, tmp_path: Path) -> None:
    text = entities.unescape(
        write_graph_page(mixed, "mine", tmp_path / "page.html").read_text(encoding="utf-8")
    )
    for group in mixed.groups:
        assert f"{group.name}: width {group.width}, " in text
    assert "Operators without a rule, whose channels keep their number: _foreach_neg" in text
    assert re.search(
        r"<td>an operator without a rule</td><td>_foreach_neg</td><td></td>"
        r"<td>test_graph_page.py:\d+</td><td>sorted.weight axis 0 \(13\), sorted.bias",
        text,
    )
    assert "<td>network input</td>" in text
    assert "normalised over the channels of a group at native_group_norm in norm" in text
    assert 'class="lane inexact"' in text
    assert "<td>mix</td><td>weight axis 1</td><td>5 to 11 of 12</td>" in text
    assert "depthwise, depthwise conv: reads a (5), b (7); writes a (5), b (7)" in text


def test_shares_on_the_page_are_those_of_the_operators(tmp_path: Path) -> None:
    """The stem of 3 x 7 MACs per pixel, of 3*7 + (7+10+13+16+19)*5 + 5*15 + 22*11."""
    graph = trace(Dense(), IMAGE)
    text = write_graph_page(graph, "dense", tmp_path / "page.html").read_text(encoding="utf-8")
    total = 21 + 65 * 5 + 75 + 242
    first = total - 75  # all but the second layer of each pair reads or writes the stem's channels
    assert f"stem: width 7, {100 * first / total:.1f} % of the MACs" in text
    assert f'data-macs="{64 * first}"' in text


def test_equal_graphs_give_equal_bytes(mixed: ChannelGraph, tmp_path: Path) -> None:
    one = write_graph_page(mixed, "x", tmp_path / "one.html")
    two = write_graph_page(trace(Mixed(), IMAGE), "x", tmp_path / "two.html")
    assert one.read_bytes() == two.read_bytes()


def test_the_page_is_closed_to_the_outside_and_escapes_names(
    mixed: ChannelGraph, tmp_path: Path
) -> None:
    path = write_graph_page(mixed, "<script>alert(1)</script>", tmp_path / "deep" / "page.html")
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert not re.search(
        r"https?://|//[a-z]", re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    )
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
    assert f"{policy} 'sha256-{digest}'" in text


def test_a_network_without_a_free_group_has_a_page_too(tmp_path: Path) -> None:
    for network in (nn.Linear(3, 2), nn.ReLU()):
        graph = trace(network, torch.zeros(1, 3))
        text = write_graph_page(graph, "x", tmp_path / "page.html").read_text(encoding="utf-8")
        assert "No number of channels can change" in text


def test_a_page_that_cannot_be_written_is_an_error(mixed: ChannelGraph, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        write_graph_page(mixed, "x", tmp_path / "file" / "page.html")


@pytest.mark.slow
def test_a_large_page_stays_small(tmp_path: Path) -> None:
    graph = trace(create_model("timm:densenet121"), torch.zeros(1, 3, 64, 64))
    page = write_graph_page(graph, "timm:densenet121", tmp_path / "page.html")
    assert len(draw(graph).lanes) == 120
    assert draw(graph).columns <= 28
    assert page.stat().st_size < 600_000


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@needs_browser
def test_pointing_lights_a_group_and_a_click_keeps_it(resnet: ChannelGraph, tmp_path: Path) -> None:
    page = driven(
        write_graph_page(resnet, "timm:resnet18", tmp_path / "page.html"),
        """
        const note = (key, value) => { document.body.dataset[key] = value; };
        const lane = document.querySelector('.group[data-g="4"]');
        const lit = () => [...document.querySelectorAll(".row.lit .name")]
          .map((name) => name.textContent).join(" ");
        const send = (part, type) => part.dispatchEvent(new PointerEvent(type, { bubbles: true }));
        send(lane.querySelector(".lane"), "pointerover");
        note("lit", lit());
        note("said", document.getElementById("info").textContent);
        send(document.getElementById("lanes"), "pointerleave");
        note("left", lit());
        send(lane.querySelector(".lane"), "click");
        send(document.querySelector(".row"), "pointerover");
        note("kept", lit());
        document.querySelector("#info a").click();
        note("open", [...document.querySelectorAll("details[open]")].map((one) => one.id).join());
        """,
    )
    body = re.search(r"<body[^>]*>", browse(page, tmp_path / "profile", "--dump-dom").stdout)
    assert body is not None
    told = dict(re.findall(r'data-(\w+)="([^"]*)"', body[0]))
    stream = (
        "layer2.0.conv2 layer2.0.downsample.0 layer2.1.conv1 layer2.1.conv2 layer3.0.conv1 "
        "layer3.0.downsample.0"
    )
    assert resnet.groups[4].name == "layer2.0.conv2"
    assert told["lit"] == told["kept"] == stream
    assert told["left"] == ""
    assert told["said"].startswith("layer2.0.conv2: width 128, ")
    assert told["open"] == "group-4"


@needs_browser
def test_rows_stand_beside_their_boxes_and_nothing_sticks_out(
    resnet: ChannelGraph, tmp_path: Path
) -> None:
    page = driven(
        write_graph_page(resnet, "timm:resnet18", tmp_path / "page.html"),
        """
        const middle = (part) => {
          const place = part.getBoundingClientRect();
          return (place.top + place.bottom) / 2;
        };
        const boxes = [...document.querySelectorAll("#lanes .layer-box rect")];
        const rows = [...document.querySelectorAll(".row")];
        const off = rows.map((row, index) => Math.abs(middle(row) - middle(boxes[index])));
        const [first] = document.querySelectorAll("#group-list [data-sort=width]");
        const order = () => [...document.querySelectorAll("#group-list details")]
          .map((group) => group.dataset.width).join(" ");
        document.body.dataset.first = order();
        first.click();
        document.body.dataset.sorted = order();
        first.click();
        document.body.dataset.restored = order();
        document.body.dataset.rows = rows.length;
        document.body.dataset.off = Math.max(...off) > 0.5;
        document.body.dataset.overflow = document.documentElement.scrollWidth > innerWidth;
        document.body.dataset.fetched = performance.getEntriesByType("resource").length;
        """,
    )
    for width in (1200, 600):
        dom = browse(page, tmp_path / "profile", "--dump-dom", f"--window-size={width},900").stdout
        body = re.search(r"<body[^>]*>", dom)
        assert body is not None
        told = dict(re.findall(r'data-(\w+)="([^"]*)"', body[0]))
        assert told["rows"] == "21"
        assert told["off"] == told["overflow"] == "false"
        assert told["fetched"] == "0"
        widths = [int(value) for value in told["sorted"].split()]
        assert widths == sorted(widths, reverse=True)
        assert told["restored"] == told["first"] != told["sorted"]


@needs_browser
@pytest.mark.parametrize(("scheme", "colours"), [("1", LIGHT), ("0", DARK)])
def test_lanes_are_painted_in_light_and_dark(
    resnet: ChannelGraph,
    tmp_path: Path,
    scheme: str,
    colours: dict[str, tuple[int, int, int]],
) -> None:
    picture = tmp_path / "page.png"
    browse(
        write_graph_page(resnet, "timm:resnet18", tmp_path / "page.html"),
        tmp_path / "profile",
        "--window-size=1200,1400",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={picture}",
    )
    with Image.open(picture) as image:
        counts = {colour: n for n, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert max(counts, key=counts.__getitem__) == colours["page"]
    assert counts[colours["lane"]] > 500


def test_the_page_says_what_was_decided_by_hand(tmp_path):
    edits = Edits(pin=["three"], tie=[["one", "two"]])
    graph = trace(Chain((12, 24, 16)), torch.zeros(1, 3, 8, 8), edits)
    html = write_graph_page(graph, "net", tmp_path / "graph.html").read_text()
    assert "By hand: pin three; tie one = two." in html
    assert "pinned by hand (three)" in html
