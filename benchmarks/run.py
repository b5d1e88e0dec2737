"""Runs benchmarks and keeps their tables in benchmarks/README.md.

Usage: python benchmarks/run.py [NAME ...]      (all of them by default)

A benchmark is a file ``bench_NAME.py`` here that prints one section of Markdown, headline included. Its
section in the README is replaced; those of the others stay.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from machine import describe

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


def main() -> None:
    names = sys.argv[1:] or sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    for name in names:
        print(f"benchmark {name} ...", file=sys.stderr)
        script = HERE / f"bench_{name}.py"
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=True)
        keep(name, f"{done.stdout.strip()}\n\n{describe()}")


def keep(name: str, section: str) -> None:
    """Put a section into the README, in place of an older one of this name."""
    text = README.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    whole = f"{begin}\n{section}\n{end}\n"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    new = found.sub(lambda _: whole, text) if found.search(text) else f"{text.rstrip()}\n\n{whole}"
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
