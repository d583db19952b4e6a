"""Siamese trackers: examples, losses by hand, and a network that sees red."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import lwdna
from lwdna.cli.app import app
from lwdna.data.data_format import Defaults
from lwdna.data.draws import Draws
from lwdna.data.sequences import FrameMemory, Sequence
from lwdna.errors import DataError, ModelError, TrainingError
from lwdna.inputs import zeros
from lwdna.models import create_model
from lwdna.models.tracking.siamese import Located, Siamese, places
from lwdna.tasks.tracking.kinds import TRACKERS
from lwdna.tasks.tracking.kinds.siamese import any_part
from lwdna.tasks.tracking.metrics import overlaps
from lwdna.tasks.tracking.online import follow
from lwdna.tasks.tracking.online.siamese import SiameseTracker, best_cell
from lwdna.tasks.tracking.settings import TrackingSettings
from lwdna.tasks.tracking.siamese_crops import with_context
from lwdna.tasks.tracking.siamese_losses import box_loss, score_loss
from lwdna.tasks.tracking.siamese_settings import SiameseSettings
from tests.tasks.tracking.red import scene
from tests.tasks.tracking.targets import Frames

RED = 255
PLAIN = {"any_part": 0, "mirror": False, "contrast": 0, "tint": 0, "blur": 0}
SMALL = {
    "tracker": "siamese",
    "image_size": 128,
    "area": 4,
    "template_size": 64,
    "train_jitter": {"centre": 0.1, "size": 0.05},
    "test_jitter": {"centre": 2, "size": 0.2},
}


def settings(**siamese: object) -> TrackingSettings:
    return TrackingSettings.model_validate({**SMALL, "siamese": siamese})


def moving(count: int, growth: float = 0.0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return frames in which a red patch goes right and down and grows, and its boxes."""
    boxes = [
        (20 + 3 * n, 30 + n, round(23 + growth * n), round(19 + growth * n)) for n in range(count)
    ]
    return [scene((*box, RED)) for box in boxes], np.array(boxes, np.float64)


def sequence(count: int = 10, growth: float = 0.5) -> Sequence:
    frames, boxes = moving(count, growth)
    return Sequence("red", boxes, np.ones(count, bool), Frames(frames), FrameMemory())


class RedNetwork(Siamese):
    """Sees red: a cell's logit says how red it is, its box is what is red in the crop."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.stride = 8
        self.gain = nn.Parameter(torch.ones(()))

    def template(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))[:, None] * self.gain

    def search(self, features: Tensor, image: Tensor) -> Located:
        red = image[0, 0] * Defaults.std[0] + Defaults.mean[0]
        shown = red > 0.5
        ends = []
        for lit in (shown.any(0), shown.any(1)):
            where = lit.nonzero()[:, 0] if lit.any() else torch.tensor([50, 70])
            at = places(image.shape[-1], self.stride, image.shape[-1] // self.stride)
            ends.append((at - where.min(), where.max() + 1 - at))
        (left, right), (upper, lower) = ends
        h = len(left)
        rows = [left.expand(h, h), upper[:, None].expand(h, h)]
        rows += [right.expand(h, h), lower[:, None].expand(h, h)]
        scores = F.avg_pool2d(red[None, None], self.stride)[:, 0] * 16 - 8
        return Located(scores * self.gain, torch.stack(rows)[None])


def tracker(network: nn.Module | None = None, **siamese: object) -> SiameseTracker:
    return SiameseTracker((network or RedNetwork()).eval(), settings(**siamese))


def test_the_box_follows_place_and_size() -> None:
    frames, boxes = moving(30, growth=0.9)
    assert boxes[-1, 2] > 2 * boxes[0, 2]
    track = follow(tracker(size_rate=1), frames, boxes[0])
    assert set(track.states) == {"normal"}
    assert track.boxes[0].tolist() == boxes[0].tolist()
    assert overlaps(track.boxes, boxes).min() > 0.75
    again = follow(tracker(size_rate=1), frames, boxes[0])
    assert np.array_equal(again.boxes, track.boxes)


def test_sizes_are_smoothed_and_places_are_not() -> None:
    frames, boxes = moving(12, growth=2)
    quick, slow, never = (
        follow(tracker(size_rate=rate), frames, boxes[0]) for rate in (1.0, 0.2, 0.0)
    )
    assert quick.boxes[-1, 2] > slow.boxes[-1, 2] > never.boxes[-1, 2] == 23
    for track in (quick, slow, never):
        centres, wanted = (b[:, :2] + b[:, 2:] / 2 for b in (track.boxes, boxes))
        assert np.abs(centres - wanted).max() < 1.5


def test_what_is_not_found_stays_until_it_comes_back() -> None:
    frames, boxes = moving(9)
    frames[4] = frames[5] = scene()
    track = follow(tracker(), frames, boxes[0])
    assert [state == "not_found" for state in track.states] == [n in (4, 5) for n in range(9)]
    assert np.array_equal(track.boxes[4], track.boxes[3])
    assert np.array_equal(track.boxes[5], track.boxes[3])
    assert overlaps(track.boxes[6:], boxes[6:]).min() > 0.75
    assert track.scores[4] == pytest.approx(1 / (1 + math.e**8), rel=1e-3)


def test_a_tracker_begins_anew() -> None:
    one = tracker()
    frames, boxes = moving(5)
    first = follow(one, frames, boxes[0])
    follow(one, frames[::-1], boxes[-1])
    assert np.array_equal(follow(one, frames, boxes[0]).boxes, first.boxes)


def test_faults_are_named() -> None:
    frames, boxes = moving(3)
    with pytest.raises(ModelError, match=r"needs a Siamese network, not a Conv2d; choose siamese"):
        tracker(nn.Conv2d(3, 5, 3))
    with pytest.raises(DataError, match="outside of the frame of 160 x 120"):
        tracker().start(frames[0], (500, 0, 5, 5))
    broken = RedNetwork()
    broken.gain.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="of frame 0 is not finite"):
        tracker(broken).start(frames[0], boxes[0])
    late = tracker(network := RedNetwork())
    late.start(frames[0], boxes[0])
    late.track(frames[1])
    network.gain.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="of frame 2 is not finite"):
        late.track(frames[2])


AT = np.array([4.0, 12.0, 20.0])
REACH = np.full((4, 3, 3), 5.0)


def test_the_best_cell_without_window_and_penalty_is_the_most_probable() -> None:
    rules = SiameseSettings(window=0, penalty=0)
    probabilities = np.array([[0.1, 0.2, 0.9], [0.1, 0.8, 0.1], [0.0, 0.0, 0.0]])
    reach = REACH.copy()
    reach[:, 0, 2] = (1, 2, 3, 5)
    best = best_cell(probabilities, reach, AT, np.array([10.0, 10.0]), rules)
    assert best.box.tolist() == [20 - 1, 4 - 2, 1 + 3, 2 + 5]
    assert (best.probability, best.penalty) == (0.9, 1.0)


def test_the_window_prefers_the_last_place() -> None:
    """A Hann window of three cells is 1/2, 1, 1/2: 0.7 of 0.9 plus 0.3 / 4 is less than of 0.7."""
    rules = SiameseSettings(window=0.3, penalty=0)
    probabilities = np.array([[0.1, 0.2, 0.9], [0.1, 0.6, 0.1], [0.0, 0.0, 0.0]])
    assert 0.7 * 0.9 + 0.3 / 4 < 0.7 * 0.6 + 0.3
    best = best_cell(probabilities, REACH, AT, np.array([10.0, 10.0]), rules)
    assert best.probability == 0.6
    nearly = SiameseSettings(window=0.2, penalty=0)
    assert 0.8 * 0.9 + 0.2 / 4 > 0.8 * 0.6 + 0.2
    assert best_cell(probabilities, REACH, AT, np.array([10.0, 10.0]), nearly).probability == 0.9


def test_other_sizes_and_shapes_are_penalised() -> None:
    """10 x 10 pixels become 40 x 10: r grows from 20 to sqrt(65 35), the aspect from 1 to 4."""
    rules = SiameseSettings(window=0, penalty=0.5)
    probabilities = np.zeros((3, 3))
    probabilities[1, 1] = 0.9
    reach = REACH.copy()
    reach[0, 1, 1] = reach[2, 1, 1] = 20
    best = best_cell(probabilities, reach, AT, np.array([10.0, 10.0]), rules)
    change = math.sqrt(65 * 35) / 20 * 4
    assert best.penalty == pytest.approx(math.exp(-0.5 * (change - 1)))
    smaller = np.array([160.0, 40.0])  # the same shape, a quarter of the size
    assert best_cell(probabilities, reach, AT, smaller, rules).penalty == pytest.approx(
        math.exp(-0.5 * 3)
    )


TRUTH = torch.tensor([[0.5, 0.5, 16.0, 16.0]])
"""In a crop of 17 pixels, whose cells lie at 0.5, 8.5 and 16.5: only the middle one is inside."""


def test_scores_of_cells_at_the_target_and_of_others_count_alike() -> None:
    scores = torch.full((1, 3, 3), -1.0)
    scores[0, 1, 1] = 2.0
    loss = score_loss(scores, TRUTH, 17, 0.5)
    expected = 0.5 * math.log(1 + math.e**-2) + 0.5 * math.log(1 + math.e**-1)
    assert loss.item() == pytest.approx(expected)
    both = score_loss(scores.repeat(2, 1, 1), torch.cat([TRUTH, TRUTH + 8]), 17, 0.5)
    second = score_loss(scores, TRUTH + 8, 17, 0.5)
    assert both.item() == pytest.approx((expected + second.item()) / 2)


def test_cells_between_core_and_end_do_not_count() -> None:
    """A box of 40 pixels about the middle of 65: nine cells at 0.5, 8.5, ..., 64.5."""
    truth = torch.tensor([[12.5, 12.5, 40.0, 40.0]])
    wanted = torch.zeros(1, 9, 9, dtype=torch.int64)
    wanted[:, 2:7, 2:7] = 2  # inside of the box: 16.5 to 48.5
    wanted[:, 3:6, 3:6] = 1  # inside of the core: 22.5 to 42.5
    scores = torch.zeros(1, 9, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(score_loss(scores, truth, 65, 0.5), scores)
    assert (gradient[wanted == 1] < 0).all()
    assert (gradient[wanted == 2] == 0).all()
    assert (gradient[wanted == 0] > 0).all()
    assert gradient.sum().item() == pytest.approx(0, abs=1e-6)


def test_boxes_are_judged_by_generalised_overlap() -> None:
    reach = torch.full((1, 4, 3, 3), 1.0)
    reach[0, :, 1, 1] = 8.0
    assert box_loss(reach, TRUTH, 17, 0.5).item() == pytest.approx(0, abs=1e-6)
    reach[0, :, 1, 1] = torch.tensor([8.0, 4.0, 2.0, 10.0])
    union = 16 * 16 + 10 * 14 - 10 * 12
    hull = 16 * 18
    expected = 1 - (10 * 12 / union - (hull - union) / hull)
    assert box_loss(reach, TRUTH, 17, 0.5).item() == pytest.approx(expected)


def lit(image: np.ndarray) -> np.ndarray:
    """Return x, y, w, h of what is red in a crop (3, S, S)."""
    shown = image[0] > 127
    rows, columns = shown.any(1).nonzero()[0], shown.any(0).nonzero()[0]
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    return np.concatenate([low, high - low])


@pytest.mark.parametrize("mirror", [False, True])
def test_an_example_shows_the_target_twice_and_knows_its_box(mirror: bool) -> None:
    data = {**SMALL, "greyscale": 0, "siamese": {**PLAIN, "mirror": mirror}}
    kind = TRACKERS["siamese"](TrackingSettings.model_validate(data))
    shown = sequence()
    whole, shifts = 0, []
    for index in range(40):
        example = kind.sample(shown, Draws(3, 1, index))
        assert example["template"].shape == (3, 64, 64)
        assert example["search"].shape == (3, 128, 128)
        x, y, w, h = lit(example["template"])
        assert np.hypot(x + w / 2 - 32, y + h / 2 - 32) < 4
        assert w * h == pytest.approx(32 * 32, rel=0.25)
        box = example["box"]
        shifts.append(box[:2] + box[2:] / 2 - 64)
        if (box[:2] > 0).all() and (box[:2] + box[2:] < 128).all():
            whole += 1
            assert np.abs(lit(example["search"]) - box).max() < 1.5
    assert whole > 20
    assert (np.array(shifts).std(0) > 8).all()


def test_the_template_may_show_less_of_what_is_around_the_target() -> None:
    """Half of each pixel outside of the box and half of the mean of all."""
    crop = np.full((8, 8, 3), 0, np.uint8)
    crop[2:6, 2:6] = 200
    crop[0, 0] = 40
    mean = (16 * 200 + 40) / 64
    mixed = with_context(crop, [2.2, 1.8, 4.1, 4.1], 0.5)
    assert (mixed[2:6, 2:6] == 200).all()
    assert (mixed[0, 0] == round((40 + mean) / 2)).all()
    assert (mixed[7] == round(mean / 2)).all()
    assert with_context(crop, [2, 2, 4, 4], 1) is crop
    gone = with_context(crop, [-5.0, -5.0, 3.0, 3.0], 0)
    assert (gone == round(mean)).all()


def test_training_and_tracking_show_the_network_the_same_template() -> None:
    """Also with the target's surroundings dimmed: pixels for pixels, where nothing is jittered."""
    data = {
        **SMALL,
        "train_jitter": {"centre": 0, "size": 0},
        "brightness": 0,
        "greyscale": 0,
        "siamese": {**PLAIN, "context": 0.25},
    }
    still = Sequence("one", *_still(), FrameMemory(), still=True)
    chosen = TrackingSettings.model_validate(data)
    kind = TRACKERS["siamese"](chosen)
    example = kind.sample(still, Draws(0, 0, 0))
    seen = []

    class Watching(RedNetwork):
        def template(self, image: Tensor) -> Tensor:
            seen.append(image)
            return super().template(image)

    SiameseTracker(Watching().eval(), chosen).start(still.frame(0), still.boxes[0])
    batch = {name: torch.from_numpy(value)[None] for name, value in example.items()}
    assert torch.equal(seen[0], kind.inputs(batch)["template"])


def _still() -> tuple[np.ndarray, np.ndarray, Frames]:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return np.array([[40.0, 50.0, 13.0, 31.0]]), np.ones(1, bool), Frames([noise])


def test_an_example_follows_from_seed_epoch_and_index() -> None:
    kind, shown = TRACKERS["siamese"](settings()), sequence()

    def example(*numbers: int) -> bytes:
        found = kind.sample(shown, Draws(*numbers))
        return b"".join(found[name].tobytes() for name in ("template", "search", "box"))

    assert example(0, 1, 2) == example(0, 1, 2)
    others = {example(0, 1, 2), example(1, 1, 2), example(0, 2, 2), example(0, 1, 3)}
    assert len(others) == 4


def test_colours_change_and_grey_is_for_both() -> None:
    data = TrackingSettings.model_validate({**SMALL, "greyscale": 0.5, "siamese": PLAIN})
    kind, shown = TRACKERS["siamese"](data), sequence()
    greys = 0
    for index in range(30):
        example = kind.sample(shown, Draws(0, 0, index))
        grey = [
            bool((example[name][0] == example[name][2]).all()) for name in ("template", "search")
        ]
        assert grey[0] == grey[1]
        greys += grey[0]
    assert 5 < greys < 25


def test_any_part_lies_in_the_frame_and_is_about_as_large() -> None:
    generator = np.random.default_rng(0)
    image, target = scene(), np.array([20.0, 30.0, 23.0, 19.0])
    boxes = np.array([any_part(target, image, generator) for _ in range(300)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (160, 120)).all()
    sides = np.sqrt(boxes[:, 2:].prod(1))
    assert np.median(sides) == pytest.approx(math.sqrt(23 * 19), rel=0.15)
    assert np.ptp(boxes[:, :2] + boxes[:, 2:] / 2, axis=0).min() > 80
    kind = TRACKERS["siamese"](settings(**{**PLAIN, "any_part": 1}))
    inside = [kind.sample(sequence(), Draws(0, 0, index))["search"].max() for index in range(40)]
    assert min(inside) < 128, "some parts show nothing of the target"


def test_the_network_learns_where_the_target_is() -> None:
    """A few steps on one batch: cells at the target come first, and boxes overlap it."""
    torch.manual_seed(0)
    network = create_model("siamese_tiny", widths=(4, 8), width=8, head_width=8, cells=3)
    kind = TRACKERS["siamese"](settings(**{**PLAIN, "mirror": True}))
    examples = [kind.sample(sequence(), Draws(0, 0, index)) for index in range(8)]
    batch = {
        name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]
    }
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(25):
        loss = kind.loss(network(**kind.inputs(batch)), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert set(kind.example_inputs()) == set(kind.inputs(batch)) == {"template", "search"}


@pytest.mark.slow
def test_the_recipe_finds_widths_of_backbone_neck_and_heads(tmp_path: Path) -> None:
    photos = ["data.kind=photos", "data.samples=16", "shrink.batch_size=4"]
    command = ["shrink", "tracking/siamese_tiny", *photos, "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = lwdna.Architecture.load(tmp_path / "architecture.lwdna.json")
    assert 0.85 < found.cost.macs / found.baseline.macs <= 0.9
    baseline = lwdna.Architecture.of_baseline(found.model, found.input_size)
    changed = {name for name, width in found.widths.items() if width != baseline.widths[name]}
    searched, moved = ({name.partition(".")[0] for name in one} for one in (found.widths, changed))
    assert searched == {"backbone", "neck", "classify", "measure"}
    assert moved > {"backbone", "neck"}, "and a head"
    network = found.build(seed=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**zeros(found.input_size))
    assert counter.get_total_flops() == 2 * found.cost.macs
    assert sum(p.numel() for p in network.parameters()) == found.cost.params
