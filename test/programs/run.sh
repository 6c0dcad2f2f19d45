#!/bin/bash
# SPDX-License-Identifier: MIT
# test/programs/run.sh BUILD [PROGRAM...]: run each program of BUILD/test/programs (or those named) under `faultline run`
# and, where this machine allows it, on the kernel; both must succeed and print the same. Compiles nothing.
# The last line is "N passed, N failed"; the exit status is 0 only if nothing failed.
set -u
[ $# -ge 1 ] || { sed -n 3,4p "$0" >&2; exit 2; }
build=$1
shift
passed=0 failed=0 kernel_skips=0 reason=
[ -x "$build/faultline" ] || { echo "no $build/faultline: run make first"; echo "0 passed, 1 failed"; exit 1; }
[ $# -gt 0 ] || set -- $(cd "$build/test/programs" && ls)

stats=$(mktemp) || exit 2
trap 'rm -f "$stats"' EXIT

one() { # one COMMAND...: its output in $out, its status in $rc
	out=$(timeout -k 5 120 "$@" 2>&1)
	rc=$?
}

fail() { # fail NAME SIDE
	failed=$((failed + 1))
	echo "FAIL $1 ($2): status $rc"
	sed 's/^/    /' <<<"$out"
}

for name in "$@"; do
	program=$build/test/programs/$name
	if [ ! -x "$program" ]; then
		rc=127 out="no $program" fail "$name" build
		continue
	fi
	one "$build/faultline" run --stats-json="$stats" "$program"
	engine=$out
	if [ $rc -ne 0 ]; then
		fail "$name" engine
		continue
	fi
	if ! grep -q '"contexts": [1-9]' "$stats"; then # as root the kernel would have served it, too
		out="the engine served no userfaultfd" fail "$name" engine
		continue
	fi
	one "$program"
	if [ $rc -eq 77 ]; then
		kernel_skips=$((kernel_skips + 1)) reason=$out
	elif [ $rc -ne 0 ]; then
		fail "$name" kernel
		continue
	elif [ "$out" != "$engine" ]; then
		out=$(diff <(echo "$out") <(echo "$engine")) fail "$name" "kernel and engine differ"
		continue
	fi
	passed=$((passed + 1))
	echo "ok   $name: $engine"
done
[ $kernel_skips -eq 0 ] || echo "on the kernel $kernel_skips of $# were not compared: $reason"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
