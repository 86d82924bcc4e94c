package cli

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// helloCommand is the package hello-world: a web page served by this binary,
// so that a cluster without any image has something to run.
func helloCommand(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "hello-world", Short: "Serve the page of the package hello-world", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			port := e.Get("PORT0")
			if port == "" {
				return usagef("hello-world runs as a task: the environment lacks PORT0")
			}
			return serveHello(cmd.Context(), e, port)
		},
	}
}

func serveHello(ctx context.Context, e *Env, port string) error {
	message := e.Get("HELLO_MESSAGE")
	if message == "" {
		message = "Hello, world"
	}
	page := fmt.Sprintf("<!doctype html>\n<title>%[1]s</title>\n<h1>%[1]s</h1>\n<p>Task %s of app %s on %s, port %s.</p>\n",
		html.EscapeString(message), html.EscapeString(e.Get("MESOS_TASK_ID")), html.EscapeString(e.Get("MARATHON_APP_ID")),
		html.EscapeString(e.Get("HOST")), html.EscapeString(port))
	srv := &http.Server{
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			if _, err := fmt.Fprint(w, page); err != nil {
				return // the visitor is gone
			}
			fmt.Fprintf(e.Out, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339), r.Method, r.URL.Path)
		}),
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(e.Out, "hello-world listens on port %s\n", port)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }() // ends with the close below
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	err = srv.Close()
	if ended := <-done; err == nil && !errors.Is(ended, http.ErrServerClosed) {
		err = ended
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
