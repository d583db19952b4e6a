"""How fast are targets followed, and what part of the time does the network itself take?

    python benchmarks/tracking_speed.py [--model dimp18:288 ...] [--rounds 5] [--threads 1]

For each network, with weights as drawn: frames per second of the tracker, and beside them what the
published tracker's structure asks of the network alone, timed in turns with it: per frame one pass
of the backbone, the classifier's and the IoU head's features, the scores, five steps of refinement
of ten boxes forwards and backwards, and two steps of the filter optimiser on 50 samples every 20
frames. Decoding is left out of both. Frames are made of scikit-learn's photographs. GMACs per frame
stand beside those of the published networks, and behind them the seconds of a search at 0.9 of the
MACs on one batch of two sequences. Prints tables, writes
``benchmarks/results/tracking_speed.json``. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import lwdna
from lwdna.data.sequences import cut, photo_sequences, window_about
from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.models.tracking.dimp import DiMP
from lwdna.tasks.tracking.kinds.dimp import DimpKind
from lwdna.tasks.tracking.normalise import normalised
from lwdna.tasks.tracking.online import OnlineSettings
from lwdna.tasks.tracking.online.dimp import DimpTracker
from lwdna.tasks.tracking.online.refine import part_about
from lwdna.tasks.tracking.settings import TrackingSettings

MODELS = ("dimp_tiny:128", "dimp18:288", "dimp50:288")
FRAMES = 20
"""In a round: as many as from one update of the filter to the next."""
PARTS = ("backbone", "classifier", "iou")
PUBLISHED = {"dimp18:288": (2.32, 0.57, 1.53), "dimp50:288": (5.42, 1.53, 3.25)}
"""GMACs of :data:`PARTS` per frame, of the published networks."""
OTHERS = ("start", "tracker", "crop")
"""What of the timed parts is not the bare network."""
RESULTS = Path(__file__).parent / "results" / "tracking_speed.json"

# Weights as drawn find nothing they are sure of. Everything counts as found here, and nothing as a
# distractor, so that each frame costs what a frame of a target in sight costs.
FOUND = OnlineSettings.model_validate(
    {"localisation": {"not_found": 0, "distractor": 1, "hard_negative": 1}}
)


class Clock:
    """Seconds by part, of the blocks it was put around."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        self.seconds[part] += time.perf_counter() - begun
        return result


class BareNetwork:
    """Runs what the tracker must ask of the network, and nothing else.

    Args:
        network: in eval mode.
        size: side of its crops in pixels.
    """

    def __init__(self, network: DiMP, size: int) -> None:
        self._network = network
        self._image = torch.randn(1, 3, size, size)
        box = torch.tensor([0.4 * size, 0.4 * size, 0.2 * size, 0.2 * size])
        self._boxes = box + torch.rand(FOUND.boxes.starts, 4)
        with torch.no_grad():
            shallow, deep = network.backbone(self._image)
            features = network.classifier.features(deep)
            self._samples = features.expand(1, FOUND.memory.size, -1, -1, -1).contiguous()
            self._places = box.expand(1, FOUND.memory.size, 4)
            self._filter = network.classifier.initial_filter(features[None], box[None, None])
            if network.iou is not None:
                self._modulation = network.iou.modulation(shallow, deep, box[None])

    @torch.no_grad()
    def frame(self, clock: Clock, number: int) -> None:
        """Do the work of one frame."""
        network, classifier = self._network, self._network.classifier
        shallow, deep = clock("backbone", lambda: network.backbone(self._image))
        features = clock("classifier", lambda: classifier.features(deep))
        clock("scores", lambda: classifier.scores(features[None], self._filter))
        if network.iou is not None:
            head = network.iou
            maps = clock("iou", lambda: head.features(shallow, deep))
            clock("refinement", lambda: self._refine(maps))
        if number % FOUND.memory.interval == 0:
            weights = torch.full((1, FOUND.memory.size), 1 / FOUND.memory.size)
            given = (self._filter, self._samples, self._places, weights, FOUND.memory.steps)
            clock("optimiser", lambda: classifier.optimize(*given))

    def _refine(self, maps: tuple[Tensor, Tensor]) -> None:
        head, boxes = self._network.iou, self._boxes
        assert head is not None
        for _ in range(FOUND.boxes.steps):
            with torch.enable_grad():
                variable = boxes.clone().requires_grad_()
                part, start = part_about(boxes, maps, head.strides)
                overlaps = head.predict(self._modulation, part, (variable - start)[None])
                (gradient,) = torch.autograd.grad(overlaps.sum(), variable)
            boxes = boxes + gradient.clamp(-1e-3, 1e-3)

    @torch.no_grad()
    def gmacs(self) -> dict[str, float]:
        """Return the GMACs of :data:`PARTS` per frame, and of one step of one box, forwards."""
        network, found = self._network, {}

        def counted(part: str, work: Callable[[], Any], times: int = 1) -> Any:
            with FlopCounterMode(display=False) as counter:
                result = work()
            found[part] = counter.get_total_flops() / 2e9 / times
            return result

        shallow, deep = counted("backbone", lambda: network.backbone(self._image))
        counted("classifier", lambda: network.classifier.features(deep))
        if network.iou is not None:
            head, boxes = network.iou, self._boxes
            maps = counted("iou", lambda: head.features(shallow, deep))
            predict = lambda: head.predict(self._modulation, maps, boxes[None])  # noqa: E731
            counted("box_step", predict, times=len(boxes))
        return found


def crops(frames: list[Any], box: Any, settings: TrackingSettings) -> Iterator[Tensor]:
    """Yield the crop about a box in each frame, as networks take it."""
    for image in frames:
        crop = cut(image, window_about(box, settings.area, settings.image_size))
        yield normalised(torch.from_numpy(crop[None]).permute(0, 3, 1, 2))


def search_seconds(network: DiMP, settings: TrackingSettings) -> float:
    """Return how long a search takes for a network with an IoU head."""
    example = DimpKind(settings).example_inputs()
    batch = {name: torch.cat([values, values]) for name, values in example.items()}

    def loss(outputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        return torch.stack([one.square().mean() for one in outputs]).sum()

    begun = time.perf_counter()
    lwdna.shrink(network, example, [(batch, torch.zeros(2))], loss, budget=lwdna.Budget(macs=0.9))
    return time.perf_counter() - begun


def measure(name: str, size: int, rounds: int, seed: int) -> dict[str, Any]:
    """Return the milliseconds per frame of tracker, network and parts, and the GMACs."""
    torch.manual_seed(seed)
    network = lwdna.create_model(f"lwdna:{name}").eval()
    settings = TrackingSettings(image_size=size, online=FOUND)
    (sequence,) = photo_sequences(1, FRAMES + 1, seed, size=(640, 480))
    frames = [sequence.frame(number) for number in range(len(sequence))]
    tracker, bare = DimpTracker(network, settings, seed=seed), BareNetwork(network, size)
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(2):  # the first warms up
        clock = Clock()
        clock("start", lambda: tracker.start(frames[0], sequence.boxes[0]))
    samples["start"] = [1000 * clock.seconds["start"]]
    for image in frames[1:] * 2:  # fills the memory
        tracker.track(image)
    for _ in range(rounds):
        clock = Clock()
        found = clock("tracker", lambda: [tracker.track(image) for image in frames[1:]])
        if any(one.state != "normal" for one in found):
            raise SystemExit(f"{name}: a frame was not tracked as one of a target in sight")
        for frame in range(FRAMES):
            bare.frame(clock, frame)
        clock("crop", lambda: list(crops(frames[1:], sequence.boxes[0], settings)))
        for part, seconds in clock.seconds.items():
            samples[part].append(1000 * seconds / FRAMES)
    ms = {part: statistics.median(values) for part, values in samples.items()}
    bare_parts = [values for part, values in samples.items() if part not in OTHERS]
    network_ms = [sum(values) for values in zip(*bare_parts, strict=True)]
    ms["network"] = statistics.median(network_ms)
    shares = [alone / whole for alone, whole in zip(network_ms, samples["tracker"], strict=True)]
    return {
        "model": name,
        "size": size,
        "ms": ms,
        "share": statistics.median(shares),
        "gmacs": bare.gmacs(),
        "search_seconds": search_seconds(network, settings),
    }


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=MODELS, metavar="NAME:SIZE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    speeds = "frames per second | network alone | its share | start"
    print(f"| | {speeds} | GMACs: ours | published | search |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for model in arguments.model:
        name, _, size = model.partition(":")
        row = measure(name, int(size), arguments.rounds, arguments.seed)
        found.append(row)
        ms, gmacs = row["ms"], row["gmacs"]
        published = " / ".join(f"{one:.2f}" for one in PUBLISHED.get(model, ())) or "-"
        print(
            f"| {model} | {1000 / ms['tracker']:.1f} | {1000 / ms['network']:.1f} "
            f"| {row['share']:.0%} | {ms['start']:.0f} ms "
            f"| {' / '.join(f'{gmacs[part]:.3g}' for part in PARTS)} | {published} "
            f"| {row['search_seconds']:.1f} s |",
            flush=True,
        )
    print("\nmilliseconds per frame")
    parts = [part for part in found[0]["ms"] if part != "start"]
    print(f"| | {' | '.join(parts)} |\n|---|{'---|' * len(parts)}")
    for row in found:
        ms = row["ms"]
        print(f"| {row['model']} | {' | '.join(f'{ms[part]:.2f}' for part in parts)} |")
    written = {"frames": FRAMES, "rounds": arguments.rounds, "seed": arguments.seed}
    written |= {"networks": found, "versions": versions(), "machine": machine()}
    write_json(arguments.out, written)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
