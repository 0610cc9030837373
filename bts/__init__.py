"""Brain tumour segmentation and classification of MRI slices, by patient.

    import bts

    model = bts.load_model("joint-mobilenetv2")  # or the folder of a run; without a name, the latest finished runs
    prediction = model.predict("scan.png")  # or a NumPy array (rows, columns), or a Slice
    print(prediction.label, prediction.mask_area_px)

The names in `__all__` are the public API. Each is imported when it is first used, so `import bts` loads neither NumPy nor
torch. `bts.audit` is the subpackage; its function is `bts.find_leaks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bts.cpu import let_threads_sleep
from bts.privacy import switch_off_telemetry

__version__ = "0.2.0"

switch_off_telemetry()
let_threads_sleep()

__all__ = [
    "AuditSet",
    "BtsError",
    "ClsSettings",
    "InputError",
    "JointSettings",
    "Prediction",
    "Predictor",
    "RequestError",
    "SegSettings",
    "Slice",
    "__version__",
    "evaluate",
    "find_leaks",
    "fit",
    "load_model",
    "open_source",
    "read_scan",
    "read_slice",
    "write_prediction",
    "write_volume",
]

if TYPE_CHECKING:
    from bts.audit.images import AuditSet
    from bts.audit.run import find_leaks
    from bts.data.readers.catalogue import read_scan, read_slice
    from bts.data.slice import Slice
    from bts.data.sources.catalogue import open_source
    from bts.errors import BtsError, InputError, RequestError
    from bts.inference.prediction import Prediction
    from bts.inference.predictor import Predictor, load_model
    from bts.inference.write import write_prediction, write_volume
    from bts.report.report import evaluate
    from bts.settings import ClsSettings, JointSettings, SegSettings
    from bts.training.fit import fit

_MODULES = {
    "AuditSet": "bts.audit.images",
    "BtsError": "bts.errors",
    "ClsSettings": "bts.settings",
    "InputError": "bts.errors",
    "JointSettings": "bts.settings",
    "Prediction": "bts.inference.prediction",
    "Predictor": "bts.inference.predictor",
    "RequestError": "bts.errors",
    "SegSettings": "bts.settings",
    "Slice": "bts.data.slice",
    "evaluate": "bts.report.report",
    "find_leaks": "bts.audit.run",
    "fit": "bts.training.fit",
    "load_model": "bts.inference.predictor",
    "open_source": "bts.data.sources.catalogue",
    "read_scan": "bts.data.readers.catalogue",
    "read_slice": "bts.data.readers.catalogue",
    "write_prediction": "bts.inference.write",
    "write_volume": "bts.inference.write",
}
"""Public name -> module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bts' has no attribute '{name}'")
    from importlib import import_module

    globals()[name] = found = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
