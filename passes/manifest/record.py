"""Records of the manifest that stand for one annotation of the program."""

from edgecut.ir.annotations import Router
from edgecut.ir.manifest import RouterRecord


def router(found: Router) -> RouterRecord:
    """What a runtime needs of a router."""
    return RouterRecord(
        cut=found.cut,
        scores=found.scores,
        threshold=found.threshold,
        agreement=found.agreement,
        expected_agreement=found.expected,
        agreement_low=found.low,
        agreement_high=found.high,
        edge_agreement=found.edge_agreement,
        offloaded=found.offloaded,
        samples=found.samples,
        latency_s=found.latency_s,
        energy_j=found.energy_j,
        cost_usd=found.cost_usd,
        straight=found.straight,
        max_bytes=found.max_bytes,
    )
