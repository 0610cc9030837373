"""TensorBoard events, and the other loggers of Lightning."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_settings import Make
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from bts.data.split import Split
from bts.errors import RequestError
from bts.models.folder import load_network
from bts.runs import Run
from bts.training.fit import fit
from bts.training.loggers import check_loggers, write_test_scores
from bts.training.progress import Curves


def events(run: Run) -> EventAccumulator:
    found = EventAccumulator(str(run.path), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def picture(found: EventAccumulator, tag: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(found.Images(tag)[-1].encoded_image_string)))


def test_a_segmentation_run_shows_losses_scores_rate_speed_and_pictures(seg: Make) -> None:
    run = fit(seg())
    found = events(run)
    tags = found.Tags()
    for tag in ("loss/train_loss", "loss/val_loss", "loss_parts/train_loss_dice", "score/dice", "rate/lr"):
        assert [event.step for event in found.Scalars(tag)] == [1, 2]
    assert {"throughput/slices_per_s", "throughput/waiting_share"} <= set(tags["scalars"])
    drawn = [tag for tag in tags["images"] if tag.startswith("validation/")]
    assert drawn
    for tag in drawn:
        assert [event.step for event in found.Images(tag)] == [1, 2]
        height, width, _ = picture(found, tag).shape
        assert height >= 320
        assert width >= 3 * 320  # scan, truth, prediction
    assert [event.step for event in found.Images("augmented/before_and_after")] == [0]
    assert "confusion" not in tags["images"]


def test_no_tag_has_a_space_and_losses_of_both_parts_share_a_chart(seg: Make) -> None:
    run = fit(seg())
    found = events(run)
    tags = [tag for kind in ("scalars", "images", "tensors") for tag in found.Tags()[kind]]
    assert not [tag for tag in tags if " " in tag]
    layout = layout_pb2.Layout.FromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for part in layout.category for chart in part.chart}
    assert charts["loss"] == ["loss/train_loss", "loss/val_loss"]
    assert charts["dice"] == ["score/dice"]
    assert {tag for some in charts.values() for tag in some} <= set(found.Tags()["scalars"])


def test_settings_split_and_data_stand_as_text(seg: Make) -> None:
    run = fit(seg())
    found = events(run)
    texts = {}
    for name in ("settings", "split", "data"):
        (text,) = found.Tensors(f"run/{name}/text_summary")[0].tensor_proto.string_val
        texts[name] = text.decode()
    assert "| optim.lr | " in texts["settings"]
    split = Split.read(run.split_file, same_patient="suffixes")
    assert split.fingerprint in texts["split"]
    assert texts["split"].index("| train |") < texts["split"].index("| val |") < texts["split"].index("| test |")
    assert f"| slices | {len(split.rows)} |" in texts["data"]


def test_a_classification_run_shows_the_confusion_matrix(cls: Make) -> None:
    found = events(fit(cls()))
    assert [event.step for event in found.Images("confusion")] == [1, 2]
    assert {"score/balanced_accuracy", "score/accuracy", "score/f1"} <= set(found.Tags()["scalars"])


def test_no_pictures_are_drawn_where_none_are_asked_for(cls: Make) -> None:
    settings = cls()
    settings.trainer.images = 0
    assert not [tag for tag in events(fit(settings)).Tags()["images"] if tag.startswith("validation/")]


def test_settings_stand_beside_the_scores(cls: Make) -> None:
    run = fit(cls())
    write_test_scores(run, {"accuracy": 0.25})
    found = events(run)
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(found.summary_metadata)
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optim.lr" in content
    assert found.Scalars("test/accuracy")[0].value == 0.25


def test_a_resumed_run_shows_each_epoch_once(cls: Make, tmp_path: Path) -> None:
    settings = cls()
    settings.optim.epochs = 1
    run = fit(settings)
    first = int(time.time())
    while int(time.time()) == first:  # TensorBoard reads the files of one second in the order of their counters as text: 10, 9
        time.sleep(0.05)
    settings.optim.epochs = 3
    found = events(fit(settings, resume=run.path))
    assert [event.step for event in found.Scalars("score/accuracy")] == [1, 2, 3]


def test_what_is_drawn_is_of_the_average_of_the_weights(cls: Make) -> None:
    settings = cls()
    settings.optim.epochs, settings.optim.ema_decay, settings.trainer.histograms = 1, 0.75, True
    run = fit(settings)
    board = EventAccumulator(str(run.path), size_guidance={"histograms": 0})
    board.Reload()
    kept = dict(load_network(run.model)[0].named_parameters())
    for name in list(kept)[-2:]:
        drawn = board.Histograms(f"weights/{name}")[-1].histogram_value
        assert drawn.sum == pytest.approx(float(kept[name].detach().sum()), abs=1e-4)
        assert drawn.max == pytest.approx(float(kept[name].detach().max()), abs=1e-6)


def test_a_run_without_tensorboard_has_no_events(cls: Make) -> None:
    settings = cls()
    settings.trainer.loggers = ()
    run = fit(settings)
    write_test_scores(run, {"accuracy": 0.25})
    assert not list(run.path.glob("events*"))
    assert len(Curves(run.curves).rows) == 2


def test_the_csv_logger_writes_what_tensorboard_and_the_runs_own_table_hold(cls: Make) -> None:
    settings = cls()
    settings.trainer.loggers = ("csv", "tensorboard", "csv")
    run = fit(settings)
    (table,) = run.path.glob("csv/*/metrics.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found, curves = events(run), Curves(run.curves).rows
    assert [row["step"] for row in rows] == [row["epoch"] for row in curves] == ["1", "2"]
    tags = set(rows[0]) - {"step"}
    assert tags == {tag for tag in found.Tags()["scalars"]}
    for tag in tags:
        for row, event, curve in zip(rows, found.Scalars(tag), curves, strict=True):
            assert float(row[tag]) == pytest.approx(event.value, rel=1e-5)
            assert float(row[tag]) == pytest.approx(float(curve[tag.split("/")[1]]), rel=1e-4)
    assert not (run.path / "hparams.yaml").exists()
    assert "optim.lr" in (table.parent / "hparams.yaml").read_text()


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_logger_is_named_with_its_package(name: str, cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bts.training.loggers.find_spec", lambda _: None)
    settings = cls()
    settings.trainer.loggers = ("tensorboard", name)
    with pytest.raises(RequestError) as error:
        fit(settings)
    assert str(error.value) == f"trainer.loggers {name}: {name} is not installed: pip install {name}"
    assert not Path(settings.runs).exists()


def test_what_needs_no_package_is_there() -> None:
    check_loggers(["tensorboard", "csv"])


def test_an_unknown_logger_is_refused(cls: Make) -> None:
    settings = cls()
    settings.trainer.loggers = ("tensorbord",)
    with pytest.raises(RequestError, match=r"trainer\.loggers.*received 'tensorbord' \(did you mean 'tensorboard'\?\)"):
        fit(settings)
