"""What the page's buttons do. Each takes the tab's session from the request and returns what is shown anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import gradio as gr

from vlprompt.errors import DataError, VlpromptError
from vlprompt.studio import bulk_upload as bringing
from vlprompt.studio import page_figures as drawing
from vlprompt.studio import teaching
from vlprompt.studio.tab_sessions import Session
from vlprompt.studio.teaching import Choice
from vlprompt.studio.trainings import Job
from vlprompt.studio.workshop import Sent, Studio
from vlprompt.studio.zipped_runs import keep, kept_runs, reopen, reopen_kept

TICK = 0.4  # seconds between looks at a training
CURVE_TICK = 2.0  # the same, for drawing its curve anew

# The rendered page is drawn anew when this changes; its value is of no interest.
Shelf = float


def shelf() -> Shelf:
    return time.monotonic()


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that people can mend, as a message on the page in place of an answer."""

    @wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except VlpromptError as error:
            raise _shown(error) from None

    return call


def _shown(error: VlpromptError) -> gr.Error:
    text = " ".join(str(error).split())
    return gr.Error(text[:1].upper() + text[1:], duration=12, print_exception=False)


class Actions:
    """The buttons of one studio's page."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def _session(self, request: gr.Request) -> Session:
        return self.studio.session(request.session_hash)

    def arrive(self, request: gr.Request) -> tuple[str, Shelf]:
        """The page was opened. -> session, shelf"""
        return self._session(request).key, shelf()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.studio.sessions.end(request.session_hash)

    # -- classes -----------------------------------------------------------------------------------

    def add_class(self, name: str, request: gr.Request) -> tuple[Any, Shelf, str]:
        """-> name field, shelf, remarks: what was learned may not answer before the class was learned, too"""
        session = self._session(request)
        session.add_class(name)
        session.leaf = session.last_leaf  # where it is seen
        try:
            teaching.answering(session)
        except VlpromptError as error:
            return "", shelf(), drawing.remarks([str(error)])
        return "", shelf(), ""

    def add_by_name(self, name: str, backbone: str, request: gr.Request) -> tuple[Any, Shelf, str]:
        """A class that is known by its name alone. -> name field, shelf, answers"""
        session = self._session(request)
        shown = session.add_class(name)
        try:
            teaching.answering(session)
        except VlpromptError as error:  # a method that cannot do that
            session.remove_class(shown.number)
            raise error
        session.leaf = session.last_leaf
        return "", shelf(), self.answers(session, backbone)

    def remover(self, number: int) -> Callable[..., tuple[Shelf, str, str]]:
        """For the class of that number: removes it. -> shelf, remarks, answers"""

        def remove(backbone: str, request: gr.Request) -> tuple[Shelf, str, str]:
            session = self._session(request)
            session.remove_class(number)
            return shelf(), "", self.answers(session, backbone)

        return remove

    # -- correcting --------------------------------------------------------------------------------

    def opener(self, number: int) -> Callable[..., Shelf]:
        """For the class of that number: shows its pictures and its name to be corrected, or hides them again. -> shelf"""

        def open_it(request: gr.Request) -> Shelf:
            session = self._session(request)
            is_open = session.opened is not None and session.opened[0] == number
            session.opened = None if is_open else (session.find(number).number, 0)
            return shelf()

        return open_it

    def leafer(self, number: int, first: int) -> Callable[..., Shelf]:
        """Shows the pictures of the opened class from that one on. -> shelf"""

        def leaf(request: gr.Request) -> Shelf:
            self._session(request).opened = (number, max(0, first))
            return shelf()

        return leaf

    def renamer(self, number: int) -> Callable[..., tuple[Shelf, str, str]]:
        """For the class of that number: gives it another name. -> shelf, remarks, answers"""

        def rename(name: str, backbone: str, request: gr.Request) -> tuple[Shelf, str, str]:
            session = self._session(request)
            before = session.find(number).name
            session.rename_class(number, name)
            after = session.find(number).name
            learned = session.run is not None and before in session.run.learned.task.class_names
            said = (
                [f'"{before}" was learned by that name: press Learn, so that "{after}" is']
                if learned and after != before
                else []
            )
            return shelf(), drawing.remarks(said), self.answers(session, backbone)

        return rename

    def corrector(
        self, number: int, pictures: Sequence[str], remove: bool
    ) -> Callable[..., tuple[Shelf, str]]:
        """For shown pictures of a class: removes those that are ticked, or moves them to the class of another number.
        -> shelf, remarks"""

        def correct(*values: Any, request: gr.Request) -> tuple[Shelf, str]:
            to, ticked = values[0], values[1:]
            session = self._session(request)
            chosen = [path for path, tick in zip(pictures, ticked, strict=True) if tick]
            if not chosen:
                raise DataError("tick the pictures first")
            if remove:
                session.remove_pictures(number, chosen)
            elif to is None:
                raise DataError("choose the class that they belong to first")
            else:
                session.move_pictures(number, chosen, int(to))
            known = session.run is not None
            return shelf(), drawing.remarks(
                ["press Learn, so that what was learned follows"] if known else []
            )

        return correct

    def shooter(self) -> Callable[..., tuple[None, Shelf, str]]:
        """A picture of the camera for a class. -> the camera's picture, none; shelf, remarks"""

        def take(sent: Sent, number: Any, request: gr.Request) -> tuple[None, Shelf, str]:
            session = self._session(request)
            if number is None:
                raise DataError("choose the class that the picture is of first")
            said = session.add_pictures(session.find(int(number)), self.studio.take(sent))
            return None, shelf(), drawing.remarks(said)

        return take

    def turner(self, leaves: int) -> Callable[..., Shelf]:
        """Shows the cards of the next classes, or of those before. -> shelf"""

        def turn(request: gr.Request) -> Shelf:
            self._session(request).turn(leaves)
            return shelf()

        return turn

    def taker(self, number: int) -> Callable[..., tuple[None, Shelf, str]]:
        """For the class of that number: takes pictures that were dropped on it. -> the drop, empty; shelf, remarks"""

        def take(files: Sent, request: gr.Request) -> tuple[None, Shelf, str]:
            session = self._session(request)
            pictures = self.studio.take(files)
            said = session.add_pictures(session.find(number), pictures)
            return None, shelf(), drawing.remarks(said)

        return take

    def add_examples(self, request: gr.Request) -> tuple[Shelf, str]:
        """-> shelf, remarks"""
        return shelf(), drawing.remarks(bringing.bring_examples(self._session(request)))

    def add_archive(self, file: Sent, request: gr.Request) -> tuple[Shelf, str]:
        """-> shelf, remarks"""
        session = self._session(request)
        path = self.studio.arrived(file)
        try:
            return shelf(), drawing.remarks(bringing.bring_archive(session, path))
        finally:
            self.studio.discard(path)

    def add_folder(self, path: str | None, request: gr.Request) -> tuple[Shelf, str]:
        """-> shelf, remarks"""
        said = bringing.bring_folder(self._session(request), (path or "").strip(), self.studio.allowed)
        return shelf(), drawing.remarks(said)

    # -- learning ----------------------------------------------------------------------------------

    def classes_changed(self, request: gr.Request) -> tuple[Any, str, str, Any, Any]:
        """-> the button for new classes, which is there when there are some and the method can learn them alone;
        download; what was checked, which is of the classes before; state, without a failure of the classes before; the classes
        for the camera"""
        session = self._session(request)
        useful = (
            session.run is not None and teaching.keeps_apart(session.run) and teaching.new_classes(session)
        )
        failed = session.job is not None and session.job.state in ("failed", "stopped")
        return (
            gr.Button(visible=bool(useful)),
            drawing.download_link(session),
            "",
            "" if failed else gr.skip(),
            gr.Dropdown(choices=[(shown.name, shown.number) for shown in session.classes]),
        )

    def learn(self, choice: Choice, new_only: bool, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """-> state, curve, outcome, shelf, answers, remarks; again and again until it is over"""
        same = gr.skip()
        lesson = teaching.learn_new if new_only else teaching.learn_all
        try:
            session = self._session(request)
            job = self.studio.trainings.submit(
                session.key, lambda job: lesson(session, self.studio.backbones, choice, job.report)
            )
        except VlpromptError as error:
            raise _shown(error) from None
        session.job = job
        yield drawing.progress(job, self.studio.trainings.ahead(job)), "", "", same, same, ""
        yield from self._watch(job)
        if job.state != "done":
            yield drawing.progress(job, 0), same, same, same, same, same
            return
        run = job.result
        yield (
            drawing.progress(job, 0),
            drawing.curve(job.records),
            drawing.outcome(run.info),
            shelf(),
            self.answers(session, choice.backbone),
            same,
        )

    def _watch(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """The state every now and then, and the curve more seldom."""
        same, drawn = gr.skip(), time.monotonic()
        while not job.wait(TICK):
            curve: Any = same
            if time.monotonic() - drawn > CURVE_TICK and len(job.records) >= drawing.FEWEST_POINTS:
                curve, drawn = drawing.curve(list(job.records)), time.monotonic()
            yield drawing.progress(job, self.studio.trainings.ahead(job)), curve, same, same, same, same

    def stop(self, request: gr.Request) -> None:
        self.studio.trainings.stop(self._session(request).key)

    # -- using it ----------------------------------------------------------------------------------

    def try_pictures(self, files: Sent, backbone: str, request: gr.Request) -> tuple[None, str]:
        """-> the drop, empty, so that whoever reads the answer can drop the next; answers"""
        session = self._session(request)
        said = session.try_pictures(self.studio.take(files))
        return None, drawing.remarks(said) + self.answers(session, backbone)

    def answers(self, session: Session, backbone: str) -> str:
        """The answers about the pictures last asked about, for the classes as they are now."""
        try:
            return drawing.bars(teaching.answers(session, self.studio.backbones, backbone))
        except VlpromptError as error:
            return drawing.remarks([str(error)]) if session.tried else ""

    def check(self, request: gr.Request) -> str:
        """-> what was found, or why nothing was, in place of what was found before"""
        try:
            return drawing.checked(teaching.check(self._session(request), self.studio.backbones))
        except VlpromptError as error:
            return drawing.remarks([str(error)])

    def keep(self, request: gr.Request) -> tuple[str, Any]:
        """Keeps what was learned on this machine. -> what was done, the runs that can be opened again"""
        session = self._session(request)
        assert self.studio.runs is not None
        name = keep(session, self.studio.runs)
        return drawing.kept(self.studio.runs / name), gr.Dropdown(
            choices=kept_runs(self.studio.runs), value=name
        )

    def kept(self, request: gr.Request) -> Any:
        """-> the runs that can be opened again, when the tab is looked at"""
        return gr.Dropdown(choices=kept_runs(self.studio.runs) if self.studio.runs is not None else [])

    def reopen_kept(self, name: Any, request: gr.Request) -> tuple[Shelf, str, str]:
        """-> shelf, outcome, answers"""
        session = self._idle(request)
        if not name or self.studio.runs is None:
            raise DataError("choose a run first")
        run = reopen_kept(session, self.studio.runs, str(name), self.studio.backbones)
        return shelf(), drawing.outcome(run.info), self.answers(session, session.backbone)

    def _idle(self, request: gr.Request) -> Session:
        """The session, if it is not learning at the moment."""
        session = self._session(request)
        if session.job is not None and not session.job.over:
            raise DataError("it is learning: wait until that is done, or stop it")
        return session

    def reopen(self, file: Sent, request: gr.Request) -> tuple[None, Shelf, str, str]:
        """-> the drop, empty; shelf, outcome, answers"""
        path = self.studio.arrived(file)
        session = self._idle(request)
        try:
            run = reopen(session, path, self.studio.backbones)
        finally:
            self.studio.discard(path)
        return None, shelf(), drawing.outcome(run.info), self.answers(session, session.backbone)
