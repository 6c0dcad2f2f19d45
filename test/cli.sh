#!/bin/bash
# SPDX-License-Identifier: MIT
# test/cli.sh BUILD: what `faultline run` refuses and how it passes on the way a program ended.
# The last line is "N passed, N failed[, N skipped]"; the exit status is 0 only if nothing failed.
set -u
[ $# -eq 1 ] || { sed -n 3,4p "$0" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 2
run=$build/faultline
passed=0 failed=0 skipped=0
dir=$(mktemp -d "${TMPDIR:-/tmp}/faultline-cli.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir" || exit 2
ulimit -c 0

# t NAME WANTED-STATUS WANTED-TEXT COMMAND...: its status, and a text somewhere in its output
t() {
	local name=$1 want=$2 text=$3 out rc
	shift 3
	out=$(timeout -k 5 60 "$@" 2>&1)
	rc=$?
	if [ $rc -eq "$want" ] && grep -qF -- "$text" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $name: status $rc (wanted $want), output:"
		sed 's/^/    /' <<<"$out"
	fi
}

skip() {
	skipped=$((skipped + 1))
	echo "skipped: $1"
}

script() { # script FILE LINE...
	local file=$1
	shift
	printf '%s\n' "$@" >"$file"
	chmod 755 "$file"
}

t "no command" 125 usage: "$run"
t "unknown command" 125 "no command 'frob'" "$run" frob
t "unknown option" 125 "unrecognized option" "$run" run --frob true
t "no program" 125 usage: "$run" run
t "version" 0 "faultline " "$run" --version
t "help" 0 usage: "$run" run --help

t "no such name" 127 "not found" "$run" run no-such-program-anywhere
t "no such path" 127 "not found" "$run" run ./no-such-file
t "directory" 126 "directory" "$run" run /
t "empty name" 127 "not found" "$run" run ""

TRUE=$(type -P true)
cp "$TRUE" plain && chmod 644 plain
t "not executable" 126 "chmod +x" "$run" run ./plain
script words "echo hello"
t "script without interpreter" 126 "sh ./words" "$run" run ./words
script loop-a "#! $dir/loop-b" && script loop-b "#! $dir/loop-a"
t "scripts in a circle" 126 "without an end" "$run" run ./loop-a
script nowhere "#!"
t "empty #! line" 126 "no interpreter" "$run" run ./nowhere
head -c 30 "$TRUE" >short && chmod 755 short
t "truncated ELF" 126 "not an ELF program" "$run" run ./short
# a real program whose header says ELF class 32, machine 183, no PT_INTERP
cp "$TRUE" class32 && printf '\001' | dd of=class32 bs=1 seek=4 conv=notrunc status=none
t "32-bit" 126 "x86-64" "$run" run ./class32
cp "$TRUE" arm && printf '\267' | dd of=arm bs=1 seek=18 conv=notrunc status=none
t "another machine" 126 "x86-64" "$run" run ./arm
cp "$TRUE" static && printf '\000\000' | dd of=static bs=1 seek=56 conv=notrunc status=none
t "static" 126 "statically linked" "$run" run ./static
cp "$TRUE" setuid
if [ "$(id -u)" -eq 0 ]; then
	chown 65534 setuid && chmod 4755 setuid
	if findmnt -no OPTIONS -T . 2>/dev/null | grep -q nosuid; then
		skip "setuid program: $dir is mounted nosuid"
	else
		t "setuid to somebody else" 126 "setuid" "$run" run ./setuid
		t "setuid, but no_new_privs" 0 "" setpriv --no-new-privs "$run" run ./setuid
	fi
	chown 0 setuid && chmod 4755 setuid
	t "setuid to oneself" 0 "" "$run" run ./setuid
	skip "unreadable program: root reads everything"
else
	chmod 4755 setuid
	t "setuid to oneself" 0 "" "$run" run ./setuid
	cp "$TRUE" hidden && chmod 111 hidden
	t "unreadable" 126 "chmod +r" "$run" run ./hidden
	skip "setuid to somebody else: needs root to make one"
fi

script greet '#!/usr/bin/env sh' 'echo "hello $1"; exit 7'
t "script" 7 "hello you" "$run" run ./greet you
t "arguments after --" 0 "--stats" "$run" run -- echo --stats
t "exit status" 3 "" "$run" run sh -c 'exit 3'
t "exit status with stats" 3 "no userfaultfd" "$run" run --stats sh -c 'exit 3'
t "death by signal" 143 "" sh -c "'$run' run --stats=$dir/s sh -c 'kill -TERM \$\$'"
t "death by SIGKILL" 137 "" sh -c "'$run' run --stats=$dir/s sh -c 'kill -KILL \$\$'"
t "signals reach the program" 9 "" "$run" run --stats=s sh -c 'trap "exit 9" USR1; kill -USR1 $PPID; while :; do :; done'
t "stats to a file" 0 "no userfaultfd" cat s
t "JSON" 0 '"faults_missing": 0' sh -c "'$run' run --stats-json=j true && cat j"
t "stats file unwritable" 125 "cannot write" "$run" run --stats=/no-such-dir/s true
t "preload kept" 0 "libfaultline-run.so:$dir/other.so" env LD_PRELOAD="$dir/other.so" "$run" run env
t "preload once" 1 "" sh -c "'$run' run '$run' run env 2>&1 | grep 'run.so.*run.so'"
t "library missing" 125 "FAULTLINE_LIB" env FAULTLINE_LIB="$dir/none.so" "$run" run true
t "counters file removed" 0 "files: 0" sh -c \
	"mkdir tmp && TMPDIR=$dir/tmp '$run' run --stats=s sh -c 'ls $dir/tmp | grep -q .' && echo files: \$(ls tmp | wc -l)"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
