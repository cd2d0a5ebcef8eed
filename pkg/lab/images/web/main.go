// Command web is the program of the lab's web image: a web server on port 80 that
// serves the files below /www, logs one line a request, and ends in order at
// SIGTERM.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, env("LISTEN", ":80"), env("WWW", "/www")); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, addr, dir string) error {
	files := http.FileServer(http.Dir(dir))
	s := &http.Server{Addr: addr, ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			files.ServeHTTP(w, r)
			fmt.Printf("%s %s %s %s\n", r.RemoteAddr, r.Method, r.URL.Path, time.Since(began).Round(time.Microsecond))
		})}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		fmt.Println("web: ending")
		// What is being answered gets 5 s.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	host, _ := os.Hostname()
	fmt.Printf("web: serving %s on %s of %s\n", dir, addr, host)
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
