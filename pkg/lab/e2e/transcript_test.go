//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The article's transcripts, with what differs from one installation to the
// next as patterns. The vCenter forms say DRS and firewall as they are there.
var transcripts = map[string][]string{
	"create esxi": {
		`### Installing VCH ####`,
		`Generating certificate/key pair - private key in \./VCH001-key\.pem`,
		`Validating supplied configuration`,
		// Not the article's: container networks are given besides.
		`Container network direct: port group VM Network, DHCP, firewall published`,
		`Container network prod: port group Production, gateway 10\.9\.0\.1/16, addresses 10\.9\.1\.0/24, firewall peers`,
		`Firewall status: DISABLED on /ha-datacenter/host/\S+/\S+`,
		`Firewall configuration OK on hosts:`,
		`/ha-datacenter/host/\S+/\S+`,
		`License check OK`,
		`DRS check SKIPPED - target is standalone host`,
		`Creating Resource Pool VCH001`,
		`Creating appliance on target`,
		`Network role client is sharing NIC with external`,
		`Network role management is sharing NIC with external`,
		`Uploading images for container`,
		`bootstrap\.iso`,
		`appliance\.iso`,
		`Waiting for IP information`,
		`Waiting for major appliance components to launch`,
		`Initialization of appliance successful`,
		`Log server:`,
		`https://[0-9.]+:2378`,
		`DOCKER_HOST=[0-9.]+:2376`,
		`Connect to docker:`,
		`docker -H [0-9.]+:2376 --tls info`,
		`Installer completed successfully`,
	},
	"delete esxi": {
		`### Removing VCH ####`,
		`Removing VMs`,
		`Removing images`,
		`Removing volumes`,
		`Removing appliance VM network devices`,
		`Bridge network was not created during VCH deployment, leaving it there`,
		`Removing Resource Pool VCH001`,
		`Completed successfully`,
	},
}

var infoLine = regexp.MustCompile(`^INFO\[[^\]]+\]\s+(.*)$`)

// checkTranscript holds an output of vic-machine to the article, line by line.
// Lines above INFO (warnings) may stand between.
func checkTranscript(t *testing.T, verb, mode, out string) {
	t.Helper()
	want, ok := transcripts[verb+" "+mode]
	if !ok {
		return // the article is about a standalone host
	}
	var got []string
	for _, line := range strings.Split(out, "\n") {
		if m := infoLine.FindStringSubmatch(strings.TrimRight(line, " \r")); m != nil && m[1] != "" {
			got = append(got, strings.TrimSpace(m[1]))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s prints %d lines, the article has %d:\n%s", verb, len(got), len(want), cmp.Diff(want, got))
		return
	}
	for i := range want {
		if !regexp.MustCompile("^" + want[i] + "$").MatchString(got[i]) {
			t.Errorf("%s, line %d: %q, want %s", verb, i+1, got[i], want[i])
		}
	}
}
