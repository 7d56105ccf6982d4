package kafka

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the door does.
type metrics struct {
	requests    *prometheus.CounterVec
	connections prometheus.Gauge
	refused     prometheus.Counter
	malformed   prometheus.Counter
	fetched     prometheus.Counter
}

// newMetrics registers with r, which may be nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kalam", Subsystem: "kafka", Name: name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "kalam", Subsystem: "kafka", Name: "requests_total", Help: "Kafka requests by API key.",
		}, []string{"key"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "kalam", Subsystem: "kafka", Name: "connections", Help: "Kafka connections open.",
		}),
		refused:   counter("connections_refused_total", "Kafka connections refused for being too many."),
		malformed: counter("malformed_total", "Kafka connections closed because of a frame that breaks the protocol."),
		fetched:   counter("fetch_bytes_total", "Bytes of record batches sent to Kafka consumers."),
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.connections, m.refused, m.malformed, m.fetched} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register Kafka metrics: %w", err)
	}
	return m, nil
}
