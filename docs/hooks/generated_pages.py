"""Hook of mkdocs: pages that are made from the code and from the files beside this folder."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import command_line
import names
import python_names
import recipe_keys
import run_files

ROOT = Path(__file__).parents[2]
REFERENCE = {
    "recipe.md": recipe_keys.page,
    "names.md": names.page,
    "cli.md": command_line.page,
    "python.md": python_names.page,
    "files.md": run_files.page,
}
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
"""Files of the repository that are pages, too, and what these are called."""
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, page in REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}", content=page()))
    for name, target in BESIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_LINK.sub(_from_root, text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of the folder of the documentation, which the repository has, to the site."""
    up = "../" * page.file.src_uri.count("/")
    for name, target in BESIDE.items():
        markdown = markdown.replace(f"]({up}../{name}", f"]({up}{target}")
    return markdown


def _from_root(link: re.Match[str]) -> str:
    """A link in a file at the root of the repository, as the site has it."""
    path, hash_, anchor = link[2].partition("#")
    path = BESIDE.get(path, path.removeprefix("docs/"))
    return f"{link[1]}{path}{hash_}{anchor}{link[3]}"
