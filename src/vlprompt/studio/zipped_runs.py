"""A run as one zip file or a folder on this machine, and back; what comes back is not trusted."""

from __future__ import annotations

import io
import shutil
import time
import zipfile
from pathlib import Path, PurePosixPath

from vlprompt import methods
from vlprompt.errors import DataError, RunError, VlpromptError
from vlprompt.runs.info import INFO, read_info
from vlprompt.runs.records import CARD, LOG, TENSORS
from vlprompt.runs.run import Run
from vlprompt.studio.limits import MB
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.tab_sessions import Session, Shown
from vlprompt.studio.teaching import keepable

FILES = (INFO, TENSORS, LOG, CARD)
LARGEST = 64 * MB  # one file of a run
MOST_KEPT = 100  # runs that are offered to be opened again


def pack(run: Run, folder: Path) -> bytes:
    """The run folder `run` as a zip. folder: a new one, for the files."""
    run.save(folder)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            archive.write(folder / name, f"run/{name}")
    return data.getvalue()


def bundle(session: Session) -> bytes | None:
    """What the session's download link gives; None when there is nothing."""
    held = keepable(session)
    return pack(held[0], session.new_folder("download")) if held is not None else None


def reopen(session: Session, path: Path, backbones: Backbones) -> Run:
    """Puts the run of a zip, as `pack` or a run folder gives it, in place of what the session holds.

    RunError for what is no run, is damaged, or was learned on a backbone that is not offered. Methods must be
    the package's own: a run that names another file is not followed.
    """
    folder = session.new_folder("run")
    _unpack(path, folder)
    return _adopt(session, folder, backbones)


def kept_runs(place: Path) -> list[str]:
    """The runs that lie in a folder, those that changed last first."""
    if not place.is_dir():
        return []
    found = [(file.stat().st_mtime, file.parent.name) for file in place.glob(f"*/{INFO}") if file.is_file()]
    return [name for _, name in sorted(found, reverse=True)][:MOST_KEPT]


def keep(session: Session, place: Path) -> str:
    """Writes what the session's download link would give as a run folder of its own below `place`; its name."""
    held = keepable(session)
    if held is None:
        raise DataError("nothing was learned yet: press Learn first")
    stem = f"studio-{time.strftime('%Y-%m-%d-%H%M')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    name = next(name for name in names if not (place / name).exists())
    held[0].save(place / name)
    return name


def reopen_kept(session: Session, place: Path, name: str, backbones: Backbones) -> Run:
    """`reopen` of a run that lies in a folder. DataError for a name that is none of `kept_runs`."""
    if name not in kept_runs(place):
        raise DataError("this run is no longer there")
    folder = session.new_folder("run")
    folder.mkdir()
    for file in FILES:
        source = place / name / file
        if source.is_file():
            if source.stat().st_size > LARGEST:
                raise RunError(f"{file} is larger than a run's files are")
            shutil.copyfile(source, folder / file)
    return _adopt(session, folder, backbones)


def _adopt(session: Session, folder: Path, backbones: Backbones) -> Run:
    """Puts a run in place of what the session holds."""
    info = read_info(folder)
    try:
        if info.method not in methods.names():
            raise RunError(f'this run\'s method, "{info.method}", is not one of the package')
        held = info.backbone
        name, backbone = backbones.of_fingerprint(held.fingerprint, held.source)
        run = Run.load(folder, backbone)
        names = [session.limits.check_name(str(name)) for name in run.class_names]
        if len(names) > session.limits.classes:
            raise RunError(
                f"this run has {len(names)} classes, and at most {session.limits.classes} are taken"
            )
    except VlpromptError:
        raise
    except Exception as error:  # values of another kind than a run has
        raise RunError(f"this run cannot be used: it is damaged ({type(error).__name__})") from error
    with session.lock:
        before = {shown.name: shown for shown in session.classes}
        for shown in list(session.classes):
            if shown.name not in names:
                session.remove_class(shown.number)
        kept = [before[name] if name in before else session.add_class(name) for name in names]
        session.classes = list[Shown](kept)
        session.studied = {path for shown in kept for path in shown.pictures}
        session.run, session.backbone = run, name
    return run


def _unpack(path: Path, folder: Path) -> None:
    """The files of a run, and nothing else, from anywhere in the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for entry in archive.infolist():
                name = PurePosixPath(entry.filename).name
                if name in FILES and not entry.is_dir():
                    if name in found:
                        raise RunError(f"there is more than one {name} in this archive: give one run")
                    if entry.file_size > LARGEST:
                        raise RunError(f"{name} is larger than a run's files are")
                    found[name] = entry
            if INFO not in found or TENSORS not in found:
                raise RunError("this archive holds no run: download one here, or zip a run folder")
            folder.mkdir()
            for name, entry in found.items():
                with archive.open(entry) as file:
                    data = file.read(LARGEST + 1)
                if len(data) > LARGEST:
                    raise RunError(f"{name} is larger than a run's files are")
                (folder / name).write_bytes(data)
    except RunError:
        raise
    except Exception as error:  # damaged archives raise whatever they happen to hit
        raise RunError(f"not a zip archive that can be read ({error})") from error
