package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"kalamlog.dev/kalam/api"
	"kalamlog.dev/kalam/api/backup"
	"kalamlog.dev/kalam/api/cluster"
	"kalamlog.dev/kalam/api/kafka"
	"kalamlog.dev/kalam/flusher"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/subscribe"
)

// node is a running server, all parts of it.
type node struct {
	config    config.Config
	clock     clock.Clock
	logger    *slog.Logger
	metrics   *prometheus.Registry
	peers     *peers
	core      *core
	store     *objstore.Dir // data files
	backups   *backup.Keeper
	cluster   *cluster.Cluster
	ids       *materializer.IDs
	engine    *query.Engine
	flusher   *flusher.Flusher
	registry  *subscribe.Registry
	http      *api.Server
	kafka     *kafka.Server // nil without a listener
	profiler  *http.Server  // nil without a listener
	listeners listeners
	stores    closers    // what holds data, in the order of opening
	ended     chan error // what a door failed with
}

// listeners are bound before anything is opened, so that a taken port is found at once.
type listeners struct{ http, kafka, raft, pprof net.Listener }

// openNode opens every part in the order in which they need each other. The doors are shut until serve.
func openNode(ctx context.Context, c config.Config, logger *slog.Logger) (*node, error) {
	now, err := clockOf(os.Getenv(config.EnvClockOffset))
	if err != nil {
		return nil, err
	}
	n := &node{config: c, clock: now, logger: logger, metrics: prometheus.NewRegistry(), ended: make(chan error, 3)}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.listeners.close(), n.stores.close())
	}
	return n, nil
}

func (n *node) open(ctx context.Context) error {
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	if err := n.listen(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{n.openPeers, n.openCore, n.openCluster, n.openEngine, n.openFlusher, n.openDoors} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kalam_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	info.Set(1)
	return info
}

func (n *node) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	bind := func(name, address string) net.Listener {
		if address == "" || err != nil {
			return nil
		}
		l, failed := lc.Listen(ctx, "tcp", address)
		if failed != nil {
			err = fmt.Errorf("%s: %w", name, failed)
			return nil
		}
		return l
	}
	n.listeners.http = bind("server.http", n.config.Server.HTTP)
	n.listeners.kafka = bind("server.kafka", n.config.Server.Kafka)
	n.listeners.raft = bind("cluster.raft", n.config.Cluster.Listen())
	n.listeners.pprof = bind("server.pprof", n.config.Server.Pprof)
	return err
}

func (l *listeners) close() error {
	var errs []error
	for _, one := range []net.Listener{l.http, l.kafka, l.raft, l.pprof} {
		if one == nil {
			continue
		}
		if err := one.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *node) openPeers(ctx context.Context) (err error) {
	// Everyone's rows are in it: other users of the machine have no business there.
	if err := os.MkdirAll(n.config.Server.Data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if n.peers, err = openPeers(ctx, n.config, n.listeners.raft, n.logger.With("part", "cluster")); err != nil {
		return err
	}
	n.stores.add(n.peers.close)
	return nil
}

func (n *node) openCore(ctx context.Context) (err error) {
	if n.core, err = openCore(ctx, n.config, n.peers, n.clock, n.logger, n.metrics); err != nil {
		return err
	}
	n.stores.add(n.core.close)
	return nil
}

func (n *node) openCluster(ctx context.Context) (err error) {
	n.store = objstore.NewDir(vfs.Default, n.config.Server.Data)
	n.cluster, err = cluster.Open(ctx, cluster.Options{
		Dir:       n.config.Server.Data,
		Identity:  n.peers.identity,
		Log:       n.core.log,
		State:     n.core.materializer,
		Writer:    n.core.writer,
		Net:       n.peers.net,
		Book:      n.peers.book,
		Store:     n.store,
		FullPeers: &n.peers.full,
		Logger:    n.logger.With("part", "cluster"),
		Version:   version,
		Raft:      raftAddress(n.listeners.raft, n.config),
		HTTP:      advertised(n.listeners.http, n.config),
		Kafka:     advertised(n.listeners.kafka, n.config),
	})
	if err != nil {
		return fmt.Errorf("enter the cluster: %w", err)
	}
	n.stores.add(n.cluster.Close)
	return nil
}

func (n *node) openEngine(context.Context) (err error) {
	n.ids = materializer.NewIDs(uint64(n.config.Cluster.NodeID))
	n.engine, err = query.New(query.Options{
		Clock:             n.clock,
		IDs:               n.ids,
		Log:               n.core.log,
		Materializer:      n.core.materializer,
		Writer:            n.core.writer,
		DataDir:           n.config.Server.Data,
		EnsureFiles:       n.cluster.Files().Ensure,
		Logger:            n.logger.With("part", "query"),
		Registerer:        n.metrics,
		MaxPlans:          n.config.QueryCache.MaxPlans,
		Threads:           n.config.Limits.QueryThreads,
		MemoryLimit:       fmt.Sprintf("%dKiB", n.config.Limits.QueryMemory>>10),
		Room:              n.core.log.Room,
		DefaultPartitions: n.config.Storage.DefaultPartitions,
		DefaultSharding:   n.config.Sharding.DefaultStrategy,
	})
	if err != nil {
		return fmt.Errorf("start query engine: %w", err)
	}
	n.stores.add(n.engine.Close)
	return nil
}

func (n *node) openFlusher(context.Context) error {
	strategies, err := shard.NewRegistry(n.config.Sharding.HashShards)
	if err != nil {
		return err
	}
	n.flusher, err = flusher.New(flusher.Options{
		Clock:           n.clock,
		Log:             n.core.log,
		State:           n.core.materializer,
		Writer:          n.core.writer,
		Store:           objstore.Guarded(n.store, n.core.log.Room),
		Room:            n.core.log.Room,
		Leads:           n.core.log.Leads,
		Spread:          n.cluster.Files().Spread,
		Strategies:      strategies,
		Logger:          n.logger.With("part", "flusher"),
		Registerer:      n.metrics,
		DefaultStrategy: n.config.Sharding.DefaultStrategy,
		Node:            uint64(n.config.Cluster.NodeID),
		Rows:            orNever(n.config.Flush.Rows),
		Bytes:           orNever(int64(n.config.Flush.Bytes)),
		Interval:        orNever(n.config.Flush.Interval),
		RetentionAge:    orNever(n.config.Retention.Age),
		RetentionBytes:  orNever(int64(n.config.Retention.Bytes)),
	})
	if err != nil {
		return fmt.Errorf("start flusher: %w", err)
	}
	n.stores.add(n.flusher.Close)
	n.engine.SetJobs(n.cluster.Jobs(n.flusher))
	return nil
}

// orNever turns the configuration's 0, which means never, into the flusher's.
func orNever[T int64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

func (n *node) openDoors(context.Context) (err error) {
	n.registry = subscribe.New(subscribe.Options{
		Clock:        n.clock,
		Log:          n.core.log,
		Materializer: n.core.materializer,
		Writer:       n.core.writer,
		Logger:       n.logger.With("part", "subscribe"),
		Registerer:   n.metrics,
		BufferBytes:  int(n.config.Limits.Subscriber),
		Node:         uint64(n.config.Cluster.NodeID),
	})
	n.stores.add(n.registry.Close)
	n.backups = backup.NewKeeper(backup.Options{
		Log:     n.core.log,
		State:   n.core.materializer,
		Store:   n.store,
		Ensure:  n.cluster.Files().Ensure,
		Logger:  n.logger.With("part", "backup"),
		Cluster: n.cluster.ID(),
		Node:    log.NodeID(n.config.Cluster.NodeID),
		Version: version,
	})
	n.stores.add(n.backups.Close)
	n.http, err = api.New(api.Options{
		Clock:        n.clock,
		Engine:       n.engine,
		Registry:     n.registry,
		Log:          n.core.log,
		Materializer: n.core.materializer,
		Writer:       n.core.writer,
		IDs:          n.ids,
		Logger:       n.logger.With("part", "http"),
		Registerer:   n.metrics,
		Gatherer:     n.metrics,
		Cluster:      n.cluster,
		Backups:      n.backups,
		LoopbackOnly: !n.config.Server.Insecure,
		Limits: api.Limits{
			Body:          int64(n.config.Limits.Body),
			RowsBody:      int64(n.config.Limits.RowsBody),
			Row:           int(n.config.Limits.Row),
			InFlight:      n.config.Limits.InFlight,
			ClientTimeout: n.config.Limits.ClientTimeout,
		},
	})
	if err != nil || n.listeners.kafka == nil {
		return err
	}
	o := kafka.Options{
		Clock:        n.clock,
		Log:          n.core.log,
		Materializer: n.core.materializer,
		Writer:       n.core.writer,
		Logger:       n.logger.With("part", "kafka"),
		Registerer:   n.metrics,
		NodeID:       int32(n.config.Cluster.NodeID),
		ClusterID:    n.cluster.ID(),
	}
	if n.peers.net != nil {
		o.Cluster = n.cluster
	}
	n.kafka, err = kafka.New(o)
	return err
}

// serve opens the doors. What a door fails with later comes from ended.
func (n *node) serve() {
	go func() { n.ended <- n.http.Serve(n.listeners.http) }()
	if n.kafka != nil {
		go func() { n.ended <- n.kafka.Serve(n.listeners.kafka) }()
	}
	if n.listeners.pprof != nil {
		n.profiler = profiler()
		go func() { n.ended <- n.profiler.Serve(n.listeners.pprof) }()
	}
}

// profiler serves Go's profiles, on a listener of its own that is always loopback.
func profiler() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}

// shutdown ends in the order of serving: no new requests, subscriptions told to go, requests in progress answered,
// then everything that holds data checkpointed and closed.
func (n *node) shutdown() error {
	n.http.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), n.config.Server.ShutdownTimeout)
	defer cancel()
	doors := make(chan struct{})
	go func() {
		defer close(doors)
		if err := n.registry.Close(); err != nil {
			n.logger.Warn("end subscriptions", "error", err)
		}
		if err := n.backups.Close(); err != nil {
			n.logger.Warn("end backups", "error", err)
		}
		if n.kafka != nil {
			if err := n.kafka.Close(); err != nil {
				n.logger.Warn("close kafka", "error", err)
			}
		}
	}()
	if err := n.http.Shutdown(ctx); err != nil {
		n.logger.Warn("requests were broken off", "error", err)
	}
	if n.profiler != nil {
		_ = n.profiler.Close() // nothing of it needs to be kept
	}
	<-doors
	return n.stores.close()
}

// dataDir makes the path independent of the working directory, for messages and for the query engine.
func dataDir(c *config.Config) error {
	abs, err := filepath.Abs(c.Server.Data)
	if err != nil {
		return fmt.Errorf("find data directory: %w", err)
	}
	c.Server.Data = abs
	return nil
}
