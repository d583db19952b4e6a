"""The page of the files that runs leave, from the module that names them."""

from __future__ import annotations

from lwdna import run_folder
from plain import described_names, line

HEAD = """# Files of a run

Every run has a folder. It holds nothing but open formats: YAML, JSON, JSON lines, safetensors,
PNG and HTML. Weights hold the architecture, so that one file is enough to use a network.

A **training** (`lwdna train`):

    runs/baseline/
        recipe.yaml              the recipe with every default filled in
        data.json                names of the classes, a fingerprint of the data
        architecture.lwdna.json  the network
        model.safetensors        the trained network
        metrics.jsonl            a line per epoch
        results.json             its figures
        checkpoints/             last and best, from which a run goes on

A **job** (`lwdna quickstart`) holds a search and two trainings:

    runs/digits/
        recipe.yaml
        search/                  architecture.lwdna.json, search.json, trials/
        baseline/                a training
        lwdna/                   a training of the network found
        results.json             both side by side
        report.html              everything on one page

A **comparison** (`lwdna compare`) holds a cell for every arm and seed:

    runs/study/
        recipe.yaml
        cells/<arm>/seed<k>/     a training, and its search where each seed has one
        cells/<arm>/search/      the search that all seeds of an arm share
        results.json             differences and intervals; the same to the byte after any stop
        timings.json             what depends on time
        report.html

## All names
"""


def page() -> str:
    """The page, as Markdown."""
    rows = ["| name | what it is |", "|---|---|"]
    for constant, words in described_names(run_folder).items():
        value = getattr(run_folder, constant)
        if isinstance(value, str):
            rows.append(f"| `{value}` | {line(words)} |")
    return f"{HEAD}\n" + "\n".join(rows) + "\n"
