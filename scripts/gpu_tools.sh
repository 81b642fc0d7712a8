#!/usr/bin/env bash
# Phases of gpu-check.sh that need NVIDIA's tools; it sources this file. They use its functions and variables.
# shellcheck disable=SC2154,SC2034

# sanitize SECONDS: the four sanitizers on cuda_test. They slow a launch down a hundredfold and instrument every kernel
# they meet, so they get the tests by worth, file by file, until their time is over: kernels with barriers of their own
# first. A tool that a file keeps for too long gets no more of them.
sanitize() {
  local end=$((SECONDS + $1)) tools="memcheck synccheck initcheck racecheck" rest="" file tool
  if ! command -v compute-sanitizer >/dev/null; then
    leave_out sanitize "compute-sanitizer is not on PATH"
    return
  fi
  [ "$end" -lt "$deadline" ] || end=$((deadline - 5))
  may_run_out=1 # which is no fault then
  for file in hopper_primitives gemm_sm90 attention gemm_test layer_norm linear tensor_list softmax cross_entropy \
    reduce copy unary binary random gather layout matmul l2_normalize patch_embed runtime; do
    for tool in $tools; do
      if [ $SECONDS -ge $end ]; then
        rest="$rest $tool of $file,"
        continue
      fi
      phase "$tool $file" 30 compute-sanitizer --tool "$tool" --error-exitcode 9 "$programs/cuda_test" "-sf=*$file*"
      case $? in 124 | 137) tools=${tools/$tool/} ;; esac
    done
  done
  may_run_out=""
  [ -z "$rest" ] || leave_out sanitize "no time for${rest%,}"
}

# counters: what the hardware counts in one launch each of a product, attention's backward pass and layer norm's: how busy
# the tensor cores and memory are, cache hits, bank conflicts. Clocks are left alone.
counters() {
  local kernel suite file=$out/$slug-counters.txt
  if ! command -v ncu >/dev/null; then
    leave_out counters "ncu is not on PATH"
    return
  fi
  : >"$file"
  while read -r kernel suite; do
    phase "counters $kernel" 60 ncu --clock-control none --kernel-name "regex:^$kernel" --launch-skip 3 \
      --launch-count 1 --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis \
      --section MemoryWorkloadAnalysis_Tables --section WarpStateStats "$programs/cuda_bench" --quick "$suite"
    sed '/^==PROF==/d; /^{/d' "$work/counters $kernel.log" >>"$file"
  done <<'KERNELS'
gemm_sm90_kernel matmul
attention_backward_kernel attention
layer_norm_backward_rows_kernel memory
KERNELS
}
