"""How does a program ask a trained model?

    from bts.inference import Predictor
    predictor = Predictor.load()
    print(predictor.predict("scan.png").label)

`Predictor.load()` takes the latest finished runs, or the model folders named with `seg=` and `cls=`; it is loaded once and
answers any number of scans. `predict` gives a `Prediction`: mask, probabilities and Grad-CAM in the scan's own size.
Importing this package loads no library; asking it loads what the runtime needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bts.inference.prediction import Prediction
    from bts.inference.predictor import Predictor
    from bts.inference.volume import write_volume
    from bts.inference.write import write_prediction

__all__ = ["Prediction", "Predictor", "write_prediction", "write_volume"]

_HOMES = {
    "Prediction": "bts.inference.prediction",
    "Predictor": "bts.inference.predictor",
    "write_prediction": "bts.inference.write",
    "write_volume": "bts.inference.volume",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
