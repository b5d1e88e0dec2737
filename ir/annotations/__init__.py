"""What edgecut knows about a model, node or value, as typed records in ``metadata_props``.

Each record is one frozen dataclass, stored as JSON text under its ``KEY``. Times are in seconds, sizes in
bytes.
"""

from edgecut.ir.annotations.access import (
    ALL,
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
from edgecut.ir.annotations.compression import (
    Quantization,
    Sensitivity,
)
from edgecut.ir.annotations.costs import (
    CloudOnly,
    Conditions,
    Cost,
    Group,
    Profile,
    Time,
    Wholes,
)
from edgecut.ir.annotations.plan import (
    Baseline,
    Cut,
    CutFigures,
    Placement,
    Plan,
    Router,
)
from edgecut.ir.annotations.provenance import (
    AnyBatch,
    Artifact,
    Artifacts,
    CloudChecks,
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
    "ALL",
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
