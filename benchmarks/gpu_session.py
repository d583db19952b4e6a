"""All measurements of a GPU that matter, within eight minutes: for a machine lent for a while.

    OUT=results python benchmarks/gpu_session.py [--minutes 8]

Training at 224 pixels next to timm's loop (imagenet.py), with files decoded on the CPU and on the
GPU, kernel by kernel and compiled; and small trainings at once (many.py). What is done is written
at once, to ``$OUT/imagenet-MODEL-cuda.json`` and ``$OUT/many.json``. What fails or takes too long
does not stop the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagenet
from imagenet_data import write_folder
from lwdna.files import write_json

HERE = Path(__file__).parent


class Session:
    """What is left of the time, and what has been found."""

    def __init__(self, minutes: float, out: Path, given: argparse.Namespace, data: Path) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.out, self.given, self.data = out, given, data
        self.lines: list[dict[str, Any]] = []

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def side(self, side: str, parts: Sequence[str], limit: float) -> None:
        """Measure parts of one side."""
        limit = min(limit, self.left - 5)
        print(f"[{self.left:.0f} s left] {side}: {', '.join(parts)}", flush=True)
        if limit < 20:
            return
        try:
            found = imagenet.run_side(side, parts, self.given, self.data, limit=limit)
            for line in found:
                self.lines.append(line)
                print(json.dumps(line), flush=True)
                write_json(
                    self.out / f"imagenet-{self.given.model}-cuda.json",
                    imagenet.report(self.given, self.lines),
                )
        except Exception as error:
            print(f"failed: {error}", flush=True)

    def many(self, limit: float, *more: str) -> None:
        """Measure small trainings at once."""
        limit = min(limit, self.left - 5)
        print(f"[{self.left:.0f} s left] many", flush=True)
        if limit < 20:
            return
        command = [sys.executable, str(HERE / "many.py"), "--out", str(self.out / "many.json")]
        process = subprocess.Popen([*command, *more], start_new_session=True)
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            print("many: out of time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--unique", type=int, default=2048)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu to try it")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    out = Path(os.environ.get("OUT", HERE / "results"))
    settings = imagenet.parse(
        ["--precision", "bf16", "--channels-last", "--device", given.device, "--model", given.model]
    )
    for name in ("batch", "warmup", "steps", "side", "workers"):
        setattr(settings, name, getattr(given, name))
    settings.threads = 1
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        session = Session(given.minutes, out, settings, data)
        write_folder(data, given.batch * (given.warmup + given.steps), unique=given.unique)
        run(session, given.device)
    print(imagenet.table(imagenet.report(settings, session.lines)))


def run(session: Session, device: str) -> None:
    usual = ("loader", "compute", "files")
    session.side("timm", usual, 100)
    session.side("ours", usual, 100)
    if device == "cuda":
        session.side("ours, nvJPEG", ("loader", "files"), 80)
        session.many(150, "--mps")
        session.side("ours, one graph", ("compute", "files"), 70)
    session.side("ours", ("files, compiled",), 110)
    session.side("timm", ("files, compiled",), 110)
    session.side("ours", ("compute, compiled",), 60)
    session.side("timm", ("compute, compiled",), 60)


if __name__ == "__main__":
    main()
