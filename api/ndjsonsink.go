package api

import (
	"net/http"

	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/query/expr"
)

// ndjsonSink writes each row as an object on its own line. An error after the first line is a last line
// {"error":{...}}.
type ndjsonSink struct {
	out     *resultWriter
	single  single
	columns []string
}

// Begin implements query.Sink.
func (n *ndjsonSink) Begin(columns []query.Column) error {
	if len(columns) == 0 {
		return nil
	}
	n.columns = nil
	for _, c := range columns {
		n.columns = append(n.columns, c.Name)
	}
	return n.single.next()
}

// Row implements query.Sink.
func (n *ndjsonSink) Row(values []expr.Value) error {
	n.out.buf = append(appendObject(n.out.buf, n.columns, values), '\n')
	return n.out.spill()
}

// End implements query.Sink.
func (n *ndjsonSink) End(s query.Summary) error {
	n.out.position(s.Position.String())
	return nil
}

func (n *ndjsonSink) finish() error {
	n.out.end(http.StatusOK)
	return nil
}

func (n *ndjsonSink) fail(err error) error {
	if !n.out.started {
		return err
	}
	w, status := n.out.server.describe(n.out.c.Request(), err)
	n.out.buf = append(n.out.buf, `{"error":`...)
	n.out.buf = append(n.out.buf, encode(w)...)
	n.out.buf = append(n.out.buf, "}\n"...)
	n.out.end(status)
	return nil
}
