"""Small data sets in every layout."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.tasks.sets import CLASSES, picture


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes with 5, 6 and 7 training images and two validation images each, 16x16."""
    root = tmp_path / "data"
    seed = 0
    for split, counts in (("train", (5, 6, 7)), ("val", (2, 2, 2))):
        for name, count in zip(CLASSES, counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture(seed).save(root / split / name / f"{number}.png")
                seed += 1
    return root


@pytest.fixture
def zips(folder: Path, tmp_path: Path) -> Path:
    """The images of ``folder`` in ``train.zip`` and ``test.zip``."""
    root = tmp_path / "zips"
    root.mkdir()
    for split, stem in (("train", "train"), ("val", "test")):
        with zipfile.ZipFile(root / f"{stem}.zip", "w") as archive:
            for path in sorted((folder / split).glob("*/*.png")):
                archive.write(path, f"{stem}/{path.parent.name}/{path.name}")
    return root


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = Path(os.environ.get("LWDNA_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root} (set LWDNA_DATA)")
    return root
