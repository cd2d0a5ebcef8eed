package command

import (
	"path/filepath"
	"testing"
)

// The images themselves are tested where they are built; this verb only puts
// their programs where `up` looks.
func TestImagesGoWhereUpLooks(t *testing.T) {
	given, err := beside(filepath.Join("bin", "images"), "images")
	if err != nil || !filepath.IsAbs(given) {
		t.Errorf("--out: %s, %v", given, err)
	}
	a, err := beside("", "images")
	if err != nil {
		t.Fatal(err)
	}
	term, _, _ := terminal(map[string]string{"HOME": "/home/me"})
	o := &upOptions{}
	if err := o.complete(term); err != nil {
		t.Fatal(err)
	}
	if o.images != a {
		t.Errorf("images go to %s, up looks in %s", a, o.images)
	}
}
