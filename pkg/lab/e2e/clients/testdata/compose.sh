#!/bin/sh
# Docker Compose, as its users use it. $COMPOSE is the program, $BUILDX the plugin with
# which it builds.
. "$(dirname "$0")/steps.sh"
cd "$(dirname "$0")/compose" || exit 1
c() { "$COMPOSE" "$@"; }
out=$work/out

config() { c config >"$out"; has "$out" service_healthy; }
up() {
	c up -d
	c ps --format '{{.Service}} {{.State}} {{.Health}}' >"$out"
	has "$out" '^db running healthy'
	has "$out" '^app running healthy'
	has "$out" '^web running'
}
lists() {
	c ls >"$out"
	has "$out" shop
	c images >"$out"
	has "$out" busybox
	c top db >"$out"
	has "$out" sleep
	c port web 80 >"$out"
	has "$out" ':18098$'
}
logs() { c logs --no-color db >"$out"; has "$out" 'db is up'; }
executes() {
	c exec -T app wget -qO- http://127.0.0.1:8080/ >"$out"
	has "$out" 'from the app'
	c exec -T app sh -c 'ping -c 1 -W 5 $DB'
	status=0
	c exec -T app sh -c 'exit 6' || status=$?
	[ $status = 6 ]
}
runs() { c run --rm -T --no-deps app echo one off >"$out"; has "$out" 'one off'; }
scales() {
	c up -d --no-recreate --scale app=2 app
	c ps -q app >"$out"
	[ "$(wc -l <"$out")" = 2 ]
	c up -d --no-recreate --scale app=1 app
}
builds() {
	mkdir -p "$DOCKER_CONFIG/cli-plugins"
	ln -sf "$BUILDX" "$DOCKER_CONFIG/cli-plugins/docker-buildx"
	c build tool >"$out" 2>&1
	if grep 'classic builder' "$out"; then return 1; fi # it says so when it does without buildx
	c run --rm -T tool >"$out"
	has "$out" '^made for shop$'
}
restarts() { c restart -t 1 app; c stop -t 1 web; c start web; }
again() { c up -d 2>"$out"; ! grep -q Recreate "$out"; }
down() {
	c down -v -t 1 --rmi local
	c ps -aq >"$out"
	[ ! -s "$out" ]
}

step config config
step 'up, ps: depends_on service_healthy' up
step 'ls, images, top, port' lists
step logs logs
step 'exec' executes
step 'run --rm' runs
step 'build with buildx, run what was built' builds
step 'up --scale' scales
step 'restart, stop, start' restarts
step 'up again recreates nothing' again
step 'down -v' down
[ $failed = 0 ] || c down -v -t 1 >/dev/null 2>&1
exit $failed
