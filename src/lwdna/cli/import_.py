"""``lwdna import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lwdna.cli.output import note, say
from lwdna.errors import RecipeError
from lwdna.files import ABANDONED, remove_unfinished

if TYPE_CHECKING:
    from torch import nn

    from lwdna.architecture import Architecture


def import_(
    kind: Annotated[
        str,
        typer.Argument(help="original (of the LW-DNA project), edsr, dimp or state-dict."),
    ],
    checkpoint: Annotated[Path, typer.Argument(help="A .pt, .pth or .safetensors file.")],
    out: Annotated[Path, typer.Option(help="File to write, with the architecture inside.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Network at its default widths, for state-dict.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|FILE",
            help="Names of classes, one a line or as JSON list, or `imagenet`; or their number, "
            "for state-dict.",
            show_default="1000 numbers",
        ),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="How images are prepared: as for timm:MODEL, a data format, `imagenet`, or as "
            "another file of weights says.",
            show_default="timm's own, that of CIFAR at 32 pixels, else imagenet",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the input in pixels.",
            show_default="224, CIFAR: 32, edsr: 48, dimp: 288",
        ),
    ] = None,
) -> None:
    """Turn weights of another project into an architecture and safetensors.

    The widths are found from the shapes of the tensors. Files are read without unpickling
    anything but tensors; what pytracking adds to its own is read without running its code. What
    `lwdna predict` needs to know of images and classes is written down, too.

    Examples:

      lwdna import original resnet50_lwdna.pt --out resnet50.safetensors

      lwdna import edsr edsr_baseline_x2-1bc95232.pt --out edsr.safetensors

      lwdna import dimp dimp50.pth --out dimp50.safetensors

      lwdna import state-dict pruned.pth --model torchvision:resnet18 --out pruned.safetensors

      lwdna import state-dict my.pth --model timm:resnet18 --classes names.txt --out my.safetensors
    """
    classifier = kind in ("original", "state-dict")
    _check(kind, model)
    if not classifier and (classes or preprocessing):
        raise RecipeError(f"{kind} networks tell no classes; leave out --classes, --preprocessing")
    from lwdna.architecture import save
    from lwdna.workflows.imported import interface_of_import, read_classes

    names = None if classes is None or classes.isdecimal() else read_classes(classes)
    count = len(names) if names else int(classes or 1000)
    network, architecture = _imported(kind, checkpoint, model, count, size)
    interface = None
    if classifier:
        interface, assumed = interface_of_import(architecture, names, preprocessing)
        for line in assumed:
            note(f"note: {line}")
    remove_unfinished(out.parent, older_than=ABANDONED)
    save(network, architecture, out, interface)
    cost = architecture.cost
    say(f"{cost.macs:,} MACs, {cost.params:,} parameters")
    say(f"weights: {out}")


def _imported(
    kind: str, checkpoint: Path, model: str | None, classes: int, size: int | None
) -> tuple[nn.Module, Architecture]:
    from lwdna.interop import (
        import_dimp,
        import_edsr,
        import_original,
        import_state_dict,
        read_state_dict,
    )

    if kind == "original":
        return import_original(checkpoint, (3, size, size) if size else None)
    if kind == "edsr":
        return import_edsr(checkpoint, (3, size or 48, size or 48))
    if kind == "dimp":
        return import_dimp(checkpoint, size or 288)
    assert model is not None, "checked above"
    return import_state_dict(
        model,
        read_state_dict(checkpoint),
        (3, size or 224, size or 224),
        model_args={"num_classes": classes},
        origin=str(checkpoint),
    )


def _check(kind: str, model: str | None) -> None:
    if kind not in ("original", "edsr", "dimp", "state-dict"):
        raise RecipeError(f"cannot import {kind!r}; use original, edsr, dimp or state-dict")
    if kind == "state-dict":
        from lwdna.models import resolve_name

        if model is None:
            raise RecipeError("name the network: --model torchvision:resnet18, for example")
        resolve_name(model)
