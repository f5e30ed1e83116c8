"""The page: where everything stands. What its buttons do is in `actions`, what it shows in `drawing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from vlprompt.studio import forms
from vlprompt.studio import page_figures as drawing
from vlprompt.studio.actions import Actions, Shelf, told
from vlprompt.studio.teaching import Choice
from vlprompt.studio.workshop import Studio

STYLE = Path(__file__).parent.parent / "assets" / "pages" / "studio.css"
ARCHIVES = [".zip", ".tar", ".tgz", ".gz"]
HEAD = """<div class=head><h1>vlprompt studio</h1><p>Show it a few pictures of each thing, let it learn, and it tells
them apart. Everything stays on this computer.</p></div>"""
EMPTY = """<div class=empty><p><b>Start here.</b> Name two or more classes above, then drop a few pictures on each:
five to twenty are enough. Or press <b>Load example pictures</b> to see how it goes.</p></div>"""
TRY = """<p class=soft>Drop any picture here. The grey bars say what the names of the classes alone suggest;
the blue ones, what was learned.</p>"""
AGAIN = """<h3>Open one again</h3><p class=soft>Drop the zip file of a run here: its classes take the place of what is
on the left.</p>"""
private: dict[str, Any] = {"api_visibility": "private"}
sent = private | {
    "preprocess": False
}  # for files: Gradio's own handling leaves an empty file behind for each


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    act = Actions(studio)
    with gr.Blocks(title="vlprompt studio", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        shelf = gr.State(0.0)  # changes when the classes do
        who = gr.State("")  # the tab's session
        gr.HTML(HEAD, padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=9, elem_id="classes"):
                remarks = gr.HTML(elem_id="remarks", padding=False, render=False)
                _classes(studio, act, shelf, remarks)
                remarks.render()
                cards = gr.Column()
            with gr.Column(scale=11, elem_id="doing"), gr.Tabs(overflow_behavior="wrap"):
                with gr.Tab("2 · Learn", elem_id="tab-learn"):
                    learning = _Learning(studio)
                with gr.Tab("3 · Try it"):
                    gr.HTML(TRY, padding=False)
                    drop = gr.File(
                        file_count="multiple",
                        file_types=["image"],
                        show_label=False,
                        height=110,
                        elem_id="try-drop",
                        interactive=True,
                    )
                    answers = gr.HTML(elem_id="answers", padding=False)
                    with gr.Row(equal_height=True):
                        extra = gr.Textbox(
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
                with gr.Tab("Keep it"):
                    download = gr.HTML(drawing.NOTHING_YET, elem_id="download", padding=False)
                    gr.HTML(AGAIN, padding=False)
                    again = gr.File(
                        file_types=[".zip"], show_label=False, height=110, elem_id="reopen", interactive=True
                    )
        learning.connect(act, shelf, answers)
        with cards:
            _cards(act, who, shelf, remarks, learning.backbone, answers)
        drop.upload(told(act.try_pictures), [drop, learning.backbone], [drop, answers], **sent).failure(
            lambda: None, None, [drop], **private
        )
        for trigger in (extra_add.click, extra.submit):
            trigger(told(act.add_by_name), [extra, learning.backbone], [extra, shelf, answers], **private)
        check.click(told(act.check), None, [checked], **private)
        again.upload(told(act.reopen), [again], [again, shelf, learning.outcome, answers], **sent).failure(
            lambda: None, None, [again], **private
        )
        shelf.change(
            told(act.classes_changed), None, [learning.new, download], show_progress="hidden", **private
        )
        page.load(told(act.arrive), None, [who, shelf], **private)
        page.unload(act.leave)
    return page


def _classes(studio: Studio, act: Actions, shelf: gr.State, remarks: gr.HTML) -> None:
    """How classes come to be."""
    gr.HTML("<h2>1 · Show it examples</h2>", padding=False)
    with gr.Row(equal_height=True):
        name = gr.Textbox(
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
                show_label=False,
                max_lines=1,
                scale=3,
                container=False,
                elem_id="folder",
                interactive=True,
                placeholder=f"a folder of class folders, below {studio.allowed[0]}",
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
                        show_label=False,
                        height=84,
                        elem_classes="drop",
                        elem_id=f"drop-{shown.number}",
                        interactive=True,
                    )
                gone = gr.Button("✕", size="sm", scale=0, min_width=30, elem_classes="remove")
            drop.upload(told(act.taker(shown.number)), [drop], [drop, shelf, remarks], **sent).failure(
                lambda: None, None, [drop], **private
            )
            gone.click(told(act.remover(shown.number)), [backbone], [shelf, answers], **private)
        if not session.classes:
            gr.HTML(EMPTY, padding=False)


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

    def connect(self, act: Actions, shelf: gr.State, answers: gr.HTML) -> None:
        """What the buttons do. The form, and the buttons that read it, are made anew for every method."""
        shown = [self.state, self.curve, self.outcome, shelf, answers]
        self.stop.click(told(act.stop), None, None, **private)
        with self.form:

            @gr.render(inputs=[self.method, self.backbone], show_progress="hidden")
            def form(method: str, backbone: str) -> None:
                rows = forms.rows(method, self.studio.limits, small=backbone == "embedded")
                parts = {row.name: forms.component(row) for row in rows if row.first}
                aside = gr.Checkbox(
                    True,
                    label="Keep a quarter of the pictures aside, to see how good it gets",
                    elem_id="aside",
                    interactive=True,
                )
                with gr.Accordion("More options", open=False):
                    rest = [row for row in rows if not row.first]
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
