"""``lwdna track``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lwdna.cli.arguments import Quiet, Trust
from lwdna.cli.output import note, say
from lwdna.errors import RecipeError
from lwdna.run_folder import RECIPE, find_weights
from lwdna.run_options import RunOptions

if TYPE_CHECKING:
    from lwdna.data.sequences.footage import Box, Footage
    from lwdna.tasks.tracking.settings import TrackingSettings


Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="VIDEO_OR_FOLDER",
        help="A video, a folder of images, or a sequence.",
        show_default="the first sequence that the run validates on",
    ),
]
Recipe = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe and values that replace its own.",
        show_default="that of the run",
    ),
]


def track(
    source: Source = None,
    arguments: Recipe = None,
    *,
    weights: Annotated[
        Path, typer.Option(help="A run's folder, or a .safetensors file of a network.")
    ],
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="The target in the first frame, in pixels.",
            show_default="the truth of a sequence",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for boxes and video.", show_default="runs/NAME-track"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random in tracking.")] = 0,
    quiet: Quiet = False,
    trust_code: Trust = False,
) -> None:
    """Follow a target through a video; write its boxes, and a video with the boxes drawn in.

    Examples:

      lwdna track clip.mp4 --box 120,80,40,60 --weights runs/tiny/lwdna

      lwdna track OTB/Car4 --weights runs/tiny/lwdna

      lwdna track frames/ tracking/super_dimp --box 9,31,64,48 --weights super_dimp.safetensors
    """
    from lwdna.cli import options
    from lwdna.data.sequences.footage import first_box, open_footage

    if source is not None and "=" in source.name and not source.exists():
        source, arguments = None, [str(source), *(arguments or ())]
    file = find_weights(weights)
    settings = _settings(file, arguments, weights)
    given = None if box is None else read_box(box)
    footage = _validation(settings, weights) if source is None else open_footage(source)
    target, warning = first_box(footage, given)
    if warning is not None:
        note(f"note: {warning}")
    folder = options.run_folder(out, f"{Path(footage.source).resolve().stem}-track")
    from lwdna.workflows import track_target

    chosen = RunOptions(progress=not quiet, trust_code=trust_code, say=say)
    track_target(file, footage, target, folder, settings=settings, seed=seed, options=chosen)
    if quiet:
        say(f"track: {folder}", last=True)


def _validation(settings: TrackingSettings | None, weights: Path) -> Footage:
    """Return the first sequence that a run validates on."""
    from lwdna.data.sequences.footage import Footage
    from lwdna.tasks.tracking.sets import open_sets

    if settings is None:
        raise RecipeError(
            f"what to track in? name a video or a folder: lwdna track VIDEO --weights {weights}"
        )
    sequence = open_sets(settings).val[0]
    return Footage.of(sequence, sequence.name)


def read_box(text: str) -> Box:
    """Return a box from ``"x,y,w,h"``.

    Raises:
        RecipeError: these are not four finite numbers.
    """
    import numpy as np

    try:
        values = np.array([float(word) for word in text.split(",")])
    except ValueError:
        values = np.empty(0)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise RecipeError(
            f"cannot read --box {text}: write x,y,w,h in pixels of the first frame, for example "
            "120,80,40,60"
        )
    return values


def _settings(file: Path, arguments: list[str] | None, weights: Path) -> TrackingSettings | None:
    """Return the settings of a run or of the recipe named; None for a file with neither."""
    from lwdna.cli import options

    own = file.parent / RECIPE
    default = own if own.is_file() else None
    if default is None and not arguments:
        return None
    if default is None and all("=" in argument for argument in arguments or ()):
        raise RecipeError(f"values of which recipe? name it before {' '.join(arguments or ())}")
    _, recipe = options.read_recipe(arguments, None, None, default)
    from lwdna.tasks.tracking.settings import TrackingSettings

    if not isinstance(recipe.data, TrackingSettings):
        raise RecipeError(
            f"the recipe of {weights} is for {recipe.task}, so its network is no tracker; give the "
            "run of a tracking task (lwdna list recipes 'tracking/*')"
        )
    return recipe.data
