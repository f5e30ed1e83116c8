"""vlprompt push, vlprompt pull: runs to and from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say

RepoId = Annotated[str, typer.Argument(metavar="REPO_ID", show_default=False, help="owner/name on the hub")]


def push(
    run: shared.RunFolder,
    repo_id: RepoId,
    private: Annotated[bool, typer.Option("--private", help="only its owner sees it")] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="BRANCH", show_default=False, help="branch to push to, made if need be"
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="add a commit to a repository that exists")
    ] = False,
    with_log: Annotated[
        bool, typer.Option("--with-log", help="send log.jsonl too, which names pictures")
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", show_default=False, help="for the model card, such as apache-2.0"
        ),
    ] = None,
) -> None:
    """Sends a run to the Hugging Face hub.

    Sent are prompts.safetensors, run.json without local paths, and a model card; never pictures.
    The token is that of HF_TOKEN or hf auth login. HF_ENDPOINT chooses another hub.

    \b
    vlprompt push runs/x me/fruit-prompts --private
    vlprompt push runs/x me/fruit-prompts --overwrite
    """
    from vlprompt.runs.hub import push as send

    _hub_is_still()
    note(f"sending {run} to {repo_id}")
    url = send(
        run,
        repo_id,
        private=private,
        revision=revision,
        overwrite=overwrite,
        with_log=with_log,
        license=license,
    )
    say(url)


def pull(
    repo_id: RepoId,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", show_default=False, help="where the run is to lie")
    ],
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="NAME", show_default=False, help="branch, tag or commit"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the run that the folder holds")
    ] = False,
) -> None:
    """Fetches a run from the Hugging Face hub into a folder.

    Only prompts (safetensors) and records (JSON) are read; nothing of it is executed.
    The other commands take the id of a run on the hub instead of a folder, too.

    \b
    vlprompt pull me/fruit-prompts runs/x
    vlprompt predict me/fruit-prompts cat.jpg
    """
    from vlprompt.runs.hub import pull as fetch

    _hub_is_still()
    note(f"fetching {repo_id}")
    say(f"{fetch(repo_id, folder, revision=revision, overwrite=overwrite)}")


def _hub_is_still() -> None:
    """huggingface_hub warns at each of its attempts; what comes of them is said once, here."""
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
