"""Measurements of a DICOM series as a DICOM Structured Report (TID 1500).

Codes are SNOMED CT's and DICOM's; what has none (the probability of a class, the class that is predicted) is coded in this
package's own scheme, 99BTS, as DICOM provides for (PS3.16, section 8.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bts
from bts.inference.prediction import ModelMark
from bts.inference.volume import Lesion, VolumeFindings
from bts.inference.writers.dicom_segmentation import algorithm_fields, object_fields

SCHEME = "99BTS"
CLASSES = {
    "glioma": ("393564001", "SCT", "Glioma"),
    "meningioma": ("302820008", "SCT", "Intracranial meningioma"),
    "pituitary": ("254956000", "SCT", "Pituitary adenoma"),
}
"""Class -> SNOMED CT disorder; a class of the user's own is coded by its name in `SCHEME`."""
MRI_OF_BRAIN = ("816077007", "SCT", "Magnetic resonance imaging of brain")
MILLILITRE = ("ml", "UCUM", "milliliter")


def measurement_report(
    findings: VolumeFindings,
    *,
    headers: Sequence[Any],
    segmentation: Any | None,
    models: Sequence[ModelMark],
) -> Any:
    """Return a `highdicom.sr.ComprehensiveSR`: the decision for the volume, then each lesion with its segment.

    Args:
        findings: of the volume, also without a lesion.
        headers: of the source, from `dicom_segmentation.source_headers`.
        segmentation: object with a segment per lesion; None without a lesion.
        models: that found the lesions.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.sr.AlgorithmIdentification(
        name="bts",
        version=bts.__version__,
        parameters=[f"{name}: {value}" for name, value in algorithm_fields(models)["parameters"].items()],
    )
    series_uid = str(headers[0].SeriesInstanceUID)
    groups = [_whole(findings, algorithm), *(_lesion(each, segmentation, series_uid, algorithm) for each in findings.lesions)]
    observer = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=_device_uid(models), name="bts", manufacturer_name="bts", model_name=" ".join(mark.name for mark in models)
    )
    context = highdicom.sr.ObservationContext(
        observer_device_context=highdicom.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=observer
        )
    )
    report = highdicom.sr.MeasurementReport(
        observation_context=context, procedure_reported=_code(MRI_OF_BRAIN), imaging_measurements=groups
    )
    return highdicom.sr.ComprehensiveSR(
        evidence=[*headers, *([] if segmentation is None else [segmentation])],
        content=report,
        is_complete=True,
        **object_fields("SR", headers[0], models),
    )


def _whole(findings: VolumeFindings, algorithm: Any) -> Any:
    """Return the group of the volume: whether a tumour is reported, with what score, and of which class."""
    import highdicom
    from pydicom.sr.codedict import codes

    answer = codes.SCT.Yes if findings.tumour else codes.SCT.No
    evaluations = [highdicom.sr.QualitativeEvaluation(name=_own("tumour", "Tumour reported"), value=answer)]
    if findings.tumour and findings.label is not None:
        evaluations.append(_predicted(findings.label))
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(identifier="whole volume", uid=highdicom.UID()),
        finding_type=codes.SCT.Neoplasm,
        algorithm_id=algorithm,
        measurements=[
            _share("tumour-score", "Tumour score", findings.tumour_score),
            _share("tumour-threshold", "Threshold of the tumour score", findings.threshold),
            *_by_class(findings.class_prob),
        ],
        qualitative_evaluations=evaluations,
    )


def _lesion(lesion: Lesion, segmentation: Any, series_uid: str, algorithm: Any) -> Any:
    """Return the group of a lesion; what is not known of it is left out."""
    import highdicom
    from pydicom.sr.codedict import codes

    description = segmentation.get_segment_description(lesion.number)
    sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
    side = None if lesion.side is None else sides.get(lesion.side, codes.SCT.Bilateral)
    lengths = {
        codes.SCT.LongAxis: lesion.longest_mm,
        codes.SCT.ShortAxis: lesion.perpendicular_mm,
        _own("extent", "Extent along the normal of the slices"): lesion.extent_mm,
    }
    measured = [(codes.SCT.Volume, lesion.volume_ml, _code(MILLILITRE))]
    measured += [(name, value, codes.UCUM.Millimeter) for name, value in lengths.items()]
    return highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(identifier=description.tracking_id, uid=description.tracking_uid),
        referenced_segment=highdicom.sr.ReferencedSegment(  # `from_segmentation` fails where there is only one segment
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=lesion.number,
            source_series=highdicom.sr.SourceSeriesForSegmentation(series_uid),
        ),
        finding_type=codes.SCT.Neoplasm,
        finding_sites=[highdicom.sr.FindingSite(anatomic_location=codes.SCT.Brain, laterality=side)],
        algorithm_id=algorithm,
        measurements=[
            *(
                highdicom.sr.Measurement(name=name, value=value, unit=unit)
                for name, value, unit in measured
                if value is not None
            ),
            _share("certainty", "Mean probability of the outline", lesion.certainty),
            *_by_class(lesion.class_prob),
        ],
        qualitative_evaluations=[_predicted(max(lesion.class_prob, key=lesion.class_prob.__getitem__))]
        if lesion.class_prob
        else None,
    )


def _by_class(class_prob: Mapping[str, float]) -> list[Any]:
    return [_share(f"prob-{name}", f"Probability of {name}"[:64], value) for name, value in class_prob.items()]


def _share(value: str, meaning: str, share: float) -> Any:
    """Return a measurement of a number in [0, 1], without a unit."""
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.sr.Measurement(name=_own(value, meaning), value=round(float(share), 6), unit=codes.UCUM.NoUnits)


def _predicted(label: str) -> Any:
    import highdicom

    value = _code(CLASSES[label]) if label in CLASSES else _own(label, label)
    return highdicom.sr.QualitativeEvaluation(name=_own("class", "Predicted class"), value=value)


def _own(value: str, meaning: str) -> Any:
    return _code((value, SCHEME, meaning))


def _code(parts: tuple[str, str, str]) -> Any:
    import highdicom

    value, scheme, meaning = parts
    return highdicom.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _device_uid(models: Sequence[ModelMark]) -> str:
    """Return an identifier of this version with these weights, the same on every machine."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["bts", bts.__version__, *(mark.fingerprint for mark in models)])
