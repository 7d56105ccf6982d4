package api

import (
	"context"
	_ "embed" // for the files below
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// readyTimeout bounds how long /ready looks for a leader.
const readyTimeout = 5 * time.Second

//go:embed openapi.json
var openAPIDocument []byte

//go:embed home.html
var homePage []byte

// health answers load balancers: 200 while the server takes requests, 503 while it drains.
func (s *Server) health(c echo.Context) error {
	if s.draining.Load() {
		s.reply(c, http.StatusServiceUnavailable, wire.Health{Status: "draining"})
		return nil
	}
	s.reply(c, http.StatusOK, wire.Health{Status: "ok"})
	return nil
}

// ready answers 200 if a read of everything acknowledged so far would be answered: the log has a leader and has been
// applied up to it.
func (s *Server) ready(c echo.Context) error {
	if s.draining.Load() {
		return problem.New(problem.ShuttingDown, "the server is shutting down")
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	p, err := s.log.Barrier(ctx)
	if err != nil {
		return err
	}
	if err := s.log.Wait(ctx, p); err != nil {
		return err
	}
	s.reply(c, http.StatusOK, wire.Health{Status: "ok"})
	return nil
}

func (s *Server) openAPI(c echo.Context) error {
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, openAPIDocument)
}

func (s *Server) home(c echo.Context) error {
	return c.Blob(http.StatusOK, echo.MIMETextHTMLCharsetUTF8, homePage)
}
