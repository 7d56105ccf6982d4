package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// resultWriter collects a reply. What fits bufferBytes is sent at once with its length, so that a status can still be
// chosen; past that the reply is streamed.
type resultWriter struct {
	server  *Server
	c       echo.Context
	pooled  *[]byte
	buf     []byte
	media   string
	started bool
}

func (s *Server) newResultWriter(c echo.Context) *resultWriter {
	pooled, _ := s.buffers.Get().(*[]byte)
	return &resultWriter{server: s, c: c, pooled: pooled, buf: (*pooled)[:0]}
}

func (w *resultWriter) close() { w.server.buffers.Put(w.pooled) }

// spill sends what is collected if it is much.
func (w *resultWriter) spill() error {
	if len(w.buf) < bufferBytes-bufferBytes/8 {
		return nil
	}
	if !w.started {
		w.started = true
		w.head(http.StatusOK)
	}
	return w.send()
}

func (w *resultWriter) head(status int) {
	w.c.Response().Header().Set(echo.HeaderContentType, w.media)
	w.c.Response().WriteHeader(status)
}

// send writes what is collected, within the time that a client may take for it.
func (w *resultWriter) send() error {
	control := http.NewResponseController(w.c.Response().Writer)
	_ = control.SetWriteDeadline(systemDeadline(w.server.limits.ClientTimeout))
	_, err := w.c.Response().Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// end sends the rest; status counts unless the reply has begun. That the client may be gone is no concern of the server.
func (w *resultWriter) end(status int) {
	if !w.started {
		w.head(status)
	}
	if err := w.send(); err != nil {
		w.server.logger.Debug("write reply", "error", err)
	}
	control := http.NewResponseController(w.c.Response().Writer)
	_ = control.SetWriteDeadline(time.Time{})
}

// position tells the reply's position in a header, or in a trailer if the reply has begun.
func (w *resultWriter) position(p string) {
	name := "Kalam-Position"
	if w.started {
		name = http.TrailerPrefix + name
	}
	w.c.Response().Header().Set(name, p)
}
