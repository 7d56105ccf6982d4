package flusher

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/flusher/manifest"
)

type metrics struct {
	jobs  *prometheus.CounterVec
	rows  prometheus.Counter
	bytes prometheus.Counter
	files prometheus.Counter
}

// newMetrics registers the metrics with r, which may be nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kalam", Subsystem: "flush", Name: name, Help: help})
	}
	m := &metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "kalam", Subsystem: "flush", Name: "jobs_total", Help: "Flush jobs that have ended, by their last state.",
		}, []string{"state"}),
		rows:  counter("rows_total", "Changes committed to Parquet files."),
		bytes: counter("bytes_total", "Bytes of the Parquet files committed."),
		files: counter("files_total", "Parquet files committed."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.jobs, m.rows, m.bytes, m.files} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the flusher: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) committed(c *manifest.Commit) {
	for i := range c.Files {
		m.rows.Add(float64(c.Files[i].Rows))
		m.bytes.Add(float64(c.Files[i].Bytes))
	}
	m.files.Add(float64(len(c.Files)))
}
