"""What edgecut knows about a model, node or value, as typed records in ``metadata_props``.

Each record is one frozen dataclass, stored as JSON text under its ``KEY``. Times are in seconds, sizes in
bytes. A module of records is imported when one of them is first asked for: a command needs few, and making
dataclasses takes a tenth of its start.
"""

import importlib
from typing import TYPE_CHECKING, Any

from edgecut.ir.annotations.access import (
    PREFIX,
    SCHEMA,
    SCHEMA_KEY,
    copy,
    drop,
    get,
    put,
    records,
    require,
)
from edgecut.ir.annotations.base import (
    Annotated,
    Annotation,
    Level,
    Side,
)

if TYPE_CHECKING:
    from edgecut.ir.annotations.checks import CloudChecks
    from edgecut.ir.annotations.compression import Quantization, Sensitivity
    from edgecut.ir.annotations.costs import CloudOnly, Conditions, Cost, Group, Profile, Time, Wholes
    from edgecut.ir.annotations.cut import Cut
    from edgecut.ir.annotations.plan import Baseline, CutFigures, Placement, Plan, Router
    from edgecut.ir.annotations.provenance import (
        AnyBatch,
        Artifact,
        Artifacts,
        History,
        Origin,
        Reference,
        Source,
        Step,
    )
    from edgecut.ir.annotations.tensors import (
        Coder,
        Coding,
        Divided,
        Encoding,
        Encodings,
        ImageInput,
        Privacy,
        Upload,
        Wire,
    )
    from edgecut.ir.manifest import Together

__all__ = [
    "PREFIX",
    "SCHEMA",
    "SCHEMA_KEY",
    "Annotated",
    "Annotation",
    "AnyBatch",
    "Artifact",
    "Artifacts",
    "Baseline",
    "CloudChecks",
    "CloudOnly",
    "Coder",
    "Coding",
    "Conditions",
    "Cost",
    "Cut",
    "CutFigures",
    "Divided",
    "Encoding",
    "Encodings",
    "Group",
    "History",
    "ImageInput",
    "Level",
    "Origin",
    "Placement",
    "Plan",
    "Privacy",
    "Profile",
    "Quantization",
    "Reference",
    "Router",
    "Sensitivity",
    "Side",
    "Source",
    "Step",
    "Time",
    "Together",
    "Upload",
    "Wholes",
    "Wire",
    "copy",
    "drop",
    "get",
    "put",
    "records",
    "require",
]

_HOMES = {
    "checks": "CloudChecks",
    "compression": "Quantization Sensitivity",
    "costs": "CloudOnly Conditions Cost Group Profile Time Wholes",
    "cut": "Cut",
    "plan": "Baseline CutFigures Placement Plan Router Together",
    "provenance": "AnyBatch Artifact Artifacts History Origin Reference Source Step",
    "tensors": "Coder Coding Divided Encoding Encodings ImageInput Privacy Upload Wire",
}
"""Which module has which records."""


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
