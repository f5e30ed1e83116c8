"""Runs on the Hugging Face hub: push one, pull one, load one by its id.

Only a run's own files travel, and safetensors and JSON are all that is read of what comes back: nothing that was
pulled is executed. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE hold as everywhere in huggingface_hub.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlprompt import methods
from vlprompt.backbones.locating import NAMED
from vlprompt.errors import OptionError, RunError
from vlprompt.files import read_file, write_together
from vlprompt.hub_access import HUB_ID, PREFIX, plain_errors
from vlprompt.locks import alone_in
from vlprompt.runs.info import INFO, RunInfo, read_info
from vlprompt.runs.model_card import card, hub_metadata
from vlprompt.runs.records import CARD, FILES, LOG, REST, TENSORS, check_place, read_tensors

LOGIN = 'set HF_TOKEN or log in with "hf auth login"'
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")
_DETAIL = re.compile(r" \(|: |; |, for example ")  # behind these, notices name files


def push(
    run: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    overwrite: bool = False,
    with_log: bool = False,
    license: str | None = None,
) -> str:
    """Sends a finished run to the hub as one commit; gives its address there.

    repo_id: "owner/name", made if it is not there. private: only its owner sees it. revision: a branch, made if
    need be. overwrite: go on in a repository that exists. with_log: send log.jsonl too, which names pictures.
    license: as the hub abbreviates it, for the model card.

    Sent are prompts.safetensors, run.json and a model card; of run.json the typed command and all local paths
    are left out. Raises RunError.
    """
    check_id(repo_id)
    files = shared_files(Path(run), repo_id, with_log=with_log, license=license)
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise RunError(f"the hub takes runs only from those it knows, and there is no token: {LOGIN}")
    hub = HfApi(library_name="vlprompt")
    with _push_errors(repo_id):
        hub.create_repo(repo_id, private=private or None, exist_ok=overwrite)
        if revision is not None:
            hub.create_branch(repo_id, branch=revision, exist_ok=True)
        done = hub.create_commit(
            repo_id,
            [CommitOperationAdd(name, data) for name, data in files.items()],
            commit_message="Run of vlprompt",
            revision=revision,
        )
    return str(done.commit_url).partition("/commit/")[0]


def pull(repo_id: str, folder: str | Path, *, revision: str | None = None, overwrite: bool = False) -> Path:
    """Fetches a run from the hub into a folder, which appears whole or not at all.

    revision: branch, tag or commit. overwrite: replace the run that the folder holds. Raises RunError.
    """
    target = Path(folder)
    check_id(repo_id.removeprefix(PREFIX))
    check_place(target, overwrite)
    held = fetch_run(repo_id, revision)
    with alone_in(target):
        check_place(target, overwrite)  # another may have been here meanwhile
        try:
            files = {
                name: read_file(held / name) for name in (TENSORS, CARD, LOG, INFO) if (held / name).is_file()
            }
            target.mkdir(parents=True, exist_ok=True)
            write_together(target, files, gone=(*FILES, *REST))
        except OSError as error:
            raise RunError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def locate_run(run: str | Path, revision: str | None = None) -> Path:
    """A run folder, fetched from the hub if it has to be.

    run: a folder, or an id on the hub: "hf-hub:owner/name", or "owner/name" where there is no folder "owner" here.
    """
    name = str(run)
    if name.startswith(PREFIX):
        return fetch_run(name, revision)
    path = Path(run)
    if path.exists() or not HUB_ID.fullmatch(name) or path.parent.exists() or name.startswith("."):
        return path
    return fetch_run(name, revision)


def fetch_run(repo_id: str, revision: str | None = None) -> Path:
    """A run of the hub in huggingface_hub's cache, checked: whole, and of a method that comes with vlprompt."""
    from huggingface_hub import snapshot_download

    name = repo_id.removeprefix(PREFIX)
    check_id(name)
    offline = "connect once, or give a local folder"
    with plain_errors(name, RunError, offline=offline):
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=[INFO, TENSORS, CARD, LOG], library_name="vlprompt"
            )
        )
    if not (folder / INFO).is_file():
        raise RunError(f'"{name}" on the hub is no run of vlprompt: there is no {INFO} in it')
    info, _ = read_whole(folder)
    if info.method not in methods.names():  # a dotted path would import whatever it names
        raise RunError(
            f'"{name}" was learned with method "{info.method}", which does not come with vlprompt: '
            "get its code and the folder from someone you trust, and load the folder"
        )
    return folder


def check_id(repo_id: str) -> None:
    """OptionError for what is no id of a repository."""
    if not HUB_ID.fullmatch(repo_id):
        raise OptionError(f'"{repo_id}" is no id on the hub: expected owner/name')


def read_whole(folder: Path) -> tuple[RunInfo, bytes]:
    """run.json and the bytes of the tensors that it names; RunError if anything is missing or damaged."""
    info = read_info(folder)
    return info, read_tensors(folder, info)


def shared_files(
    folder: Path, repo_id: str, *, with_log: bool = False, license: str | None = None
) -> dict[str, bytes]:
    """What `push` sends, by name."""
    info, data = read_whole(folder)
    told = shareable(info)
    page = f"---\n{hub_metadata(told, _hub_id(told.backbone.source), license)}---\n\n{card(told, repo_id)}"
    files = {TENSORS: data, CARD: page.encode()}
    if with_log and (folder / LOG).is_file():
        files[LOG] = read_file(folder / LOG)
    return files | {INFO: (json.dumps(told.to_json(), indent=1, ensure_ascii=False) + "\n").encode()}


def shareable(info: RunInfo) -> RunInfo:
    """run.json as others may see it: without the typed command, and with names instead of local paths."""
    told = copy.deepcopy(info)
    told.command = ""
    backbone = told.backbone
    if _hub_id(backbone.source) is None and backbone.source != "embedded":
        backbone.source = Path(backbone.source).name
    if backbone.tokenizer:
        backbone.tokenizer = Path(backbone.tokenizer).name
    told.data.origin = told.data.seal = None  # where the pictures lie
    plain = [_DETAIL.split(text)[0] for text in told.notices]
    told.notices = [text for text in plain if "/" not in text and "\\" not in text]
    named = ("class_names", "shown_classes", "labels", "templates", "zero_shot_templates")
    return RunInfo.from_json(
        {key: value if key in named else _without_paths(value) for key, value in told.to_json().items()}
    )


def _without_paths(value: Any) -> Any:
    """The same JSON value with the last part of whatever is an absolute path, on this system or another."""
    if isinstance(value, dict):
        return {key: _without_paths(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_without_paths(held) for held in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def _hub_id(source: str) -> str | None:
    """Where the hub has a backbone; None for the embedded one and for local files."""
    name = NAMED.get(source, source.removeprefix(PREFIX))
    return name if HUB_ID.fullmatch(name) and not Path(source).expanduser().exists() else None


@contextmanager
def _push_errors(repo_id: str) -> Iterator[None]:
    from huggingface_hub import utils

    errors: Any = utils
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise RunError("nothing can be pushed while HF_HUB_OFFLINE is set") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 409:
            raise RunError(
                f'"{repo_id}" exists already on the hub: --overwrite adds a commit to it'
            ) from error
        if status in (401, 403, 404):
            raise RunError(
                f'the hub does not let this token write to "{repo_id}": another name, or {LOGIN}'
            ) from error
        raise RunError(f'cannot push "{repo_id}" to the hub: {_first_line(error)}') from error
    except Exception as error:  # of the HTTP library below
        raise RunError(f'cannot push "{repo_id}" to the hub: {_first_line(error)}') from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
