package api

import (
	"log/slog"
	"net/http"
)

// Handler is a route's work. It returns an error instead of writing one, and
// must not have written anything when it does.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handle makes a route's handler of one that may fail. Errors are written by
// write; those that are ours are logged.
func Handle(log *slog.Logger, write func(http.ResponseWriter, *http.Request, error), h Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		if status, _, _ := StatusOf(err); status == http.StatusInternalServerError {
			log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		write(w, r, err)
	}
}
