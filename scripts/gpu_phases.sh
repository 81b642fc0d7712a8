#!/usr/bin/env bash
# How gpu-check.sh runs a phase and keeps what came of it; it sources this file. It sets `out`, `slug`, `work`, `logs`,
# `device`, `target`, `uuid`, `deadline` and `archive`.
# shellcheck disable=SC2154,SC2034
passed=0 failed=0 left=0 report="" running="" current="" watcher=""
may_run_out="" # set where a phase that meets its limit has not failed: what it had by then is kept
faults=""      # a regular expression: a phase whose log has such a line has failed, whatever its status

note() { # PHASE STATUS SECONDS [WHY]: keeps it, and writes the file and the archive anew
  local why results
  why=$(printf '%s' "${4:-}" | tr -d '"\\' | tr '[:cntrl:]' ' ')
  report="$report${report:+,}
  {\"phase\":\"$1\",\"status\":$2,\"seconds\":$3${why:+,\"why\":\"$why\"}}"
  printf '{"device":"%s","uuid":"%s","target":"%s","date":"%s","phases":[%s\n]}\n' \
    "$device" "$uuid" "$target" "$(date -u +%F)" "$report" >"$out/$slug.json"
  [ -n "$archive" ] || return 0
  results=("$out/$slug"*)
  # tar ends with 1 where a file grew while it was read.
  tar -czf "$archive.part" -C "$out" "${results[@]##*/}" -C "$work" logs || [ $? -eq 1 ] || return 0
  mv "$archive.part" "$archive"
}
leave_out() { # PHASE WHY
  left=$((left + 1))
  echo "gpu-check: $1 left out: $2"
  note "$1" null 0 "$2"
}
# limited SECONDS LOG COMMAND...: its status, 124 or 137 where it ran out of time. A process that waits for a driver that
# does not answer cannot be ended; what is behind it comes nevertheless.
limited() {
  local limit=$1 log=$2 start=$SECONDS
  shift 2
  timeout -k 5 "$limit" "$@" >"$log" 2>&1 </dev/null &
  running=$!
  while kill -0 $running 2>/dev/null && [ $((SECONDS - start)) -le $((limit + 10)) ]; do sleep 0.1; done
  local status=137
  if kill -0 $running 2>/dev/null; then
    echo "gpu-check: it cannot be ended" >>"$log"
  else
    wait $running
    status=$?
  fi
  running=""
  return $status
}
# time_left SECONDS: these, or what is left of all the time.
time_left() { echo $(($1 < deadline - SECONDS ? $1 : deadline - SECONDS)); }
# phase NAME SECONDS COMMAND...: runs it with a time limit and keeps what it said in build/gpu/logs/NAME.log.
phase() {
  local limit start=$SECONDS status log=$logs/$1.log found=""
  current=$1 limit=$(time_left "$2")
  shift 2
  if [ "$limit" -lt 5 ]; then
    leave_out "$current" "no time left"
    return 1
  fi
  limited "$limit" "$log" "$@"
  status=$?
  if [ $status -eq 0 ] && grep -q '^\[doctest\] test cases: *0 ' "$log"; then status=3; fi # nothing ran
  if [ -n "$faults" ]; then found=$(grep -E "$faults" "$log"); fi
  if [ -n "$found" ]; then status=9; fi
  local seconds=$((SECONDS - start)) verdict=passed
  case $status in
    0) passed=$((passed + 1)) ;;
    124 | 137)
      verdict="stopped at its limit"
      if [ -n "$may_run_out" ]; then left=$((left + 1)); else failed=$((failed + 1)); fi
      ;;
    *) failed=$((failed + 1)) verdict="failed with status $status" ;;
  esac
  echo "gpu-check: $current $verdict in $seconds s"
  if [ -n "$found" ]; then
    head -20 <<<"$found"
  elif [ $status -ne 0 ]; then
    tail -30 "$log"
  fi
  note "$current" $status $seconds "$(head -1 <<<"$found")"
  return $status
}
# can NAME SECONDS COMMAND...: whether something can be used here, which is no phase; if not, `why` is what it said.
can() {
  local limit log=$logs/$1.log
  limit=$(time_left "$2")
  shift 2
  why="no time left"
  [ "$limit" -ge 5 ] || return 1
  limited "$limit" "$log" "$@" && ! grep -q 'not supported' "$log" && return
  why=$(grep -E 'not supported|Error|error:' "$log" | tail -1)
  why=${why:-$(tail -1 "$log")}
  why=${why:-"no answer"}
  return 1
}
finish() {
  echo "$passed passed, $failed failed, $left left out"
  [ "$failed" -eq 0 ]
  exit
}
# Whoever ends this script gets what there is, and nothing of it goes on.
ended() {
  [ -z "$running" ] || kill "$running" 2>/dev/null
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
  failed=$((failed + 1))
  note "$current" 143 0 "ended from outside"
  finish
}
