"""The page: where everything stands. What its buttons do is in `actions`, what it shows in `drawing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from vlprompt.errors import DataError
from vlprompt.studio import forms
from vlprompt.studio import page_figures as drawing
from vlprompt.studio.actions import Actions, Shelf, told
from vlprompt.studio.tab_sessions import OPENED, Session, Shown
from vlprompt.studio.teaching import Choice
from vlprompt.studio.workshop import Sent, Studio, lost

SCRIPT = Path(__file__).parent.parent / "assets" / "pages" / "studio.js"
LEAVING = SCRIPT.with_name("leaving.js")
STYLE = Path(__file__).parent.parent / "assets" / "pages" / "studio.css"
ARCHIVES = [".zip", ".tar", ".tgz", ".gz"]
HEAD = """<div class=head><h1>vlprompt studio</h1><p>Show it a few pictures of each thing, let it learn, and it tells
them apart. Everything stays on this computer.</p></div>"""
EMPTY = """<div class=empty><p><b>Start here.</b> Name two or more classes above, then drop a few pictures on each:
five to twenty are enough. Or press <b>Load example pictures</b> to see how it goes.</p></div>"""
TRY = """<p class=soft>Drop any picture here. The grey bars say what the names of the classes alone suggest;
the blue ones, what was learned.</p>"""
KEEP = """<p class=soft>Or keep it on this computer, from where it can be opened again, also after a restart:</p>"""
CAMERA = "Use the camera"
AGAIN = """<h3>Open one again</h3><p class=soft>Drop the zip file of a run here: its classes take the place of what is
on the left.</p>"""
private: dict[str, Any] = {"api_visibility": "private"}
sent = private | {
    "preprocess": False
}  # for files: Gradio's own handling leaves an empty file behind for each


class Page(gr.Blocks):
    """Gradio's, which copies no file but those that have arrived.

    Gradio copies what a message names into the folder of uploads before it calls anybody, and looks whether that may be
    only in pages that it has started itself: else any picture of this machine could be shown, and any address fetched.
    """

    named: Callable[[Sent], list[Path]]

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **more: Any) -> Any:
        try:
            self.named(records(inputs))
        except DataError:  # which would say where uploads lie
            raise gr.Error(str(lost()).capitalize(), print_exception=False) from None
        return await super().preprocess_data(block_fn, inputs, *rest, **more)


def records(message: Any) -> list[dict[str, Any]]:
    """All that names a file in a message, however deep."""
    found, left = [], [message]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                found.append(value)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    act = Actions(studio)
    with Page(title="vlprompt studio", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        page.named = studio.named
        shelf = gr.State(0.0)  # changes when the classes do
        who = gr.State("")  # the tab's session
        gr.HTML(HEAD, padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=9, elem_id="classes"):
                remarks = gr.HTML(elem_id="remarks", padding=False, render=False)
                _classes(studio, act, shelf, remarks)
                remarks.render()
                cards = gr.Column()
                with gr.Accordion(CAMERA, open=False, elem_id="camera-classes"):
                    whose = gr.Dropdown(
                        [], label="The next pictures are of", elem_id="camera-class", interactive=True
                    )
                    camera = _camera("camera")
            with gr.Column(scale=11, elem_id="doing"), gr.Tabs(overflow_behavior="wrap"):
                with gr.Tab("2 · Learn", elem_id="tab-learn"):
                    learning = _Learning(studio)
                with gr.Tab("3 · Try it"):
                    gr.HTML(TRY, padding=False)
                    drop = gr.File(
                        file_count="multiple",
                        file_types=["image"],
                        label="Pictures to ask about",
                        show_label=False,
                        height=110,
                        elem_id="try-drop",
                        interactive=True,
                    )
                    with gr.Accordion(CAMERA, open=False):
                        look = _camera("try-camera")
                    answers = gr.HTML(elem_id="answers", padding=False)
                    with gr.Row(equal_height=True):
                        extra = gr.Textbox(
                            label="Name of a class without pictures",
                            show_label=False,
                            placeholder="another class, by its name alone",
                            max_lines=1,
                            scale=3,
                            elem_id="extra-name",
                            container=False,
                            interactive=True,
                        )
                        extra_add = gr.Button(
                            "Add class by name", scale=1, min_width=190, elem_id="extra-add"
                        )
                with gr.Tab("How good is it?"):
                    check = gr.Button("Check it", elem_id="check")
                    checked = gr.HTML(elem_id="checked", padding=False)
                with gr.Tab("Keep it") as keeping:
                    download = gr.HTML(drawing.NOTHING_YET, elem_id="download", padding=False)
                    if studio.runs is not None:
                        gr.HTML(KEEP, padding=False)
                        keep = gr.Button("Keep it here", elem_id="keep")
                        kept = gr.HTML(elem_id="kept", padding=False)
                    gr.HTML(AGAIN, padding=False)
                    if studio.runs is not None:
                        with gr.Row(equal_height=True):
                            runs = gr.Dropdown(
                                [], label="Runs on this computer", elem_id="runs", scale=3, interactive=True
                            )
                            open_run = gr.Button("Open it", scale=1, min_width=110, elem_id="open-run")
                    again = gr.File(
                        file_types=[".zip"],
                        label="A run's zip file",
                        show_label=False,
                        height=110,
                        elem_id="reopen",
                        interactive=True,
                    )
        learning.connect(act, shelf, answers, remarks)
        with cards:
            _cards(act, who, shelf, remarks, learning.backbone, answers)
        drop.upload(told(act.try_pictures), [drop, learning.backbone], [drop, answers], **sent).failure(
            lambda: None, None, [drop], **private
        )
        look.input(told(act.try_pictures), [look, learning.backbone], [look, answers], **sent).failure(
            lambda: None, None, [look], **private
        )
        camera.input(told(act.shooter()), [camera, whose], [camera, shelf, remarks], **sent).failure(
            lambda: None, None, [camera], **private
        )
        if studio.runs is not None:
            keep.click(told(act.keep), None, [kept, runs], **private)
            keeping.select(told(act.kept), None, [runs], show_progress="hidden", **private)
            open_run.click(told(act.reopen_kept), [runs], [shelf, learning.outcome, answers], **private)
        for trigger in (extra_add.click, extra.submit):
            trigger(told(act.add_by_name), [extra, learning.backbone], [extra, shelf, answers], **private)
        check.click(told(act.check), None, [checked], **private)
        again.upload(told(act.reopen), [again], [again, shelf, learning.outcome, answers], **sent).failure(
            lambda: None, None, [again], **private
        )
        shelf.change(
            told(act.classes_changed),
            None,
            [learning.new, download, checked, learning.state, whose],
            show_progress="hidden",
            **private,
        )
        page.load(told(act.arrive), None, [who, shelf], **private)
        page.unload(act.leave)
    return page


def _camera(elem_id: str) -> gr.Image:
    """A picture taken with the computer's camera, which the browser asks leave for."""
    return gr.Image(
        sources=["webcam"],
        type="filepath",
        format="png",
        label="Camera",
        height=260,
        elem_id=elem_id,
        interactive=True,
        webcam_options=gr.WebcamOptions(mirror=False),
        buttons=[],
    )


def _classes(studio: Studio, act: Actions, shelf: gr.State, remarks: gr.HTML) -> None:
    """How classes come to be."""
    gr.HTML("<h2>1 · Show it examples</h2>", padding=False)
    with gr.Row(equal_height=True):
        name = gr.Textbox(
            label="Name of a new class",
            show_label=False,
            placeholder="class name, such as ripe apple",
            max_lines=1,
            scale=3,
            elem_id="class-name",
            container=False,
            interactive=True,
        )
        add = gr.Button("Add class", variant="primary", scale=1, min_width=110)
    with gr.Row():
        examples = gr.Button("Load example pictures", size="sm", min_width=120)
        archive = gr.UploadButton(
            "Open a zip of folders", file_types=ARCHIVES, size="sm", min_width=120, elem_id="archive"
        )
    for trigger in (add.click, name.submit):
        trigger(told(act.add_class), [name], [name, shelf, remarks], show_progress="hidden", **private)
    examples.click(told(act.add_examples), None, [shelf, remarks], **private)
    archive.upload(told(act.add_archive), [archive], [shelf, remarks], **sent)
    if studio.allowed:
        with gr.Row(equal_height=True):
            where = gr.Textbox(
                label="A folder of class folders",
                show_label=False,
                max_lines=1,
                scale=3,
                container=False,
                elem_id="folder",
                interactive=True,
                placeholder=f"a folder below {studio.allowed[0]}",
            )
            read = gr.Button("Read folder", size="sm", scale=1, min_width=110)
        for trigger in (read.click, where.submit):
            trigger(told(act.add_folder), [where], [shelf, remarks], **private)


def _cards(
    act: Actions, who: gr.State, shelf: gr.State, remarks: gr.HTML, backbone: gr.Dropdown, answers: gr.HTML
) -> None:
    """A card for every class, with a place to drop pictures on."""

    @gr.render(inputs=[who, shelf], triggers=[shelf.change], show_progress="hidden")
    def cards(key: str, _: Shelf) -> None:
        session = act.studio.session(key)
        first, leaf = session.on_leaf()
        if len(session.classes) > len(leaf):
            with gr.Row(equal_height=True, elem_id="pager"):
                back = gr.Button("‹ Previous", size="sm", min_width=90, interactive=first > 0)
                gr.HTML(drawing.extent(first, len(leaf), len(session.classes)), padding=False)
                on = gr.Button(
                    "Next ›", size="sm", min_width=90, interactive=session.leaf < session.last_leaf
                )
            back.click(told(act.turner(-1)), None, [shelf], **private)
            on.click(told(act.turner(1)), None, [shelf], **private)
        for shown in leaf:
            with gr.Row(equal_height=True, elem_classes="class-card"):
                with gr.Column(scale=7, min_width=200):
                    gr.HTML(drawing.card(session, shown), padding=False)
                with gr.Column(scale=3, min_width=100):
                    drop = gr.File(
                        file_count="multiple",
                        file_types=["image"],
                        label=f"Pictures of {shown.name}",
                        show_label=False,
                        height=84,
                        elem_classes="drop",
                        elem_id=f"drop-{shown.number}",
                        interactive=True,
                    )
                with gr.Column(scale=0, min_width=84, elem_classes="card-buttons"):
                    gone = gr.Button("✕", size="sm", min_width=30, elem_classes="remove")
                    edit = gr.Button("Correct", size="sm", min_width=80, elem_classes="correct")
            drop.upload(told(act.taker(shown.number)), [drop], [drop, shelf, remarks], **sent).failure(
                lambda: None, None, [drop], **private
            )
            gone.click(told(act.remover(shown.number)), [backbone], [shelf, remarks, answers], **private)
            edit.click(told(act.opener(shown.number)), None, [shelf], **private)
            if session.opened is not None and session.opened[0] == shown.number:
                _corrections(act, session, shown, shelf, remarks, backbone, answers)
        if not session.classes:
            gr.HTML(EMPTY, padding=False)


def _corrections(
    act: Actions,
    session: Session,
    shown: Shown,
    shelf: gr.State,
    remarks: gr.HTML,
    backbone: gr.Dropdown,
    answers: gr.HTML,
) -> None:
    """The name of a class and all its pictures, to be mended."""
    assert session.opened is not None
    first = min(session.opened[1], max(0, len(shown.pictures) - 1) // OPENED * OPENED)
    pictures = shown.pictures[first : first + OPENED]
    with gr.Column(elem_classes="corrections"):
        with gr.Row(equal_height=True):
            name = gr.Textbox(
                shown.name,
                label=f"Name of {shown.name}",
                show_label=False,
                max_lines=1,
                scale=3,
                container=False,
                interactive=True,
                elem_id=f"name-{shown.number}",
            )
            rename = gr.Button("Rename", size="sm", scale=1, min_width=90)
        for trigger in (rename.click, name.submit):
            trigger(told(act.renamer(shown.number)), [name, backbone], [shelf, remarks, answers], **private)
        if not pictures:
            return
        ticks = []
        with gr.Row(elem_classes="ticks"):
            for at, path in enumerate(pictures, start=first + 1):
                with gr.Column(scale=0, min_width=84, elem_classes="tick"):
                    words = f"picture {at} of {shown.name}"
                    gr.HTML(drawing.thumbnail(session.path(path), 72, words), padding=False)
                    ticks.append(
                        gr.Checkbox(False, label=str(at), container=False, min_width=60, interactive=True)
                    )
        with gr.Row(equal_height=False, elem_classes="ticked"):
            if first:
                before = gr.Button("‹ Earlier", size="sm", min_width=80)
                before.click(told(act.leafer(shown.number, first - OPENED)), None, [shelf], **private)
            if first + len(pictures) < len(shown.pictures):
                after = gr.Button("Further ›", size="sm", min_width=80)
                after.click(told(act.leafer(shown.number, first + OPENED)), None, [shelf], **private)
            others = [(one.name, one.number) for one in session.classes if one is not shown]
            to = gr.Dropdown(
                others,
                value=None,
                label="Ticked ones belong to",
                scale=2,
                min_width=130,
                interactive=True,
                elem_id=f"to-{shown.number}",
            )
            move = gr.Button("Move ticked", size="sm", min_width=90)
            remove = gr.Button("Remove ticked", size="sm", min_width=90)
        for button, gone in ((move, False), (remove, True)):
            action = told(act.corrector(shown.number, pictures, gone))
            button.click(_with_request(action), [to, *ticks], [shelf, remarks], **private)


def _with_request(action: Any) -> Any:
    """Gradio gives the request to a parameter of that kind, which has to stand before any number of values."""

    def call(request: gr.Request, *values: Any) -> Any:
        return action(*values, request=request)

    return call


class _Learning:
    """The tab on which a training is chosen, started and watched."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row():
            self.method = gr.Dropdown(
                forms.method_choices(),
                value=forms.DEFAULT_METHOD,
                label="What may change",
                elem_id="method",
                scale=4,
                min_width=300,
                interactive=True,
            )
            names = list(studio.backbones.names)
            self.backbone = gr.Dropdown(
                names,
                value=names[0],
                label="Backbone",
                elem_id="backbone",
                scale=1,
                min_width=120,
                interactive=len(names) > 1,
            )
        self.form = gr.Column(elem_id="form")
        with gr.Row():
            self.all = gr.Button("Learn", variant="primary", elem_id="learn", scale=2)
            self.new = gr.Button("Learn new ones only", elem_id="learn-new", scale=2, visible=False)
            self.stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=80)
        self.state = gr.HTML(elem_id="state", padding=False)
        self.outcome = gr.HTML(elem_id="outcome", padding=False)
        self.curve = gr.HTML(elem_id="curve", padding=False)

    def connect(self, act: Actions, shelf: gr.State, answers: gr.HTML, remarks: gr.HTML) -> None:
        """What the buttons do. The form, and the buttons that read it, are made anew for every method."""
        shown = [self.state, self.curve, self.outcome, shelf, answers, remarks]
        self.stop.click(told(act.stop), None, None, **private)
        with self.form:

            @gr.render(inputs=[self.method, self.backbone], show_progress="hidden")
            def form(method: str, backbone: str) -> None:
                rows = forms.rows(method, self.studio.limits, small=backbone == "embedded")
                parts = {row.name: forms.component(row) for row in rows if row.first}
                aside = gr.Checkbox(
                    False,
                    label="Keep a quarter of the pictures aside to test with, and learn from the others only",
                    info="Quicker for methods that take long. Without, every picture is learned from, and each is judged by "
                    "what the others teach.",
                    elem_id="aside",
                    interactive=True,
                )
                rest = [row for row in rows if not row.first]
                with gr.Accordion("More options", open=False, visible=bool(rest)):
                    with gr.Row():
                        parts |= {row.name: forms.component(row) for row in rest if row.kind is not bool}
                    with gr.Column():  # in a row, boxes to tick become too narrow to read
                        parts |= {row.name: forms.component(row) for row in rest if row.kind is bool}
                inputs = [aside, *(parts[row.name] for row in rows)]

                def learn(new_only: bool, keep: bool, *values: Any, request: gr.Request) -> Any:
                    options, train = forms.read(rows, values)
                    return act.learn(Choice(method, backbone, options, train, keep), new_only, request)

                for button, new_only in ((self.all, False), (self.new, True)):
                    button.click(
                        _started(learn, new_only),
                        inputs,
                        shown,
                        concurrency_limit=None,
                        show_progress="hidden",
                        **private,
                    )


def _started(learn: Any, new_only: bool) -> Any:
    """A generator function, which Gradio knows by its kind."""

    def start(request: gr.Request, *values: Any) -> Any:
        yield from told(learn)(new_only, *values, request=request)

    return start
