package api

import (
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the door's own. Routes, not paths, are labels: their number is fixed.
type metrics struct {
	inFlight prometheus.Gauge
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	rows     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalam_http_requests_in_flight", Help: "Requests being answered, open subscriptions included.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalam_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kalam_http_request_seconds", Help: "Time from a request's header to the end of its reply.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14),
		}, []string{"method", "route"}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kalam_http_rows_written_total", Help: "Rows written through the rows endpoint.",
		}),
	}
	if r != nil {
		r.MustRegister(m.inFlight, m.requests, m.seconds, m.rows)
	}
	return m
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	switch method {
	case "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS":
	default:
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

// showMetrics answers /metrics in the format that the scraper asks for.
func (s *Server) showMetrics() echo.HandlerFunc {
	return echo.WrapHandler(promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8,
	}))
}
