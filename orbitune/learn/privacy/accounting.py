"""What Gaussian noise promises: (epsilon, delta) of one release and of all releases of a run.

Neighbours are two contents of one sample: whatever else is known, no one can tell from what crossed whether the sample
was this image with this label or any other. Clipped to norm C, two contents are at most 2 C apart. With noise of
standard deviation m C on every value a release is then mu-Gaussian-private with mu = 2 / m, and T releases
together with mu sqrt(T): exact for Gaussian noise, also where later releases depend on earlier ones (Dong, Roth and Su,
arXiv:1905.02383, section 3.2). Model updates also leave a satellite and are not covered by this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import log_ndtr

DELTA = 1e-5
"""Probability that the promise fails; our choice: below one over the number of samples of every shipped set."""

WEAK_EPSILON = 10.0
"""Above this a promise counts as weak or none (Ponomareva et al., "How to DP-fy ML", arXiv:2303.00654, tier 3)."""


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Smallest delta for an epsilon (Balle and Wang, arXiv:1805.06583, theorem 8; mu = sensitivity / deviation)."""
    if mu == 0:
        return 0.0
    below, above = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(math.exp(below) * -math.expm1(min(above - below, 0.0)))


def gaussian_epsilon(mu: float, delta: float = DELTA) -> float:
    """Smallest epsilon for a delta, the inverse of `gaussian_delta`; infinite where there is no noise."""
    if math.isinf(mu):
        return math.inf
    if gaussian_delta(0.0, mu) <= delta:
        return 0.0
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, zcdp_epsilon(mu**2 / 2, delta)))


def zcdp_epsilon(rho: float, delta: float = DELTA) -> float:
    """Epsilon of rho-zero-concentrated privacy (Bun and Steinke, arXiv:1605.02635, proposition 1.3).

    Gaussian noise has rho = mu^2 / 2 (proposition 1.6). Never below `gaussian_epsilon`, so it ends the search there.
    """
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def releases_of_a_sample(
    num_samples: int, batch_size: int, batches: int, front_trains: bool, gradients_cross: bool
) -> int:
    """How often at most something of one sample leaves its satellite in a run.

    A sample is used at most once in an epoch of floor(n / b) batches (`imagery.batches.draw`). Where the front is
    frozen its embedding is worked out, and noise added, once for the whole run, however often it is sent.

    Args:
        num_samples: Samples the satellite holds, n.
        batch_size: Largest batch, b.
        batches: Batches of the run: rounds x local steps x batches accumulated.
        front_trains: Whether the embedding of a sample changes during the run.
        gradients_cross: Whether feature gradients are sent, once a use.
    """
    if num_samples == 0:
        return 0
    uses = math.ceil(batches / (num_samples // min(num_samples, batch_size)))
    return (uses if front_trains else min(uses, 1)) + uses * gradients_cross


@dataclass(frozen=True, slots=True)
class Promise:
    """What a run promises for every sample.

    Attributes:
        multiplier: Standard deviation of the noise over the norm to which each sample is clipped; 0 promises nothing.
        releases: How often something of one sample crosses in the run, embeddings and feature gradients together.
        delta: Probability that it fails.
    """

    multiplier: float
    releases: int
    delta: float = DELTA

    @property
    def epsilon_release(self) -> float:
        """Of one release alone."""
        return gaussian_epsilon(self._mu, self.delta)

    @property
    def epsilon_run(self) -> float:
        """Of all releases of the sample together."""
        return gaussian_epsilon(self._mu * math.sqrt(self.releases), self.delta)

    @property
    def _mu(self) -> float:
        return 2 / self.multiplier if self.multiplier > 0 else math.inf

    def words(self) -> str:
        """The promise as a sentence."""
        if self.multiplier == 0:
            return "No noise is added: there is no (epsilon, delta) promise."
        weak = " So large an epsilon proves next to nothing." if self.epsilon_run > WEAK_EPSILON else ""
        return (
            f"Each release is ({self.epsilon_release:.3g}, {self.delta:g})-differentially private for the content of a "
            f"sample, the {self.releases} releases of one sample in the run together ({self.epsilon_run:.3g}, "
            f"{self.delta:g}); model updates are not covered.{weak}"
        )
