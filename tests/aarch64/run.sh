#!/bin/sh
# Runs a build's device half on aarch64, under qemu: the runtime's zip application, with Debian's Python 3.11, NumPy
# and LiteRT for that processor, against `edgecut serve` on this machine; and coded streams, bit for bit.
# Opt-in: it downloads some 200 MB.
#
#   tests/aarch64/run.sh [WORK]      WORK (default: build/aarch64) keeps the Debian root for the next time
#
# Needs root, debootstrap, qemu-aarch64-static (Debian: qemu-user-static), dpkg-deb, unzip, and edgecut in .venv.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=${1:-"$here/build/aarch64"}
bin=${BIN:-"$here/.venv/bin"}
root=$work/root
wheels=$work/wheels
for tool in debootstrap qemu-aarch64-static dpkg-deb unzip; do
    command -v "$tool" > /dev/null || { echo "$tool is not installed" >&2; exit 3; }
done
mkdir -p "$work"

if [ ! -e "$work/.ready" ]; then
    rm -rf "$root" "$wheels"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 \
        bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" > "$work/debootstrap.log"
    # Unpacked, not configured: nothing of it is ever booted or chrooted into.
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    mkdir -p "$wheels/lib"
    "$bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --dest "$wheels" ai-edge-litert numpy
    for wheel in "$wheels"/*.whl; do unzip -q -o "$wheel" -d "$wheels/lib"; done
    touch "$work/.ready"
fi

# LiteRT reads the processor's features from /proc/cpuinfo, and crashes on another processor's: qemu gives this
# machine's unless there is one in the root. This is a Raspberry Pi 4's.
mkdir -p "$root/proc"
for core in 0 1 2 3; do
    printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' "$core"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
    printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done > "$root/proc/cpuinfo"

# What run.sh and profile.sh of a build call as their Python.
python=$work/python
cat > "$python" << END
#!/bin/sh
exec qemu-aarch64-static -cpu cortex-a72 -L "$root" -E PYTHONHOME="$root/usr" -E PYTHONPATH="$wheels/lib" -E OMP_NUM_THREADS=1 \
    "$root/usr/bin/python3.11" "\$@"
END
chmod +x "$python"
machine=$("$python" -c 'import platform; print(platform.machine())')
[ "$machine" = aarch64 ] || { echo "the emulated machine is $machine" >&2; exit 1; }

fixture=$here/fixtures
build() {
    name=$1
    shift
    "$bin/edgecut" build "$fixture/digits.onnx" --image input --mean 127.5 --std 127.5 "$@" \
        --edge raspberrypi4 --cloud x86-vm --network wifi -o "$work/$name" > /dev/null
}
build float --cut relu_4
build int8 --calibration "$fixture/digits_calibration.npz" --cut relu_4_quantized

"$python" "$here/tests/boundary/golden.py" "$work/float/edge/edgecut-runtime.pyz"

for name in float int8; do
    "$bin/edgecut" serve "$work/$name" --port 8765 2> "$work/serve.log" &
    server=$!
    trap 'kill $server' EXIT
    until grep -q listening "$work/serve.log"; do kill -0 $server; sleep 0.2; done
    url=http://127.0.0.1:8765
    echo "== $name"
    timeout 300 "$python" "$work/$name/edge/edgecut-runtime.pyz" selftest "$work/$name" --server $url
    for cut in $("$bin/python" -c "import json; print(*(c['name'] for c in json.load(open('$work/$name/manifest.json'))['cuts']))"); do
        set -- --input "$fixture/digit.npy" --server $url --cut "$cut" --json
        PYTHON=$python timeout 300 sh "$work/$name/edge/run.sh" "$@" > "$work/arm.json"
        "$bin/edgecut" run "$work/$name" "$@" > "$work/here.json"
        "$bin/python" "$here/tests/aarch64/same.py" "$cut" "$work/here.json" "$work/arm.json"
    done
    PYTHON=$python timeout 300 sh "$work/$name/edge/profile.sh" --runs 3 > /dev/null
    kill $server
    wait $server || true
    trap - EXIT
done
echo "aarch64: all cuts answer as they do here"
