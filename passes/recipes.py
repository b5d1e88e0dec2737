"""The pipelines behind the short commands, each written down as the passes it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgecut.ir.errors import UsageError
from edgecut.passes import registry, text
from edgecut.passes.base import Pass


@dataclass(frozen=True)
class Image:
    """How the pixels of an image input are normalized: ``(pixel * scale - mean) / std`` per channel."""

    input: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0


@dataclass(frozen=True)
class Source:
    """The user's model, and what it takes to read it."""

    model: Path
    shape: tuple[str, ...] = ()
    image: Image | None = None
    calibration: Path | None = None

    def front(self, *, keep: bool = True) -> list[Pass]:
        """Import, preprocess, simplify: how every pipeline begins. ``keep`` for passes that compare."""
        importing = make("import", model=self.model, shape=self.shape, keep=keep)
        simplify = make("simplify")
        if self.image is None:
            return [importing, simplify]
        image = self.image
        options = {"image": image.input, "mean": image.mean, "std": image.std, "scale": image.scale}
        return [importing, make("preprocess", calibration=self.calibration, **options), simplify]


@dataclass(frozen=True)
class Quantizing:
    """How a model is quantized, and what may be lost by it."""

    scheme: str = "int8"
    method: str = "auto"
    samples: int | None = None
    keep: tuple[str, ...] = ()
    max_accuracy_drop: float | None = None
    min_sqnr: float | None = None
    min_agreement: float | None = None
    best_effort: bool = False
    explain: bool = False
    refine: bool = False
    """Equalize channels before, and correct biases after."""

    def passes(self, calibration: Path | None) -> list[Pass]:
        """Quantize, with what makes it better around it if that is asked for."""
        if self.scheme == "none":
            return []
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "refine"}
        chain = [make("quantize", calibration=calibration, **named)]
        if self.refine and self.scheme in INTEGERS:
            data = {"calibration": calibration}
            chain = [make("equalize", **data), *chain, make("correct-bias", **data)]
        return chain


@dataclass(frozen=True)
class Pruning:
    """How much is pruned, and what may be lost by it."""

    ratio: float = 0.0
    macs: float = 0.0
    size: float = 0.0
    speedup: float = 1.0
    multiple: int = 1
    augment: str | None = None
    """More inputs out of those that are there; None: as each pass does by itself."""
    unlabelled: Path | None = None
    """More inputs still, to refit and train on."""
    samples: int | None = None
    max_accuracy_drop: float | None = None
    min_sqnr: float | None = None
    min_agreement: float | None = None
    best_effort: bool = False
    finetune: bool = False
    epochs: int | None = None
    checkpoint: Path | None = None
    sparsity: str = "none"
    """``2:4`` zeroes weights after all that, for a server with sparse kernels."""

    def __bool__(self) -> bool:
        """Whether anything is asked for: a goal, sparsity, or a budget to be used up."""
        budget = (self.max_accuracy_drop, self.min_sqnr, self.min_agreement)
        return self.has_goal or self.is_sparse or any(limit is not None for limit in budget)

    @property
    def is_sparse(self) -> bool:
        """Whether weights become zero."""
        return self.sparsity != "none"

    @property
    def has_goal(self) -> bool:
        """Whether it is said how much to prune; else it is as much as the accuracy budget allows."""
        return bool(self.ratio or self.macs or self.size or self.speedup > 1)

    def passes(self, calibration: Path | None, cloud: str | None = None) -> list[Pass]:
        """Prune, train what is left, and zero weights, as is asked for: the last of them holds the budget.

        Where sparsity is the only goal, no channel leaves. It comes last, since refitting and training would
        fill the zeros again.
        """
        limits = ("max_accuracy_drop", "min_sqnr", "min_agreement")
        if not self.is_sparse:
            return self._channels(calibration)
        names = ("samples", "best_effort", *limits)
        options = {name: getattr(self, name) for name in names}
        sparse = make("sparsify", cloud=cloud, calibration=calibration, **options)
        before = replace(self, max_accuracy_drop=None, min_sqnr=None, min_agreement=None)
        return [*(before._channels(calibration) if self.has_goal else []), sparse]

    def _channels(self, calibration: Path | None) -> list[Pass]:
        own = ("finetune", "epochs", "checkpoint", "sparsity")
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}
        if self.augment is None:
            named.pop("augment")
        if not self.finetune:
            return [make("prune", calibration=calibration, **named)]
        shared = {"augment", "unlabelled", "samples", "max_accuracy_drop", "min_sqnr", "min_agreement"}
        training = {name: value for name, value in named.items() if name in shared | {"best_effort"}}
        if self.has_goal:
            named |= {"max_accuracy_drop": None, "min_sqnr": None, "min_agreement": None}
        how = {"epochs": self.epochs, "checkpoint": self.checkpoint, **training}
        return [
            make("prune", calibration=calibration, **named), make("finetune", calibration=calibration, **how)
        ]  # fmt: skip


INTEGERS = ("int8", "int8-symmetric", "int16x8")
"""Schemes with integer kernels, which have to be calibrated."""


@dataclass(frozen=True)
class BuildOptions:
    """What ``edgecut build`` may be asked for."""

    edge: str
    cloud: str
    cutting: Mapping[str, text.Raw] = field(default_factory=dict)
    """Options of the pass ``partition``, as text."""
    quantizing: Quantizing = Quantizing("auto")
    pruning: Pruning = Pruning()
    dynamic_batch: bool = False


def build(source: Source, options: BuildOptions) -> list[Pass]:
    """From a trained model to a build directory.

    Raises:
        UsageError: An option does not fit the others.
    """
    from edgecut.targets.spec import load_device

    quantizing = replace(options.quantizing, scheme=_scheme(source, options))
    targets = {"edge": options.edge, "cloud": options.cloud}
    # Where it is left to us what runs on integers, both precisions are timed: not all is faster so.
    timed = _timed(quantizing.scheme) if options.quantizing.scheme == "auto" else {}
    chain = [*source.front(), make("profile", **timed, **targets)]
    # What prune and quantize change has other costs; what they leave alone is not measured again.
    if options.pruning.has_goal or options.pruning.is_sparse:
        chain += options.pruning.passes(source.calibration, options.cloud)
        chain.append(make("profile", **timed, **targets))
    if quantizing.scheme != "none":
        chain += [*quantizing.passes(source.calibration), make("profile", **targets)]
    # The profile keeps the name of a target, by which a user's own file is not found again.
    own = {side: target for side, target in targets.items() if target.endswith((".toml", ".json"))}
    cutting = {**options.cutting, **own}
    if (boundary := cutting.get("boundary", "none")) != "none":
        encodings = [] if boundary == "auto" else [boundary]
        chain.append(make("boundary", calibration=source.calibration, encodings=tuple(encodings), **own))
    if (boundary != "none" or cutting.get("mode") == "input") and source.calibration:
        cutting.setdefault("data", str(source.calibration))
    if load_device(options.edge).is_local and cutting.get("mode") != "input":
        cutting.setdefault("measure", "true")
    return [*chain, bind("partition", cutting), *emit(dynamic_batch=options.dynamic_batch)]


def convert(
    source: Source,
    to: Path,
    quantize: str = "auto",
    edge: str | None = None,
    *,
    dynamic_batch: bool = False,
    verify: bool = False,
) -> list[Pass]:
    """From a trained model to one TFLite file, not cut; ``auto`` is int8 where there is data to calibrate it.

    Where a device is named, both precisions are profiled there, and what is not faster on integers stays in
    float, with weights of 8 bits nonetheless: its kernel reads them as fast.

    Raises:
        UsageError: An option does not fit the others.
    """
    if quantize in INTEGERS and source.calibration is None:
        raise UsageError("--quantize needs --calibration", hint=".npz, .npy, or a folder of images")
    scheme = ("int8" if source.calibration else "none") if quantize == "auto" else quantize
    timed = _timed(scheme) if edge is not None else {}
    quantizing = [make("profile", edge=edge, **timed)] if timed else []
    if scheme != "none":
        how = {"scheme": scheme, "calibration": source.calibration, "narrow": bool(timed)}
        quantizing.append(make("quantize", **how))
    front = source.front(keep=bool(quantizing))
    return [*front, *quantizing, make("convert", to=to, dynamic_batch=dynamic_batch, verify=verify)]


def quantize(source: Source, quantizing: Quantizing, edge: str | None) -> list[Pass]:
    """From a trained model to a quantized one; profiled before and after, where a device is named."""
    if edge is None:
        return [*source.front(), *quantizing.passes(source.calibration)]
    before = make("profile", edge=edge, **_timed(quantizing.scheme))
    return [*source.front(), before, *quantizing.passes(source.calibration), make("profile", edge=edge)]


def prune(source: Source, pruning: Pruning, edge: str | None = None, cloud: str | None = None) -> list[Pass]:
    """From a trained model to a pruned one; profiled before and after, where a device is named."""
    if edge is None and pruning.speedup > 1:
        edge = "local"
    chain = pruning.passes(source.calibration, cloud)
    if edge is None:
        return [*source.front(), *chain]
    profile = make("profile", edge=edge)
    return [*source.front(), profile, *chain, profile]


def emit(*, verify: bool = False, dynamic_batch: bool = False) -> list[Pass]:
    """From a partitioned program to a build directory."""
    batch = [make("open-batch")] if dynamic_batch else []
    return [*batch, make("emit-tflite", verify=verify), make("emit-onnx"), make("manifest")]


def parse(source: Source, pipeline: str) -> list[Pass]:
    """The user's own pipeline; a model is imported first unless the text does it.

    Raises:
        UsageError: The text is wrong.
    """
    passes = registry.pipeline(pipeline)
    return passes if passes[0].name == "import" else [*source.front()[:1], *passes]


def make(name: str, **options: Any) -> Pass:
    """A pass from typed options."""
    return registry.load(name)(**options)


def bind(name: str, options: dict[str, text.Raw]) -> Pass:
    """A pass from options as text.

    Raises:
        UsageError: An option is unknown, missing, or of the wrong type.
    """
    return text.bind(registry.load(name), options)


def unparse(passes: Sequence[Pass]) -> str:
    """The pipeline text of these passes."""
    return ",".join(text.unparse(item) for item in passes)


def _timed(scheme: str) -> dict[str, bool]:
    """Which integer kernels a profile is to time besides those of float."""
    return {} if scheme not in INTEGERS else {"int16x8" if scheme == "int16x8" else "int8": True}


def _scheme(source: Source, options: BuildOptions) -> str:
    """``auto`` is the targets' own scheme where there is data to calibrate it with.

    Symmetric activations run on every device, so one target that needs them decides for both sides. All
    targets are looked up here, so that a wrong name is told before any work is done.
    """
    from edgecut.targets.spec import load_device, load_network

    network = str(options.cutting.get("network", "wifi"))
    edge, cloud, _ = load_device(options.edge), load_device(options.cloud), load_network(network)
    wanted = options.quantizing.scheme
    if wanted == "auto":
        both = edge.scheme == "int8" and cloud.scheme == "int8-symmetric"
        wanted = "none" if source.calibration is None else cloud.scheme if both else edge.scheme
    if wanted in INTEGERS and source.calibration is None:
        raise UsageError("--quantize needs --calibration", hint=".npz, .npy, or a folder of images")
    return wanted
