"""How far an image lies from the training images: distance in the features before the last layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Share of the validation frames that count as in distribution.
INSIDE = 0.99


@dataclass(frozen=True)
class FeatureDistance:
    """Mahalanobis distance to the nearest class mean, with one covariance for all classes.

    Lee et al. 2018, arXiv 1807.03888, on the last layer's input alone. Means and covariance are kept, and no
    training frame's features: they stay with whoever has the images.
    """

    means: np.ndarray
    """float32 `(C, D)`, a row a class."""
    precision: np.ndarray
    """float32 `(D, D)`, inverse of the covariance."""
    threshold: float
    """Above it an image is out of distribution."""

    @classmethod
    def fit(cls, train: np.ndarray, codes: np.ndarray, validation: np.ndarray) -> FeatureDistance:
        """Of features of training frames `(N, D)`, their class numbers `(N,)` and validation frames `(M, D)`.

        The covariance is shrunk (Ledoit and Wolf 2004), because a few hundred frames are fewer than the
        features. The threshold is the 99th percentile of the validation frames' distances.
        """
        from sklearn.covariance import LedoitWolf

        features = train.astype(np.float64)
        means = np.stack([features[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
        fitted = LedoitWolf(assume_centered=True).fit(features - means[codes])
        found = cls(means.astype(np.float32), fitted.precision_.astype(np.float32), np.inf)
        return cls(found.means, found.precision, float(np.quantile(found(validation), INSIDE)))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Distances `(N,)`, float64, of features `(N, D)`."""
        away = features.astype(np.float64)[:, None] - self.means  # (N, C, D)
        squared = np.einsum("ncd,de,nce->nc", away, self.precision.astype(np.float64), away, optimize=True)
        return np.sqrt(squared.clip(min=0).min(axis=1))  # rounding may go below 0
