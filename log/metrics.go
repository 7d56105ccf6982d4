package log

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	proposals   prometheus.Counter
	refused     prometheus.Counter
	entries     prometheus.Counter
	batches     prometheus.Histogram
	proposed    prometheus.Counter
	written     prometheus.Counter
	commit      prometheus.Histogram
	apply       prometheus.Histogram
	checkpoints prometheus.Counter
	syncErrors  prometheus.Counter
	deleted     prometheus.Counter
	freed       prometheus.Counter
	registerer  prometheus.Registerer // nil: none
	refusedFull prometheus.Counter
	postponed   prometheus.Counter
	free        prometheus.Gauge
	full        prometheus.Gauge
}

// newMetrics makes the metrics and registers them with r unless it is nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kalam", Subsystem: "log", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "kalam", Subsystem: "log", Name: name, Help: help, Buckets: buckets})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kalam", Subsystem: "log", Name: name, Help: help})
	}
	latency := prometheus.ExponentialBuckets(50e-6, 2, 16)
	m := &metrics{
		proposals:   counter("proposals_total", "Batches given to Propose."),
		refused:     counter("proposals_refused_total", "Batches that Propose answered with an error."),
		entries:     counter("entries_total", "Raft entries proposed by this node."),
		batches:     histogram("entry_batches", "Batches that shared one Raft entry.", prometheus.ExponentialBuckets(1, 2, 12)),
		proposed:    counter("proposed_bytes_total", "Bytes of the Raft entries proposed by this node."),
		written:     counter("segment_bytes_total", "Bytes appended to segments."),
		commit:      histogram("commit_seconds", "From proposing an entry to its result.", latency),
		apply:       histogram("apply_seconds", "Applying one Raft update.", latency),
		checkpoints: counter("checkpoints_total", "Durable checkpoints."),
		syncErrors:  counter("sync_errors_total", "Syncs that failed. The node stops after one."),
		deleted:     counter("segments_deleted_total", "Segments that retention has deleted."),
		freed:       counter("segments_deleted_bytes_total", "Bytes of the segments that retention has deleted."),
		refusedFull: counter("writes_refused_disk_full_total", "Batches refused because a disk is nearly full."),
		postponed:   counter("checkpoints_postponed_total", "Times that a checkpoint was due and put off because it might not fit on the disk."),
		free:        gauge("disk_free_bytes", "Free space of the data directory's disk."),
		full:        gauge("disk_full", "1 while writes are refused because the disk is nearly full."),
	}
	if r == nil {
		return m, nil
	}
	m.registerer = r
	var errs []error
	for _, c := range []prometheus.Collector{
		m.proposals, m.refused, m.entries, m.batches, m.proposed, m.written, m.commit, m.apply, m.checkpoints, m.syncErrors,
		m.deleted, m.freed,
		m.refusedFull, m.postponed, m.free, m.full,
	} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// watch adds what s tells of itself.
func (m *metrics) watch(s *store) error {
	if m.registerer == nil {
		return nil
	}
	return m.registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "kalam", Subsystem: "log", Name: "segments_kept_bytes",
		Help: "Bytes of the segments that hold kept changes, of partitions used since the start.",
	}, s.keptBytes))
}
