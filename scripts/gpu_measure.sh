#!/usr/bin/env bash
# What gpu-check.sh measures besides time, and with what; it sources this file. They use its functions and variables.
# shellcheck disable=SC2154,SC2034

# What nvcc made of the kernels, beside the logs: what ptxas reports, and the machine code of the smallest ones, by which
# everything else stands or falls.
keep_compiler_reports() {
  (cd "$work" && find . -name '*.o.log' -print0 | tar -czf "$logs/ptxas.tar.gz" --null -T -)
  local primitives=$work/test/cuda/hopper_primitives_test.cu.o
  if command -v cuobjdump >/dev/null && [ -e "$primitives" ]; then
    timeout -k 5 30 cuobjdump -sass "$primitives" | gzip >"$logs/hopper_primitives.sass.gz"
  fi
}

card_state=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active
# facts: what the device, its driver and the compiler say of themselves.
facts() {
  phase facts 60 "$programs/cuda_bench" device && cat "$logs/facts.log"
  { uname -a && nvcc --version; } >"$logs/machine.log" 2>&1
  limited 30 "$logs/card.csv" nvidia-smi --id=0 --format=csv \
    --query-gpu="name,uuid,driver_version,$card_state,mig.mode.current,ecc.mode.current,compute_mode"
}
# watch_card NAME, leave_card: keeps the state of the card every two seconds in between, from the first moment to the last.
watch_card() {
  watched="$logs/card $1.csv"
  nvidia-smi --id=0 --query-gpu=$card_state --format=csv --loop=2 >"$watched" 2>&1 </dev/null &
  watcher=$!
  disown # nobody waits for it
}
leave_card() {
  kill "$watcher" 2>/dev/null
  watcher=""
  limited 20 "$work/card.csv" nvidia-smi --id=0 --query-gpu=$card_state --format=csv,noheader
  cat "$work/card.csv" >>"$watched"
}

# Whether there is a PyTorch that sees the card, and which.
torch_check='import torch; torch.zeros(1, device="cuda")
print(torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'

# keep FILE: its lines are the result, unless there are none: then an earlier run's stay.
keep() {
  cat >"$1.part" && [ -s "$1.part" ] && mv "$1.part" "$1" && return
  rm -f "$1.part"
  return 1
}

# products NAME: the products once more, kept by that name.
products() {
  phase "bench $1" 90 "$programs/cuda_bench" ${sized[@]+"${sized[@]}"} matmul &&
    grep '^{' "$logs/bench $1.log" | keep "$out/$slug-$1.jsonl"
}

# sweep SECONDS: all tiles of the products; the table of the fastest, built in, and products timed with it. Before it,
# products whose work is handed out, as it is where the device is shared.
sweep() {
  local found=$out/$slug-sweep.jsonl
  NATIVE_CUDA_SHARED=1 products by-tickets
  may_run_out=1
  phase sweep "$1" "$programs/cuda_bench" ${sized[@]+"${sized[@]}"} sweep
  may_run_out=""
  grep '^{' "$logs/sweep.log" | keep "$found" || return
  node_phase "sweep summary" 30 bench/cuda/sweep_summary.mjs "$found" && cat "$logs/sweep summary.log"
  if [ "$scale" != full ] || ! node_phase "tile table" 10 bench/cuda/tile_table.mjs "$found"; then return; fi
  cp "$logs/tile table.log" "$out/$slug-measured_tiles.inc"
  # The table is one small file of C++, so that the benchmark with it is built in seconds.
  [ "$programs" = "$work" ] && cp "$logs/tile table.log" cuda/gemm/measured_tiles.inc &&
    phase "build with table" 60 cmake --build "$work" --target cuda_bench --parallel "$(nproc)" &&
    products with-table
}

# counters: what the hardware counts in one call each of a product, attention's backward pass and layer norm's: how busy
# the tensor cores and memory are, cache hits, bank conflicts, why warps wait. Clocks are left alone.
counters() {
  local suite call section sections=()
  if ! command -v ncu >/dev/null; then
    leave_out counters "ncu is not on PATH"
    return
  fi
  for section in SpeedOfLight LaunchStats Occupancy ComputeWorkloadAnalysis MemoryWorkloadAnalysis \
    MemoryWorkloadAnalysis_Tables SchedulerStats WarpStateStats; do
    sections+=(--section "$section")
  done
  : >"$work/counters.txt"
  faults='^==ERROR==|No kernels were profiled'
  while IFS=, read -r suite call; do
    phase "counters $call" 60 ncu --clock-control none --profile-from-start off --print-details all "${sections[@]}" \
      "$programs/cuda_bench" ${sized[@]+"${sized[@]}"} --profile "$call" "$suite" &&
      sed '/^==PROF==/d; /^{/d' "$logs/counters $call.log" >>"$work/counters.txt"
  done <<'CALLS'
matmul,b16-8f-b32 fc1 forward 50432 768 3072
attention,self backward 256 197 198 12 0
memory,memory layer norm backward 256 197 768 0
CALLS
  faults=""
  keep "$out/$slug-counters.txt" <"$work/counters.txt"
}
