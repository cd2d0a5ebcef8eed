# For scripts of clients: step NAME COMMAND… runs a shell function or command and
# prints "ok NAME" or "not ok NAME: why"; has FILE TEXT is a check of it. A step's
# function runs in a subshell that ends at its first failure.
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() {
	name=$1
	shift
	(
		set -ex
		"$@"
	) >"$work/log" 2>&1 </dev/null
	status=$?
	if [ $status -eq 0 ]; then
		echo "ok $name"
		return
	fi
	failed=1
	echo "not ok $name: status $status: $(tail -n 8 "$work/log" | tr '\n' '|')"
}

has() {
	grep -qe "$2" "$1" || {
		echo "no '$2' in:" >&2
		cat "$1" >&2
		return 1
	}
}
