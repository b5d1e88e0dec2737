"""Executes one cut of a build: the edge half in LiteRT here, the cloud half on a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, cast

import numpy as np

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import CutRecord, Manifest, Sent
from edgecut.runtime import artifact, signature, wire
from edgecut.runtime.boundary import Codec
from edgecut.runtime.cache import AnswerCache
from edgecut.runtime.client import Client, CloudError, Exchange
from edgecut.runtime.litert import EdgeModel
from edgecut.runtime.router import is_sure, routed
from edgecut.runtime.sending import Link, Progressive

DEFAULT_SERVER = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Phases:
    """Where the time of one request went, in seconds. They do not overlap, and sum up to the total."""

    edge_s: float = 0.0
    encode_s: float = 0.0
    network_s: float = 0.0
    """On the way there and back, including the round trip."""
    queue_s: float = 0.0
    """In the server, waiting for the model."""
    compute_s: float = 0.0
    """In the server, in the model."""
    receive_s: float = 0.0
    """Reading and decoding the answer."""
    total_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Outputs in the manifest's order, and how they were got."""

    outputs: dict[str, np.ndarray]
    cut: str
    phases: Phases
    sent_bytes: int = 0
    received_bytes: int = 0
    fallback: str = ""
    """Why the edge answered alone, where another cut was meant to."""
    cached: bool = False
    """Whether it is the answer to an earlier input."""
    sent_part: float = 1.0
    """Share of the request that was sent before the time was over: less than 1 where it is the best answer
    to the most important part of a coded tensor."""


@dataclass
class Device:
    """Runs requests through a build.

    Args:
        path: The manifest, or the folder it stands in.
        server: URL of the server that holds the cloud half; it is contacted when a cut needs it.
        threads: CPU threads of the edge kernels.
        timeout_s: Seconds that a request may take.
        token: Sent to the server as a bearer token.
        ca: File of certificates that an ``https`` server's is checked against.
        coded: Send tensors as coded streams, where the build has coders for them. A server that is not
            ours takes their integers un-coded.
        require_signature: File of public keys, by one of which the manifest must be signed.
        features: Keeps what the edge half made of an input, for when the request is tried again.

    Raises:
        ModelError: The manifest is invalid or not signed, or the edge model is not the one it names.
    """

    path: Path
    server: str = DEFAULT_SERVER
    threads: int = 1
    timeout_s: float = 30.0
    token: Optional[str] = None
    ca: Optional[str] = None
    coded: bool = True
    require_signature: Optional[Path] = None
    features: Optional[AnswerCache] = None
    manifest: Manifest = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.path / manifest.FILE_NAME if self.path.is_dir() else self.path
        self.manifest = signature.read_manifest(self.path, self.require_signature)
        self._edge: Optional[EdgeModel] = None
        coded = {s for c in self.manifest.cuts for s in c.sends if s.coding is not None}
        self._codecs = {sent: Codec(sent) for sent in coded}
        self._client = Client(
            self.server, token=self.token, ca=self.ca, permitted=artifact.permitted(self.manifest)
        )
        if self.manifest.edge_model is not None:
            artifact.verify(self.manifest, self.path.parent, [self.manifest.edge_model])

    def run(self, inputs: Mapping[str, np.ndarray], cut: Optional[str] = None) -> Answer:
        """As `attempt`, but where the server fails and the edge has an answer of its own, it is that.

        Its `Answer.fallback` then says why.

        Raises:
            ModelError: An input is absent or does not fit, or the build does not hold the cut.
            CloudError: The cut needs the server, which does not answer.
        """
        try:
            return self.attempt(inputs, cut)
        except CloudError as error:
            if error.answer is None:
                raise
            return cast(Answer, error.answer)

    def attempt(
        self,
        inputs: Mapping[str, np.ndarray],
        cut: Optional[str] = None,
        *,
        timeout_s: Optional[float] = None,
        request_id: str = "",
        link: Optional[Link] = None,
    ) -> Answer:
        """Compute the model's outputs.

        Args:
            inputs: Every input of the model, in the manifest's shape and type; several samples at once where
                its batch is dynamic.
            cut: Name of the cut; the manifest's first if None. Where it is the one that is routed, the server
                is asked only if the edge is not sure of its answer.
            timeout_s: Seconds that the whole request may take; the device's own if None. What the edge
                half takes is the server's loss.
            request_id: Sent along, for the server's log.
            link: What is believed of the way to the server. Where there may be no time for all of a coded
                tensor it is sent as far as there is, and the answer is the best from that.

        Raises:
            ModelError: An input is absent or does not fit, or the build does not hold the cut.
            CloudError: The cut needs the server, which does not answer. Where the edge has an answer of
                its own all the same, the error holds it.
        """
        samples = check_inputs(self.manifest, inputs)
        record = self.manifest.cut(cut) if cut is not None else self.manifest.cuts[0]
        start = time.perf_counter()
        made = self._run_edge(record, inputs)
        edge_s = time.perf_counter() - start if record.signature else 0.0
        router = self.manifest.router if record.name == routed(self.manifest) else None
        if record.cloud_model is None or (router is not None and is_sure(router, made)):
            phases = Phases(edge_s=edge_s, total_s=time.perf_counter() - start)
            return Answer(self._outputs(made, samples), record.name, phases)
        given = {**inputs, **made}
        prepared = {s.name: self._prepared(given.get(s.name), s, samples) for s in record.sends}
        sends = {name: array for name, (array, _) in prepared.items()}
        ends = {name: found for name, (_, found) in prepared.items() if len(found) > 1}
        progressive = None
        if link is not None and ends:
            longest = max(ends, key=lambda name: ends[name][-1])
            progressive = Progressive(longest, ends[longest], link)
        coded_s = time.perf_counter() - start - edge_s
        left_s = (self.timeout_s if timeout_s is None else timeout_s) - (time.perf_counter() - start)
        try:
            exchange = self._ask(record, sends, left_s, request_id, progressive)
        except CloudError as error:
            if router is not None:
                phases = Phases(edge_s=edge_s, total_s=time.perf_counter() - start)
                outputs = self._outputs(made, samples)
                error.answer = Answer(outputs, record.name, phases, fallback=error.what)
            raise
        outputs = self._outputs({**made, **exchange.response.tensors}, samples)
        phases = _phases(edge_s, coded_s, exchange, time.perf_counter() - start)
        part = exchange.sent_bytes / exchange.whole_bytes
        return Answer(
            outputs, record.name, phases, exchange.sent_bytes, exchange.received_bytes, sent_part=part
        )

    def second_client(self) -> Client:
        """Another connection to the server, which may be used while a request runs."""
        return Client(self.server, token=self.token, ca=self.ca)

    def close(self) -> None:
        """Close the connection to the server."""
        self._client.close()

    def _run_edge(self, record: CutRecord, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if record.signature is None:
            return {}
        known = self.features.get(inputs, record.signature) if self.features else None
        if known is not None:
            return known
        model = self._edge_model()
        wanted = model.input_names(record.signature)
        made = model.run(record.signature, {name: inputs[name] for name in wanted})
        if self.features:
            self.features.put(inputs, made, record.signature)
        return made

    def _prepared(
        self, array: Optional[np.ndarray], sent: Sent, samples: int
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """A tensor as it goes over the wire, and where a part of it ends (see `Codec.encode`)."""
        codec, shape = self._codecs.get(sent), self.manifest.sized(sent.shape, samples)
        if codec is None or array is None:
            return _fit(array, sent, shape), ()
        integers = _fit(codec.integers(array), sent, shape)
        return codec.encode(integers) if self.coded else (integers, ())

    def _edge_model(self) -> EdgeModel:
        if self._edge is None:
            if self.manifest.edge_model is None:
                raise ModelError("names no edge model, which this cut needs", where=str(self.path))
            self._edge = EdgeModel(self.path.parent / self.manifest.edge_model, threads=self.threads)
        return self._edge

    def _ask(
        self,
        record: CutRecord,
        sends: dict[str, np.ndarray],
        timeout_s: float,
        request_id: str,
        progressive: Optional[Progressive],
    ) -> Exchange:
        model = record.cloud_model or ""
        wanted = {t.name: True for t in self.manifest.outputs if t.name not in record.edge_outputs}
        parameters = {artifact.PARAMETER: artifact.cloud_hash(self.manifest, model)}
        request = wire.Request(sends, request_id, parameters, wanted)
        exchange = self._client.infer(model, request, timeout_s, progressive)
        missing = [name for name in wanted if name not in exchange.response.tensors]
        if missing:
            what = f"answered without {missing[0]!r}"
            raise CloudError(what, where=self.server, kind="garbage")
        return exchange

    def _outputs(self, found: Mapping[str, np.ndarray], samples: int) -> dict[str, np.ndarray]:
        declared = {t.name: (t.dtype, self.manifest.sized(t.shape, samples)) for t in self.manifest.outputs}
        return {name: _as_declared(name, found[name], *how, self.server) for name, how in declared.items()}


def check_inputs(described: Manifest, inputs: Mapping[str, np.ndarray]) -> int:
    """Compare inputs with what the model takes.

    Returns:
        How many samples they hold.

    Raises:
        ModelError: One is absent, unknown, or of another shape or type.
    """
    known = {t.name: t for t in described.inputs}
    unknown = [name for name in inputs if name not in known]
    if unknown:
        raise ModelError(f"the model has no input {unknown[0]!r}", hint=f"it has: {', '.join(known)}")
    missing = [name for name in known if name not in inputs]
    if missing:
        raise ModelError(f"the input {missing[0]!r} is not given", hint=f"--input {missing[0]}=FILE")
    samples = max((described.samples(array.shape) for array in inputs.values()), default=1)
    for name, tensor in known.items():
        found, shape = inputs[name], described.sized(tensor.shape, samples)
        if found.shape != shape or found.dtype.name != tensor.dtype:
            shown = f"{found.dtype.name} {list(found.shape)}"
            what = f"is {shown}, the model takes {tensor.dtype} {list(shape)}"
            raise ModelError(what, where=f"input {name!r}")
    return samples


def _fit(array: Optional[np.ndarray], sent: Sent, shape: tuple[int, ...]) -> np.ndarray:
    """What goes over the wire; it must be what the manifest lists, in shape and type."""
    if array is None or array.shape != shape or array.dtype.name != sent.dtype:
        found = "absent" if array is None else f"{array.dtype.name} {list(array.shape)}"
        what = f"the edge model gives {found}, the manifest lists {sent.dtype} {list(shape)}"
        raise ModelError(what, where=sent.name, hint="build again")
    # The protocol knows no tensor without dimensions on every server: a scalar goes as one element.
    return array if array.ndim else array.reshape(1)


def _as_declared(name: str, array: np.ndarray, dtype: str, shape: tuple[int, ...], server: str) -> np.ndarray:
    if array.shape == shape and array.dtype.name == dtype:
        return array
    if array.dtype.name == dtype and array.size == 1 and not shape:
        return array.reshape(())
    found = f"{array.dtype.name} {list(array.shape)}"
    what = f"gave {name!r} as {found}, the manifest lists {dtype} {list(shape)}"
    raise CloudError(what, where=server, kind="garbage")


def _phases(edge_s: float, coded_s: float, exchange: Exchange, total_s: float) -> Phases:
    stamps: dict[str, Any] = exchange.response.parameters
    queue_s, compute_s = (_seconds(stamps.get(key)) for key in (wire.QUEUE_S, wire.COMPUTE_S))
    network_s = max(exchange.wait_s - queue_s - compute_s, 0.0)
    encode_s = coded_s + exchange.encode_s
    return Phases(edge_s, encode_s, network_s, queue_s, compute_s, exchange.receive_s, total_s)


def _seconds(stamp: Any) -> float:
    """A server's stamp; none where the server (Triton, say) gives none or nonsense."""
    usable = isinstance(stamp, (int, float)) and not isinstance(stamp, bool) and 0 <= stamp < 1e6
    return float(stamp) if usable else 0.0
