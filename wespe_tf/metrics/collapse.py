"""Whether a generator has collapsed: its pictures lost their contrast."""

from collections.abc import Iterable

import numpy as np

COLLAPSED_BELOW = 0.1
ALIVE_ABOVE = 0.3
FLAT_BELOW = 0.02


def collapse_score(enhanced: np.ndarray, source: np.ndarray) -> float:
    """How much of the input's contrast enhanced pictures keep: 0 when they are uniform.

    The spatial standard deviation of the enhanced picture, divided by that of its input, averaged
    over channels and pictures. Inputs that are flat themselves (deviation below 0.02) do not count.

    Args:
        enhanced: (N, H, W, 3) array in [0, 1].
        source: the inputs, same shape.

    Returns:
        Ratio, about 1 for a working enhancer; NaN if every input is flat.
    """
    after, before = (np.std(p, axis=(1, 2)).mean(axis=-1) for p in (enhanced, source))
    counted = before >= FLAT_BELOW
    return float(np.mean(after[counted] / before[counted])) if counted.any() else float("nan")


def input_correlation(enhanced: np.ndarray, source: np.ndarray) -> float:
    """Correlation of enhanced pictures with their inputs. It is negative for negatives.

    Args:
        enhanced: (N, H, W, 3) array.
        source: the inputs, same shape.

    Returns:
        Mean over pictures of Pearson's coefficient over pixels and channels; a uniform picture
        counts as 0.
    """
    a, b = (p.reshape(len(p), -1).astype(np.float64) for p in (enhanced, source))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return float(np.mean((a * b).sum(axis=1) / np.maximum(scale, 1e-12)))


def has_collapsed(scores: Iterable[float]) -> bool:
    """The verdict from a run's collapse scores, one for each evaluation, in order.

    A run has collapsed if its score is below 0.1 at the last two evaluations and was above 0.3
    before, or if its score never rose above 0.3.

    Args:
        scores: sequence of `collapse_score`.

    Returns:
        Whether the run has collapsed; False without any score.
    """
    scores = list(scores)
    if not scores:
        return False
    if max(scores) <= ALIVE_ABOVE:
        return True
    last = scores[-2:]
    return len(scores) > 2 and max(last) < COLLAPSED_BELOW and max(scores[:-2]) > ALIVE_ABOVE


def uniform_since(iterations: Iterable[int], scores: Iterable[float]) -> int | None:
    """The iteration from which every score to the end is below 0.1.

    Args:
        iterations: iterations of the evaluations, in increasing order.
        scores: their collapse scores.

    Returns:
        Iteration, or None if the last score is not below 0.1.
    """
    since = None
    for iteration, score in zip(reversed(list(iterations)), reversed(list(scores))):
        if not score < COLLAPSED_BELOW:
            break
        since = iteration
    return since
