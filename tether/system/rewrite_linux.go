package system

import (
	"fmt"
	"os"
)

// Rewrite gives a file other contents and leaves it the same file: it may be
// mounted over another. Who reads meanwhile may see the new text followed by the
// end of the old one, but never nothing.
func Rewrite(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("rewrite %s: %w", name, err)
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return fmt.Errorf("rewrite %s: %w", name, err)
	}
	return nil
}
