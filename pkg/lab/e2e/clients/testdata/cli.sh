#!/bin/sh
# The docker CLI, as its users use it. $DOCKER is the program.
. "$(dirname "$0")/steps.sh"
d() { "$DOCKER" "$@"; }
out=$work/out

versions() {
	d version >"$out"
	has "$out" 'API version'
	d info >"$out"
	has "$out" 'Default Runtime: vic'
}
pulls() {
	d pull busybox >"$out"
	has "$out" 'Status: '
	d images >"$out"
	has "$out" busybox
	d history busybox >"$out"
	d image inspect -f '{{.Os}}' busybox >"$out"
	has "$out" linux
	d tag busybox cli/mine:1
	d rmi cli/mine:1
}
runs() {
	d run --rm -e A=b busybox sh -c 'echo $A; echo err >&2' >"$out" 2>"$out.err"
	has "$out" '^b$'
	has "$out.err" '^err$'
	status=0
	d run --rm busybox sh -c 'exit 7' || status=$?
	[ $status = 7 ]
	echo typed | d run --rm -i busybox cat >"$out"
	has "$out" '^typed$'
}
detached() {
	d run -d --name cli-box --label by=cli -m 128m --restart unless-stopped busybox sh -c 'echo begun; exec sleep 600'
	d ps --filter label=by=cli --format '{{.Names}} {{.Status}}' >"$out"
	has "$out" '^cli-box Up'
	d inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' cli-box >"$out"
	has "$out" '^134217728 unless-stopped$'
	d logs cli-box >"$out"
	has "$out" begun
	d port cli-box
}
executes() {
	d exec -e C=d -w /tmp cli-box sh -c 'echo $C $(pwd)' >"$out"
	has "$out" '^d /tmp$'
	status=0
	d exec cli-box sh -c 'exit 9' || status=$?
	[ $status = 9 ]
	d exec -d cli-box touch /tmp/detached
}
terminal() {
	script -qec "$DOCKER exec -it cli-box sh -c 'tty; stty size'" /dev/null >"$out"
	has "$out" /dev/pts/
}
copies() {
	echo 'some text' >"$work/file"
	d cp "$work/file" cli-box:/tmp/copied
	d exec cli-box cat /tmp/copied >"$out"
	has "$out" 'some text'
	d cp cli-box:/tmp/copied "$work/back"
	has "$work/back" 'some text'
	d diff cli-box >"$out"
	has "$out" '/tmp/copied'
}
looks() {
	d top cli-box >"$out"
	has "$out" sleep
	d stats --no-stream cli-box >"$out"
	has "$out" cli-box
}
pauses() {
	d pause cli-box
	d ps --format '{{.Names}} {{.Status}}' >"$out"
	has "$out" '^cli-box .*Paused'
	d unpause cli-box
}
commits() {
	d commit cli-box cli/committed:1
	d run --rm cli/committed:1 cat /tmp/copied >"$out"
	has "$out" 'some text'
	d rmi cli/committed:1
}
# Without buildx, which neither client's own program has.
builds() {
	export DOCKER_BUILDKIT=0
	mkdir "$work/context"
	echo ignored >"$work/context/.dockerignore"
	echo x >"$work/context/ignored"
	cat >"$work/context/Dockerfile" <<-'END'
		FROM busybox AS made
		ARG WHO
		COPY . /src
		RUN test ! -e /src/ignored && echo "made for $WHO" >/made
		FROM busybox
		COPY --from=made /made /
		CMD ["cat", "/made"]
	END
	d build -t cli/built:1 --build-arg WHO=cli "$work/context" >"$out"
	has "$out" 'Successfully tagged cli/built:1'
	d run --rm cli/built:1 >"$out"
	has "$out" '^made for cli$'
	d rmi cli/built:1
}
saves() {
	d save -o "$work/image.tar" busybox
	d load -i "$work/image.tar" >"$out"
	has "$out" 'Loaded image'
}
lives() {
	d restart -t 1 cli-box
	d rename cli-box cli-renamed
	d stop -t 1 cli-renamed
	d start cli-renamed
	d kill cli-renamed
	d wait cli-renamed >"$out"
	has "$out" '^137$'
	d rm -v cli-renamed
}
networks() {
	d network create cli-net
	d run -d --name cli-web --network cli-net -p 18099:80 web
	d run --rm --network cli-net busybox wget -qO- http://cli-web/ >"$out"
	has "$out" 'It works'
	d network inspect cli-net >"$out"
	has "$out" cli-web
	d rm -f cli-web
	d network rm cli-net
}
volumes() {
	d volume create cli-volume
	d run --rm -v cli-volume:/v busybox sh -c 'echo kept >/v/f'
	d run --rm --mount type=volume,source=cli-volume,target=/v,readonly busybox cat /v/f >"$out"
	has "$out" kept
	d volume rm cli-volume
}
events() {
	d events --since 10m --until "$(date +%s.%N)" --filter container=cli-renamed --format '{{.Action}}' >"$out"
	has "$out" die
}
sockets() {
	d run --rm -v /var/run/docker.sock:/var/run/docker.sock testcontainers/ryuk:0.14.0 get /_ping >"$out"
	has "$out" '^OK'
}
errors() {
	! d inspect no-such 2>"$out"
	has "$out" '[Nn]o such object: no-such'
	! d run --rm -v /etc:/e busybox true 2>"$out"
	has "$out" 'use a volume'
}
disk() { d system df >"$out"; has "$out" Images; }

step 'version, info' versions
step 'pull, images, history, tag, rmi' pulls
step 'run: output, exit code, stdin' runs
step 'run -d, ps, inspect, logs' detached
step 'exec' executes
step 'exec with a terminal' terminal
step 'cp, diff' copies
step 'top, stats' looks
step 'pause, unpause' pauses
step 'commit' commits
step 'build' builds
step 'save, load' saves
step 'restart, rename, stop, start, kill, wait, rm' lives
step 'network, published port' networks
step 'volume' volumes
step 'events of the past' events
step 'docker.sock in a container' sockets
step 'errors' errors
step 'system df' disk
d rm -fv cli-box cli-renamed cli-web >/dev/null 2>&1
d network rm cli-net >/dev/null 2>&1
d volume rm cli-volume >/dev/null 2>&1
exit $failed
