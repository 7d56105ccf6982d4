package materializer

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
)

// metrics counts what apply does.
type metrics struct {
	applied, refused, replayed, changes prometheus.Counter
	index                               prometheus.Gauge
}

// newMetrics makes the metrics and registers them with r unless it is nil. What the state itself counts is read from m.
func newMetrics(r prometheus.Registerer, m *Materializer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kalam", Subsystem: "materializer", Name: name, Help: help})
	}
	out := &metrics{
		applied:  counter("batches_applied_total", "Batches that were applied."),
		refused:  counter("batches_refused_total", "Batches that were refused because of a conflict or a bad value."),
		replayed: counter("batches_replayed_total", "Batches that were answered from the idempotency memory."),
		changes:  counter("changes_total", "Changes of rows."),
		index: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "kalam", Subsystem: "materializer", Name: "applied_index", Help: "Raft index of the last entry applied.",
		}),
	}
	if r == nil {
		return out, nil
	}
	own := []prometheus.Collector{out.applied, out.refused, out.replayed, out.changes, out.index}
	for _, c := range append(own, memoryMetrics(m)...) {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return out, nil
}

// memoryMetrics tells what the idempotency memory holds and has dropped: the same on every replica, and over restarts.
func memoryMetrics(m *Materializer) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kalam", Subsystem: "materializer", Name: name, Help: help}, value)
	}
	dropped := func(cause string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "kalam", Subsystem: "materializer", Name: "idempotency_dropped_total",
			Help: "Idempotency keys forgotten since the state began: too old (age), or young but one too many (count).", ConstLabels: prometheus.Labels{"cause": cause},
		}, value)
	}
	return []prometheus.Collector{
		gauge("idempotency_keys", "Idempotency keys that are remembered.", func() float64 { return float64(m.Remembered().Keys) }),
		gauge("idempotency_oldest_age_seconds", "Age of the oldest idempotency key that is remembered, 0 if there is none.", func() float64 {
			r := m.Remembered()
			if r.Keys == 0 {
				return 0
			}
			return max(0, float64(clock.Micros(m.options.Clock)-r.Oldest)/1e6)
		}),
		dropped("age", func() float64 { return float64(m.Remembered().DroppedByAge) }),
		dropped("count", func() float64 { return float64(m.Remembered().DroppedByCount) }),
	}
}
