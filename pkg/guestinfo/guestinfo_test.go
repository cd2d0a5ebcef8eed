package guestinfo

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vic-engine/vic/pkg/spec"
)

const articleID = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

// fill sets every field of v to something that is not its zero value, so that a
// field without a key makes the round trip fail.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("text " + strings.Repeat("x", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 2, 2)
		fill(s.Index(0), n)
		fill(s.Index(1), n)
		v.Set(s)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, n)
			fill(e, n)
			m.SetMapIndex(k, e)
		}
		v.Set(m)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2016, 5, 4, 3, 2, 1, *n, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

func TestContainerRoundTripOfEveryField(t *testing.T) {
	var c spec.Container
	n := 0
	fill(reflect.ValueOf(&c).Elem(), &n)
	c.ID = articleID
	keys, err := EncodeContainer(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeContainer(FromMap(keys))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, got); d != "" {
		t.Errorf("a field was lost (-want +got):\n%s", d)
	}
}

func TestVCHRoundTripOfEveryField(t *testing.T) {
	var v spec.VCH
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	clear, err := EncodeVCH(v)
	if err != nil {
		t.Fatal(err)
	}
	for k, s := range clear {
		for _, secret := range []string{v.Password, v.ServerKey, v.AttachKey} {
			if s == secret {
				t.Errorf("secret stored in clear at %s", k)
			}
		}
	}
	key, err := GenerateSealKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealVCH(v, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := EncodeVCH(sealed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeVCH(FromMap(keys))
	if err != nil {
		t.Fatal(err)
	}
	if missing := MissingSecrets(got); missing != nil {
		t.Errorf("missing secrets: %v", missing)
	}
	if got, err = UnsealVCH(got, key); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v, got); d != "" {
		t.Errorf("a field was lost (-want +got):\n%s", d)
	}
	set, del := Diff(clear, keys)
	if len(set) != 3 || len(del) != 0 {
		t.Errorf("writing the secrets changes %v and deletes %v, want the 3 secrets only", set, del)
	}
}

func TestArticleKeys(t *testing.T) {
	keys, err := EncodeContainer(spec.Container{
		ID: articleID, Name: "jolly_panini", Repo: "hello-world",
		Process:   spec.Process{Path: "/hello", Args: []string{"-c", "echo a | wc -l && b"}},
		Endpoints: []spec.Endpoint{{Network: "bridge", IP: "172.16.0.2/16"}},
		Mounts:    []spec.Mount{{Name: "data", Path: "/data", Type: spec.MountVolume}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := "guestinfo./sessions|" + articleID
	want := map[string]string{
		"guestinfo./version":              "1",
		"guestinfo./kind":                 "container",
		"guestinfo./common/id":            articleID,
		"guestinfo./common/name":          "jolly_panini",
		"guestinfo./repo":                 "hello-world",
		"guestinfo./sessions":             `["` + articleID + `"]`,
		s + "/common/name":                "jolly_panini",
		s + "/cmd/Path":                   "/hello",
		s + "/cmd/Args":                   `["-c","echo a | wc -l && b"]`,
		"guestinfo./networks":             `["bridge"]`,
		"guestinfo./networks|bridge/name": "bridge",
		"guestinfo./networks|bridge/ip":   "172.16.0.2/16",
		"guestinfo./mounts":               `["data"]`,
		"guestinfo./mounts|data/name":     "data",
		"guestinfo./mounts|data/path":     "/data",
		"guestinfo./mounts|data/type":     "volume",
	}
	if d := cmp.Diff(want, keys); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
}

func TestRefusals(t *testing.T) {
	good := map[string]string{KeyVersion: "1", KeyKind: KindContainer}
	with := func(k, v string) Getter {
		m := map[string]string{k: v}
		for key, value := range good {
			if key != k {
				m[key] = value
			}
		}
		return FromMap(m)
	}
	for name, tc := range map[string]struct {
		get  Getter
		want func(error) bool
	}{
		"good":          {FromMap(good), func(err error) bool { return err == nil }},
		"newer version": {with(KeyVersion, "2"), errdefs.IsFailedPrecondition},
		"no version":    {FromMap(nil), errdefs.IsNotFound},
		"not a number":  {with(KeyVersion, "one"), errdefs.IsInvalidArgument},
		"other kind":    {with(KeyKind, KindAppliance), errdefs.IsInvalidArgument},
		"bad list":      {with("guestinfo./hosts", "[1"), errdefs.IsInvalidArgument},
		"bad bool":      {with("guestinfo./root/readonly", "perhaps"), errdefs.IsInvalidArgument},
		"bad index":     {with("guestinfo./mounts", "x"), errdefs.IsInvalidArgument},
	} {
		if _, err := DecodeContainer(tc.get); !tc.want(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	c := spec.Container{ID: articleID, Process: spec.Process{Path: strings.Repeat("p", MaxValue)}}
	if _, err := EncodeContainer(c); err != nil {
		t.Errorf("a value of exactly the limit: %v", err)
	}
	c.Process.Path = "/x"
	c.Process.Env = []string{"A=" + strings.Repeat("v", MaxValue)}
	_, err := EncodeContainer(c)
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Option != "--env" || limit.Limit != MaxValue || limit.Size <= MaxValue {
		t.Errorf("large environment: got %v (%+v)", err, limit)
	}
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("class of %v", err)
	}

	c.Process.Env = nil
	c.Annotations = map[string]string{}
	for i := range 20 {
		c.Annotations[strings.Repeat("a", i+1)] = strings.Repeat("v", 60<<10)
	}
	_, err = EncodeContainer(c)
	if !errors.As(err, &limit) || limit.Limit != MaxTotal || !strings.HasPrefix(limit.Option, "annotation ") {
		t.Errorf("large total: got %v", err)
	}

	c.Annotations = nil
	c.Process.Env = []string{"A=\xff"}
	if _, err := EncodeContainer(c); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "--env") {
		t.Errorf("not UTF-8: got %v", err)
	}
}

func TestDiff(t *testing.T) {
	old := map[string]string{
		"guestinfo./common/name": "old", "vic./labels": `{"a":"b"}`, "guestinfo./repo": "same",
		"ethernet0.virtualDev": "vmxnet3", "guestinfo..tether.hostkey": "k",
	}
	now := map[string]string{"guestinfo./common/name": "new", "guestinfo./repo": "same", "guestinfo./hosts": "[]"}
	set, del := Diff(old, now)
	if d := cmp.Diff(map[string]string{"guestinfo./common/name": "new", "guestinfo./hosts": "[]"}, set); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"vic./labels"}, del); d != "" {
		t.Error(d)
	}
}

func TestSameVolumeTwiceAndTmpfs(t *testing.T) {
	c := spec.Container{ID: articleID, Mounts: []spec.Mount{
		{Name: "v", Path: "/z"}, {Name: "v", Path: "/a"},
		{Type: spec.MountTmpfs, Path: "/t"}, {Type: spec.MountTmpfs, Path: "/u"}, {Name: "a b|c/d", Path: "/q"},
	}}
	keys, err := EncodeContainer(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeContainer(FromMap(keys))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c.Mounts, got.Mounts); d != "" {
		t.Error(d)
	}
	if _, ok := keys["guestinfo./mounts|a%20b%7Cc%2Fd/path"]; !ok {
		t.Errorf("odd volume name not escaped: %v", keys)
	}
}

func TestStatus(t *testing.T) {
	keys := map[string]string{}
	apply := func(pairs []Pair) {
		for _, p := range pairs {
			keys[p.Key] = p.Value
		}
	}
	start := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	apply(ExitedPairs(articleID, spec.ExitStatus{Code: 137, Signal: 9, OOM: true, Error: "earlier", Started: start, Stopped: start}))
	apply(StartedPairs(articleID, 42, start))
	keys[AssignedIPKey("my.net one")] = "172.16.0.9/16"
	keys[KeyHostKey] = "ssh-ed25519 AAAA"

	s, err := DecodeStatus(articleID, keys)
	want := Status{
		Pid: 42, Running: true, Exit: spec.ExitStatus{Started: start}, HostKey: "ssh-ed25519 AAAA",
		Addresses: map[string]string{"my.net one": "172.16.0.9/16"},
	}
	if d := cmp.Diff(want, s); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}

	exit := spec.ExitStatus{Code: 127, Error: "exec: \"x\": executable file not found in $PATH\n", Started: start, Stopped: start.Add(time.Second)}
	apply(ExitedPairs(articleID, exit))
	s, err = DecodeStatus(articleID, keys)
	if d := cmp.Diff(exit, s.Exit); d != "" || err != nil || s.Running || s.Pid != 0 {
		t.Errorf("%v %+v\n%s", err, s, d)
	}

	keys[sessionKey(articleID, "status")] = "nonsense"
	if s, err = DecodeStatus(articleID, keys); err == nil || s.Exit.Error != exit.Error {
		t.Errorf("bad status: %+v, %v", s, err)
	}
}

func TestSeal(t *testing.T) {
	a, _ := GenerateSealKey()
	b, _ := GenerateSealKey()
	pub, err := ParsePublicKey(a.Public().String())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal("s3cret", pub)
	if err != nil || strings.Contains(sealed, "s3cret") || !IsSealed(sealed) {
		t.Fatalf("sealed %q, %v", sealed, err)
	}
	again, err := ParsePrivateKey(a.Text())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Unseal(sealed, again); got != "s3cret" || err != nil {
		t.Errorf("unsealed %q, %v", got, err)
	}
	if _, err := Unseal(sealed, b); !errdefs.IsPermissionDenied(err) {
		t.Errorf("other key: %v", err)
	}
	if _, err := Unseal("clear", a); !errdefs.IsInvalidArgument(err) {
		t.Errorf("clear value: %v", err)
	}
	if IsSealed("sealed:v1:") || IsSealed("sealed:v1:***") || IsSealed("password") {
		t.Error("not sealed values count as sealed")
	}
}

func TestKeysAreUniqueAndDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.Doc == "" || k.Type == "" || k.Writer == "" || k.VM == "" {
			t.Errorf("%s: not described: %+v", k.Key, k)
		}
		if seen[k.VM+k.Key] {
			t.Errorf("%s is there twice for %s", k.Key, k.VM)
		}
		seen[k.VM+k.Key] = true
	}
	var c spec.Container
	n := 0
	fill(reflect.ValueOf(&c).Elem(), &n)
	c.ID = "<id>"
	c.Endpoints, c.Mounts = c.Endpoints[:1], c.Mounts[:1]
	c.Endpoints[0].Network, c.Mounts[0].Name = "thenet", "themount"
	keys, _ := EncodeContainer(c)
	for k := range keys {
		k = strings.NewReplacer("%3Cid%3E", "<id>", "|themount", "|<mount>", "|thenet", "|<network>").Replace(k)
		if i := strings.Index(k, "annotations|"); i >= 0 {
			k = k[:i] + "annotations|<name>"
		}
		if !seen[KindContainer+k] && !seen["both"+k] {
			t.Errorf("%s is written but not in Keys", k)
		}
	}
}

// xmlText mirrors what XML 1.0 can hold without loss or normalisation.
func xmlText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, fragile)
}

func FuzzContainerRoundTrip(f *testing.F) {
	for _, s := range []string{"", "a | b", `"quoted"`, "line\nline\r\n", "日本語 ✓", strings.Repeat("x", MaxValue), " padded ",
		"\x00\x1b[0m", "\ufffe\uffff", `\u0041`, "a=b", "%41", "\u2028"} {
		f.Add(s, s)
		f.Add("x", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		c := spec.Container{
			ID: articleID, Name: a, Hostname: b, Labels: map[string]string{a: b}, Annotations: map[string]string{b: a},
			Process: spec.Process{Path: b, Args: []string{a, b, ""}, Env: []string{a + "=" + b}, Rlimits: map[string]spec.Rlimit{a: {Soft: -1, Hard: 7}}},
			Mounts:  []spec.Mount{{Name: a, Path: b, Type: "nfs"}, {Name: b, Path: a, Type: "nfs"}}, Endpoints: []spec.Endpoint{{Network: a, Aliases: []string{b}}},
		}
		keys, err := EncodeContainer(c)
		var limit *LimitError
		if errors.As(err, &limit) {
			return
		}
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			if err == nil {
				t.Fatal("invalid UTF-8 accepted")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range keys {
			if !xmlText(v) || strings.TrimSpace(v) != v {
				t.Fatalf("%s = %q does not survive XML", k, v)
			}
			if strings.ContainsAny(k, " =\"\n\x00") {
				t.Fatalf("key %q", k)
			}
		}
		got, err := DecodeContainer(FromMap(keys))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("guestinfo./hosts", `["a"]`)
	f.Add("guestinfo./sessions|/rlimits", `{"nofile":[1,2]}`)
	f.Add("vic./annotations", `["a"]`)
	f.Fuzz(func(t *testing.T, key, value string) {
		m := map[string]string{KeyVersion: "1", KeyKind: KindContainer, "guestinfo./mounts": `["m"]`}
		m[key] = value
		_, _ = DecodeContainer(FromMap(m))
		_, _ = DecodeStatus("", m)
		m[KeyKind] = KindAppliance
		_, _ = DecodeVCH(FromMap(m))
		_, _ = Unseal(value, PrivateKey{})
	})
}
