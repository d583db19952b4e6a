"""Networks on the Hugging Face hub: put there and fetched from there, never pickled.

A repository holds ``model.safetensors`` with the architecture inside, the architecture as JSON, a
model card, and timm's ``config.json``. Where the hub is and who asks is told by huggingface_hub's
own means: ``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from lwdna.architecture import Architecture, load
from lwdna.errors import HubError
from lwdna.models.pretrained import on_hub, out_of_reach
from lwdna.run_folder import WEIGHTS, find_weights


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    trust_code: bool = False,
) -> tuple[nn.Module, Architecture]:
    """Return a trained network from the hub, or from a folder on this machine.

    Args:
        name: a repository, ``"user/name"``; or the folder of a run or of a download, or a
            ``.safetensors`` file, which go first.
        revision: a branch, a tag or a commit of the repository.
        token: for repositories that are not public, where nobody is logged in.
        trust_code: allow a baseline whose source imports Python code.

    Returns:
        The network and its architecture, as :func:`lwdna.load` does.

    Raises:
        HubError: there is no such repository or revision, or the hub cannot be reached and the file
            is not on this machine.
        CheckpointError: the file does not hold a network, or is damaged.
    """
    path = Path(name)
    if revision is None and path.exists():
        return load(find_weights(path), trust_code=trust_code)
    return load(fetch_weights(str(name), revision, token=token), trust_code=trust_code)


def fetch_weights(
    repository: str,
    revision: str | None = None,
    *,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Return the file of weights of a repository, fetched unless it is on this machine.

    What goes into the network and what comes out is told by :func:`lwdna.read_interface` of it.

    Raises:
        HubError: there is no such repository, revision or file, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    _check_name(repository, ", nor a folder that is there")
    why = out_of_reach(on_hub(f"{repository}@{revision or ''}", WEIGHTS))
    if why is not None:
        raise HubError(
            f"{WEIGHTS} of {repository} is not on this machine and {why}; try again with a "
            "connection, or give the folder of a copy"
        )
    with _one_line_errors(repository, revision):
        found = HfApi().hf_hub_download(
            repository, WEIGHTS, revision=revision, token=token, cache_dir=cache_dir
        )
    return Path(found)


def check_login() -> None:
    """Make sure that there is somebody in whose name files can be put on the hub.

    Raises:
        HubError: nobody is logged in.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise HubError(
            "nobody is logged in to the Hugging Face hub; run `hf auth login`, or set HF_TOKEN to "
            "a token that may write"
        )


def push_files(
    files: Mapping[str, Path | bytes],
    repository: str,
    *,
    private: bool,
    message: str,
) -> str:
    """Put files into a repository as one commit, and make the repository if there is none.

    Args:
        files: a file on this machine or contents, by name in the repository.
        repository: ``"user/name"``.
        private: whether a new repository is for its owner's eyes only.
        message: what the commit says.

    Returns:
        The address of the repository.

    Raises:
        HubError: nobody is logged in or may write there, or the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    _check_name(repository)
    check_login()
    api = HfApi()
    with _one_line_errors(repository, None):
        place = api.create_repo(repository, private=private, exist_ok=True)
        added = [CommitOperationAdd(name, given) for name, given in files.items()]
        api.create_commit(repository, added, commit_message=message)
    return str(place)


def _check_name(repository: str, otherwise: str = "") -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
        named = "/" in repository
    except HFValidationError:
        named = False
    if not named:
        raise HubError(
            f"{repository!r} is not the name of a repository{otherwise}; write user/name"
        )


@contextmanager
def _one_line_errors(repository: str, revision: str | None) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors of one line that say what to do."""
    from huggingface_hub import errors

    # the library for HTTP below huggingface_hub, of which there were several, has errors of its own
    base: Any = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"there is no repository {repository} on the hub, or it is not for everybody; look at "
            "its name, or log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{repository} has no revision {revision}; name a branch, a tag or a commit"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise HubError(
            f"{repository} holds no {WEIGHTS}; name a repository that `lwdna push` wrote"
        ) from error
    except (errors.HFValidationError, errors.HfHubHTTPError) as error:
        raise HubError(f"the hub refused {repository}: {_first_line(error)}") from error
    except (OSError, base) as error:  # no connection
        raise HubError(
            f"the hub cannot be reached for {repository}: {_first_line(error)}; try again with a "
            "connection"
        ) from error


def _first_line(error: Exception) -> str:
    """Return what an error says, without what huggingface_hub adds in further paragraphs."""
    return " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__
