#!/bin/sh
# What a client of Testcontainers left is removed by its reaper, which goes too: they
# talk to the engine over the Docker socket in the reaper's container.
. "$(dirname "$0")/steps.sh"

gone() {
	for _ in $(seq 120); do
		"$DOCKER" ps -a --filter label=org.testcontainers=true --format '{{.Names}} {{.Status}}' >"$work/left"
		[ -s "$work/left" ] || return 0
		sleep 1
	done
	cat "$work/left"
	return 1
}

step 'what was left is reaped' gone
exit $failed
