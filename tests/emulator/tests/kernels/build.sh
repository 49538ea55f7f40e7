#!/bin/sh
# Regenerates ptx/*.ptx from *.cu. Needs nvcc 13.0, found by NVCC, CUDA_HOME or PATH.
# With --check, regenerates into a scratch folder and fails if the committed PTX differs. Names of
# module-level variables carry a hash of the path, so only a run in the same folder compares equal.
set -eu
cd "$(dirname "$0")"

if [ -z "${NVCC:-}" ]; then
    if [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then
        NVCC="$CUDA_HOME/bin/nvcc"
    else
        NVCC=$(command -v nvcc) || { echo "build.sh: no nvcc: set NVCC or CUDA_HOME, or put nvcc on PATH" >&2; exit 1; }
    fi
fi

out=ptx
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"

for source in *.cu; do
    name=${source%.cu}
    architectures="75 80"
    case "$name" in
        saxpy | tensor | async_copy | grid_barrier) architectures="75 80 90" ;;
    esac
    for architecture in $architectures; do
        file="$out/$name.compute_$architecture.ptx"
        "$NVCC" -ptx -lineinfo -std=c++17 -arch="compute_$architecture" -o "$file.tmp" "$source"
        # .file directives name files by the path they had on the machine that compiled: keep the last part, and mark
        # the toolkit's headers as such.
        sed -E -e 's|^([[:space:]]*\.file[[:space:]]+[0-9]+[[:space:]]+)"[^"]*/include/([^"/]*/)*([^"/]*)".*$|\1"cuda/include/\3"|' \
            -e '/"cuda\/include\//!s|^([[:space:]]*\.file[[:space:]]+[0-9]+[[:space:]]+)"([^"]*/)?([^"/]*)".*$|\1"\3"|' \
            "$file.tmp" >"$file"
        rm "$file.tmp"
        if grep -n '"/' "$file"; then
            echo "build.sh: $file still names an absolute path" >&2
            exit 1
        fi
    done
done

if [ "$out" != ptx ]; then
    diff -r ptx "$out" && echo "build.sh: the committed PTX is up to date"
fi
