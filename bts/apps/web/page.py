"""Gradio components of the page and their event handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from bts.apps.web import examples
from bts.apps.web.batch import Batch
from bts.apps.web.downloads import keep_files_only
from bts.apps.web.result import Result, available_files
from bts.apps.web.service import AnalysisService, current_result, format_error
from bts.apps.web.sessions import Session, SessionClosedError
from bts.apps.web.views import (
    CHOOSE,
    EMPTY,
    FONT,
    SET_HEAT_STRENGTH,
    SHOW_CONTOUR,
    WAITING,
    capitalise,
    display_name,
    error_panel,
    head,
    panel,
    stage,
    table,
    volume_section,
)
from bts.data.readers.scan import Scan
from bts.errors import SeveralSeriesError
from bts.inference.picture import STRENGTH

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""All predictions share one queue."""
HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
IMMEDIATE: dict[str, Any] = {**HIDDEN, "queue": False}


class Page:
    """The page.

    Attributes:
        service: analyses the uploads.
        blocks: Gradio blocks.
    """

    def __init__(self, service: AnalysisService) -> None:
        self.service = service
        self._stale: set[str] = set()
        with gr.Blocks(title="bts", analytics_enabled=False, fill_width=True) as self.blocks:
            gr.HTML(head(service.predictor, service.limits))
            with gr.Tabs():
                with gr.Tab("One scan"):
                    self._add_single_scan()
                with gr.Tab("Many scans"):
                    self._add_batch()
            self._add_api()
            self.blocks.unload(self.close_session)
        service.sessions.on_close = self._clear_gradio_state

    def _add_single_scan(self) -> None:
        self.upload = gr.File(label="Scan or series", file_count="multiple", height=112, elem_id="bts-upload")
        with gr.Row(elem_classes="bts-examples"):
            gr.HTML('<p class="bts-soft">or a synthetic example:</p>')
            buttons = [gr.Button(name, size="sm", variant="secondary", min_width=90) for name in examples.NAMES]
        with gr.Column(visible=False, elem_id="bts-series") as self.choice:
            self.series = gr.Radio([], label="Series")
            chosen = gr.Button("Analyse series", variant="primary", size="md", scale=0, min_width=140)
        with gr.Row(elem_classes="bts-row"):
            with gr.Column(scale=7, min_width=320):
                self.stage = gr.HTML(EMPTY, elem_id="bts-stage")
                self.slice = gr.Slider(0, 1, 0, step=1, label="Slice", visible=False, elem_id="bts-slice", buttons=[])
                self._add_controls()
            with gr.Column(scale=4, min_width=300):
                self.panel = gr.HTML(WAITING, elem_id="bts-panel")
        self.volume = gr.HTML("", elem_id="bts-volume")
        shown = [self.stage, self.panel, self.slice, self.classes, self.volume, self.choice, self.series]
        covered = [self.stage, self.panel]  # hide the result of the previous scan
        wait: dict[str, Any] = {"api_visibility": "private", "show_progress": "full", "show_progress_on": covered, **MODEL}
        self.upload.upload(self.analyse, self.upload, [*shown, self.upload], **wait)
        chosen.click(self.analyse_series, self.series, shown, **wait)
        for name, button in zip(examples.NAMES, buttons, strict=True):
            button.click(self._example(name), None, shown, **wait)
        self.slice.change(
            self.show_slice,
            [self.slice, self.classes],
            [self.stage, self.panel, self.classes],
            trigger_mode="always_last",
            **IMMEDIATE,
        )
        self.classes.input(self.explain, [self.slice, self.classes], [self.stage, self.panel], **HIDDEN, **MODEL)

    def _add_controls(self) -> None:
        tasks = {runtime.card.task for runtime in self.service.predictor.runtimes}
        classes = [(capitalise(display_name(name)), name) for name in self.service.predictor.classes]
        with gr.Row(elem_classes="bts-controls", visible=bool(classes)):
            self.classes = gr.Radio(
                classes, value=None, label="Class of the heat map", scale=7, min_width=440, elem_id="bts-class"
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
        strength.change(None, strength, None, js=SET_HEAT_STRENGTH, api_visibility="private")
        line.change(None, line, None, js=SHOW_CONTOUR, api_visibility="private")

    def _add_batch(self) -> None:
        files = gr.File(label="Scans", file_count="multiple", height=180, elem_id="bts-files")
        with gr.Row():
            start = gr.Button("Analyse all", variant="primary", size="md", elem_id="bts-start", scale=0, min_width=140)
            stop = gr.Button("Stop", variant="secondary", size="md", elem_id="bts-stop", scale=0, min_width=100)
        rows = gr.HTML("", elem_id="bts-table")
        start.click(self.start, None, None, **IMMEDIATE).then(self.batch, files, rows, **HIDDEN, **MODEL)
        stop.click(self.stop, None, None, **IMMEDIATE)

    def _add_api(self) -> None:
        """Add the API endpoint, which is not visible on the page."""
        file = gr.File(label="file", visible=False)
        cam = gr.Textbox("", label="cam_class", visible=False)
        answer = gr.JSON(label="result", visible=False)
        file.select(self.predict, [file, cam], answer, api_name="predict", api_description=self.predict.__doc__, **MODEL)

    # --- event handlers -----------------------------------------------------------------------------------------------

    def analyse(self, paths: list[str] | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Analyse an upload: a file, an archive, or the files of one series."""
        session = self._session(request)
        if not paths:
            return (gr.skip(),) * 8
        session.together = tuple(paths)
        return *self._analyse(session, lambda: self._receive(paths, session), progress, path=paths[0]), None

    def analyse_series(self, number: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Analyse one series of the last upload."""
        session = self._session(request)
        if number is None or not session.together:
            return (gr.skip(),) * 7
        paths = session.together
        found = self._analyse(session, lambda: self._receive(paths, session, int(number)), progress, path=paths[0])
        return *found[:5], gr.skip(), gr.skip()  # the choice stays

    def _receive(self, paths: Sequence[str], session: Session, series: int | None = None) -> Scan:
        """Read an upload of this session."""
        for path in paths:
            self.service.sessions.claim(path, session)
        return self.service.receive(paths, session=session, series=series)

    def _example(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def analyse(request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
            return self._analyse(self._session(request), lambda: examples.example(name, self.service.sessions.root), progress)

        return analyse

    def _analyse(
        self, session: Session, read: Callable[[], Scan], progress: gr.Progress, *, path: str | None = None
    ) -> tuple[Any, ...]:
        """Return the values of stage, panel, slider, class selection, volume and choice; an error is shown in the panel."""
        try:
            result = self.service.analyse(
                read(), session=session, on_progress=lambda fraction, text: progress(fraction, desc=text)
            )
        except SessionClosedError:
            return (gr.skip(),) * 7
        except Exception as error:
            session.clear()
            lines = error.choices if isinstance(error, SeveralSeriesError) else ()
            line = CHOOSE if lines else error_panel(format_error(error, path=path))
            choices = [(each, str(number)) for number, each in enumerate(lines)]
            empty = EMPTY, line, gr.Slider(visible=False), gr.Radio(value=None), ""
            return *empty, gr.Column(visible=bool(lines)), gr.Radio(choices, value=None)
        prediction = result.prediction(result.first_index)
        return (
            stage(result, result.first_index),
            panel(result, result.first_index, secret=session.secret),
            gr.Slider(0, max(result.n_slices - 1, 1), result.first_index, visible=result.is_volume),
            gr.Radio(value=prediction.cam_class if prediction else None),
            volume_section(result, secret=session.secret) if result.is_volume else "",
            gr.Column(visible=False),
            gr.skip(),
        )

    def show_slice(self, index: float, cam_class: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show another slice of the volume, with the map of its predicted class."""
        session = self._session(request)
        if session.result is None or not session.result.is_volume:
            return (gr.skip(),) * 3
        prediction = session.result.prediction(int(index))
        return *self._show(session, session.result, int(index), None), prediction.cam_class if prediction else None

    def explain(self, index: float, cam_class: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the class activation map of a class."""
        session = self._session(request)
        try:
            result = current_result(session)
            number = int(index) if result.is_volume else result.first_index
            self.service.explain(session, index=number, cam_class=cam_class)
            return self._show(session, result, number, cam_class)
        except Exception as error:
            return gr.skip(), error_panel(format_error(error))

    def start(self, request: gr.Request) -> None:
        """Clear the stop request of the previous batch."""
        self._session(request).stopped = False

    def stop(self, request: gr.Request) -> None:
        """Stop the running or queued batch before its next scan."""
        self._session(request).stopped = True

    def batch(self, paths: list[str] | None, request: gr.Request) -> Iterator[str]:
        """Analyse many files and update the table after each."""
        session, total = self._session(request), len(paths or [])
        try:
            for path in paths or []:
                self.service.sessions.claim(path, session)
            batch = Batch(self.service, session, session.new_batch())
            for rows in batch.run(paths or []):
                yield table(rows, total=total)
            yield table(batch.rows, total=total, secret=session.secret, stopped=len(batch.rows) < total)
        except SessionClosedError:
            return
        except Exception as error:
            yield error_panel(format_error(error))

    def predict(self, file: str, cam_class: str, request: gr.Request) -> dict[str, Any]:
        """Return `result.json` of a scan, and the paths under which its files can be downloaded for 30 minutes."""
        session = self._session(request)
        try:
            result = self.service.analyse(self._receive([file], session), session=session)
            if cam_class and not result.is_volume:
                self.service.explain(session, index=result.first_index, cam_class=cam_class)
        except SessionClosedError:
            return {}
        except Exception as error:
            raise gr.Error(format_error(error, path=file), print_exception=False) from None
        keep_files_only(session)
        return {
            **result.read(),
            "files": {name: f"/results/{session.secret}/{name}" for name in available_files(result.folder)},
        }

    def close_session(self, request: gr.Request) -> None:
        """Close the session of a page that was closed."""
        self.service.sessions.close(str(request.session_hash))

    def _clear_gradio_state(self, key: str) -> None:
        """Clear Gradio's state of a session: it keeps the last value of every component, images included."""
        holder = getattr(self.blocks, "state_holder", None)  # exists once the page is served
        state = None if holder is None else holder.session_data.get(key)
        if state is not None:
            state.config_values.clear()

    def clean_up(self) -> None:
        """Drop Gradio's unread responses and closed sessions. Must run in the thread of its event loop.

        An entry is dropped when it is found twice in a row: the first time a request may be pending.
        """
        queue, holder = self.blocks._queue, self.blocks.state_holder
        kinds: list[dict[str, Any]] = [
            queue.pending_messages_per_session,
            queue.pending_event_ids_session,
            holder.session_data,
            holder.time_last_used,
        ]
        kept = self.service.sessions.keys() | {event.session_hash for event in queue.event_ids_to_events.values()}
        stale = {key for kind in kinds for key in kind} - kept
        for key in stale & self._stale:
            for kind in kinds:
                kind.pop(key, None)
        self._stale = stale
        for files in self.blocks.temp_file_sets:  # every path ever read
            files.clear()

    def _session(self, request: gr.Request) -> Session:
        self.service.sessions.sweep()
        return self.service.sessions.get(str(request.session_hash))

    def _show(self, session: Session, result: Result, index: int, cam_class: str | None) -> tuple[str, str]:
        return stage(result, index, cam_class), panel(result, index, cam_class, secret=session.secret)


def theme() -> Any:
    """Return Gradio's base theme with the page's colours and system fonts."""
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
