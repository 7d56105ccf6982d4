package query

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the engine's counters.
type metrics struct {
	plans      *prometheus.CounterVec // by result: hit, miss, evicted
	statements *prometheus.CounterVec // by way: key read, duckdb, write, ddl, other
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		plans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalam_query_plan_cache_total", Help: "Look-ups and evictions of the plan cache.",
		}, []string{"result"}),
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalam_query_statements_total", Help: "Statements run, by the way they took.",
		}, []string{"way"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.plans, m.statements} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
