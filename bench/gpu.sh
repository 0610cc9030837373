#!/usr/bin/env bash
# What needs a GPU, in one command of at most ten minutes; the same command resumes it.
#
#     bench/gpu.sh DATA OUT              DATA: figshare's folder. OUT: results, under 60 MiB; runs and caches stay in OUT.work
#     QUICK=1 bench/gpu.sh DATA OUT      rehearsal with tiny settings on any machine; DATA may be phantoms
#
# OUT/bench.jsonl: rates of training against a fixed batch, latency and memory. In the remaining time the joint model is trained
# at 256 pixels on the author's five folds with the small network and with ResNet50, as long for each: OUT/<encoder>-fold<n>/ holds
# the curves on validation and, of the small network, the best weights in float16 (those of one ResNet50 exceed 60 MiB).
set -euo pipefail

[ $# -eq 2 ] || { echo "error: expected bench/gpu.sh DATA OUT" >&2; exit 2; }
data=$(realpath "$1") out=$(realpath -m "$2")
[ -d "$data" ] || { echo "error: $1: no such folder: name figshare's" >&2; exit 2; }
cd "$(dirname "$0")/.."
work=$out.work end=$((SECONDS + ${LIMIT_S:-570})) python=${PYTHON:-python} small=mobilenetv2_100
encoders=("$small" resnet50) folds=(1 2 3 4 5) settings=(--data.size 256 --optim.epochs 30) quick=()
if [ -n "${QUICK:-}" ]; then
  small=test_resnet
  encoders=("$small") folds=(1 2) quick=(--quick)
  settings=(--data.size 32 --data.batch_size 2 --model.channels "[8,8,8,8,8]" --optim.epochs 2 --trainer.limit_batches 1)
fi
mkdir -p "$out" "$work"

newest() { # the last path of a depth below a folder, empty where there is none
  { find "$1" -mindepth "$2" -maxdepth "$2" -name "$3" 2>/dev/null || true; } | sort | tail -n 1
}

for name in training gpu; do
  grep -qs "\"bench\": \"$name\"" "$out/bench.jsonl" ||
    timeout "${BENCH_S:-150}" "$python" -m bench "$name" ${quick[@]+"${quick[@]}"} --work "$work/bench" --out "$out/bench.jsonl" || echo "error: bench $name" >&2
done

left=$((${#encoders[@]} * ${#folds[@]}))
for encoder in "${encoders[@]}"; do
  for fold in "${folds[@]}"; do
    share=$(((end - SECONDS) / left)) left=$((left - 1)) name=$encoder-fold$fold
    last=$(newest "$work/$name/joint" 2 checkpoints)
    if [ ! -e "$out/$name/ended" ] && [ "$share" -ge 15 ]; then
      # SIGTERM saves the best epoch so far; status 130
      timeout --signal TERM --kill-after 15 $((share - 5)) "$python" train_joint.py --data.root "$data" --data.cache "$work/cache" \
        --runs "$work/$name" --split.kind cvind --split.fold "$fold" --split.leaks allow --model.encoder "$encoder" \
        --model.weights none "${settings[@]}" ${last:+--resume "${last%/checkpoints}"} && ended=1 || ended=
      mkdir -p "$out/$name"
      [ -z "$ended" ] || touch "$out/$name/ended"
    fi
    run=$(newest "$work/$name/joint" 1 "*")
    [ -e "$run/curves.csv" ] || continue
    mkdir -p "$out/$name"
    cp "$run/curves.csv" "$out/$name/"
    if [ "$encoder" = "$small" ] && [ -e "$run/model/model.json" ]; then
      "$python" -c "import sys; from pathlib import Path; from tools.half_precision import write_half_folder as write
write(Path(sys.argv[1]), Path(sys.argv[2]), name=sys.argv[3])" "$run/model" "$out/$name/model" "$name"
    fi
  done
done
du -sh "$out"
