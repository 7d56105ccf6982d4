package materializer

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what apply does.
type metrics struct {
	applied, refused, replayed, changes prometheus.Counter
	index                               prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kalam", Subsystem: "materializer", Name: name, Help: help})
	}
	m := &metrics{
		applied:  counter("batches_applied_total", "Batches that were applied."),
		refused:  counter("batches_refused_total", "Batches that were refused because of a conflict or a bad value."),
		replayed: counter("batches_replayed_total", "Batches that were answered from the idempotency memory."),
		changes:  counter("changes_total", "Changes of rows."),
		index: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "kalam", Subsystem: "materializer", Name: "applied_index", Help: "Raft index of the last entry applied.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.applied, m.refused, m.replayed, m.changes, m.index} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
