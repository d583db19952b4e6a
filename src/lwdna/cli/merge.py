"""``lwdna merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Trust
from lwdna.cli.output import say, working
from lwdna.errors import FileError
from lwdna.run_folder import find_weights


def merge(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or a weights file.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Weights file to write.")],
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers", metavar="PATTERN", help="Pairs to merge [those that cost no less]."
        ),
    ] = None,
    trust_code: Trust = False,
) -> None:
    """Turn pairs of convolutions that `factorize` made back into single ones.

    Those are merged that cost at least as much as one convolution, which computes the same. The
    file is one for evaluate, train and export.

    Example:

      lwdna merge runs/split/lwdna --out merged.safetensors
    """
    weights = find_weights(run)
    if out.suffix != ".safetensors":
        raise FileError(f"cannot write weights to {out}; name a .safetensors file")
    from lwdna.architecture import load, save
    from lwdna.interface import read_interface
    from lwdna.rewriting import merge as merged

    with working("merging"):
        before, architecture = load(weights, trust_code=trust_code)
        network, described = merged(before, architecture, layers, trust_code)
        save(network, described, out, read_interface(weights))
    names = described.found.get("merged", [])[len(architecture.found.get("merged", [])) :]
    cost, now = architecture.cost, described.cost
    say(
        f"{len(names)} pairs merged: {cost.macs:,} -> {now.macs:,} MACs, "
        f"{cost.params:,} -> {now.params:,} parameters"
    )
    say(f"weights: {out}")
