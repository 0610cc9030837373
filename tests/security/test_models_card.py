"""A model card of a stranger is refused in one line, or can be used; nothing else happens."""

from __future__ import annotations

import base64
import copy
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bts
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.inference.ood import FeatureReference, OodReference
from bts.models.architecture import Architecture
from bts.models.card import ModelCard, parse_card, to_json
from bts.models.card_rules import refuse_names
from bts.models.folder import read_card

BUNDLED = Path(bts.__file__).parent / "bundled" / "joint-mobilenetv2"
TEXT = (BUNDLED / "model.json").read_text(encoding="utf-8")
VALUES: dict[str, Any] = json.loads(TEXT)
SHORT = {
    **VALUES,
    "training_patients": ["0" * 64, "1" * 64],
    "patients_key": "0" * 16,
    "scores": {name: VALUES["scores"][name] for name in ("part", "segmentation.slice.dice")},
}
"""The bundled card, as with two training patients, and one score: all are of one kind."""
WHERE = Path("model.json")
CODE = "$__import__('os').system('touch /tmp/owned')"
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**17, -(10**17), 0.5, -0.5, 1e300, -1e300, 5e-324),
    *(
        "",
        "x",
        "weights",
        CODE,
        "@network",
        "%other.json::key",
        "=1+1",
        "<b>",
        "a\nb",
        "\x1b[31m",
        "\u202e",
        "é" * 300,
        "A" * 70_000,
    ),
    *([], {}, [1], ["a"], [[]], {"a": 1}, {"_target_": "os.system"}, {CODE: 1}, [None] * 1000, [[[[[[[[[[1]]]]]]]]]]),
)


def places(values: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a card, the many patients and bytes apart."""
    if way:
        yield way
    if isinstance(values, dict):
        for key, value in values.items():
            yield from places(value, (*way, key))
    elif isinstance(values, list):
        for i, value in enumerate(values[:3]):
            yield from places(value, (*way, i))


def changed(way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(SHORT if way[0] == "ood" else {**SHORT, "ood": {}})  # which is nine tenths of the text
    inner = found
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return found


def use(card: ModelCard) -> None:
    """Do what the package does with a card: build, prepare, judge, show and write."""
    architecture = Architecture.from_dict(card.architecture)
    preprocessing = Preprocessing.from_dict(card.preprocessing)
    reference = OodReference.from_dict(card.ood)
    assert reference is None or math.isfinite(float(reference.factor.sum()))
    assert architecture.size == preprocessing.size <= 1024
    assert max(architecture.channels) <= 1024
    assert len(card.classes) == (0 if card.task == "seg" else architecture.num_classes)
    assert isinstance(card.operating_point["flip"], bool)
    assert 0 <= card.operating_point["threshold"] <= 1
    assert 0 < card.temperature <= 1000
    assert parse_card(to_json(card), WHERE) == card
    assert "$" not in to_json(card)
    assert card.cam_name
    assert all(isinstance(name, str) and name.isprintable() for name in (card.name, card.trained_on, *card.classes))


def parse(text: str) -> ModelCard | str:
    """Return the card, or the line with which it is refused; any other exception fails the test."""
    try:
        return parse_card(text, WHERE)
    except RequestError as error:
        return str(error)


def is_one_short_line(found: str) -> bool:
    return found.startswith("model.json: ") and "\n" not in found and len(found) < 600


def test_the_bundled_card_is_read_and_written_as_it_is() -> None:
    card = parse_card(TEXT, WHERE)
    use(card)
    written = json.loads(to_json(card))
    assert {key: written[key] for key in VALUES} == VALUES  # a later version may add fields with defaults
    assert to_json(parse_card(to_json(card), WHERE)) == to_json(card)


def test_every_value_replaced_by_strange_ones_is_refused_or_usable() -> None:
    ways = list(places(SHORT))
    assert len(ways) > 60
    draw = random.Random(0)
    refused = used = 0
    for way in ways:
        for value in draw.sample(STRANGE, 12):
            card = parse(json.dumps(changed(way, value)))
            if isinstance(card, str):
                assert is_one_short_line(card), (way, value, card)
                refused += 1
            else:
                used += 1
                use(card)
    assert refused > used
    assert used > 50


def test_random_mutations_of_the_text_are_refused_or_usable() -> None:
    draw = random.Random(0)
    short = json.dumps({**SHORT, "ood": {}, "scores": {}}, indent=1)
    letters = '{}[]",:0123456789.eE+-\\ntruefalsx$@%\x00é\ud800'
    read = 0
    for _ in range(1500):
        text = list(short)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(text))
            kind = draw.randrange(4)
            if kind == 0:
                text[place] = draw.choice(letters)
            elif kind == 1:
                text.insert(place, draw.choice(letters))
            elif kind == 2:
                del text[place]
            else:
                start = draw.randrange(len(text))
                text[place:place] = text[start : start + draw.randint(1, 60)]
        card = parse("".join(text))
        if isinstance(card, str):
            assert is_one_short_line(card)
        else:
            read += 1
            use(card)
    assert read > 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply|not valid JSON"),
        ('{"a":' * 100_000, "nested too deeply|not valid JSON"),
        (TEXT.replace('"temperature": ', '"temperature": NaN, "x": '), "NaN is not a JSON number"),
        (TEXT.replace('"temperature": ', '"temperature": -Infinity, "x": '), "-Infinity is not a JSON number"),
        (TEXT.replace('"temperature": ', '"temperature": 1e999, "x": '), "1e999 is too large for a number"),
        (TEXT.replace('"temperature": ', '"temperature": 1' + "0" * 5000 + ', "x": '), "a whole number of 5001 digits"),
        (TEXT.replace('"synthetic"', '"name": "twice", "synthetic"'), "key 'name' appears twice in one object"),
        (" " * (9 * 2**20), "over 8,388,608 characters"),
    ],
)
def test_json_that_is_none_or_a_bomb_is_refused(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_card(text, WHERE)
    assert "\n" not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(50 * 2**30)  # sparse: reading it would take the memory of most machines
    with pytest.raises(RequestError, match=r"model.json: over 8,388,608 bytes"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("architecture", "head_norm"), CODE, "a text that a MONAI bundle would evaluate"),
        (("architecture", "head_norm"), "yes", "architecture: head_norm: expected true or false, received 'yes'"),
        (
            ("architecture", "input_mean"),
            "0.5",
            "architecture: input_mean: expected a number from 0 to 1, or null, received '0.5'",
        ),
        (("architecture", "normalisation"), "weight", r"normalisation: expected .* received 'weight' \(did you mean 'weights'"),
        (("architecture", "encoder"), "../resnet", "architecture: encoder: expected a name of letters"),
        (("architecture", "channels"), [10**6] * 5, r"channels\[0\]: expected a whole number from 1 to 1024, received 1000000"),
        (("architecture", "hidden"), [10**6], r"hidden\[0\]: expected a whole number from 1 to 8192, received 1000000"),
        (
            ("architecture", "hidden"),
            [8192] * 9,
            "hidden: expected a list of length 0 to 8, each item a whole number from 1 to 8192",
        ),
        (("architecture", "size"), 32 * 10**6, "size: expected a multiple of 32 from 32 to 1024, received 32000000"),
        (
            ("architecture", "mask_dilation_px"),
            4 * 10**6,
            "mask_dilation_px: expected a multiple of 4 from 0 to 256, received 4000000",
        ),
        (("architecture", "num_classes"), 10**9, "num_classes: expected a whole number from 0 to 1000, received 1000000000"),
        (("architecture", "task"), "seg", "task 'joint', the architecture is for task 'seg'"),
        (("architecture", "colour"), 1, "architecture: unknown field 'colour'"),
        (("preprocessing", "crop_brain"), "False", "preprocessing: crop_brain: expected true or false, received 'False'"),
        (("preprocessing", "size"), 256, "preprocessing makes pictures of 256 px, the network is for 224 px"),
        (("preprocessing", "low_percentile"), 99.9, "expected low < high, received 99.9 and 99.5"),
        (("preprocessing", "clahe_tiles"), 100, "clahe_tiles: expected 56 or fewer at size 224, received 100"),
        (("operating_point", "threshold"), 1.5, "threshold: expected a number from 0 to 1, received 1.5"),
        (("operating_point", "flip"), 1, "flip: expected true or false, received 1"),
        (("operating_point", "min_area"), "0", "min_area: expected a number.*received '0'"),
        (("temperature",), 0, "temperature: expected a number above 0 and up to 1000, received 0"),
        (("temperature",), True, "temperature: expected a number above 0 and up to 1000, received True"),
        (("cam_scale",), -1, "cam_scale: expected a number from 0"),
        (("cell_offset_px",), 1e9, "cell_offset_px: expected a number from -1024 to 1024"),
        (("refer_below",), 2, "refer_below: expected a number from 0 to 1"),
        (("training_patients",), ["MR040240"], "training_patients"),
        (("classes", 0), "glioma", "classes: duplicate name"),
        (("classes", 0), "a" * 65, "classes"),
        (("classes", 0), "<script>", "classes"),
        (("classes", 0), "a|b", "classes"),
        (("classes", 0), " ", "classes"),
        (("classes",), ["a", "b", "c"], "3 class names, the network has 4 classes"),
        (("name",), "a\x1b[2Jb", "name: received a control character or an invisible one"),
        (("name",), "n" * 201, "name"),
        (("ood", "mean"), "AAAA", "ood: mean, factor"),
        (("ood", "limit"), 0, "ood: limit"),
        (("weights_sha256",), "x", "weights_sha256: expected 64 hexadecimal digits"),
        (("weights_sha256",), "", "weights_sha256 is empty"),
        (("versions",), {"torch": {}}, "versions"),
        (("scores",), {"_target_": "os.system"}, "key '_target_' is none that a model card may have"),
        (("scores",), {"a": {"b::c": 1}}, "scores.a: key 'b::c' is none that a model card may have"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(way: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_card(json.dumps(changed(way, value)), WHERE)
    assert "\n" not in str(caught.value)


def features(**changes: Any) -> dict[str, Any]:
    row = base64.b64encode(np.eye(2, dtype="<f4")[0].tobytes()).decode()
    axis = base64.b64encode(np.eye(2, dtype="<f2")[0].tobytes()).decode()
    return {"limit": 2.0, "means": [row], "axes": [axis], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, "limit: expected a number above 0"),
        ({"means": []}, "means: expected a list of length 1 to 128"),
        ({"means": ["AAAA"]}, r"means, axes: expected float32 and float16 in base64 \("),
        ({"means": ["A" * 40_000]}, "means"),
        ({"axes": features()["axes"] * 129}, "axes: expected a list of length 1 to 128"),
        ({"axes": ["AAAAAAAA"]}, "means, axes: expected rows of one length, received several"),
        ({"means": ["AADAfwAAwH8="]}, "means, axes: expected finite numbers, received others"),
        ({"axis": []}, "ood: features: unknown field 'axis' .did you mean 'axes'"),
    ],
)
def test_a_wrong_reference_of_features_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    good = parse_card(json.dumps(changed(("ood", "features"), features())), WHERE).ood["features"]
    reference = FeatureReference.from_dict(good)
    assert reference is not None
    assert reference.distance(np.array([[4.0, 3.0]])).tolist() == [3.0]  # along (1, 0), from the mean (1, 0)
    with pytest.raises(RequestError, match=message) as caught:
        parse_card(json.dumps(changed(("ood", "features"), features(**changes))), WHERE)
    assert is_one_short_line(str(caught.value))


@pytest.mark.parametrize(
    "way", [("name",), ("classes", 0), ("trained_on",), ("licence",), ("intended_use",), ("scores", "part")]
)
@pytest.mark.parametrize("text", [CODE, "@network_def", "%inference.json::device", " $1", "50 @##x", "a$b"])
def test_texts_that_a_bundle_would_evaluate_are_refused(way: tuple[Any, ...], text: str) -> None:
    with pytest.raises(RequestError, match="would evaluate"):
        parse_card(json.dumps(changed(way, text)), WHERE)


def test_ordinary_texts_stay_allowed() -> None:
    for text in ("50% of 12 patients", "ask maria@example.org", "Grad 3–4, Grüße, Грудь", "it's <5 mm & round"):
        assert parse_card(json.dumps(changed(("trained_on",), text)), WHERE).trained_on == text
    for name in ("glioma grade 4", "abscess", "T2/FLAIR (late)", "méningiome", "опухоль", "HGG+"):
        assert parse_card(json.dumps(changed(("classes", 0), name)), WHERE).classes[0] == name


def test_names_that_no_card_can_hold_are_refused_before_a_training() -> None:
    refuse_names(["2026-01-01_10-00-00", "figshare"], classes=["glioma", "no_tumour"])
    for names, classes, message in (
        (["$HOME"], [], r"name '\$HOME': a text that a MONAI bundle would evaluate .* rename it"),
        (["a\tb"], [], "name 'a b': a control character"),
        ([], ["100%"], "class '100%': expected a name of 1 to 64 letters"),
        ([], ["<b>"], "class '<b>': expected a name of 1 to 64 letters"),
        ([], [""], "class '': expected a name of 1 to 64 letters"),
    ):
        with pytest.raises(RequestError, match=message) as caught:
            refuse_names(names, classes=classes)
        assert "\n" not in str(caught.value)
