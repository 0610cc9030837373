"""Which tumour is it? A pretrained encoder for grey pictures, averaged over the slice, and a linear head."""

from __future__ import annotations

from torch import Tensor, nn

from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.encoders import Encoder
from bts.models.output import Output


class Classifier(Network):
    """Encoder, global average pooling, dropout, linear head.

    The three steps behind the encoder can be called apart, because Grad-CAM needs no more than them: the gradient of a class score
    with respect to the maps is the gradient of `classify` at the pooled vector, the same at every place.
    """

    pools = 1
    """How many vectors of C channels `pool` puts side by side."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, Encoder(architecture.encoder, top=True))
        self.class_head = nn.Sequential(
            nn.Dropout(architecture.dropout), nn.Linear(self.encoder.last_channels, architecture.classes)
        )

    def forward(self, x: Tensor) -> Output:
        """Return class logits (B, K) and the maps that they were pooled from; no mask."""
        features = self.encoder.last(self.encode(x))
        return Output(mask=None, classes=self.head(features), features=features)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits (B, K) of the maps `features (B, C, h, w)`."""
        return self.classify(self.pool(features))

    def pool(self, features: Tensor) -> Tensor:
        """Return (B, C), the average over the slice."""
        return features.mean(dim=(2, 3))

    def classify(self, pooled: Tensor) -> Tensor:
        """Return the logits (B, K) of pooled vectors (B, C)."""
        return self.class_head(pooled)
