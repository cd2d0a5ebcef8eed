// Command clients uses Testcontainers for Go as its users do, and prints a line for
// each step: "ok STEP" or "not ok STEP: why".
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	failed := false
	step := func(name string, f func() error) {
		if failed {
			return // what follows stands on it
		}
		if err := f(); err != nil {
			failed = true
			fmt.Printf("not ok %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " | "))
			return
		}
		fmt.Println("ok", name)
	}

	var web, box testcontainers.Container
	var net *testcontainers.DockerNetwork
	step("network", func() (err error) {
		net, err = network.New(ctx)
		return err
	})
	step("container with reaper, waits for HTTP", func() (err error) {
		web, err = testcontainers.Run(ctx, "web:latest",
			testcontainers.WithExposedPorts("80/tcp"),
			network.WithNetwork([]string{"site"}, net),
			testcontainers.WithEnv(map[string]string{"TC": "go"}),
			testcontainers.WithWaitStrategyAndDeadline(3*time.Minute, wait.ForHTTP("/").WithPort("80/tcp")))
		return err
	})
	step("mapped port", func() error {
		url, err := web.PortEndpoint(ctx, "80/tcp", "http")
		if err != nil {
			return err
		}
		r, err := http.Get(url)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		return has(r.Body, "It works")
	})
	step("logs", func() error {
		r, err := web.Logs(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		return has(r, "GET /")
	})
	step("second container on the network, waits for its log", func() (err error) {
		box, err = testcontainers.Run(ctx, "busybox:latest",
			testcontainers.WithCmd("sh", "-c", "wget -qO- http://site/; exec sleep 600"),
			network.WithNetwork(nil, net),
			testcontainers.WithWaitStrategyAndDeadline(3*time.Minute, wait.ForLog("It works")))
		return err
	})
	step("exec", func() error {
		code, out, err := box.Exec(ctx, []string{"sh", "-c", "echo from exec; exit 3"}, tcexec.Multiplexed())
		if err != nil {
			return err
		}
		if code != 3 {
			return fmt.Errorf("exit code %d, want 3", code)
		}
		return has(out, "from exec")
	})
	step("state and address", func() error {
		s, err := box.State(ctx)
		if err != nil {
			return err
		}
		ip, err := box.ContainerIP(ctx)
		if err != nil {
			return err
		}
		if !s.Running || ip == "" {
			return fmt.Errorf("running %v, address %q", s.Running, ip)
		}
		return nil
	})
	step("stop and start", func() error {
		grace := time.Second
		if err := box.Stop(ctx, &grace); err != nil {
			return err
		}
		return box.Start(ctx)
	})
	step("terminate", func() error {
		for _, c := range []testcontainers.Container{box, web} {
			if err := c.Terminate(ctx); err != nil {
				return err
			}
		}
		return net.Remove(ctx)
	})
	step("left to the reaper", func() (err error) {
		box, err = testcontainers.Run(ctx, "busybox:latest",
			testcontainers.WithCmd("sleep", "600"), testcontainers.WithLabels(map[string]string{"left-by": "testcontainers"}))
		return err
	})
	step("copy to and from", func() error {
		if err := box.CopyToContainer(ctx, []byte("some text"), "/tmp/file", 0o644); err != nil {
			return err
		}
		r, err := box.CopyFileFromContainer(ctx, "/tmp/file")
		if err != nil {
			return err
		}
		defer r.Close()
		return has(r, "some text")
	})
	if failed {
		os.Exit(1)
	}
}

func has(r io.Reader, want string) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(want)) {
		return fmt.Errorf("%q is not in %q", want, b)
	}
	return nil
}
