package subscribe

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	active prometheus.Gauge
	errors prometheus.Counter
	events map[EventType]prometheus.Counter
}

// newMetrics registers the metrics, or only makes them if registerer is nil.
func newMetrics(registerer prometheus.Registerer) *metrics {
	byType := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kalam_subscribe_events_total", Help: "Events told to subscribers.",
	}, []string{"type"})
	m := &metrics{
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalam_subscribe_active", Help: "Open subscriptions.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kalam_subscribe_errors_total", Help: "Subscriptions that were refused or ended by an error.",
		}),
		events: make(map[EventType]prometheus.Counter),
	}
	for _, t := range eventTypes() {
		m.events[t] = byType.WithLabelValues(string(t))
	}
	if registerer != nil {
		registerer.MustRegister(byType, m.active, m.errors)
	}
	return m
}

// count counts events and returns how many of them are rows.
func (m *metrics) count(events []Event) (rows int) {
	for i := range events {
		m.events[events[i].Type].Inc()
		switch events[i].Type {
		case InitialRow, Inserted, Updated, Deleted:
			rows++
		default:
		}
	}
	return rows
}
