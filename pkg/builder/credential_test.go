package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	control "github.com/moby/buildkit/api/services/control"
)

// Where a registry wants credentials, buildkitd gets those of the client: by its
// session, or of a classic build those that came with the request.
func TestCredentialsReachBuildkitd(t *testing.T) {
	f := newFixture(t)
	f.d.registry = "reg.example:5000"
	u := f.use(t)
	c := newClient(t, u, "s1")
	if _, err := c.Solve(t.Context(), &control.SolveRequest{Ref: "r", Session: "s1"}); err != nil {
		t.Fatal(err)
	}
	build := func(creds map[string]Credential) {
		t.Helper()
		_, err := u.Build(t.Context(), Options{Context: strings.NewReader("x"), Credentials: creds}, func(*control.StatusResponse) {})
		if err != nil {
			t.Fatal(err)
		}
	}
	build(map[string]Credential{"https://reg.example:5000": {Username: "u", Password: "p"}})
	build(nil)
	if d := cmp.Diff([][2]string{{"user of reg.example:5000", "hush"}, {"u", "p"}, {}}, f.d.asked); d != "" {
		t.Error(d)
	}
}
