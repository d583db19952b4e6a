"""How the command line asks for memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's mallopt")

SCRIPT = """
import os, resource
from lwdna.cli.allocator import reuse_memory

def faults():
    block = bytearray(os.urandom(1)) * 2**26
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

kept = reuse_memory()
first, second, third = faults(), faults(), faults()
print(os.environ["THP_MEM_ALLOC_ENABLE"], kept, third - second < 2**26 / 2**21)
"""


def run(**environment: str) -> list[str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_", "THP_"))
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, env={**ours, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_command_line_keeps_freed_memory() -> None:
    assert run() == ["1", "True", "True"]


@pytest.mark.parametrize("name", ["MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"])
def test_what_the_user_chose_stays(name: str) -> None:
    assert run(**{name: "65536", "THP_MEM_ALLOC_ENABLE": "0"}) == ["0", "False", "False"]
