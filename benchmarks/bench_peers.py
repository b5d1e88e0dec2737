"""edgecut beside the other converters: time, size, operators, and the latency of what they make.

Usage: python bench_peers.py [--environments FOLDER] [--peers P,P] [--kinds K,K] [--prepare] [NAME ...]

``peers/setup.sh`` makes the environments. ``--prepare`` then lets the peers convert everything once, which
takes about an hour; what they made is kept beside the environments. Without it, what is there is measured.
Networks, peers and kinds (float, int8) that are named restrict both. ``--results FILE`` keeps what was found
in a file and prints all that is in it, so that the table can be made in pieces.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from peers import convert, kept, measure, report
from peers.converters import EDGECUT, EDGECUT_LAST, KINDS, PEERS

AGAIN = "onnx2tf2"
"""The fastest of the peers converts anew beside edgecut each time; of the others the first time counts."""
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fixtures" / "networks"))


def main() -> None:
    import cache
    import catalogue

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(catalogue.NETWORKS))
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "edgecut-peers")
    parser.add_argument("--peers", default=",".join(p.name for p in PEERS), help="which of them")
    parser.add_argument("--kinds", default=",".join(KINDS), help="float, int8, or both")
    parser.add_argument("--results", type=Path, help="a .json file")
    parser.add_argument("--prepare", action="store_true", help="only make the peers' files")
    arguments = parser.parse_args()
    names = arguments.names or list(catalogue.NETWORKS)
    models = cache.files(names, small=False)
    work = arguments.environments / "made"
    asked, kinds = arguments.peers.split(","), arguments.kinds.split(",")
    able = [p for p in PEERS if (arguments.environments / p.name / "ready").exists()]
    peers = [p for p in PEERS if p.name in asked and (p in able or not arguments.prepare)]
    made = {}
    for kind in kinds:
        for name in names:
            for peer in peers:
                job = convert.job(peer, name, kind, models, arguments.environments, work)
                print(f"{kind} {name} {peer.name}", file=sys.stderr)
                done = convert.convert(peer, job) if arguments.prepare else convert.known(job)
                if done is not None:
                    made[kind, name, peer.name] = done
    if arguments.prepare:
        return
    for kind in kinds:
        for name in names:
            job = convert.job(EDGECUT, name, kind, models, arguments.environments, work)
            print(f"{kind} {name} edgecut", file=sys.stderr)
            made[kind, name, EDGECUT.name] = convert.fresh(EDGECUT, job, 3 if kind == "float" else 1)
            job = convert.job(EDGECUT_LAST, name, kind, models, arguments.environments, work)
            last = convert.once(EDGECUT_LAST, job)
            if last is not None:
                made[kind, name, EDGECUT_LAST.name] = last
            again = next((p for p in peers if p.name == AGAIN and p in able), None)
            if again is not None and (kind, name, AGAIN) in made and kind == "float":
                job = convert.job(again, name, kind, models, arguments.environments, work)
                made[kind, name, AGAIN] = convert.fresh(again, job, 1)
    measured = measure.all_of(names, made, models)
    if arguments.results is not None:
        made, measured = kept.merged(arguments.results, made, measured)
        names = [n for n in catalogue.NETWORKS if any(key[1] == n for key in made)]
    print(report.text(names, made, measured))


if __name__ == "__main__":
    main()
