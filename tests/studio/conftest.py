"""A studio without a page, on the tiny CLIP; everything temporary lies in the test's own folder."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from small_data import COLOURS, picture
from support import save_huggingface

from vlprompt.studio.limits import Limits
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.tab_sessions import Session
from vlprompt.studio.workshop import Studio

NAMES = ("red cat", "blue sea", "green dog")


def png(name: str, number: int, size: tuple[int, int] = (40, 48)) -> bytes:
    """A picture of one of the colours of `small_data`, as the bytes of a file."""
    out = io.BytesIO()
    Image.fromarray(picture(COLOURS[name], number, size)).save(out, "PNG")
    return out.getvalue()


def teach(session: Session, names: tuple[str, ...] = NAMES[:2], count: int = 5) -> Session:
    """Classes with pictures in a session."""
    for name in names:
        shown = session.add_class(name)
        assert not session.add_pictures(shown, [(f"{i}.png", png(name, i)) for i in range(count)])
    return session


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_huggingface(tmp_path_factory.mktemp("backbone")))


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def studio(tiny: str, limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    held = Studio(Backbones([tiny]), limits=limits)
    yield held
    held.close()
    # but what torch keeps of compiled functions, wherever it is first used
    assert not [path for path in place.iterdir() if not path.name.startswith("torchinductor")]
