package command

import (
	"context"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDown(t *testing.T) {
	// The lab runs in this process, which therefore is the one to be ended.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	state, done := running(t, ctx)
	term, out, _ := terminal(map[string]string{"VIC_LAB_STATE": state})
	if code := Execute(context.Background(), []string{"down"}, term); code != 0 || !strings.Contains(out.String(), "lab is down") {
		t.Errorf("down: %d %s", code, out)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the lab goes on")
	}
	out.Reset()
	if code := Execute(context.Background(), []string{"down"}, term); code != 0 || !strings.Contains(out.String(), "no lab runs in") {
		t.Errorf("down again: %d %s", code, out)
	}
}
