"""Runs converters as processes, and keeps what the peers made: they take minutes, and do not change."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from peers.converters import Converter, Job

LIMIT_S = 600


@dataclass(frozen=True)
class Converted:
    """What came of one conversion."""

    seconds: float
    """Wall time of the whole process."""
    file: str | None
    """Path of the TFLite file; None where there is none."""
    error: str = ""


def known(job: Job) -> Converted | None:
    """What was made before, if it was."""
    record = job.out / "record.json"
    return Converted(**json.loads(record.read_text())) if record.exists() else None


def convert(converter: Converter, job: Job) -> Converted | None:
    """Convert once, or give what was made before; None where the converter does not read such models."""
    found, record = known(job), job.out / "record.json"
    if found is not None:
        return found
    shutil.rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    done = run(converter, job)
    if done is not None:
        record.write_text(json.dumps(asdict(done)))
    return done


def fresh(converter: Converter, job: Job, runs: int) -> Converted:
    """Convert anew, with the shortest time of several runs (the first one finds cold caches)."""
    shutil.rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    done = [d for _ in range(runs) if (d := run(converter, job)) is not None]
    best = min(done, key=lambda d: d.seconds)
    (job.out / "record.json").write_text(json.dumps(asdict(best)))
    return best


def once(converter: Converter, job: Job) -> Converted | None:
    """Convert anew, a single time; None where the converter does not read such models."""
    shutil.rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    return run(converter, job)


def run(converter: Converter, job: Job) -> Converted | None:
    """Convert, whatever was made before."""
    command = converter.command(job)
    if command is None:
        return None
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # who installs a package has its modules compiled
    start = time.perf_counter()
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, cwd=job.out
        )
    except subprocess.TimeoutExpired:
        return Converted(LIMIT_S, None, f"no file after {LIMIT_S} s")
    seconds = time.perf_counter() - start
    (job.out / "log.txt").write_text(process.stdout + process.stderr)
    found = re.search(r"making the model: ([\d.]+)", process.stdout)
    seconds -= float(found[1]) if found else 0.0
    file = next((p for p in converter.made(job) if p.exists()), None)
    words = (process.stderr or process.stdout).strip().splitlines() or ["no file"]
    return Converted(seconds, str(file) if file else None, "" if file else words[-1][:200])


def job(converter: Converter, name: str, kind: str, models: Path, environments: Path, work: Path) -> Job:
    """The work for one converter on one network."""
    out = work / models.name / converter.name / kind / name
    return Job(name, models, out, kind, Path(os.path.abspath(environments / converter.name)))
