#!/bin/sh
# docker buildx, as its users use it. $DOCKER is the docker CLI, $BUILDX the plugin.
# $REGISTRY is a registry as the VCH reaches it: below private/ it wants the user lab
# with the password secret. $HERE is this computer as the VCH reaches it.
. "$(dirname "$0")/steps.sh"
d() { "$DOCKER" "$@"; }
out=$work/out
DOCKER_CONFIG=$work/config # of its own: it logs in
export DOCKER_CONFIG
mkdir -p "$DOCKER_CONFIG/cli-plugins" "$work/app/sub"
ln -s "$BUILDX" "$DOCKER_CONFIG/cli-plugins/docker-buildx"
build() { d buildx build --progress plain "$@" >"$out" 2>&1 || { cat "$out" >&2; return 1; }; }
answers() { until python3 -c "import socket; socket.create_connection(('127.0.0.1', $1))"; do sleep 0.2; done; }
refused() { ! d buildx build --progress plain "$@" >"$out" 2>&1; }

# What a build has of its client: files, secrets, an agent, options.
cd "$work/app" || exit 1
printf '*\n!keep\n!sub/in\n' >.dockerignore
echo kept >keep
echo ignored >ignored
echo in >sub/in
echo out >sub/out
cat >Dockerfile <<-'END'
	FROM busybox AS one
	ARG WHO=nobody
	COPY . /src
	RUN test "$(cd /src && find . -type f | sort | tr '\n' ' ')" = "./keep ./sub/in "
	RUN --mount=type=secret,id=s,required test "$(cat /run/secrets/s)" = hush
	RUN --mount=type=ssh,required test -S "$SSH_AUTH_SOCK"
	RUN grep -q '1.2.3.4.*some.where' /etc/hosts && echo "for $WHO" >/made
	FROM one AS two
	RUN exit 7
END
options() {
	echo hush >"$work/secret"
	eval "$(ssh-agent)"
	trap 'kill "$SSH_AGENT_PID"' EXIT
	ssh-keygen -q -t ed25519 -N '' -f "$work/key"
	ssh-add -q "$work/key"
	build -t bx/app:1 --target one --build-arg WHO=you --secret "id=s,src=$work/secret" --ssh default --add-host some.where:1.2.3.4 \
		--label by=bx --iidfile "$work/iid" --metadata-file "$work/meta" --pull --no-cache .
	d image inspect -f '{{.Id}} {{.Config.Labels.by}}' bx/app:1 >"$out"
	has "$out" "^$(cat "$work/iid") bx$"
	has "$work/meta" containerimage.config.digest
	d run --rm bx/app:1 cat /made >"$out"
	has "$out" '^for you$'
}
files() {
	printf 'FROM busybox\nCOPY keep /\n' >"$work/elsewhere"
	build -t bx/f -f "$work/elsewhere" .
	printf 'FROM busybox\nCOPY . /x\nRUN test -e /x/ignored && test ! -e /x/keep\n' >other
	echo keep >other.dockerignore
	build -t bx/f -f other .
	printf 'FROM busybox\nRUN echo stdin\n' | d buildx build -q -t bx/f - >"$out"
	has "$out" '^sha256:'
	printf 'FROM busybox\nCOPY . /x\nRUN test -e /x/keep && test -e /x/ignored\n' >packed
	tar -c . | d buildx build -q -t bx/f -f packed - >"$out"
	has "$out" '^sha256:'
}
networks() {
	printf 'FROM busybox\nRUN test "$(ls /sys/class/net)" = lo\n' | d buildx build -t bx/n --network none -
	printf 'FROM busybox\nRUN ls /sys/class/net | grep -q eth\n' | d buildx build -t bx/n --network host --allow network.host -
	printf 'FROM busybox\n' >"$work/n"
	refused -t bx/n --network mine -f "$work/n" .
	has "$out" mine
}

# Contexts that are elsewhere.
git_context() {
	mkdir "$work/git"
	cd "$work/git"
	printf 'FROM busybox\nCOPY f /\nCMD ["cat", "/f"]\n' >Dockerfile
	echo 'from git' >f
	git init -q -b main .
	git add .
	git -c user.name=x -c user.email=x@x commit -q -m x
	git daemon --export-all --base-path="$work" --listen=127.0.0.1 --port=19418 --reuseaddr "$work" &
	trap "kill $!" EXIT
	answers 19418
	build -t bx/git "git://$HERE:19418/git/.git#main"
	d run --rm bx/git >"$out"
	has "$out" '^from git$'
}
url_context() {
	mkdir "$work/www"
	printf 'FROM busybox\nRUN echo by url >/f\nCMD ["cat", "/f"]\n' >"$work/www/Dockerfile"
	tar -C "$work/www" -czf "$work/www/context.tar.gz" Dockerfile
	python3 -m http.server --bind 127.0.0.1 -d "$work/www" 19480 &
	trap "kill $!" EXIT
	answers 19480
	build -t bx/url "http://$HERE:19480/context.tar.gz"
	build -t bx/url "http://$HERE:19480/Dockerfile"
	d run --rm bx/url >"$out"
	has "$out" '^by url$'
}

# A registry that wants credentials: without, with.
private() {
	printf 'FROM busybox\nRUN echo private >/f\n' >"$work/p"
	refused -t "$REGISTRY/private/app:1" --push -f "$work/p" .
	has "$out" '401'
	auth=$(printf lab:secret | base64)
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$REGISTRY" "$auth" >"$DOCKER_CONFIG/config.json"
	build -t "$REGISTRY/private/app:1" --push -f "$work/p" .
	build --output "type=registry,name=$REGISTRY/private/app:2" -f "$work/p" .
	d rmi -f "$REGISTRY/private/app:1" "$REGISTRY/private/app:2" # or they are taken from here
	printf 'FROM %s/private/app:2\nRUN grep private /f\n' "$REGISTRY" >"$work/p2"
	build -t bx/private -f "$work/p2" .
	d builder prune -af
	printf '{}' >"$DOCKER_CONFIG/config.json"
	refused -t bx/private -f "$work/p2" .
	has "$out" 'private/app:2'
}

# Several builds at once that share a context.
bakes() {
	printf 'FROM busybox AS a\nCOPY keep /a\nFROM busybox AS b\nCOPY keep /b\n' >"$work/bake"
	cat >"$work/bake.hcl" <<-END
		group "default" { targets = ["a", "b"] }
		target "a" {
			context = "$work/app"
			dockerfile = "$work/bake"
			target = "a"
			tags = ["bx/a"]
		}
		target "b" {
			context = "$work/app"
			dockerfile = "$work/bake"
			target = "b"
			tags = ["bx/b"]
		}
	END
	d buildx bake --allow "fs=$work" --progress plain -f "$work/bake.hcl"
	d image inspect bx/a bx/b >"$out"
}
other_platform() {
	printf 'FROM scratch\nCOPY keep /\n' >"$work/arm"
	build -t bx/arm --platform linux/arm64 -f "$work/arm" .
	d image inspect -f '{{.Architecture}}' bx/arm >"$out"
	has "$out" arm64
}

# The cache.
cache() {
	d buildx du >"$out"
	has "$out" '^Total:'
	d builder prune -f --filter unused-for=240h >"$out"
	has "$out" '^Total:[[:space:]]*0B'
	d builder prune -f --keep-storage 20gb >"$out"
	has "$out" '^Total:'
	d builder prune -af >"$out"
	d buildx du >"$out"
	has "$out" '^Total:[[:space:]]*0B'
}
cancels() {
	printf 'FROM busybox\nRUN echo begun && sleep 301\n' >"$work/long"
	"$DOCKER" buildx build --progress plain -f "$work/long" . >"$work/long.out" 2>&1 &
	pid=$!
	trap 'kill $pid' EXIT
	until grep -q '[0-9] begun' "$work/long.out"; do kill -0 $pid; sleep 0.5; done
	d top vic-builder >"$out"
	has "$out" 'sleep 301'
	kill $pid # SIGINT is ignored by what a script runs in the background
	wait $pid || true
	trap - EXIT
	until ! d top vic-builder | grep 'sleep 301'; do sleep 0.5; done
}

# A builder of one's own: a container, whose result is loaded.
own_builder() {
	printf '[registry."%s"]\nhttp = true\n' "$REGISTRY" >"$work/own.toml"
	# buildx keeps no certificates that only variables name: it wants a context.
	at=host=$DOCKER_HOST
	[ -z "${DOCKER_CERT_PATH:-}" ] || at=$at,ca=$DOCKER_CERT_PATH/ca.pem,cert=$DOCKER_CERT_PATH/cert.pem,key=$DOCKER_CERT_PATH/key.pem
	d context create here --docker "$at"
	d buildx create --name own --driver docker-container --driver-opt memory=1g --buildkitd-config "$work/own.toml" here
	printf 'FROM %s/library/busybox\nCOPY keep /a\n' "$REGISTRY" >"$work/own"
	d buildx build --builder own --progress plain -t bx/own:1 --load -f "$work/own" "$work/app"
	d run --rm bx/own:1 cat /a >"$out"
	has "$out" '^kept$'
	d buildx rm own
	d ps -a --format '{{.Names}}' >"$out"
	! grep buildx_buildkit "$out"
}

step 'build: secret, ssh, target, args, hosts, label, iidfile' options
step 'build: Dockerfiles and contexts, .dockerignore' files
step 'build: networks' networks
step 'build: a context from git' git_context
step 'build: contexts by URL' url_context
step 'build: a registry that wants credentials, push' private
step 'bake: two targets of one context' bakes
step 'build: for another platform' other_platform
step 'build: interrupted' cancels
step 'du, prune' cache
step 'driver docker-container, --load' own_builder
d images -q 'bx/*' | sort -u | xargs -r "$DOCKER" rmi -f >/dev/null 2>&1
exit $failed
