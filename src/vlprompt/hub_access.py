"""The Hugging Face hub: how its models are called, and its many exceptions as one line with the mend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlprompt.errors import BackboneError, VlpromptError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PREFIX = "hf-hub:"


@contextmanager
def plain_errors(
    model: str,
    kind: type[VlpromptError] = BackboneError,
    *,
    offline: str = 'connect once, give a local folder, or use "embedded"',
    doing: str = "fetch",
) -> Iterator[None]:
    """Turns what huggingface_hub raises inside into one line.

    model: as the user called it. kind: what is raised. offline: what else can be done without a connection.
    doing: "fetch", "push", ...
    """
    from huggingface_hub import utils

    errors: Any = utils  # where every version since 0.24 has them, though not as declared exports

    try:
        yield
    except VlpromptError:
        raise
    except errors.GatedRepoError as error:
        raise kind(
            f'"{model}" is gated: accept its licence on its page, then log in with "hf auth login"'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise kind(f'"{model}" has no such revision on the hub') from error
    except errors.RepositoryNotFoundError as error:
        raise kind(
            f'"{model}" is neither a local folder nor a model on the hub (private ones need "hf auth login")'
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise kind(
            f'"{model}" is not in the local cache and the hub cannot be asked (offline): {offline}'
        ) from error
    except Exception as error:  # of the HTTP library below, which differs between its versions
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise kind(f'cannot {doing} "{model}" from the hub: {reason}') from error
