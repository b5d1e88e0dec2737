"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path,
    typer.Argument(help="ONNX, .pt2, .keras, .h5, SavedModel, or an edgecut IR file.", show_default=False),
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1,3,224,224", help="Fix the shape of an input (repeatable)."),
]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="DATA", help=".npz, .npy, or a folder of images."),
]
Edge = Annotated[str, typer.Option("--edge", metavar="TARGET", help="Device: a name, or a .toml file.")]
Cloud = Annotated[str, typer.Option("--cloud", metavar="TARGET", help="Server: a name, or a .toml file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
OutputFile = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="IR file to write (.onnx).", show_default=False)
]
TimePasses = Annotated[bool, typer.Option("--time-passes", help="Print the time of each pass on stderr.")]
VerifyEach = Annotated[bool, typer.Option("--verify-each", help="Check the program after each pass.")]
PrintIrAfter = Annotated[
    list[str] | None,
    typer.Option("--print-ir-after", metavar="PASS", help="Print the program after a pass, or after 'all'."),
]
SaveTemps = Annotated[
    Path | None,
    typer.Option("--save-temps", metavar="DIR", help="Keep the program after each pass in this folder."),
]
Depfile = Annotated[
    Path | None,
    typer.Option("--depfile", metavar="FILE", help="Write the files that were read, as a Make rule."),
]
DynamicBatch = Annotated[bool, typer.Option("--dynamic-batch", help="Take any number of samples at once.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every pass, even if nothing has changed.")]


COMPRESSION = "Compression"
"""A heading in the help."""


class Sparse(StrEnum):
    """What ``--sparsity`` accepts."""

    none = "none"
    fours = "2:4"


class Ranges(StrEnum):
    """What ``--method`` accepts."""

    auto = "auto"
    mse = "mse"
    minmax = "minmax"
    output = "output"
    percentile = "percentile"
    entropy = "entropy"


Method = Annotated[
    Ranges,
    typer.Option(
        "--method",
        help="How ranges follow from the data.",
        rich_help_panel=COMPRESSION,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        help="Calibrate with so many samples only, from the start.",
        rich_help_panel=COMPRESSION,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep", metavar="NODE", help="This node stays in float (repeatable).", rich_help_panel=COMPRESSION
    ),
]
MaxAccuracyDrop = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        metavar="POINTS",
        help="Budget: top-1 lost, with labels.",
        rich_help_panel=COMPRESSION,
    ),
]
MinSqnr = Annotated[
    float | None,
    typer.Option(
        "--min-sqnr", metavar="DB", help="Budget: signal to noise, worst output.", rich_help_panel=COMPRESSION
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        metavar="SHARE",
        help="Budget: same top-1 as in float, 0 to 1.",
        rich_help_panel=COMPRESSION,
    ),
]
BestEffort = Annotated[
    bool,
    typer.Option(
        "--best-effort",
        help="Go on, with a warning, where a budget cannot be met.",
        rich_help_panel=COMPRESSION,
    ),
]
Refine = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Equalize channels and correct biases where that lowers the error (slow).",
        rich_help_panel=COMPRESSION,
    ),
]


Sparsity = Annotated[
    Sparse,
    typer.Option(
        "--sparsity",
        help="2:4: two of every four weights zero, for servers with sparse kernels.",
        rich_help_panel=COMPRESSION,
    ),
]
Finetune = Annotated[
    bool,
    typer.Option(
        "--finetune",
        help="Train what pruning left by the original model, without labels (needs edgecut[torch]).",
        rich_help_panel=COMPRESSION,
    ),
]


class Augment(StrEnum):
    """What ``--augment`` accepts."""

    none = "none"
    flip = "flip"
    auto = "auto"


Augmentation = Annotated[
    Augment | None,
    typer.Option(
        "--augment",
        help="Of pruning: more inputs out of the data, images mirrored (flip), or moved, mixed and made "
        "poorer too (auto); by default auto for --finetune, else none.",
        rich_help_panel=COMPRESSION,
    ),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        "--unlabelled",
        metavar="DATA",
        help="Of pruning: more inputs, of anything alike, to refit and train on.",
        rich_help_panel=COMPRESSION,
    ),
]


class Scheme(StrEnum):
    """What ``--quantize`` accepts."""

    auto = "auto"
    none = "none"
    int8 = "int8"
    int8_symmetric = "int8-symmetric"
    int16x8 = "int16x8"
    int8_weights = "int8-weights"
    int8_dynamic = "int8-dynamic"
    int4_weights = "int4-weights"
    float16 = "float16"


ImageInput = Annotated[
    str | None,
    typer.Option("--image", metavar="INPUT", help="This input is an image: take raw uint8 NHWC pixels."),
]
ImageMean = Annotated[
    str | None, typer.Option("--mean", metavar="M[,M,M]", help="Per channel, subtracted after --scale.")
]
ImageStd = Annotated[
    str | None, typer.Option("--std", metavar="S[,S,S]", help="Per channel, divides what is left.")
]
ImageScale = Annotated[
    float,
    typer.Option("--scale", metavar="F", help="Multiplies the pixels first (0.00392157: 1/255)."),
]
