"""The pass that folds the normalization of an image input into the graph."""

from dataclasses import dataclass
from pathlib import Path

from edgecut.frontends import data
from edgecut.ir import annotations, store
from edgecut.ir.annotations import ImageInput, Reference, Upload
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program, TensorSpec, tensor_spec
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.simplify import image_input, jpeg

# More images do not change the mean by much, and each is compressed once.
_SAMPLES = 200


@dataclass(frozen=True)
class Preprocess(Pass):
    """Fold (pixel * scale - mean) / std into the graph: an image input takes raw uint8 NHWC pixels."""

    name = "preprocess"
    cacheable = True

    image: str | None = option(None, help="Input that is an image; without one nothing is done.")
    mean: tuple[float, ...] = option((0.0,), help="Per channel (or one for all), subtracted after scale.")
    std: tuple[float, ...] = option((1.0,), help="Per channel (or one for all), divides what is left.")
    scale: float = option(1.0, help="Multiplies the pixels (0..255) first.")
    calibration: Path | None = option(None, help="Images to measure the JPEG upload with.", file=True)
    jpeg_quality: int = option(95, help="Quality of that JPEG, 1..100.")

    def run(self, program: Program, context: Context) -> Program:
        """Rewrite the input, keep the result as the reference, and measure what an upload would take."""
        if self.image is None:
            return program
        self._check()
        value = image_input.find(program, self.image)
        pixels = image_input.Normalization.of(self.mean, self.std, self.scale)
        done = annotations.get(value, ImageInput)
        if done is not None:
            return self._again(program, done, pixels)
        self._warn(context)
        floats = tensor_spec(value)
        rewritten = image_input.rewrite(program, value, pixels)
        image = tensor_spec(rewritten)
        upload = self._upload(program, floats, image)
        record = ImageInput(pixels.mean, pixels.std, upload)
        annotations.put(rewritten, record)
        annotations.drop(program.model, Reference)
        annotations.put(program.model, Reference(store.put(program)))
        sizes = {"float32": upload.float32, "uint8": upload.uint8, "jpeg": upload.jpeg}
        context.metrics.update({f"{name}_bytes": size for name, size in sizes.items() if size is not None})
        return program

    def _check(self) -> None:
        if self.scale == 0 or any(s == 0 for s in self.std):
            raise UsageError("scale and std must not be 0", where=f"image {self.image}")
        if not 1 <= self.jpeg_quality <= 100:
            raise UsageError(f"is {self.jpeg_quality}", where="jpeg_quality", hint="1..100")

    def _warn(self, context: Context) -> None:
        small = all(0 < m <= 1 for m in self.mean) and all(0 < s <= 1 for s in self.std)
        if self.scale == 1.0 and small:
            context.warn("mean and std look like those of pixels in 0..1: --scale 0.00392157 makes them so")

    def _again(self, program: Program, done: ImageInput, pixels: image_input.Normalization) -> Program:
        """An IR file in which this was done before stays as it is."""
        if not pixels.equals(done.mean, done.std):
            what = f"{self.image!r} is an image already, with mean {list(done.mean)} and std {list(done.std)}"
            raise UsageError(what, hint="leave --image out, or import the original model")
        return program

    def _upload(self, program: Program, floats: TensorSpec, image: TensorSpec) -> Upload:
        count = 1
        for dim in image.shape:
            count *= int(dim or 1)
        if self.calibration is None or image.shape[3] not in jpeg.CHANNELS:
            return Upload(float32=4 * count, uint8=count)
        samples = data.load(self.calibration, program.inputs, _SAMPLES)
        size = jpeg.mean_bytes((sample[image.name] for sample in samples), self.jpeg_quality)
        return Upload(float32=4 * count, uint8=count, jpeg=size, jpeg_quality=self.jpeg_quality)
