#!/bin/sh
# install.sh -g -t 'user:password@IP' -i datastore NAME
#
# Makes a Virtual Container Host the way the first release did: a thin script
# over `vic-machine create` that prints its steps in that release's words.
# The password is handed on in the environment, never as an argument.
set -u

usage() {
	cat >&2 <<'USAGE'
Usage: install.sh [flags] -t 'user:password@target' -i datastore NAME
  -g              generate the server's certificate and key
  -k FILE         the server's private key, instead of -g
  -c FILE         the server's certificate, instead of -g
                  (none of -g, -k and -c: no TLS)
  -t TARGET       ESXi host or vCenter, with user and password; without
                  password, VIC_MACHINE_PASSWORD or the terminal is asked
  -i DATASTORE    datastore[/path] for images and containers
  -b NETWORK      port group for containers (default: NAME, made on ESXi)
  -e NETWORK      port group for clients (default: VM Network)
  -p THUMBPRINT   of the target's certificate; without it the certificate is
                  taken as seen, with a warning
  -r URL          mirror of Docker Hub
  -T DURATION     time to wait (default: 3m)
USAGE
	exit 2
}

generate='' key='' cert='' target='' store='' bridge='' external='' thumb='' mirror='' timeout=''
while getopts gk:c:t:i:b:e:p:r:T: flag; do
	case $flag in
	g) generate=1 ;;
	k) key=$OPTARG ;;
	c) cert=$OPTARG ;;
	t) target=$OPTARG ;;
	i) store=$OPTARG ;;
	b) bridge=$OPTARG ;;
	e) external=$OPTARG ;;
	p) thumb=$OPTARG ;;
	r) mirror=$OPTARG ;;
	T) timeout=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] && [ -n "$target" ] && [ -n "$store" ] || usage
name=$1

here=$(cd "$(dirname "$0")" && pwd) || exit 1
os=$(uname -s | tr '[:upper:]' '[:lower:]')
program=''
for p in "$here/vic-machine" "$here/vic-machine-$os" "$here/bin/vic-machine" "$here/../../bin/vic-machine" ./bin/vic-machine; do
	if [ -x "$p" ] && [ ! -d "$p" ]; then
		program=$p
		break
	fi
done
[ -n "$program" ] || program=$(command -v vic-machine) || {
	echo "install.sh: vic-machine is neither beside this script, nor in ./bin, nor in PATH" >&2
	exit 1
}

# user:password@host: the first colon ends the user, the last @ the password.
host=${target##*@}
case $target in
*@*)
	login=${target%@*}
	VIC_MACHINE_USER=${login%%:*}
	export VIC_MACHINE_USER
	case $login in
	*:*)
		VIC_MACHINE_PASSWORD=${login#*:}
		export VIC_MACHINE_PASSWORD
		;;
	esac
	;;
esac
VIC_MACHINE_TARGET=$host
export VIC_MACHINE_TARGET

set -- create --name "$name" --image-datastore "$store"
[ -z "$bridge" ] || set -- "$@" --bridge-network "$bridge"
[ -z "$external" ] || set -- "$@" --external-network "$external"
[ -z "$mirror" ] || set -- "$@" --registry-mirror "$mirror"
[ -z "$timeout" ] || set -- "$@" --timeout "$timeout"
if [ -n "$thumb" ]; then
	set -- "$@" --thumbprint "$thumb"
elif [ -z "${VIC_MACHINE_THUMBPRINT:-}" ]; then
	set -- "$@" --force
fi
if [ -n "$key$cert" ]; then
	set -- "$@" --tls-server-key "$key" --tls-server-cert "$cert"
elif [ -n "$generate" ]; then
	key=$name-key.pem cert=$name-cert.pem
else
	set -- "$@" --no-tls
fi
tls=''
[ -z "$key" ] || tls="--tls --tlscert='$cert' --tlskey='$key'"

# steps turns the log of create into the steps of the first release. Those
# between the upload and the wait are told together, in their old order.
steps() {
	switch='' group='' logserver='' connect='' status=1
	while IFS= read -r line; do
		level=${line%%\[*}
		text=${line#*\] }
		case $level in
		INFO) ;;
		exit=*)
			status=${line#exit=}
			continue
			;;
		*)
			echo "$line" >&2
			continue
			;;
		esac
		if [ -n "$logserver" ]; then
			echo "#   ${text#"${text%%[! ]*}"}"
			logserver=''
			continue
		fi
		if [ -n "$connect" ]; then
			address=${text#*-H }
			address=${address%% *}
			echo "docker -H $address${tls:+ $tls}"
			echo
			echo "DOCKER_OPTS=\"$tls\""
			connect=''
			continue
		fi
		case $text in
		'Please enter'*) echo "# $text" ;;
		'Generating certificate/key pair'*) echo "# Generating certificate/key pair - private key in $key" ;;
		'Loaded server certificate'*) echo "# $text" ;;
		'Validating supplied configuration') echo '# Logging into the target' ;;
		'Creating VirtualSwitch'*) switch=1 ;;
		'Creating Portgroup'*) group=1 ;;
		'Waiting for IP information')
			echo '# Uploading ISOs'
			date '+[%d-%m-%y %H:%M:%S] Uploading... OK'
			date '+[%d-%m-%y %H:%M:%S] Uploading... OK'
			[ -z "$switch" ] || echo '# Creating vSwitch'
			[ -z "$group" ] || echo '# Creating Portgroup'
			echo '# Creating the Virtual Container Host appliance'
			echo '# Adding network interfaces'
			echo '# Setting component configuration'
			[ -z "$tls" ] || echo '# Configuring TLS server'
			echo '# Powering on the Virtual Container Host'
			echo '# Setting network identities'
			echo '# Waiting for IP information'
			;;
		'Log server:')
			echo '# SSH to appliance (off; vic-machine create --debug-authorized-key opens it)'
			echo '# Log server:'
			logserver=1
			;;
		'Connect to docker:')
			echo '# Connect to docker:'
			connect=1
			;;
		esac
	done
	return "$status"
}

{
	"$program" "$@"
	echo "exit=$?"
} | steps
