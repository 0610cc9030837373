"""The parts of the page, and what happens when one is touched. The only place that speaks Gradio's language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from bts.apps.web import examples
from bts.apps.web.batch import Batch
from bts.apps.web.desk import Desk, format_error, held
from bts.apps.web.files import settle
from bts.apps.web.result import Result, offered
from bts.apps.web.sessions import GoneError, Session
from bts.apps.web.views import EMPTY, FONT, LINE, SHARE, WAITING, head, panel, problem, stage, table
from bts.apps.web.words import named
from bts.data.readers.scan import Scan
from bts.inference.picture import STRENGTH

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Everything that asks the networks stands in one queue."""
HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
NOW: dict[str, Any] = {**HIDDEN, "queue": False}


class Page:
    """The page over a desk.

    Attributes:
        desk: answers.
        blocks: Gradio's description of the page.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._stale: set[str] = set()
        with gr.Blocks(title="bts", analytics_enabled=False, fill_width=True) as self.blocks:
            gr.HTML(head(desk.predictor, upload_mib=desk.limits.upload_mib))
            with gr.Tabs():
                with gr.Tab("One scan"):
                    self._one()
                with gr.Tab("Many scans"):
                    self._many()
            self._for_programs()
            self.blocks.unload(self.leave)
        desk.sessions.on_close = self._let_go

    def _one(self) -> None:
        self.upload = gr.File(label="Scan", height=112, elem_id="bts-upload")
        with gr.Row(elem_classes="bts-examples"):
            gr.HTML('<p class="bts-soft">or a synthetic example:</p>')
            buttons = [gr.Button(name, size="sm", variant="secondary", min_width=90) for name in examples.NAMES]
        with gr.Row(elem_classes="bts-row"):
            with gr.Column(scale=7, min_width=320):
                self.stage = gr.HTML(EMPTY, elem_id="bts-stage")
                self.slice = gr.Slider(0, 1, 0, step=1, label="Slice", visible=False, elem_id="bts-slice", buttons=[])
                self._controls()
            with gr.Column(scale=4, min_width=300):
                self.panel = gr.HTML(WAITING, elem_id="bts-panel")
        shown = [self.stage, self.panel, self.slice, self.classes]
        covered = [self.stage, self.panel]  # nobody shall take the answer to the scan before for that to the new one
        wait: dict[str, Any] = {"api_visibility": "private", "show_progress": "full", "show_progress_on": covered, **MODEL}
        self.upload.upload(self.analyse, self.upload, [*shown, self.upload], **wait)
        for name, button in zip(examples.NAMES, buttons, strict=True):
            button.click(self._example(name), None, shown, **wait)
        self.slice.change(
            self.turn, [self.slice, self.classes], [self.stage, self.panel, self.classes], trigger_mode="always_last", **NOW
        )
        self.classes.input(self.explain, [self.slice, self.classes], [self.stage, self.panel], **HIDDEN, **MODEL)

    def _controls(self) -> None:
        tasks = {runtime.card.task for runtime in self.desk.predictor.runtimes}
        classes = [(named(name).capitalize(), name) for name in self.desk.predictor.classes]
        with gr.Row(elem_classes="bts-controls", visible=bool(classes)):
            self.classes = gr.Radio(
                classes, value=None, label="Class that the heat explains", scale=7, min_width=440, elem_id="bts-class"
            )
            strength = gr.Slider(
                0,
                1,
                STRENGTH,
                step=0.05,
                label="Heat strength",
                scale=3,
                min_width=200,
                elem_id="bts-strength",
                buttons=[],
            )
        line = gr.Checkbox(
            True, label="Contour of the mask", elem_id="bts-line", container=False, visible="seg" in tasks or "joint" in tasks
        )
        strength.change(None, strength, None, js=SHARE, api_visibility="private")
        line.change(None, line, None, js=LINE, api_visibility="private")

    def _many(self) -> None:
        files = gr.File(label="Scans", file_count="multiple", height=180, elem_id="bts-files")
        with gr.Row():
            start = gr.Button("Answer all", variant="primary", size="md", elem_id="bts-start", scale=0, min_width=140)
            stop = gr.Button("Stop", variant="secondary", size="md", elem_id="bts-stop", scale=0, min_width=100)
        rows = gr.HTML("", elem_id="bts-table")
        start.click(self.begin, None, None, **NOW).then(self.batch, files, rows, **HIDDEN, **MODEL)
        stop.click(self.stop, None, None, **NOW)

    def _for_programs(self) -> None:
        """Add what programs may ask; it has no place on the page."""
        file = gr.File(label="file", visible=False)
        cam = gr.Textbox("", label="cam_class", visible=False)
        answer = gr.JSON(label="result", visible=False)
        file.select(self.predict, [file, cam], answer, api_name="predict", api_description=self.predict.__doc__, **MODEL)

    # --- what the page does -------------------------------------------------------------------------------------------

    def analyse(self, path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Answer an upload."""
        session = self._session(request)
        if path is None:
            return (gr.skip(),) * 5
        return *self._answer(session, lambda: self._receive(path, session), progress, path=path), None

    def _receive(self, path: str, session: Session) -> Scan:
        """Return what an upload of this visitor holds."""
        self.desk.sessions.claim(path, session)
        return self.desk.receive(path, session=session)

    def _example(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def answer(request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
            return self._answer(self._session(request), lambda: examples.example(name, self.desk.sessions.root), progress)

        return answer

    def _answer(
        self, session: Session, read: Callable[[], Scan], progress: gr.Progress, *, path: str | None = None
    ) -> tuple[Any, ...]:
        """Return what stage, panel, slider and choice of class show; a failure is one line."""
        try:
            result = self.desk.analyse(read(), session=session, tell=lambda share, what: progress(share, desc=what))
        except GoneError:
            return (gr.skip(),) * 4
        except Exception as error:
            session.forget()
            return EMPTY, problem(format_error(error, path=path)), gr.Slider(visible=False), gr.Radio(value=None)
        answer = result.shown(result.first)
        return (
            stage(result, result.first),
            panel(result, result.first, secret=session.secret),
            gr.Slider(0, max(result.n_slices - 1, 1), result.first, visible=result.is_volume),
            gr.Radio(value=answer.cam_class if answer else None),
        )

    def turn(self, index: float, cam_class: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show another slice of the volume; its map is that of its own class until another is chosen."""
        session = self._session(request)
        if session.result is None or not session.result.is_volume:
            return (gr.skip(),) * 3
        answer = session.result.shown(int(index))
        return *self._shown(session, session.result, int(index), None), answer.cam_class if answer else None

    def explain(self, index: float, cam_class: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the map of a class."""
        session = self._session(request)
        try:
            result = held(session)
            number = int(index) if result.is_volume else result.first
            self.desk.explain(session, index=number, cam_class=cam_class)
            return self._shown(session, result, number, cam_class)
        except Exception as error:
            return gr.skip(), problem(format_error(error))

    def begin(self, request: gr.Request) -> None:
        """Let the next batch run to its end."""
        self._session(request).stopped = False

    def stop(self, request: gr.Request) -> None:
        """End the batch under way, or one that still waits, before its next scan."""
        self._session(request).stopped = True

    def batch(self, paths: list[str] | None, request: gr.Request) -> Iterator[str]:
        """Answer many files, the table growing."""
        session, total = self._session(request), len(paths or [])
        try:
            for path in paths or []:
                self.desk.sessions.claim(path, session)
            work = Batch(self.desk, session, session.new_batch())
            for rows in work.work(paths or []):
                yield table(rows, total=total)
            yield table(work.rows, total=total, secret=session.secret, stopped=len(work.rows) < total)
        except GoneError:
            return
        except Exception as error:
            yield problem(format_error(error))

    def predict(self, file: str, cam_class: str, request: gr.Request) -> dict[str, Any]:
        """Return `result.json` of a scan, with the paths on this server where its files can be fetched for half an hour."""
        session = self._session(request)
        try:
            result = self.desk.analyse(self._receive(file, session), session=session)
            if cam_class and not result.is_volume:
                self.desk.explain(session, index=result.first, cam_class=cam_class)
        except GoneError:
            return {}
        except Exception as error:
            raise gr.Error(format_error(error, path=file), print_exception=False) from None
        settle(session)
        return {**result.read(), "files": {name: f"/results/{session.secret}/{name}" for name in offered(result.folder)}}

    def leave(self, request: gr.Request) -> None:
        """Remove everything of a visitor who closed the page."""
        self.desk.sessions.close(str(request.session_hash))

    def _let_go(self, key: str) -> None:
        """Let Gradio forget what it showed: it keeps the last value of every part, pictures too, for 10,000 visitors."""
        holder = getattr(self.blocks, "state_holder", None)  # there is one once the page is served
        state = None if holder is None else holder.session_data.get(key)
        if state is not None:
            state.config_values.clear()

    def tidy(self) -> None:
        """Let Gradio forget answers that nobody fetched and visitors who are gone. Must run in the thread of its event loop.

        What is found twice in a row is dropped: the first time a request may be on its way.
        """
        queue, holder = self.blocks._queue, self.blocks.state_holder
        kinds: list[dict[str, Any]] = [
            queue.pending_messages_per_session,
            queue.pending_event_ids_session,
            holder.session_data,
            holder.time_last_used,
        ]
        kept = self.desk.sessions.keys() | {event.session_hash for event in queue.event_ids_to_events.values()}
        stale = {key for kind in kinds for key in kind} - kept
        for key in stale & self._stale:
            for kind in kinds:
                kind.pop(key, None)
        self._stale = stale
        for files in self.blocks.temp_file_sets:  # every path that was ever read
            files.clear()

    def _session(self, request: gr.Request) -> Session:
        self.desk.sessions.sweep()
        return self.desk.sessions.of(str(request.session_hash))

    def _shown(self, session: Session, result: Result, index: int, cam_class: str | None) -> tuple[str, str]:
        return stage(result, index, cam_class), panel(result, index, cam_class, secret=session.secret)


def theme() -> Any:
    """Return Gradio's plainest theme in the page's colours, with fonts that every machine has."""
    accent = gr.themes.Color(
        c50="#eef5fc", c100="#dbe9f8", c200="#b9d5f1", c300="#7fb4ee", c400="#4a90d9", c500="#2b74c4", c600="#1f5fa8",
        c700="#1a4f8c", c800="#174272", c900="#14385f", c950="#0d2440",
    )  # fmt: skip
    base = gr.themes.Base(
        primary_hue=accent, neutral_hue="slate", radius_size="md", font=FONT, font_mono=("ui-monospace", "monospace")
    )
    return base.set(
        body_background_fill="#f6f7f9", body_background_fill_dark="#14171b",
        block_background_fill="#ffffff", block_background_fill_dark="#1b2026",
        body_text_color_subdued="#5b6570", body_text_color_subdued_dark="#9aa4ad",
        block_border_color="#e1e5e9", block_border_color_dark="#2b323a", block_shadow="none",
        block_label_text_color="#5b6570", block_label_text_color_dark="#9aa4ad",
        block_label_background_fill="transparent", block_label_background_fill_dark="transparent",
        block_title_text_weight="500", block_title_text_size="13px",
        button_secondary_background_fill="#ffffff", button_secondary_background_fill_dark="#1b2026",
        button_secondary_border_color="#e1e5e9", button_secondary_border_color_dark="#2b323a",
        button_primary_background_fill="#1f5fa8", button_primary_background_fill_dark="#1f5fa8",
        button_primary_text_color="#ffffff", link_text_color="#1f5fa8", link_text_color_dark="#7fb4ee",
        slider_color="#1f5fa8", slider_color_dark="#7fb4ee",
    )  # fmt: skip
