"""What the page's buttons do. Each takes the tab's session from the request and returns what is shown anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
from vlprompt.studio.zipped_runs import reopen

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

    def remover(self, number: int) -> Callable[..., tuple[Shelf, str]]:
        """For the class of that number: removes it. -> shelf, answers"""

        def remove(backbone: str, request: gr.Request) -> tuple[Shelf, str]:
            session = self._session(request)
            session.remove_class(number)
            return shelf(), self.answers(session, backbone)

        return remove

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

    def add_folder(self, path: str, request: gr.Request) -> tuple[Shelf, str]:
        """-> shelf, remarks"""
        said = bringing.bring_folder(self._session(request), path.strip(), self.studio.allowed)
        return shelf(), drawing.remarks(said)

    # -- learning ----------------------------------------------------------------------------------

    def classes_changed(self, request: gr.Request) -> tuple[Any, str]:
        """-> the button for new classes, which is there when there are some and the method can learn them alone;
        download"""
        session = self._session(request)
        useful = (
            session.run is not None and teaching.keeps_apart(session.run) and teaching.new_classes(session)
        )
        return gr.Button(visible=bool(useful)), drawing.download_link(session)

    def learn(self, choice: Choice, new_only: bool, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """-> state, curve, outcome, shelf, answers; again and again until it is over"""
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
        yield drawing.progress(job, self.studio.trainings.ahead(job)), "", "", same, same
        yield from self._watch(job)
        if job.state != "done":
            yield drawing.progress(job, 0), same, same, same, same
            return
        run = job.result
        yield (
            drawing.progress(job, 0),
            drawing.curve(job.records),
            drawing.outcome(run.info),
            shelf(),
            self.answers(session, choice.backbone),
        )

    def _watch(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """The state every now and then, and the curve more seldom."""
        same, drawn = gr.skip(), time.monotonic()
        while not job.wait(TICK):
            curve: Any = same
            if time.monotonic() - drawn > CURVE_TICK and len(job.records) >= drawing.FEWEST_POINTS:
                curve, drawn = drawing.curve(list(job.records)), time.monotonic()
            yield drawing.progress(job, self.studio.trainings.ahead(job)), curve, same, same, same

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

    def reopen(self, file: Sent, request: gr.Request) -> tuple[None, Shelf, str, str]:
        """-> the drop, empty; shelf, outcome, answers"""
        session = self._session(request)
        path = self.studio.arrived(file)
        if session.job is not None and not session.job.over:
            raise DataError("it is learning: wait until that is done, or stop it")
        try:
            run = reopen(session, path, self.studio.backbones)
        finally:
            self.studio.discard(path)
        return None, shelf(), drawing.outcome(run.info), self.answers(session, session.backbone)
