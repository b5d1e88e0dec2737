"""The margin from which on the edge's answer is taken, so that answers agree as often as was asked for.

The threshold controls the expected share of disagreement (conformal risk control: Angelopoulos, Bates,
Fisch, Lei and Schuster, 2022): with n samples of which a rule gets k wrong, a fresh request is answered
wrongly with probability at most ``(k + 1) / (n + 1)``, averaged over the draw of the samples.
"""

from dataclasses import dataclass

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition.problem import Floats, Mask

HINT = "a smaller --agreement, or more data"


@dataclass(frozen=True)
class Seen:
    """What edge and cloud say to some samples, beside the imported model; each of shape [samples]."""

    margins: Floats
    """Of the edge's two highest scores; NaN where it has none."""
    edge_agrees: Mask
    cloud_agrees: Mask
    straight: Mask
    """Too large for the edge: the imported model itself answers them."""

    def part(self, chosen: Mask) -> "Seen":
        """Some of the samples."""
        return Seen(
            self.margins[chosen], self.edge_agrees[chosen], self.cloud_agrees[chosen], self.straight[chosen]
        )

    def kept(self, threshold: float) -> Mask:
        """The samples that the edge answers."""
        return np.asarray((self.margins >= threshold) & ~self.straight)

    def agrees(self, threshold: float) -> Mask:
        """The samples that are answered as the imported model does."""
        routed = np.where(self.kept(threshold), self.edge_agrees, self.cloud_agrees)
        return np.asarray(routed | self.straight)


def calibrate(seen: Seen, agreement: float) -> float:
    """The lowest threshold from which on, at every higher one too, the expected agreement is as asked for.

    Returns:
        The threshold; infinite where the cloud has to answer everything.

    Raises:
        ConstraintError: The samples are too few to show it, or the cloud itself does not agree so often.
    """
    count, allowed = len(seen.margins), 1 - agreement
    if (needed := int(np.ceil(1 / allowed - 1 - 1e-9)) if allowed > 0 else None) is None or count < needed:
        least = f"at least {needed} are needed" if needed else "no number of samples can"
        what = f"{count} samples cannot show an agreement of {agreement:.4g}: {least}"
        raise ConstraintError(what, where="--agreement", hint=HINT)
    margins = np.where(np.isnan(seen.margins), -np.inf, seen.margins)
    order = np.argsort(-margins, kind="stable")
    # wrong[i]: disagreements where the edge answers the i samples that it is surest of.
    edge = np.r_[0, np.cumsum(~seen.edge_agrees[order])]
    cloud = np.r_[np.cumsum(~seen.cloud_agrees[order][::-1])[::-1], 0]
    holds = (edge + cloud + 1) / (count + 1) <= allowed + 1e-12
    # Equal margins are on one side of any threshold.
    ranked = margins[order]
    is_end = np.r_[True, ranked[1:] < ranked[:-1], True]
    if not holds[0]:
        share = float(np.mean(seen.cloud_agrees))
        what = f"the cloud's own answers agree for {share:.2%} of {count} samples only"
        raise ConstraintError(what, where=f"--agreement {agreement:.4g}", hint=HINT)
    fails = np.flatnonzero(is_end & ~holds)
    usable = np.flatnonzero(is_end & (np.arange(count + 1) < (fails[0] if len(fails) else count + 1)))
    kept = int(usable[-1])
    if kept == 0:
        return float("inf")
    return float(ranked[kept - 1])


def interval(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's confidence interval of a share."""
    from scipy.special import betaincinv

    half = (1 - confidence) / 2
    low = betaincinv(successes, count - successes + 1, half) if successes else 0.0
    high = betaincinv(successes + 1, count - successes, 1 - half) if successes < count else 1.0
    return float(low), float(high)
