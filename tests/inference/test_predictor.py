"""Predictor: sizes, batches, flips, errors, arrays, and loading."""

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice, write_model

from bts.data.preprocess import Preprocessing
from bts.errors import InputError, RequestError
from bts.inference import postprocess
from bts.inference.predictor import Predictor, load_model

LOGITS, CAM = [0.0, np.log(3.0), 0.0], [[0.0, 0.5], [2.0, 0.0]]


def predictor(*, seg=None, cls=None, flip=None):
    """Two fake models; the card's changes are given."""
    return Predictor(
        [
            BrightRuntime(make_card("seg", **(seg or {}))),
            BrightRuntime(make_card("cls", **(cls or {})), class_logits=LOGITS, cam=CAM),
        ],
        flip=flip,
    )


def test_mask_class_and_map_come_in_the_scan_s_own_size_and_belong_together():
    item = make_slice()
    found = predictor().predict(item)
    assert found.mask.shape == found.mask_prob.shape == found.cam.shape == item.image.shape
    disc = item.image > 0.5
    assert 2 * (found.mask & disc).sum() / (found.mask.sum() + disc.sum()) > 0.9
    assert found.label == found.cam_class == "glioma"
    assert found.class_prob == pytest.approx([0.2, 0.6, 0.2])
    assert found.cam_peak == 2.0
    assert found.cam.max() == 1.0
    assert found.cam_strength == 2.0  # two is over the scale of one
    assert found.consistent is True
    assert found.warnings == ()


def test_each_model_s_own_card_decides():
    found = predictor(cls={"temperature": 1e6, "cam_scale": 4.0, "refer_below": 0.5}).predict(make_slice())
    assert found.class_prob == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert found.cam_strength == pytest.approx(0.5)
    assert found.refer is True
    assert "refer to an expert: the highest probability is 0.33, below the model's threshold of 0.50" in found.warnings
    point = {"threshold": 0.5, "min_area": 0.5, "flip": False}
    assert predictor(seg={"operating_point": point}).predict(make_slice()).mask_area_px == 0


def test_a_sure_answer_is_not_referred():
    assert predictor(cls={"refer_below": 0.6 - 1e-9}).predict(make_slice()).refer is False


def test_the_classes_stand_in_the_card_s_order():
    found = predictor(cls={"classes": ["pituitary", "no_tumour", "glioma"]}).predict(make_slice())
    assert found.label == "no_tumour"
    assert found.consistent is False
    assert any("the class is no tumour" in text for text in found.warnings)
    assert found.mask.any(), "nothing is hidden"


def test_a_tumour_class_with_an_empty_mask_is_told():
    point = {"threshold": 2.0, "min_area": 0.0, "flip": False}
    found = predictor(seg={"operating_point": point}).predict(make_slice())
    assert found.consistent is False
    assert "mask and class contradict each other: the class is glioma, the mask is empty" in found.warnings


def test_a_map_without_scale_is_told_where_the_scale_is_asked_for():
    found = predictor(cls={"cam_scale": None}).predict(make_slice())
    assert found.warnings == ()
    assert found.cam_strength is None
    found = Predictor([BrightRuntime(make_card(cam_scale=None), class_logits=LOGITS, cam=CAM)], cam_scale="model").predict(
        make_slice()
    )
    assert postprocess.NO_CAM_SCALE in found.warnings
    assert found.cam.max() == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["seg", "cls"])
def test_a_model_trained_on_phantoms_says_so_on_every_output(task):
    for found in predictor(**{task: {"synthetic": True}}).predict_many([make_slice(), make_slice()]):
        assert found.warnings == (postprocess.PHANTOM_MODEL,)


def test_a_slice_s_own_warnings_and_that_it_is_a_phantom_are_passed_on():
    found = predictor().predict(make_slice(synthetic=True, warnings=("spacing guessed",)))
    assert found.warnings == ("spacing guessed", postprocess.PHANTOM_SLICE)


def test_a_segmenter_alone_gives_no_class_and_a_classifier_alone_no_mask():
    masks = Predictor([BrightRuntime(make_card("seg"))]).predict(make_slice())
    assert (masks.class_prob, masks.label, masks.cam, masks.cam_class, masks.consistent) == (None,) * 5
    classes = Predictor([BrightRuntime(make_card("cls"), class_logits=LOGITS, cam=CAM)]).predict(make_slice())
    assert (classes.mask, classes.mask_prob, classes.box, classes.consistent) == (None,) * 4


def test_a_joint_model_gives_all_from_one_runtime():
    runtime = BrightRuntime(make_card("joint"), class_logits=LOGITS, cam=CAM)
    found = Predictor([runtime]).predict(make_slice())
    assert found.mask.any()
    assert found.label == "glioma"
    assert len(runtime.asked) == 1
    drawn_anew = Predictor([BrightRuntime(make_card("joint", cell_offset_px=0.0), class_logits=LOGITS, cam=CAM)])
    assert (found.cam_name, drawn_anew.predict(make_slice()).cam_name) == ("Grad-CAM", "class map (HiResCAM)")


def test_the_same_preprocessing_is_done_once_and_another_one_apart():
    shared = predictor()
    shared.predict(make_slice())
    assert shared.runtimes[0].asked[0][0] is shared.runtimes[1].asked[0][0]
    apart = predictor(cls={"size": 64})
    apart.predict(make_slice())
    assert [runtime.asked[0][0].shape for runtime in apart.runtimes] == [(1, 32, 32), (1, 64, 64)]


def test_flip_follows_each_card_unless_it_is_asked_for():
    flips = {"operating_point": {"threshold": 0.5, "min_area": 0.0, "flip": True}}

    def pictures(asked):
        asked.predict(make_slice())
        return [len(runtime.asked[0][0]) for runtime in asked.runtimes]

    assert pictures(predictor(seg=flips)) == [2, 1]
    assert pictures(predictor(seg=flips, flip=False)) == [1, 1]
    assert pictures(predictor(flip=True)) == [2, 2]


def test_many_slices_stream_in_batches_and_come_back_in_order():
    drawn = []

    def slices():
        for number in range(7):
            drawn.append(number)
            yield make_slice(path=f"{number}.png")

    asked = predictor()
    answers = asked.predict_many(slices(), batch_size=3)
    assert next(answers).slice.path == "0.png"
    assert drawn == [0, 1, 2], "no more than a batch is read ahead"
    assert [answer.slice.path for answer in answers] == [f"{number}.png" for number in range(1, 7)]
    assert [len(images) for images, _ in asked.runtimes[0].asked] == [3, 3, 1]


def test_an_answer_does_not_depend_on_its_batch():
    slices = [make_slice(), make_slice(np.random.default_rng(0).normal(size=(50, 33))), make_slice(np.eye(20))]
    together = list(predictor().predict_many(slices))
    for alone, found in zip(map(predictor().predict, slices), together, strict=True):
        assert np.array_equal(alone.mask, found.mask)
        assert np.array_equal(alone.cam, found.cam)


def test_any_class_can_be_explained_by_name():
    asked = predictor()
    assert asked.predict(make_slice(), cam_class="pituitary").cam_class == "pituitary"
    assert [cam_class for _, cam_class in asked.runtimes[1].asked] == [2]


def test_an_unknown_class_is_refused_with_the_nearest():
    with pytest.raises(
        RequestError, match=r"no class 'gliom' \(did you mean 'glioma'\?\): the model's classes are meningioma, gl"
    ):
        predictor().predict(make_slice(), cam_class="gliom")
    with pytest.raises(RequestError, match="none, as no classifier is loaded"):
        Predictor([BrightRuntime(make_card("seg"))]).predict(make_slice(), cam_class="glioma")


def test_a_batch_of_none_is_refused_at_once():
    with pytest.raises(RequestError, match="batch size 0"):
        predictor().predict_many([], batch_size=0)


def test_every_answer_says_who_gave_it():
    found = predictor().predict(make_slice())
    assert [model.name for model in found.models] == ["a seg model", "a cls model"]
    assert found.models[0].fingerprint == "0123456789abcdef"
    assert found.runtime == "bright on paper"
    assert {"bts", "python", "numpy", "paper"} <= set(found.versions)


def test_a_picture_is_read_from_its_path_and_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x\.png"):
        predictor().predict(tmp_path / "x.png")


def test_load_takes_model_folders_and_tells_device_and_path_of_the_map(tmp_path):
    seg, cls = write_model(tmp_path / "s", "seg"), write_model(tmp_path / "c", "cls")
    loaded = Predictor.load(seg=seg, cls=cls, device="cpu")
    told = "\n".join(loaded.notes)
    for part in (str(seg), str(cls), "requested", "torch on cpu: requested", "class map: Grad-CAM in the forward pass"):
        assert part in told
    assert told.count("torch on cpu") == 1
    found = loaded.predict(make_slice())
    assert found.mask.shape == found.cam.shape == (40, 30)
    assert found.features.shape == (512,)
    assert found.runtime == "torch on cpu"


def test_an_unknown_runtime_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(RequestError, match=r"unknown runtime 'torhc' \(did you mean 'torch'\?\)"):
        Predictor.load(seg=write_model(tmp_path / "s", "seg"), runtime="torhc")


def test_a_map_is_drawn_where_its_cells_look():
    cam = np.zeros((4, 4))
    cam[2, 1] = 1.0  # even place: rows 16 to 23, columns 8 to 15 of 32
    image = np.random.default_rng(0).random((32, 32))
    asked = Predictor([BrightRuntime(make_card(cam_offset_px=-4.0), class_logits=[0, 9, 0], cam=cam)])
    found = asked.predict(make_slice(image)).cam
    row, column = np.mgrid[:32, :32]
    assert (found * row).sum() / found.sum() == pytest.approx(19.5 - 4, abs=0.01)
    assert (found * column).sum() / found.sum() == pytest.approx(11.5 - 4, abs=0.01)


def test_a_crop_and_an_equalisation_of_the_card_are_applied_unasked_and_undone():
    row, column = np.mgrid[:120, :90]
    head = ((row - 50) / 40) ** 2 + ((column - 40) / 30) ** 2 < 1
    tumour = (row - 45) ** 2 + (column - 35) ** 2 < 100
    item = make_slice(np.where(tumour, 250.0, np.where(head, 90.0, 0.0)))
    how = Preprocessing(size=64, low_percentile=0, high_percentile=100, crop_brain=True, sharpen_amount=0.5).to_dict()
    model = BrightRuntime(make_card("seg", preprocessing=how))
    found = Predictor([model]).predict(item)
    (asked, _) = model.asked[0]
    assert (asked[0] > 40).mean() > 1.5 * (item.image > 40).mean()  # the head fills the square
    assert 2 * (found.mask & tumour).sum() / (found.mask.sum() + tumour.sum()) > 0.9
    assert not found.mask_prob[100:].any()


def test_a_mask_below_the_threshold_is_flagged_as_uncertain():
    image = make_slice(np.where(np.mgrid[:40, :30][0] < 20, 0.6, 0.0) + np.where(np.mgrid[:40, :30][1] < 5, 0.4, 0.0))
    sure = predictor(seg={}).predict(image)
    assert sure.mask_uncertain is None  # the model has no threshold
    inside = sure.mask_prob[sure.mask].sum()
    assert sure.mask_confidence == pytest.approx(2 * inside / (sure.mask_prob.sum() + sure.mask.sum()), abs=1e-6)
    above, under = (predictor(seg={"uncertain_mask_below": sure.mask_confidence + by}).predict(image) for by in (0.01, -0.01))
    assert (above.mask_uncertain, under.mask_uncertain) == (True, False)
    assert sum(text.startswith("the mask is uncertain, check its position and outline: ") for text in above.warnings) == 1
    assert not any("uncertain" in text for text in under.warnings)


@pytest.mark.parametrize("own", [None, 0.96])
def test_a_prediction_has_the_volume_threshold_of_its_model(own: float | None) -> None:
    assert predictor(seg={"volume_threshold": own}).predict(make_slice()).volume_threshold == own


def test_a_threshold_of_0_flags_no_mask_as_certain_either() -> None:
    found = predictor(seg={"uncertain_mask_below": 0.0}).predict(make_slice())
    assert found.mask_confidence is not None
    assert found.mask_uncertain is None


def test_an_empty_mask_has_no_confidence():
    point = {"threshold": 0.5, "min_area": 0.9, "flip": False}
    found = predictor(seg={"uncertain_mask_below": 0.9, "operating_point": point}).predict(make_slice())
    assert (found.mask_confidence, found.mask_uncertain) == (None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_an_array_is_answered_as_its_slice_is(dtype):
    image = np.rint(make_slice().image * 100).astype(dtype)
    found, expected = predictor().predict(image), predictor().predict(make_slice(image))
    assert found.mask.shape == image.shape
    np.testing.assert_array_equal(found.mask_prob, expected.mask_prob)
    np.testing.assert_array_equal(found.class_prob, expected.class_prob)
    assert found.to_dict()["source"] == "array"


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (np.zeros((3, 40, 30)), r"array of shape \(3, 40, 30\): expected one grey slice \(rows, columns\)"),
        (np.zeros(40), r"array of shape \(40,\): expected one grey slice"),
        (np.array([["a", "b"], ["c", "d"]]), r"array of dtype <U1: expected integers or floating-point numbers"),
        (np.eye(4, dtype=bool), r"array of dtype bool: expected integers or floating-point numbers"),
        (np.eye(4) * 1j, r"array of dtype complex128: expected integers or floating-point numbers"),
        (np.ones((4, 4)), r"the picture is constant"),
        (np.full((4, 4), np.nan), r"the picture holds NaN"),
    ],
)
def test_an_array_that_is_no_slice_is_refused_in_one_line(scan, message):
    with pytest.raises(InputError, match=message) as error:
        predictor().predict(scan)
    assert "\n" not in str(error.value)


def test_what_is_neither_path_nor_array_nor_slice_is_refused():
    with pytest.raises(RequestError, match=r"^list: expected a path, a NumPy array \(rows, columns\) or a Slice$"):
        predictor().predict([[0, 1], [1, 0]])


def test_load_model_sorts_models_by_their_tasks(tmp_path):
    seg, cls = write_model(tmp_path / "one", "seg"), write_model(tmp_path / "two", "cls")
    image = np.rint(make_slice().image * 100)
    found = load_model(cls, seg, device="cpu", runtime="torch").predict(image)
    expected = Predictor.load(seg=seg, cls=cls, device="cpu").predict(image)
    np.testing.assert_array_equal(found.mask_prob, expected.mask_prob)
    np.testing.assert_array_equal(found.class_prob, expected.class_prob)
    with pytest.raises(RequestError, match="no such model folder"):
        load_model("gone")
