#!/bin/sh
# Runs a build's device half on Python 3.9, the oldest that it supports: Debian 11's, in a chroot, with the last
# LiteRT made for it, against `edgecut serve` on this machine; and coded streams, bit for bit.
# Opt-in: it downloads some 150 MB.
#
#   tests/python39/run.sh [WORK]     WORK (default: build/python39) keeps the Debian root for the next time
#
# Needs root, debootstrap, unshare, unzip, an x86-64 machine, and edgecut in .venv.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=${1:-"$here/build/python39"}
bin=${BIN:-"$here/.venv/bin"}
root=$work/root
for tool in debootstrap unshare unzip; do
    command -v "$tool" > /dev/null || { echo "$tool is not installed" >&2; exit 3; }
done
mkdir -p "$work"

if [ ! -e "$work/.ready" ]; then
    rm -rf "$root" "$work/wheels"
    debootstrap --variant=minbase --include=python3 bullseye "$root" "${MIRROR:-http://deb.debian.org/debian}" \
        > "$work/debootstrap.log"
    "$bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --python-version 3.9 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 --dest "$work/wheels" ai-edge-litert numpy
    for wheel in "$work"/wheels/*.whl; do unzip -q -o "$wheel" -d "$root/opt/lib"; done
    touch "$work/.ready"
fi

inside() {
    # LiteRT looks for the processor's features in /proc.
    # shellcheck disable=SC2016  # the inner shell expands these
    timeout 300 unshare --mount sh -c 'mount --bind /proc "$0/proc"; exec chroot "$0" /usr/bin/env \
        PYTHONPATH=/opt/lib OMP_NUM_THREADS=1 "$@"' "$root" "$@"
}
inside python3 --version
rm -rf "$root/opt/build" "$work/serve.log"
"$bin/edgecut" build "$here/fixtures/digits.onnx" --image input --mean 127.5 --std 127.5 --edge raspberrypi4 \
    --cloud x86-vm --network wifi --cut relu_4 -o "$work/build" > /dev/null
cp -r "$work/build" "$root/opt/build"
cp "$here/fixtures/digit.npy" "$root/opt/digit.npy"
"$bin/edgecut" sign --new-key "$work/key.$$" > /dev/null
"$bin/edgecut" sign "$root/opt/build" --key "$work/key.$$" > /dev/null
cp "$work/key.$$.pub" "$root/opt/key.pub"
"$bin/edgecut" serve "$work/build" --port 8766 2> "$work/serve.log" &
server=$!
trap 'kill $server; rm -f "$work/key.$$" "$work/key.$$.pub"' EXIT
until grep -q listening "$work/serve.log"; do kill -0 $server; sleep 0.2; done

device=/opt/build/edge/edgecut-runtime.pyz
url=http://127.0.0.1:8766
cp "$here/tests/boundary/golden.py" "$here/tests/boundary/golden_streams.json" "$root/opt/"
inside python3 /opt/golden.py $device
inside python3 $device selftest /opt/build --server $url --require-signature /opt/key.pub
for cut in relu_4 edge-only cloud-only; do
    set -- --input /opt/digit.npy --server $url --cut "$cut" --json
    inside python3 $device run /opt/build "$@" > "$work/there.json"
    shift 2
    "$bin/edgecut" run "$work/build" --input "$here/fixtures/digit.npy" "$@" > "$work/here.json"
    "$bin/python" "$here/tests/aarch64/same.py" "$cut" "$work/here.json" "$work/there.json"
done
printf '%s\n' /opt/digit.npy /opt/digit.npy | inside python3 $device watch /opt/build --server $url \
    --cache-mb 1 --queue /opt/queue --status /opt/status > "$work/watched"
[ "$(wc -l < "$work/watched")" = 2 ]
inside python3 $device status /opt/status
inside python3 $device profile /opt/build --runs 3 > /dev/null
echo "Python 3.9: all cuts answer as they do here"
