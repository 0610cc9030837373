"""Which slices look alike to the classifier? Its penultimate features on a plane, by t-SNE (van der Maaten & Hinton 2008)."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

LEAST = 8
"""Fewer slices than this make no picture."""
PERPLEXITY = 30.0


def place_features(features: np.ndarray, *, seed: int = 0) -> np.ndarray | None:
    """Return a place (N, 2) for the features (N, C) of each slice, equal for equal seeds; None for fewer than 8 slices.

    Features are centred and reduced to at most 50 components first, as the authors advise.
    """
    n, c = features.shape
    if n < LEAST or not np.ptp(features, axis=0).any():
        return None
    reduced = PCA(min(50, c, n - 1), random_state=seed).fit_transform(features.astype(np.float64))
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
