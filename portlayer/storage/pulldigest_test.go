package storage_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestPullTellsItsDigest: an image that is published anew under another manifest, as
// an index is when one of its other platforms changes, is the same image; a pull
// tells the digest that its name leads to now.
func TestPullTellsItsDigest(t *testing.T) {
	d := newDocker(t)
	ref := d.push("app", []string{"a=1"})
	resp, err := http.Get(d.reg.URL + "/v2/app/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m ocispec.Manifest
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	pull := func() []string { return d.stream("POST", "/images/create?fromImage="+url.QueryEscape(ref), nil) }
	pull()
	for _, note := range []string{"1", "2", "3", "4"} { // one of them is not the last by name
		m.Annotations = map[string]string{"note": note}
		now, _ := d.reg.Manifest(t, "app", "latest", resp.Header.Get("Content-Type"), m)
		d.want("pull "+note, pull(), "Digest: "+now.String(), "Image is up to date")
	}
	img, err := d.Resolve(ref)
	if err != nil || len(img.RepoDigests) != 5 || strings.Contains(strings.Join(img.RepoTags, ""), "@") {
		t.Errorf("%+v, %v", img.RepoDigests, err)
	}
}
